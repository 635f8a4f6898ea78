package relay

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
)

// trial is one request to a scene and what must come of it.
type trial struct {
	name   string
	scene  *scene
	form   form
	header []string
	want   want
	more   func(t *testing.T, a *answer, rec realm.RequestRecord)
}

// want is what must come of a request. Its zero value is a good answer of the
// first upstream, byte for byte.
type want struct {
	status     int    // 0: 200
	kind, code string // of the error object, where status is an error's
	param      string
	header     map[string]string // "": must not be there
	has        []string          // parts of the body, where it is not the upstream's own
	body       string            // the whole body, where it is not the last upstream's
	asked      string            // "a1 b1": the keys in the order of the upstreams' requests; "": "a1"; "-": none came
	ended      realm.Ended       // "": completed
	cause      realm.Cause       // "": ok
	causes     string            // of the attempts: "timeout ok"; "": there was one; "-": none
	usage      realm.UsageSource // "": upstream after a good answer, else none
	free       bool              // it uses no tokens, as is known without an upstream's word
}

// ok is a good answer of the upstream asked last, after attempts that ended so.
func ok(asked, causes string) want { return want{asked: asked, causes: causes} }

// failed is an error of ours after attempts that all failed.
func failed(status int, kind, code, asked, causes string) want {
	w := want{status: status, kind: kind, code: code, asked: asked, causes: causes}
	list := strings.Fields(causes)
	w.cause = realm.Cause(list[len(list)-1])
	w.header = map[string]string{"X-Realms-Attempts": strconv.Itoa(len(list))}
	if len(list) == 1 {
		w.causes = ""
	}
	return w
}

// overloaded is the answer when no upstream could serve a request.
func overloaded(asked, causes string) want {
	w := failed(http.StatusServiceUnavailable, "server_error", "server_is_overloaded", asked, causes)
	w.header["Retry-After"] = "1"
	return w
}

// unusable is the answer when what the upstreams answered last was none. Codex
// repeats a 502 thirty times and this 503 five times.
func unusable(f form, asked, causes string) want {
	w := overloaded(asked, causes)
	if !f.responses {
		w.status, w.code = http.StatusBadGateway, "upstream_error"
	}
	return w
}

// late is the answer when the upstreams asked last did not answer in time.
func late(f form, asked, causes string) want {
	w := overloaded(asked, causes)
	if !f.responses {
		w.status, w.code = http.StatusGatewayTimeout, "upstream_timeout"
	}
	return w
}

// again is a label as often as there are causes.
func again(label, causes string) string {
	return strings.TrimSpace(strings.Repeat(label+" ", len(strings.Fields(causes))))
}

// sameText fails unless two texts are equal; of large ones it does not look for the
// difference.
func sameText(t *testing.T, what, want, got string) {
	t.Helper()
	switch {
	case want == got:
	case len(want)+len(got) > 1<<20:
		t.Errorf("%s: %d bytes, want %d others", what, len(got), len(want))
	default:
		t.Errorf("%s (-want +got):\n%s", what, cmp.Diff(want, got))
	}
}

// hasWord fails unless a text has a word.
func hasWord(t *testing.T, text, word string) {
	t.Helper()
	if !strings.Contains(text, word) {
		t.Errorf("%q does not say %q", text, word)
	}
}

// run makes the requests of all trials, some at a time, and then judges each: so
// their rows are waited for once.
func (w *world) run(t *testing.T, trials []trial) {
	t.Helper()
	answers := make([]*answer, len(trials))
	inParallel(len(trials), 16, func(i int) {
		tr := &trials[i]
		answers[i] = tr.scene.ask(t, tr.form, tr.header...)
	})
	for i := range trials {
		t.Run(trials[i].name, func(t *testing.T) { trials[i].judge(t, answers[i]) })
	}
}

func (tr *trial) judge(t *testing.T, a *answer) {
	t.Helper()
	want := tr.want.complete()
	s := tr.scene
	if a.Response == nil {
		t.Fatalf("no answer: %v", a.err)
	}
	if a.StatusCode != want.status {
		t.Errorf("status %d, want %d; %v; body: %.2000s", a.StatusCode, want.status, a.err, a.body)
	}
	if a.err != nil {
		t.Errorf("read the answer: %v", a.err)
	}
	judgeHeader(t, s, a, want.header)
	switch {
	case want.status >= 400 && want.body == "":
		judgeError(t, a, &want)
	case want.body == "" && want.has == nil:
		s.w.same(t, "body", tr.form, s.sent(), a.body)
		if want.cause == realm.CauseOK {
			s.w.whole(t, tr.form, a.body)
		}
	case want.body != "":
		sameText(t, "body", want.body, a.body)
	}
	for _, part := range want.has {
		if !strings.Contains(a.body, part) {
			t.Errorf("the body lacks %q:\n%.2000s", part, a.body)
		}
	}
	if got := s.asked(); got != strings.TrimPrefix(want.asked, "-") {
		t.Errorf("the upstreams were asked as %q, want %q", got, want.asked)
	}
	rec := s.w.Record(t, a.Response)
	judgeRecord(t, tr.form, s, &want, rec)
	if tr.more != nil {
		tr.more(t, a, rec)
	}
}

func (w want) complete() want {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	if w.asked == "" {
		w.asked = "a1"
	}
	if w.ended == "" {
		w.ended = realm.EndedCompleted
		if w.status != http.StatusOK {
			w.ended = realm.EndedFailed
		}
	}
	if w.cause == "" {
		w.cause = realm.CauseOK
	}
	if w.usage == "" {
		w.usage = realm.UsageNone
		if w.ended == realm.EndedCompleted {
			w.usage = realm.UsageUpstream
		}
	}
	return w
}

// never are the headers of the fake upstream that must stop at the relay.
var never = []string{"Server", "Set-Cookie", "Cf-Ray", "Openai-Organization", "Openai-Model", "Openai-Version", "Location"}

func judgeHeader(t *testing.T, s *scene, a *answer, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if got := a.Header.Get(name); got != value {
			t.Errorf("header %s is %q, want %q", name, got, value)
		}
	}
	for _, name := range never {
		if v := a.Header.Get(name); v != "" {
			t.Errorf("header %s: %s came through", name, v)
		}
	}
	if id, err := realm.ParseRequestID(a.Header.Get("X-Request-Id")); err != nil || id.IsZero() {
		t.Errorf("request id %q: %v", a.Header.Get("X-Request-Id"), err)
	}
	var header strings.Builder
	_ = a.Header.Write(&header)
	for what, text := range map[string]string{"the header": header.String(), "the body": a.body} {
		s.w.noSecret(t, what, text)
		for i, up := range s.ups {
			if strings.Contains(text, s.names[i]) || up != nil && strings.Contains(text, strings.TrimPrefix(up.URL, "http://")) {
				t.Errorf("%s names the channel or its address:\n%s", what, text)
			}
		}
	}
}

// judgeError wants an error of ours, in OpenAI's shape.
func judgeError(t *testing.T, a *answer, want *want) {
	t.Helper()
	var body struct {
		Error map[string]any `json:"error"`
	}
	if err := json.Unmarshal([]byte(a.body), &body); err != nil || a.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("%s, %v: %s", a.Header.Get("Content-Type"), err, a.body)
	}
	message, _ := body.Error["message"].(string)
	delete(body.Error, "message")
	orNull := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	if diff := cmp.Diff(map[string]any{"type": want.kind, "code": orNull(want.code), "param": orNull(want.param)}, body.Error); diff != "" {
		t.Errorf("error (-want +got):\n%s\nmessage: %s", diff, message)
	}
	if message == "" || len(message) > 1<<10 {
		t.Errorf("message of %d bytes: %s", len(message), message)
	}
}

func judgeRecord(t *testing.T, f form, s *scene, want *want, rec realm.RequestRecord) {
	t.Helper()
	attempts := 1
	var causes []string
	switch want.causes {
	case "":
		if want.ended == realm.EndedFailed && want.cause != realm.CauseClientError && want.status != http.StatusOK {
			causes = []string{string(want.cause)} // its row tells what the client was not told
		}
	case "-":
		attempts = 0
	default:
		causes = strings.Fields(want.causes)
		attempts = len(causes)
	}
	if rec.Status != want.status || rec.Ended != want.ended || rec.Cause != want.cause || rec.Attempts != attempts || rec.Usage.Source != want.usage {
		t.Errorf("row: status %d, ended %s, cause %s, attempts %d, usage %+v;\nwant %d, %s, %s, %d, %s;\nits error: %s", rec.Status, rec.Ended, rec.Cause, rec.Attempts,
			rec.Usage, want.status, want.ended, want.cause, attempts, want.usage, rec.Error)
	}
	// What was asked of no upstream used nothing; else nobody knows until one tells.
	nothing := map[bool]int64{true: 0, false: -1}[want.free || want.ended == realm.EndedRefused]
	if none := rec.Usage.Input == nothing && rec.Usage.Output == nothing; none != (want.usage == realm.UsageNone) {
		t.Errorf("row: usage %+v", rec.Usage)
	}
	if rec.Model != s.model || rec.Stream != f.stream {
		t.Errorf("row: model %q, stream %v", rec.Model, rec.Stream)
	}
	if rec.Duration <= 0 || rec.FirstByte <= 0 || rec.FirstByte > rec.Duration {
		t.Errorf("row: first byte after %s of %s", rec.FirstByte, rec.Duration)
	}
	var got []string
	text := rec.Error
	for i, try := range rec.Tries {
		got = append(got, string(try.Cause))
		text += "\n" + try.Error
		if try.Number != i+1 || try.Channel == 0 || try.Endpoint == 0 || try.Credential == 0 || try.Model == "" {
			t.Errorf("attempt's row: %+v", try)
		}
	}
	if causes == nil && attempts == 1 && want.ended == realm.EndedFailed && len(rec.Tries) == 1 {
		causes = []string{string(want.cause)} // the one attempt of a request that got an error of ours
	}
	if diff := cmp.Diff(causes, got); diff != "" {
		t.Errorf("causes of the attempts (-want +got):\n%s\n%s", diff, text)
	}
	s.w.noSecret(t, "the row", text)
}
