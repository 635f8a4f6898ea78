package gateway

import (
	"context"

	"realms/internal/realm"
)

// Models lists what the token can really use now. The error is a *realm.Error.
func (g *Gateway) Models(ctx context.Context, call *Call) ([]*realm.Model, error) {
	p, err := g.recognise(ctx, call)
	if err != nil {
		return nil, err
	}
	snap := g.o.Catalog.Snapshot()
	var models []*realm.Model
	for _, name := range snap.Offered(p.Groups, g.mayUseAccounts(p)) {
		if p.AllowsModel(name) {
			models = append(models, snap.Model(name))
		}
	}
	return models, nil
}

// Model finds one of those; a *realm.Error of CodeModelNotFound if it is none.
func (g *Gateway) Model(ctx context.Context, call *Call, name string) (*realm.Model, error) {
	models, err := g.Models(ctx, call)
	if err != nil {
		return nil, err
	}
	for _, m := range models {
		if m.Name == name {
			return m, nil
		}
	}
	return nil, modelNotFound(name)
}
