package upstream

import (
	"cmp"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"realms/internal/protocol/openai"
	"realms/internal/realm"
)

const (
	// maxWindows bounds what one answer may say: an account has two windows, and a
	// model with limits of its own two more.
	maxWindows = 32
	// maxWindow is longer than any window of a plan.
	maxWindow = 366 * 24 * time.Hour
)

// windowSlots are the places in which a family of limits tells its windows. They say
// nothing of a window's length.
var windowSlots = [...]string{"-Primary", "-Secondary"}

const usedPercent = "-Used-Percent"

// ReadCodexLimits reads what an answer's header (canonical names) says of its
// account's plan: X-Codex-Primary-Used-Percent and its kin for the account,
// X-<limit>-Primary-Used-Percent for a model that has limits of its own. ok is false
// where it says nothing of any window.
func ReadCodexLimits(h http.Header, now time.Time) (limits realm.CodexLimits, ok bool) {
	for name := range h {
		prefix, found := strings.CutSuffix(name, usedPercent)
		if !found || !strings.HasPrefix(prefix, "X-") || len(limits.Windows) == maxWindows {
			continue
		}
		for _, slot := range windowSlots {
			if family, found := strings.CutSuffix(prefix, slot); found {
				limits.Windows = readWindow(limits.Windows, h, family, slot, now)
			}
		}
	}
	if limits.Windows == nil {
		return realm.CodexLimits{}, false
	}
	slices.SortFunc(limits.Windows, func(a, b realm.CodexWindow) int {
		return cmp.Or(cmp.Compare(a.Limit, b.Limit), cmp.Compare(a.Length, b.Length), cmp.Compare(b.UsedPercent, a.UsedPercent))
	})
	// Two of one length are one: the one that is used up more.
	limits.Windows = slices.CompactFunc(limits.Windows, func(a, b realm.CodexWindow) bool { return a.Limit == b.Limit && a.Length == b.Length })
	limits.Plan = openai.PlanName(get(h, "X-Codex-Plan-Type"))
	limits.At = now
	limits.Bound()
	return limits, true
}

// readWindow appends the window that a family ("X-Codex") tells in a slot. One that
// does not say how long it is, or how full, cannot be told from others.
func readWindow(windows []realm.CodexWindow, h http.Header, family, slot string, now time.Time) []realm.CodexWindow {
	used, err := strconv.ParseFloat(strings.TrimSpace(get(h, family+slot+usedPercent)), 64)
	if err != nil || math.IsNaN(used) || math.IsInf(used, 0) || used < 0 {
		return windows
	}
	minutes, ok := seconds(get(h, family+slot+"-Window-Minutes"))
	if !ok || minutes == 0 || minutes > maxWindow/60 {
		return windows
	}
	w := realm.CodexWindow{
		Limit:       openai.LimitName(strings.TrimPrefix(family, "X-"), get(h, family+"-Limit-Name")),
		Length:      minutes * 60,
		UsedPercent: used,
	}
	if at, ok := seconds(get(h, family+slot+"-Reset-At")); ok && at > 0 {
		w.ResetsAt = time.Unix(int64(at/time.Second), 0)
	} else if in, ok := seconds(get(h, family+slot+"-Reset-After-Seconds")); ok && in > 0 {
		w.ResetsAt = now.Add(in)
	}
	return append(windows, w)
}
