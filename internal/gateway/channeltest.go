package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"realms/internal/protocol/openai"
	"realms/internal/realm"
	"realms/internal/upstream"
)

// TestResult is what a channel's test found.
type TestResult struct {
	OK        bool   `json:"ok"`
	Status    int    `json:"status"` // the upstream's, 0 when none came
	Model     string `json:"model"`
	LatencyMS int64  `json:"latency_ms"` // to the whole answer
	Error     string `json:"error,omitempty"`
}

// TestChannel sends one small request through a channel, whether it is enabled or
// not. An empty model means the channel's first. An error is about the question
// (no such channel, no model to ask for); what the upstream did is in the result.
func (g *Gateway) TestChannel(ctx context.Context, channel, model string) (*TestResult, error) {
	ch := g.o.Catalog.Snapshot().Channel(channel)
	if ch == nil {
		return nil, &realm.Error{Code: realm.CodeNotFound, Message: fmt.Sprintf("there is no channel named %q", channel)}
	}
	name, up, err := testModel(ch, model)
	if err != nil {
		return nil, err
	}
	op, body, err := testRequest(ch, up)
	if err != nil {
		return nil, err
	}
	cr := testCredential(ch)
	if err := secretLost(ch, cr); err != nil {
		return nil, err
	}
	if cr == nil {
		return nil, &realm.Error{Code: realm.CodeConflict, Message: fmt.Sprintf("channel %q has no enabled credential to test with", channel)}
	}
	begun := time.Now()
	result := &TestResult{Model: name}
	a := realm.Attempt{Number: 1, Channel: ch, Endpoint: cr.Endpoint, Credential: cr, Model: up}
	status, f := g.askOnce(ctx, &a, op, body, g.o.Relay.timeouts(&a, false))
	result.Status = status
	result.LatencyMS = time.Since(begun).Milliseconds()
	if f == nil {
		result.OK = true
		return result, nil
	}
	result.Error = string(f.Outcome.Cause)
	if f.Outcome.Status != 0 {
		result.Status = f.Outcome.Status
	}
	if f.Error.Message != "" {
		result.Error += ": " + f.Error.Message
	} else if f.Outcome.Err != nil {
		result.Error += ": " + oneLine(f.Outcome.Err.Error())
	}
	return result, nil
}

// askOnce makes one exchange of a request of ours. The status is the upstream's
// where an answer came that says it is well.
func (g *Gateway) askOnce(ctx context.Context, a *realm.Attempt, op *openai.Operation, body []byte, limits upstream.Timeouts) (int, *upstream.Failure) {
	ex := &upstream.Exchange{
		Attempt: *a, API: op.API, Method: op.Method, Path: op.Path, ContentType: "application/json", Timeouts: limits,
	}
	if a.Channel.Type == realm.CodexOAuth {
		id, f := g.identity(ctx, a.Credential)
		if f != nil {
			return 0, f
		}
		ex.Identity, ex.Stream = &id, true
		body = asCodex(op, body)
	}
	ex.Body, ex.Length = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	res, f := g.o.Upstream.Do(ctx, ex)
	if f != nil && renewable(ex, f) {
		res, f = g.askRenewed(ctx, ex, body, f)
	}
	if f != nil {
		return 0, f
	}
	if ex.Identity != nil {
		defer func() { _ = res.Body.Close() }()
		_, f = g.newCollection(ex, res).read(ctx)
		return res.Status, f
	}
	return res.Status, g.testAnswer(op, ex, res)
}

// askRenewed makes an exchange once more for whose account's token was refused, with
// another if there is one.
func (g *Gateway) askRenewed(ctx context.Context, ex *upstream.Exchange, body []byte, f *upstream.Failure) (*upstream.Response, *upstream.Failure) {
	if g.renew(ctx, ex, f); f.Outcome.Next != realm.NextSameCredential {
		return nil, f
	}
	id, none := g.identity(ctx, ex.Attempt.Credential)
	if none != nil {
		return nil, none
	}
	ex.Identity = &id
	if body != nil {
		ex.Body = io.NopCloser(bytes.NewReader(body))
	}
	return g.o.Upstream.Do(ctx, ex)
}

// asCodex is a request of ours as the backend of codex accounts insists on it.
func asCodex(op *openai.Operation, body []byte) []byte {
	req, err := openai.ReadJSON(op, body, nil)
	if err != nil {
		return body // ours is well-formed: the backend would say what is not
	}
	return req.Edit(openai.Rewrite{Codex: &openai.CodexRules{}})
}

// testModel finds the public and the upstream's name to ask for.
func testModel(ch *realm.Channel, model string) (name, up string, err error) {
	if model == "" {
		model = ch.FirstModel()
	}
	if model == "" {
		return "", "", realm.Invalid("model", fmt.Sprintf("channel %q takes any model: name one with --model", ch.Name))
	}
	if b, ok := ch.Offers(model); ok {
		return model, b.UpstreamName(model), nil
	}
	return "", "", realm.Invalid("model", fmt.Sprintf("channel %q does not offer the model %q", ch.Name, model))
}

// testRequest is the smallest request that the channel's apis allow.
func testRequest(ch *realm.Channel, model string) (*openai.Operation, []byte, error) {
	var body map[string]any
	var want realm.API
	switch {
	case ch.APIs.Has(realm.APIChat):
		want, body = realm.APIChat, map[string]any{"messages": []any{map[string]any{"role": "user", "content": "Say ok."}}}
	case ch.APIs.Has(realm.APIResponses):
		want, body = realm.APIResponses, map[string]any{"input": "Say ok.", "store": false}
	case ch.APIs.Has(realm.APIEmbeddings):
		want, body = realm.APIEmbeddings, map[string]any{"input": "ok"}
	default:
		return nil, nil, realm.Invalid("", fmt.Sprintf("channel %q speaks none of chat, responses and embeddings, which are the ones a test can ask", ch.Name))
	}
	body["model"] = model
	text, err := json.Marshal(body)
	if err != nil {
		return nil, nil, fmt.Errorf("encode the test request: %w", err)
	}
	if op := operationOf(want); op != nil {
		return op, text, nil
	}
	return nil, nil, errors.New("no operation serves " + want.String())
}

// secretLost is why a channel cannot be asked that is in the store but does not open:
// without its proxy or its headers it must not go out.
func secretLost(ch *realm.Channel, cr *realm.Credential) error {
	if ch.Unreadable == nil && (cr == nil || cr.Unreadable == nil) {
		return nil
	}
	return &realm.Error{Code: realm.CodeConflict, Message: fmt.Sprintf(
		"what channel %q keeps secret cannot be read from the store: set it anew with `realms apply`", ch.Name)}
}

func testCredential(ch *realm.Channel) *realm.Credential {
	for _, ep := range ch.Endpoints {
		for _, cr := range ep.Credentials {
			if cr.Enabled {
				return cr
			}
		}
	}
	return nil
}

// testAnswer reads the answer as a request would.
func (g *Gateway) testAnswer(op *openai.Operation, ex *upstream.Exchange, res *upstream.Response) *upstream.Failure {
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(res.Body, wholeMost))
	if err != nil {
		return badAnswer(res, err)
	}
	a, err := openai.InspectAnswer(op, text)
	if err != nil {
		return badAnswer(res, err)
	}
	if a.Error != nil {
		return g.o.Upstream.ClassifyError(ex, res.Header, *a.Error)
	}
	return nil
}
