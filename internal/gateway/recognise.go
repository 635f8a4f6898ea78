package gateway

import (
	"context"

	"realms/internal/realm"
)

// recognise turns the token into its principal. An address that the token may
// not be used from is refused here: the token alone must not tell more.
func (g *Gateway) recognise(ctx context.Context, call *Call) (*realm.Principal, error) {
	p, err := g.o.Accounts.Recognise(ctx, call.Token)
	if err != nil {
		return nil, err
	}
	if !p.AllowsAddress(call.Remote) {
		return nil, &realm.Error{
			Code: realm.CodeForbidden, Reason: "address_not_allowed",
			Message: "This token may not be used from your address.",
		}
	}
	return p, nil
}
