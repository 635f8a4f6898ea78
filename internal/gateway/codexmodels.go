package gateway

import (
	"context"
	"io"
	"net/http"
	"slices"

	"realms/internal/realm"
	"realms/internal/upstream"
)

// codexModelsMost is how large a catalogue of models may be.
const codexModelsMost = 8 << 20

// CodexModels relays the catalogue of models that Codex CLI asks for with its own
// version: its schema changes with that, so it is the backend's bytes or nothing. It
// costs none of a plan, and so waits for no limit. False: no account of the operator's
// can give one now, and the list of Models is as good an answer as there is. The error
// is a *realm.Error.
func (g *Gateway) CodexModels(ctx context.Context, call *Call) (header http.Header, body []byte, ok bool, err error) {
	p, err := g.recognise(ctx, call)
	if err != nil {
		return nil, nil, false, err
	}
	if !g.mayUseAccounts(p) {
		return nil, nil, false, nil
	}
	for _, ch := range g.o.Catalog.Snapshot().Channels() {
		reached := slices.ContainsFunc(ch.Groups, func(group realm.ID) bool { return slices.Contains(p.Groups, group) })
		if ch.Type != realm.CodexOAuth || !ch.Enabled || !reached {
			continue
		}
		for _, ep := range ch.Endpoints {
			for _, cr := range ep.Credentials {
				if !cr.Usable() {
					continue
				}
				if header, body, ok := g.codexModels(ctx, call, cr); ok {
					return header, body, true, nil
				}
			}
		}
	}
	return nil, nil, false, nil
}

// codexModels asks with one account.
func (g *Gateway) codexModels(ctx context.Context, call *Call, cr *realm.Credential) (http.Header, []byte, bool) {
	id, f := g.identity(ctx, cr)
	if f != nil {
		return nil, nil, false
	}
	a := realm.Attempt{Number: 1, Channel: cr.Endpoint.Channel, Endpoint: cr.Endpoint, Credential: cr}
	ex := &upstream.Exchange{
		Attempt: a, Method: http.MethodGet, Path: "/models", RawQuery: call.RawQuery,
		Header: call.Header, Identity: &id, Timeouts: g.o.Relay.timeouts(&a, true),
	}
	res, f := g.o.Upstream.Do(ctx, ex)
	if f != nil && renewable(ex, f) {
		res, f = g.askRenewed(ctx, ex, nil, f)
	}
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
