package relay

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
	"realms/internal/testkit"
)

// recordings have all that a stream of events may have: a byte order mark, comments,
// ids, retry times, data in several lines, letters of several bytes.
var recordings = map[form][]string{
	chatEvents: {
		"\ufeff: welcome\n\n",
		"id: 1\nretry: 10\ndata:{\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}\n\n",
		"event: message\ndata: {\"choices\":[{\"index\":0,\ndata:\"delta\":{\"content\":\"é漢🙂\"},\ndata: \"finish_reason\":null}]}\nid\n\n",
		": ping\n: pong\n\n\n",
		"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\" \\r\\n\"},\"finish_reason\":\"stop\"}]}\n\n",
		"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5}}\n\n",
		"data: [DONE]\n\n",
	},
	respEvents: {
		"\ufeff: welcome\n\n",
		"event: response.created\nid: 0\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\ndata:\"response\":{\"id\":\"resp_1\",\"status\":\"in_progress\"}}\n\n",
		"data:{\"type\":\"response.output_text.delta\",\"sequence_number\":1,\"delta\":\"é漢🙂\"}\nretry: 5\n\n\n",
		": ping\n\nevent: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":2,\ndata: \"delta\":\"x\"}\n\n",
		"event: response.completed\ndata: {\"type\":\"response.completed\",\"sequence_number\":3,\"response\":{\"id\":\"resp_1\",\"status\":\"completed\",\"output\":[],\"usage\":{\"input_tokens\":3,\"output_tokens\":2}}}\n\n",
	},
}

// D-15: wherever the bytes of a stream are split between two reads, and however its
// lines end, the client reads the same events.
func TestEverySplitReadsTheSame(t *testing.T) {
	t.Parallel()
	inLayouts(t, nil, everySplitReadsTheSame)
}

func everySplitReadsTheSame(t *testing.T, w *world) {
	t.Helper()
	type split struct {
		name  string
		judge func(t *testing.T)
	}
	var splits []split
	for f, recording := range recordings {
		for name, ending := range map[string]string{"LF": "\n", "CRLF": "\r\n", "CR": "\r"} {
			splits = append(splits, split{f.name + ", " + name, everySplit(t, w, w.heard(f), recording, ending)})
		}
	}
	for _, s := range splits {
		t.Run(s.name, s.judge)
	}
}

// everySplit asks once for each place where a recording can be split. What it gives
// judges the answers.
func everySplit(t *testing.T, w *world, f form, recording []string, ending string) func(*testing.T) {
	t.Helper()
	recording = slices.Clone(recording)
	for i, part := range recording {
		recording[i] = strings.ReplaceAll(part, "\n", ending)
	}
	whole := strings.Join(recording, "")
	visible := strings.TrimPrefix(strings.Join(withoutUsage(recording), ""), "\ufeff") // the mark says nothing to a client
	s := w.scene(t, leg{script: func(r *testkit.Request) testkit.Fault {
		at := position(r)
		return testkit.All(testkit.Events(whole[:at], whole[at:]), testkit.Pace(time.Millisecond))
	}})
	step := sparse(1)
	answers := make([]*answer, len(whole)/step+1)
	inParallel(len(answers), 32, func(i int) { answers[i] = s.ask(t, f, "User-Agent", fmt.Sprintf("cut/%d", i*step)) })
	return func(t *testing.T) {
		same := events(visible)
		for i, a := range answers {
			at := i * step
			if a.err != nil || a.StatusCode != http.StatusOK {
				t.Fatalf("split at %d: %v %+v", at, a.err, a)
			}
			want, got := visible, a.body
			if w.converted { // the same, however it came
				want = answers[0].body
				same = events(want)
				w.whole(t, f, got)
				hasWord(t, got, "é漢🙂")
			}
			if diff := cmp.Diff(same, events(got), cmp.AllowUnexported(event{})); diff != "" {
				t.Fatalf("split at %d of %q (-want +got):\n%s", at, whole, diff)
			}
			if ending == "\r\n" {
				// A line feed that comes late after its carriage return is a blank line more
				// or less: it may stay with an event that is withheld, or come without it.
				want, got = strings.ReplaceAll(want, "\n", ""), strings.ReplaceAll(got, "\n", "")
			}
			if want != got {
				t.Fatalf("split at %d: the bytes differ (-want +got):\n%s", at, cmp.Diff(visible, a.body))
			}
			rec := w.Record(t, a.Response)
			if rec.Ended != realm.EndedCompleted || rec.Attempts != 1 || rec.Usage.Input != 3 || rec.Usage.Output != 2 {
				t.Fatalf("split at %d: %d attempts, %+v; ended %s with usage %+v", at, rec.Attempts, rec.Tries, rec.Ended, rec.Usage)
			}
		}
	}
}

// D-15: bytes that are no UTF-8 never reach a client, nor end the process; what
// stands before them does.
func TestInvalidBytesNeverReachAClient(t *testing.T) {
	t.Parallel()
	inLayouts(t, nil, invalidBytesNeverReachAClient)
}

func invalidBytesNeverReachAClient(t *testing.T, w *world) {
	t.Helper()
	var trials []trial
	for name, bad := range map[string]string{"a lone byte": "\xff", "half a letter": "\xe6\xbc", "a surrogate": "\xed\xa0\x80", "too long": "\xc0\xaf", "NUL": "\x00"} {
		for _, heard := range streams {
			f := w.heard(heard)
			delta := "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x" + bad + "y\"},\"finish_reason\":null}]}\n\n"
			if heard.responses {
				delta = "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":6,\"delta\":\"x" + bad + "y\"}\n\n"
			}
			want, more := cutAfter(f, 6, realm.EndedUpstreamCut, realm.CauseUpstreamCut, "upstream_cut")
			s := w.scene(t, failing(testkit.Insert(6, delta)), good)
			trials = append(trials, trial{
				name: name + " later, " + f.name, form: f, scene: s, want: want,
				more: func(t *testing.T, a *answer, _ realm.RequestRecord) {
					if more(t, s, a); !utf8.ValidString(a.body) {
						t.Errorf("body: %q", a.body)
					}
				},
			}, trial{
				name: name + " first, " + f.name, form: f, want: ok("a1 b1", "bad_answer ok"),
				scene: w.scene(t, failing(testkit.Insert(held(heard), delta)), good),
			})
		}
		for _, f := range wholes {
			trials = append(trials, trial{
				name: name + ", " + f.name, form: f, want: ok("a1 b1", "bad_answer ok"),
				scene: w.scene(t, failing(testkit.Rewrite(func(b []byte) []byte { return []byte(strings.Replace(string(b), "Hello", "x"+bad+"y", 1)) })), good),
			})
		}
	}
	w.run(t, trials)
}
