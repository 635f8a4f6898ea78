package relay

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
	"realms/internal/testkit"
)

var (
	unknownUsage = realm.Usage{Input: -1, Output: -1, Source: realm.UsageNone}
	defaultUsage = realm.Usage{
		Input: int64(testkit.DefaultTokens.Input), Cached: int64(testkit.DefaultTokens.Cached),
		Output: int64(testkit.DefaultTokens.Output), Reasoning: int64(testkit.DefaultTokens.Reasoning), Source: realm.UsageUpstream,
	}
)

// untilDone cuts what an upstream says after its terminal event: nobody reads it.
func untilDone(f form, chunks [][]byte) string {
	end := "data: [DONE]\n\n"
	if f.responses {
		end = "event: response.completed\n"
	}
	for i, c := range chunks {
		if bytes.HasPrefix(c, []byte(end)) {
			return relayed(chunks[:i+1])
		}
	}
	return ""
}

// D-18: the last valid usage before the end counts, once; one that cannot be true,
// that comes later or elsewhere does not.
func TestTheLastValidUsageCounts(t *testing.T) {
	t.Parallel()
	inLayouts(t, nil, theLastValidUsageCounts)
}

func theLastValidUsageCounts(t *testing.T, w *world) {
	t.Helper()
	impossible := `{"prompt_tokens":-5,"completion_tokens":-1,"total_tokens":3,"input_tokens":-5,"output_tokens":-1}`
	trailer := func(_ *testkit.Request, a *testkit.Answer) {
		a.Framing = testkit.FrameChunked
		a.Trailer = http.Header{"X-Usage": {`{"prompt_tokens":1000000,"completion_tokens":1000000}`}}
	}
	tests := []struct {
		name  string
		fault testkit.Fault
		forms []form
		want  realm.Usage
	}{
		{"last", testkit.Usage(testkit.UsageLast), forms, defaultUsage},
		{"none", testkit.Usage(testkit.UsageNone), forms, unknownUsage},
		{"twice", testkit.Usage(testkit.UsageTwice), streams, defaultUsage},
		{"after the end", testkit.Usage(testkit.UsageAfterDone), streams, defaultUsage},
		{"with the finish", testkit.Usage(testkit.UsageWithFinish), []form{chatEvents}, defaultUsage},
		{"impossible", testkit.Usage(testkit.UsageImpossible), forms, unknownUsage},
		{"in the trailer", testkit.All(testkit.Usage(testkit.UsageNone), trailer), forms, unknownUsage},
		{"in the trailer too", trailer, forms, defaultUsage},
		{"good, then impossible", testkit.Insert(7, "data: {\"id\":\"x\",\"choices\":[],\"usage\":"+impossible+"}\n\n"), []form{chatEvents}, defaultUsage},
		{"good, then null", testkit.Insert(8, "data: {\"id\":\"x\",\"choices\":[],\"usage\":null}\n\n"), []form{chatEvents}, defaultUsage},
		{"good, then empty", testkit.Insert(8, "data: {\"id\":\"x\",\"choices\":[],\"usage\":{}}\n\n"), []form{chatEvents}, defaultUsage},
	}
	var trials []trial
	for _, tt := range tests {
		for _, f := range tt.forms {
			f = w.heard(f) // tt.forms are of the upstream
			s := w.scene(t, failing(tt.fault))
			tr := trial{name: tt.name + ", " + f.name, form: f, scene: s, want: want{usage: tt.want.Source}}
			if f.stream {
				tr.want.has = []string{""}
			}
			tr.more = func(t *testing.T, a *answer, rec realm.RequestRecord) {
				if diff := cmp.Diff(tt.want, rec.Usage); diff != "" {
					t.Errorf("usage (-want +got):\n%s", diff)
				}
				if f.stream {
					w.same(t, "body", f, [][]byte{[]byte(untilDone(w.heard(f), s.sent()))}, a.body)
				}
				if a.Trailer.Get("X-Usage") != "" {
					t.Error("the trailer came through")
				}
			}
			trials = append(trials, tr)
		}
	}
	w.run(t, trials)
}
