package upstream

import (
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
)

func TestReadCodexLimits(t *testing.T) {
	in := func(d time.Duration) time.Time { return testNow.Add(d) }
	const (
		five = 5 * time.Hour
		week = 7 * 24 * time.Hour
	)
	for name, tc := range map[string]struct {
		header http.Header
		plan   string
		want   []realm.CodexWindow
	}{
		"nothing": {header: header()},
		"as it is": {
			header: header("X-Codex-Active-Limit: premium", "X-Codex-Plan-Type: plus", "X-Codex-Primary-Used-Percent: 100", "X-Codex-Primary-Window-Minutes: 300",
				"X-Codex-Primary-Reset-After-Seconds: 60", "X-Codex-Primary-Reset-At: "+unix(in(time.Hour)), "X-Codex-Secondary-Used-Percent: 42.5",
				"X-Codex-Secondary-Window-Minutes: 10080", "X-Codex-Secondary-Reset-After-Seconds: 3600", "X-Codex-Primary-Over-Secondary-Limit-Percent: 0",
				"X-Codex-Credits-Has-Credits: False"),
			plan: "plus",
			want: []realm.CodexWindow{{Length: five, UsedPercent: 100, ResetsAt: in(time.Hour)}, {Length: week, UsedPercent: 42.5, ResetsAt: in(time.Hour)}},
		},
		"slots say nothing": {
			header: header("X-Codex-Primary-Used-Percent: 1", "X-Codex-Primary-Window-Minutes: 10080", "X-Codex-Secondary-Used-Percent: 2", "X-Codex-Secondary-Window-Minutes: 300"),
			want:   []realm.CodexWindow{{Length: five, UsedPercent: 2}, {Length: week, UsedPercent: 1}},
		},
		"other families": {
			header: header("X-Codex-Primary-Used-Percent: 0", "X-Codex-Primary-Window-Minutes: 300", "X-Codex-Bengalfox-Primary-Used-Percent: 100",
				"X-Codex-Bengalfox-Primary-Window-Minutes: 300", "X-Codex-Bengalfox-Limit-Name: GPT-X Spark", "X-Otter-Secondary-Used-Percent: 7", "X-Otter-Secondary-Window-Minutes: 60"),
			want: []realm.CodexWindow{{Length: five}, {Limit: "GPT-X Spark", Length: five, UsedPercent: 100}, {Limit: "otter", Length: time.Hour, UsedPercent: 7}},
		},
		"two of one length": {
			header: header("X-Codex-Primary-Used-Percent: 1", "X-Codex-Primary-Window-Minutes: 300", "X-Codex-Secondary-Used-Percent: 9", "X-Codex-Secondary-Window-Minutes: 300"),
			want:   []realm.CodexWindow{{Length: five, UsedPercent: 9}},
		},
		"a window of nothing": {header: header("X-Codex-Primary-Used-Percent: 0", "X-Codex-Primary-Window-Minutes: 0", "X-Codex-Plan-Type: plus")},
		"no length":           {header: header("X-Codex-Primary-Used-Percent: 3")},
		"no end":              {header: header("X-Codex-Primary-Used-Percent: 3", "X-Codex-Primary-Window-Minutes: 300"), want: []realm.CodexWindow{{Length: five, UsedPercent: 3}}},
		"resets beyond their windows": {
			header: header("X-Codex-Primary-Used-Percent: 100", "X-Codex-Primary-Window-Minutes: 300", "X-Codex-Primary-Reset-At: "+unix(in(300*24*time.Hour)),
				"X-Codex-Secondary-Used-Percent: 100", "X-Codex-Secondary-Window-Minutes: 10080", "X-Codex-Secondary-Reset-After-Seconds: 9000000"),
			want: []realm.CodexWindow{{Length: five, UsedPercent: 100, ResetsAt: in(five)}, {Length: week, UsedPercent: 100, ResetsAt: in(week)}},
		},
		"hostile numbers": {
			header: header("X-Codex-Primary-Used-Percent: NaN", "X-Codex-Secondary-Used-Percent: 5", "X-Codex-Secondary-Window-Minutes: 300",
				"X-Codex-Secondary-Reset-At: 1e300", "X-D-Primary-Used-Percent: 1", "X-D-Primary-Window-Minutes: 1e300", "X-A-Primary-Used-Percent: -1", "X-B-Primary-Used-Percent: Inf", "X-C-Primary-Used-Percent: soon", "Primary-Used-Percent: 5"),
			want: []realm.CodexWindow{{Length: five, UsedPercent: 5, ResetsAt: in(five)}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := ReadCodexLimits(tc.header, testNow)
			if ok != (tc.want != nil) || ok != got.At.Equal(testNow) || got.Plan != tc.plan {
				t.Errorf("%v, %+v", ok, got)
			}
			if diff := cmp.Diff(tc.want, got.Windows); diff != "" {
				t.Errorf("windows (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzReadCodexLimits(f *testing.F) {
	f.Add("100", "300", "1900000000", "60", "plus\n")
	f.Add("1e308", "-1", "0x10", "Inf", strings.Repeat("x", 500))
	f.Fuzz(func(t *testing.T, used, minutes, at, after, plan string) {
		h := http.Header{
			"X-Codex-Primary-Used-Percent": {used}, "X-Codex-Primary-Window-Minutes": {minutes}, "X-Codex-Primary-Reset-At": {at},
			"X-Codex-Primary-Reset-After-Seconds": {after}, "X-Codex-Plan-Type": {plan}, "X-Codex-Zed-Secondary-Used-Percent": {minutes}, "X-Codex-Zed-Limit-Name": {plan},
		}
		got, ok := ReadCodexLimits(h, testNow)
		if ok != (len(got.Windows) > 0) || len(got.Plan) > 128 || strings.ContainsAny(got.Plan, "\r\n\x00") {
			t.Fatalf("%v, %+v", ok, got)
		}
		for _, w := range got.Windows {
			if !(w.UsedPercent >= 0) || math.IsInf(w.UsedPercent, 0) || w.Length <= 0 || w.Length > maxWindow || w.ResetsAt.After(testNow.Add(w.Length)) || len(w.Limit) > 128 {
				t.Fatalf("%+v", w)
			}
		}
	})
}
