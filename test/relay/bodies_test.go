package relay

import (
	"bytes"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/testkit"
	"realms/internal/testkit/testapp"
)

// The limits of these tests, small enough to be reached at once.
const (
	mostBody   = 512 << 10
	mostBodies = 1 << 20
)

func smallLimits(c *config.Config) {
	c.Limits.BodyBytes, c.Limits.BodyMemory = mostBody, mostBodies
}

// bodyOf is a request's JSON of exactly n bytes.
func bodyOf(n int) string {
	const head, end = `{"model":"gpt-5.5","messages":[],"input":"`, `"}`
	return head + strings.Repeat("a", n-len(head)-len(end)) + end
}

var tooLarge = map[string]fault{
	"/v1/chat/completions":     {http.StatusRequestEntityTooLarge, "invalid_request_error", "request_too_large", ""},
	"/v1/embeddings":           {http.StatusRequestEntityTooLarge, "invalid_request_error", "request_too_large", ""},
	"/v1/audio/transcriptions": {http.StatusRequestEntityTooLarge, "invalid_request_error", "request_too_large", ""},
	"/v1/responses":            {http.StatusBadRequest, "invalid_request_error", "request_too_large", ""}, // Codex repeats a 413
}

// E-04: a body over the limit is refused, by its declared length before a byte of
// it is read, else as soon as it is over; what it inflates to is what counts.
func TestBodyOverTheLimitIsRefused(t *testing.T) {
	app, up := oneWith(t, nil, func(c *config.Config) { c.Limits.BodyBytes = mostBody })
	over := bodyOf(mostBody + 1)
	bombs := map[string]string{}
	for _, encoding := range []string{"gzip", "zstd", "br"} {
		bombs[encoding] = string(encoded(t, encoding, strings.Repeat(" ", 32<<20)))
	}
	var answers []*testapp.Answer
	for path, want := range tooLarge {
		requests := map[string]string{
			"declared": rawRequest(app, http.MethodPost, path, "", "Content-Type: application/json", "Content-Length: "+strconv.Itoa(mostBody+1)),
			"declared without end": rawRequest(app, http.MethodPost, path, "", "Content-Type: application/json",
				"Content-Length: 9223372036854775807"),
			"chunks": rawRequest(app, http.MethodPost, path, strings.TrimSuffix(chunked(over, 32<<10), "0\r\n\r\n"), "Content-Type: application/json", "Transfer-Encoding: chunked"),
		}
		for encoding, bomb := range bombs {
			requests[encoding] = rawRequest(app, http.MethodPost, path, bomb, "Content-Encoding: "+encoding)
		}
		for name, request := range requests {
			t.Run(path+" "+name, func(t *testing.T) {
				w := dialWire(t, app)
				_ = w.sendAll(request) // it may be refused before its end
				a := w.answer(http.MethodPost)
				isFault(t, a, want)
				if a.Header.Get("X-Should-Retry") != "false" || a.Header.Get("Retry-After") != "" {
					t.Errorf("the header asks to come again: %v", a.Header)
				}
				answers = append(answers, a)
			})
		}
	}
	for _, a := range answers {
		if got := endingOf(app.Record(t, a.Response)); got != (ending{realm.EndedRefused, realm.CauseRefused, a.StatusCode, 0}) {
			t.Errorf("row: %+v", got)
		}
	}
	for _, encoding := range []string{"identity", "gzip", "zstd", "br"} {
		body := bodyOf(mostBody)
		a := app.Post(t, "/v1/chat/completions", string(encoded(t, encoding, body)), "Content-Encoding", encoding)
		if a.StatusCode != http.StatusOK {
			t.Errorf("a body of the largest size in %s: %d %s", encoding, a.StatusCode, a.Body)
			continue
		}
		got := up.Requests()[up.Count()-1]
		if !bytes.Equal(got.Body, []byte(body)) || got.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s: the upstream got %d bytes of %d, encoded as %q", encoding, len(got.Body), len(body), got.Header.Get("Content-Encoding"))
		}
	}
	if up.Count() != 4 {
		t.Errorf("%d requests reached the upstream, want 4", up.Count())
	}
}

// hold lets the relay begin to read a body that does not come. The 100 says that
// its memory is taken.
func hold(t *testing.T, app *testapp.App, bytes int, header ...string) *wire {
	t.Helper()
	w := dialWire(t, app)
	header = append(header, "Content-Type: application/json", "Expect: 100-continue", "Content-Length: "+strconv.Itoa(bytes))
	w.send(rawRequest(app, http.MethodPost, "/v1/responses", "", header...))
	if res := w.head(http.MethodPost); res.StatusCode != http.StatusContinue {
		t.Fatalf("a body that fits is not asked for: %d", res.StatusCode)
	}
	return w
}

// E-04: once the bodies that are held fill the budget, a request is told to come
// again before its body is read or memory is made for it.
func TestBodiesBeyondTheBudgetAreTurnedAway(t *testing.T) {
	app, up := oneWith(t, nil, smallLimits)
	for range mostBodies / mostBody {
		hold(t, app, mostBody)
	}
	var answers []*testapp.Answer
	for path, want := range map[string]fault{
		"/v1/chat/completions": {http.StatusServiceUnavailable, "server_error", "unavailable", ""},
		"/v1/responses":        {http.StatusServiceUnavailable, "server_error", "server_is_overloaded", ""},
	} {
		for name, request := range map[string]string{
			"declared": rawRequest(app, http.MethodPost, path, chatBody),
			"asking":   rawRequest(app, http.MethodPost, path, "", "Expect: 100-continue", "Content-Length: 100"),
			"chunks":   rawRequest(app, http.MethodPost, path, chunked(chatBody, 10), "Transfer-Encoding: chunked"),
			"encoded":  rawRequest(app, http.MethodPost, path, string(encoded(t, "zstd", chatBody)), "Content-Encoding: zstd"),
		} {
			t.Run(path+" "+name, func(t *testing.T) {
				w := dialWire(t, app)
				w.send(request)
				a := w.answer(http.MethodPost) // a 100 would be the first answer
				isFault(t, a, want)
				if s, err := strconv.Atoi(a.Header.Get("Retry-After")); err != nil || s < 1 || s > 8 {
					t.Errorf("Retry-After is %q", a.Header.Get("Retry-After"))
				}
				answers = append(answers, a)
			})
		}
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const flood = 64
	for range flood {
		w := dialWire(t, app)
		w.send(rawRequest(app, http.MethodPost, "/v1/responses", "", "Content-Length: "+strconv.Itoa(mostBody)))
		answers = append(answers, w.answer(http.MethodPost))
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / flood; each > mostBody/2 {
		t.Errorf("turning a body of %d KiB away takes %d KiB", mostBody>>10, each>>10)
	}
	for _, a := range answers {
		if got := endingOf(app.Record(t, a.Response)); got != (ending{realm.EndedRefused, realm.CauseRefused, http.StatusServiceUnavailable, 0}) {
			t.Errorf("row: %+v", got)
		}
	}
	if up.Count() != 0 {
		t.Errorf("%d requests reached the upstream", up.Count())
	}
}

// budgetIsFree waits until bodies that fill the whole budget, to the byte, fit.
func budgetIsFree(t *testing.T, app *testapp.App, each, all int) {
	t.Helper()
	testkit.Poll(t, "the whole budget of bodies", func() bool {
		for range all / each {
			w := dialWire(t, app)
			defer w.reset()
			w.send(rawRequest(app, http.MethodPost, "/v1/responses", "", "Expect: 100-continue", "Content-Length: "+strconv.Itoa(each)))
			if w.head(http.MethodPost).StatusCode != http.StatusContinue {
				return false
			}
		}
		return true
	})
}

// E-04: whatever becomes of a request, what its body took comes back.
func TestBudgetOfBodiesComesBack(t *testing.T) {
	app, up := oneWith(t, nil, smallLimits)
	post := func(body, encoding string) func(*testing.T) {
		return func(t *testing.T) { app.Post(t, "/v1/responses", body, "Content-Encoding", encoding) }
	}
	comesBack := func(t *testing.T) {
		t.Helper()
		testkit.Poll(t, "the budget to come back", func() bool {
			return app.Post(t, "/v1/responses", bodyOf(mostBody)).StatusCode == http.StatusOK
		})
	}
	const stream = `{"model":"gpt-5.5","stream":true,"messages":[],"prompt":"`
	for name, do := range map[string]func(*testing.T){
		"answered":       post(bodyOf(mostBody), "identity"),
		"edited":         func(t *testing.T) { app.Post(t, "/v1/chat/completions", stream+strings.Repeat("a", mostBody/2)+`"}`) },
		"inflated":       post(string(encoded(t, "zstd", bodyOf(mostBody))), "zstd"),
		"not JSON":       post(strings.Repeat("[", mostBody), "identity"),
		"no model":       post(`{"input":"`+strings.Repeat("a", mostBody/2)+`"}`, "identity"),
		"too large":      post(string(encoded(t, "gzip", bodyOf(mostBody+1))), "gzip"),
		"not as encoded": post(bodyOf(mostBody/2), "gzip"),
		"aborted":        func(t *testing.T) { hold(t, app, mostBody).reset(); comesBack(t) },
		"client gone": func(t *testing.T) {
			up.SetScript(testkit.Always(testkit.Hang()))
			seen := up.Count()
			w := dialWire(t, app)
			w.send(rawRequest(app, http.MethodPost, "/v1/responses", bodyOf(mostBody)))
			up.WaitRequests(t, seen+1)
			w.reset()
			up.SetScript(nil)
			comesBack(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			for range 3 * mostBodies / mostBody {
				do(t)
			}
			// The whole budget, to the byte, is there again.
			comesBack(t)
			budgetIsFree(t, app, mostBody, mostBodies)
			comesBack(t)
		})
	}
}

// E-04: a body is let go when its answer begins: long streams do not add up.
func TestBodyIsLetGoWhenItsAnswerBegins(t *testing.T) {
	app, _ := oneWith(t, func(r *testkit.Request) testkit.Fault {
		if r.Stream {
			return testkit.StallAfter(5)
		}
		return nil
	}, smallLimits)
	body := strings.Replace(bodyOf(mostBody/2), `"messages"`, `"stream":true,"messages"`, 1)
	for range 16 * mostBodies / mostBody {
		w := dialWire(t, app)
		w.send(rawRequest(app, http.MethodPost, "/v1/responses", body))
		until(t, w.head(http.MethodPost).Body, "Hello")
	}
	if a := app.Post(t, "/v1/responses", bodyOf(mostBody)); a.StatusCode != http.StatusOK {
		t.Errorf("beside open streams: %d %s", a.StatusCode, a.Body)
	}
}
