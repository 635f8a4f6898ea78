package upstream_test

import (
	"bytes"
	"context"
	"io"
	"log"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"realms/internal/netguard"
	"realms/internal/realm"
	"realms/internal/testkit"
	"realms/internal/upstream"
)

func TestMain(m *testing.M) {
	// net/http prints to the standard logger what an upstream sends unasked.
	log.SetOutput(io.Discard)
	goleak.VerifyTestMain(m)
}

// testKey is long enough for pieces of it to be looked for.
var testKey = "sk-test-" + strings.Repeat("abc123XYZ", 4)

// payload is a request body that counts how often it is closed.
type payload struct {
	*bytes.Reader
	closed atomic.Int32
}

func (p *payload) Close() error {
	p.closed.Add(1)
	return nil
}

func newPayload(s string) *payload { return &payload{Reader: bytes.NewReader([]byte(s))} }

// newExecutor builds one that ends with the test.
func newExecutor(t testing.TB, o upstream.Options) *upstream.Executor {
	t.Helper()
	if o.Guard == nil {
		o.Guard = netguard.New(netguard.Options{AllowPrivate: true})
	}
	e := upstream.New(o)
	t.Cleanup(e.Close)
	return e
}

// chat is a chat request to a base URL, streamed or not.
func chat(base string, stream bool) *upstream.Exchange {
	text := `{"model":"m","messages":[]}`
	if stream {
		text = `{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true}}`
	}
	return &upstream.Exchange{
		Attempt: realm.Attempt{
			Number: 1, Model: "m",
			Channel:    &realm.Channel{Name: "channel"},
			Endpoint:   &realm.Endpoint{BaseURL: base},
			Credential: &realm.Credential{Name: "main", APIKey: realm.Secret(testKey)},
		},
		API: realm.APIChat, Method: http.MethodPost, Path: "/chat/completions",
		Header: http.Header{}, ContentType: "application/json",
		Body: newPayload(text), Length: int64(len(text)), Stream: stream,
		Timeouts: upstream.Timeouts{
			Connect: 3 * time.Second, FirstByte: 10 * time.Second, FirstEvent: 10 * time.Second, Idle: 10 * time.Second,
		},
	}
}

// mustDo expects an answer.
func mustDo(t testing.TB, e *upstream.Executor, x *upstream.Exchange) *upstream.Response {
	t.Helper()
	res, failure := e.Do(t.Context(), x)
	if failure != nil {
		t.Fatalf("failed: %+v", failure.Outcome)
	}
	return res
}

// mustFail expects a failure.
func mustFail(t testing.TB, e *upstream.Executor, x *upstream.Exchange) *upstream.Failure {
	t.Helper()
	return mustFailIn(t.Context(), t, e, x)
}

func mustFailIn(ctx context.Context, t testing.TB, e *upstream.Executor, x *upstream.Exchange) *upstream.Failure {
	t.Helper()
	res, failure := e.Do(ctx, x)
	if res != nil {
		_ = res.Body.Close()
		t.Fatalf("answered with %d", res.Status)
	}
	if failure == nil {
		t.Fatal("neither answer nor failure")
	}
	return failure
}

// readAll reads an answer to its end and closes it.
func readAll(res *upstream.Response) (string, error) {
	b, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	return string(b), err
}

func script(f testkit.Fault) testkit.Options { return testkit.Options{Script: testkit.Always(f)} }

// verdict is what matters of an outcome to the scheduler.
type verdict struct {
	Cause realm.Cause
	Scope realm.Scope
	Next  realm.Next
}

func verdictOf(o realm.Outcome) verdict { return verdict{o.Cause, o.Scope, o.Next} }

var (
	connectFailed = verdict{realm.CauseConnect, realm.ScopeEndpoint, realm.NextOther}
	badAnswer     = verdict{realm.CauseBadAnswer, realm.ScopeEndpointModel, realm.NextOther}
)
