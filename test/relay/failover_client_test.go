package relay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/testkit"
)

// clientFaults are upstream errors that only the client can mend (C-FO-06).
var clientFaults = []struct {
	status                     int
	kind, code, param, message string
}{
	{400, "invalid_request_error", "", "", "Something is missing."},
	{400, "invalid_request_error", "context_length_exceeded", "messages", "Your input exceeds the context window of this model."},
	{400, "invalid_request_error", "content_policy_violation", "", "Your request was rejected by the safety system."},
	{400, "invalid_request_error", "content_filter", "", "The response was filtered."},
	{400, "invalid_request_error", "invalid_prompt", "", "Invalid prompt."},
	{400, "invalid_request_error", "invalid_value", "temperature", "Invalid value for temperature: must be at most 2."},
	{404, "invalid_request_error", "previous_response_not_found", "previous_response_id", "Previous response with id 'resp_1' not found."},
	{409, "invalid_request_error", "conflict", "", "Another process is working on it."},
	{413, "invalid_request_error", "request_too_large", "", "Request too large."},
	{415, "invalid_request_error", "unsupported_media_type", "", "Unsupported media type."},
	{422, "invalid_request_error", "unprocessable", "input", "Input should be a valid string."},
}

// C-FO-06, S12, S13: what only the client can mend comes back at once as the
// upstream said it, byte for byte, and nobody else is asked.
func TestClientFaultsComeBackAsTheyAre(t *testing.T) {
	t.Parallel()
	inLayouts(t, nil, clientFaultsComeBackAsTheyAre)
}

func clientFaultsComeBackAsTheyAre(t *testing.T, w *world) {
	t.Helper()
	var trials []trial
	for _, e := range clientFaults {
		for _, f := range forms {
			body := strings.Replace(testkit.ErrorBody(e.kind, e.code, e.param, e.message), `{"error":`, "{ \"big\" : 12345678901234567890,\n\t\"error\" :", 1)
			heard := body
			if w.converted { // the field has the client's name, and all else is as it was
				theirs, ours := `"param":"input"`, `"param":"messages"`
				if f.responses {
					theirs, ours = ours, theirs
				}
				heard = strings.Replace(body, theirs, ours, 1)
			}
			trials = append(trials, trial{
				name: fmt.Sprintf("%d %s, %s", e.status, e.code, f.name), form: f,
				scene: w.scene(t, leg{script: testkit.Always(testkit.Status(e.status, body)), keys: 2}, good),
				want:  want{status: e.status, body: heard, kind: e.kind, code: e.code, cause: realm.CauseClientError, header: map[string]string{"Content-Type": "application/json"}},
				more:  func(t *testing.T, _ *answer, rec realm.RequestRecord) { hasWord(t, rec.Error, e.message) },
			})
		}
	}
	// Other envelopes come in OpenAI's shape.
	for _, body := range []string{`{"detail":"Instructions are required"}`, `{"message":"Instructions are required"}`} {
		trials = append(trials, trial{
			name: body, form: respEvents, scene: w.scene(t, failing(testkit.Status(400, body)), good),
			want: want{status: 400, kind: "invalid_request_error", cause: realm.CauseClientError},
			more: func(t *testing.T, a *answer, _ realm.RequestRecord) { hasWord(t, a.body, "Instructions are required") },
		})
	}
	w.run(t, trials)
}

// C-FO-05: all attempts together end when the client's own time is over.
func TestTheClientsDeadlineHoldsAcrossAttempts(t *testing.T) {
	t.Parallel()
	inLayouts(t, func(c *config.Config) {
		c.Relay.Timeouts.FirstByte, c.Relay.Timeouts.FirstByteWhole = 400*time.Millisecond, 400*time.Millisecond
	}, theClientsDeadlineHoldsAcrossAttempts)
}

func theClientsDeadlineHoldsAcrossAttempts(t *testing.T, w *world) {
	t.Helper()
	const grace = 250 * time.Millisecond
	hang := failing(testkit.Hang())
	var trials []trial
	for _, f := range forms {
		for header, deadline := range map[string]time.Duration{"1": time.Second, "0.3": 300 * time.Millisecond} {
			s := w.scene(t, hang, hang, hang, hang)
			want := late(f, "a1 b1 c1", "timeout timeout timeout")
			if header != "1" {
				want = late(f, "a1", "timeout")
			}
			want.ended = realm.EndedTimeout
			delete(want.header, "Retry-After")
			trials = append(trials, trial{
				name: header + " s, " + f.name, form: f, scene: s, want: want, header: []string{"X-Stainless-Timeout", header},
				more: func(t *testing.T, a *answer, _ realm.RequestRecord) {
					if a.took < deadline || a.took > deadline+grace {
						t.Errorf("it took %s, the client waits %s", a.took, deadline)
					}
					for _, r := range s.requests() {
						r.WaitDone(t)
					}
				},
			})
		}
		// Once the answer has begun, the client sees for itself how it goes on.
		trials = append(trials, trial{
			name: "the answer begins in time, " + f.name, form: f, header: []string{"X-Stainless-Timeout", "1"},
			scene: w.scene(t, failing(testkit.All(testkit.Say("a", "b"), testkit.Pace(150*time.Millisecond)))),
		})
		for _, header := range []string{"0", "-1", "soon", "1e99", ""} {
			trials = append(trials, trial{name: "no deadline: " + header + ", " + f.name, form: f, header: []string{"X-Stainless-Timeout", header}, scene: w.scene(t, good)})
		}
	}
	w.run(t, trials)
}

// partings is where a client may leave: in an attempt, and in the wait before one.
var partings = []struct {
	name   string
	whole  bool // whole answers; else streams
	legs   []leg
	asked  string
	causes string
}{
	{"in the first attempt", false, []leg{failing(testkit.Hang()), good}, "a1", ""},
	{"in the first attempt at a whole answer", true, []leg{failing(testkit.Hang()), good}, "a1", ""},
	{"in the second attempt", false, []leg{failing(testkit.ServerError()), failing(testkit.Hang()), good}, "a1 b1", "server_error client_gone"},
	{"before the first event", false, []leg{failing(testkit.StallAfter(1)), good}, "a1", ""},
	{"in the middle of a whole answer", true, []leg{failing(testkit.CutBytes(50, testkit.EndStall)), good}, "a1", ""},
	{"in the wait before the last attempt", false, []leg{failing(testkit.RateLimited("4"))}, "a1", ""},
}

// C-FO-07: nobody is asked for a client that has gone.
func TestNoAttemptForAClientThatIsGone(t *testing.T) {
	t.Parallel()
	inLayouts(t, nil, noAttemptForAClientThatIsGone)
}

func noAttemptForAClientThatIsGone(t *testing.T, w *world) {
	t.Helper()
	type departure struct {
		form   form
		scene  *scene
		asked  string
		causes string
	}
	departures := map[string][]departure{}
	for _, at := range partings {
		for _, f := range forms {
			if f.stream != at.whole || at.name == "in the wait before the last attempt" {
				d := departure{form: f, scene: w.scene(t, at.legs...), asked: at.asked, causes: at.causes}
				leaves(t, d.scene, f)
				departures[at.name] = append(departures[at.name], d)
			}
		}
	}
	for name, list := range departures {
		t.Run(name, func(t *testing.T) {
			for _, d := range list {
				rec := w.recordOf(t, d.scene.model)
				if rec.Ended != realm.EndedClientGone || rec.Status != 0 || rec.FirstByte != 0 {
					t.Errorf("%s: row %+v", d.form.name, rec)
				}
				var causes []string
				for _, try := range rec.Tries {
					causes = append(causes, string(try.Cause))
				}
				if d.scene.asked() != d.asked || strings.Join(causes, " ") != d.causes {
					t.Errorf("%s: asked %q, %q", d.form.name, d.scene.asked(), causes)
				}
			}
		})
	}
}

// leaves asks and goes away once the last upstream of the way has been asked.
func leaves(t *testing.T, s *scene, f form) {
	t.Helper()
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	gone := make(chan error, 1)
	go func() {
		res, err := s.w.Client.Do(s.request(t, f).WithContext(ctx))
		if err == nil {
			err = errors.Join(errors.New("an answer came"), res.Body.Close())
		}
		gone <- err
	}()
	for i := len(s.ups) - 1; i >= 0; i-- {
		if i > 0 && i == len(s.ups)-1 {
			continue // the one that must not be asked
		}
		s.ups[i].WaitRequests(t, 1)
	}
	leave()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("%s: %v", f.name, err)
	}
	for _, r := range s.requests() {
		r.WaitDone(t)
	}
}

// recordOf waits for the only row of a model, for requests that got no answer.
func (w *world) recordOf(t *testing.T, model string) realm.RequestRecord {
	t.Helper()
	var rec realm.RequestRecord
	testkit.Poll(t, "the row for "+model, func() bool {
		page, err := w.Store.Read().Requests.List(t.Context(), store.RequestPage{Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page {
			if r.Model == model {
				rec, err = w.Store.Read().Requests.Get(t.Context(), r.ID)
				if err != nil {
					t.Fatal(err)
				}
				return true
			}
		}
		return false
	})
	return rec
}
