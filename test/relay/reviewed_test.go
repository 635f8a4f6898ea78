package relay

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/testkit"
	"realms/internal/testkit/testapp"
)

// pinging goes on talking after its terminal event, as some servers do.
func pinging(_ *testkit.Request, a *testkit.Answer) {
	a.Raw = func(w io.Writer) error {
		const head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
		const events = `data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}` + "\n\ndata: [DONE]\n\n"
		if _, err := io.WriteString(w, head+events); err != nil {
			return err
		}
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for range 2000 {
			<-tick.C
			if _, err := io.WriteString(w, ": ping\n\n"); err != nil {
				return err
			}
		}
		return nil
	}
}

// The race detector watches the end of a stream whose upstream does not stop.
func TestStreamEndsWithItsTerminalEvent(t *testing.T) {
	app, up := one(t, testkit.Always(pinging))
	a := app.Post(t, "/v1/chat/completions", chatStream)
	if a.StatusCode != http.StatusOK || !strings.HasSuffix(a.Body, "data: [DONE]\n\n") {
		t.Errorf("status %d, and the stream ends in %q", a.StatusCode, a.Body[max(0, len(a.Body)-40):])
	}
	up.Requests()[0].WaitDone(t)
	if rec := app.Record(t, a.Response); rec.Ended != realm.EndedCompleted || rec.Cause != realm.CauseOK {
		t.Errorf("row: ended %s, cause %s", rec.Ended, rec.Cause)
	}
}

// large is an answer too large to be held whole, beginning with the given fields.
func large(fields string) testkit.Fault {
	return testkit.Body("application/json", `{`+fields+`,"padding":"`+strings.Repeat("x", 2<<20)+`"}`)
}

// D-20, D-06: an error in a success is judged whatever its size.
func TestLargeErrorInsideASuccessNeverGoesOut(t *testing.T) {
	for _, f := range []form{chatWhole, chatEvents, respWhole, respEvents} {
		t.Run(f.name, func(t *testing.T) {
			app, up := one(t, testkit.ByKey(map[string]testkit.Fault{
				"key-of-the-operator-a": func(r *testkit.Request, a *testkit.Answer) {
					large(fmt.Sprintf(`"error":{"message":"no money on %s","type":"insufficient_quota","code":"insufficient_quota"}`, r.Key))(r, a)
				},
			}), "key-of-the-operator-a")
			a := app.Post(t, f.path, fmt.Sprintf(f.body, "gpt-5.5"))
			if a.StatusCode != http.StatusTooManyRequests || strings.Contains(a.Body, "operator") {
				t.Errorf("status %d: %.300s", a.StatusCode, a.Body)
			}
			if up.Count() != 1 {
				t.Errorf("%d requests reached the upstream, want 1", up.Count())
			}
		})
	}
}

// An object is found again however large the answer was that made it.
func TestLargeResponseIsRememberedByItsID(t *testing.T) {
	app, _ := one(t, func(r *testkit.Request) testkit.Fault {
		if r.Method == http.MethodPost {
			return large(`"id":"resp_large","object":"response","status":"completed"`)
		}
		return nil
	})
	if a := app.Post(t, "/v1/responses", responsesBody); a.StatusCode != http.StatusOK || len(a.Body) < 2<<20 {
		t.Fatalf("status %d, %d bytes", a.StatusCode, len(a.Body))
	}
	if a := app.Ask(t, app.Request(t, http.MethodGet, "/v1/responses/resp_large", "")); a.StatusCode != http.StatusOK {
		t.Errorf("status %d: %s", a.StatusCode, a.Body)
	}
}

// A row tells why its request failed, also when there was but one attempt.
func TestRowOfAFailedRequestNamesTheUpstreamsReason(t *testing.T) {
	app, _ := one(t, testkit.Always(testkit.Error(http.StatusUnauthorized, "invalid_request_error", "revoked", "The account is closed by billing.")))
	a := app.Post(t, "/v1/chat/completions", chatBody)
	rec := app.Record(t, a.Response)
	if len(rec.Tries) != 1 || rec.Tries[0].Status != http.StatusUnauthorized || !strings.Contains(rec.Tries[0].Error, "closed by billing") {
		t.Errorf("attempts: %+v", rec.Tries)
	}
	if strings.Contains(a.Body, "billing") {
		t.Errorf("the client sees the operator's trouble: %s", a.Body)
	}
}

// D-20: what a channel's test prints is scrubbed like everything else.
func TestChannelTestShowsNoKey(t *testing.T) {
	const key = "key-of-the-operator"
	for name, fault := range map[string]testkit.Fault{
		"status 401": testkit.EchoKey(http.StatusUnauthorized),
		"inside 200": func(r *testkit.Request, a *testkit.Answer) {
			testkit.ErrorInside("invalid_request_error", "invalid_api_key", "Incorrect API key provided: "+r.Key)(r, a)
		},
	} {
		t.Run(name, func(t *testing.T) {
			app, _ := one(t, testkit.Always(fault), key)
			result, err := app.Gateway.TestChannel(t.Context(), "main", "gpt-5.5")
			if err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(result)
			if err != nil {
				t.Fatal(err)
			}
			if result.OK || result.Error == "" || strings.Contains(string(text), key) {
				t.Errorf("result %s", text)
			}
		})
	}
}

// A wait before the last resort counts against the time for failover.
func TestLastResortComesAfterAWhile(t *testing.T) {
	app, up := one(t, testkit.Sequence(testkit.ServerError()))
	a := app.Post(t, "/v1/chat/completions", chatBody)
	if a.StatusCode != http.StatusOK || up.Count() != 2 {
		t.Fatalf("status %d after %d requests, want 200 after 2", a.StatusCode, up.Count())
	}
	if between := up.Requests()[1].At.Sub(up.Requests()[0].At); between < 200*time.Millisecond {
		t.Errorf("the upstream that failed was asked again after %s", between)
	}
}

// Silence commits, but is no event: the time for the first one goes on.
func TestSilentCommitKeepsTheFirstEventsLimit(t *testing.T) {
	w := newWorld(t, func(c *config.Config) {
		c.Relay.SilentCommit = 50 * time.Millisecond
		c.Relay.Timeouts.FirstEvent = 400 * time.Millisecond
		c.Relay.Timeouts.Idle = time.Minute
	})
	up := testkit.NewUpstream(t, testkit.Options{Script: testkit.Always(testkit.StallAfter(1))})
	w.Declare(t, testapp.Channel("silent", up.BaseURL, "key-a"))
	begun := time.Now()
	a := w.Post(t, "/v1/responses", responsesStream)
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("the stream was given up after %s", took)
	}
	if a.StatusCode != http.StatusOK || !strings.Contains(a.Body, ": waiting\n\n") || !strings.Contains(a.Body, "response.failed") {
		t.Errorf("status %d: %s", a.StatusCode, a.Body)
	}
	if rec := w.Record(t, a.Response); rec.Ended != realm.EndedTimeout {
		t.Errorf("row: ended %s", rec.Ended)
	}
}
