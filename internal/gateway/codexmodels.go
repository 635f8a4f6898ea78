package gateway

import (
	"cmp"
	"context"
	"io"
	"net/http"
	"time"

	"realms/internal/realm"
	"realms/internal/scheduler"
	"realms/internal/upstream"
)

// codexModelsMost is how large a catalogue of models may be.
const codexModelsMost = 8 << 20

// CodexModels relays the catalogue of models that Codex CLI asks for with its own
// version: its schema changes with that, so it is the backend's bytes or nothing.
// False: no account of the operator's can give one now, and the list of Models is as
// good an answer as there is. The error is a *realm.Error.
func (g *Gateway) CodexModels(ctx context.Context, call *Call) (header http.Header, body []byte, ok bool, err error) {
	p, err := g.recognise(ctx, call)
	if err != nil {
		return nil, nil, false, err
	}
	if !g.mayUseAccounts(p) {
		return nil, nil, false, nil
	}
	snap := g.o.Catalog.Snapshot()
	for _, ch := range snap.Channels() {
		if ch.Type != realm.CodexOAuth || !ch.Enabled {
			continue
		}
		if header, body, ok := g.codexModels(ctx, call, snap, ch, p); ok {
			return header, body, true, nil
		}
	}
	return nil, nil, false, nil
}

// codexModels asks one channel.
func (g *Gateway) codexModels(ctx context.Context, call *Call, snap *realm.Snapshot, ch *realm.Channel, p *realm.Principal) (http.Header, []byte, bool) {
	var plan scheduler.Plan
	g.o.Scheduler.Begin(&plan, snap, scheduler.Need{
		User: p.UserID, Groups: p.Groups, Model: cmp.Or(ch.FirstModel(), realm.AnyModel),
		API: realm.APIResponses, Channel: ch.Name, Accounts: true,
	}, time.Now())
	defer func() { plan.Close(time.Now()) }()
	step := plan.Next(time.Now())
	if step.Kind != scheduler.StepAttempt {
		return nil, nil, false
	}
	id, f := g.identity(ctx, step.Attempt.Credential)
	if f != nil {
		return nil, nil, false
	}
	limits := g.o.Relay.timeouts(&step.Attempt, true)
	res, f := g.o.Upstream.Do(ctx, &upstream.Exchange{
		Attempt: step.Attempt, Method: http.MethodGet, Path: "/models", RawQuery: call.RawQuery,
		Header: call.Header, Identity: &id, Timeouts: limits,
	})
	if f != nil {
		return nil, nil, false
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(res.Body, codexModelsMost+1))
	if err != nil || len(text) > codexModelsMost || !isJSON(res) {
		return nil, nil, false
	}
	return res.Header, text, true
}
