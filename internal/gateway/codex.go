package gateway

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"realms/internal/codex"
	"realms/internal/protocol/openai"
	"realms/internal/realm"
	"realms/internal/sse"
	"realms/internal/upstream"
)

// Identities has the operator's own accounts, by the credential that each is signed
// in for.
type Identities interface {
	// Identity is what an exchange with the account shows; it refreshes first what has
	// expired. A *realm.Error in the chain tells the operator what is missing.
	Identity(ctx context.Context, cr *realm.Credential) (realm.CodexIdentity, error)
	// Renew is Identity after the backend has refused one.
	Renew(ctx context.Context, cr *realm.Credential, refused realm.CodexIdentity) (realm.CodexIdentity, error)
	// Observe takes in what an answer tells of the account's plan.
	Observe(credential realm.ID, limits realm.CodexLimits)
}

// mayUseAccounts tells whether a token may use the operator's own accounts: they are
// his, and nobody else's.
func (g *Gateway) mayUseAccounts(p *realm.Principal) bool {
	return g.o.Codex != nil && p.Role.Administers() && g.o.Settings.State().CodexAccepted()
}

// collects tells whether a channel answers in events whatever is asked, and the
// client wants one answer.
func (x *exchange) collects(ch *realm.Channel) bool {
	return ch.Type == realm.CodexOAuth && x.form.req != nil && x.form.op.Stream == openai.StreamResponses && !x.form.req.Stream
}

// send makes the exchange, in the name of the channel's account if it has one.
func (x *exchange) send(ctx context.Context, ex *upstream.Exchange) (*upstream.Response, *upstream.Failure) {
	cr := ex.Attempt.Credential
	account := ex.Attempt.Channel.Type == realm.CodexOAuth
	if account {
		id, f := x.g.identity(ctx, cr)
		if f != nil {
			if ex.Body != nil {
				_ = ex.Body.Close() // in memory
			}
			return nil, f
		}
		x.identity = id
		ex.Identity, ex.Session = &x.identity, x.session
	}
	res, f := x.g.o.Upstream.Do(ctx, ex)
	if account {
		x.observe(cr.ID, res, f)
		if f != nil {
			f.Outcome.Version = x.identity.Version
		}
	}
	return res, f
}

// identity is what an exchange with an account shows of it.
func (g *Gateway) identity(ctx context.Context, cr *realm.Credential) (realm.CodexIdentity, *upstream.Failure) {
	if g.o.Codex == nil {
		return realm.CodexIdentity{}, noIdentity(ctx, errors.New("no accounts are kept here"))
	}
	id, err := g.o.Codex.Identity(ctx, cr)
	if err != nil {
		return id, noIdentity(ctx, err)
	}
	return id, nil
}

// noIdentity is the failure of an attempt whose account has no token to show. It
// blames nobody: whether the account may be used again is its keeper's to say, who
// answers from memory until then.
func noIdentity(ctx context.Context, err error) *upstream.Failure {
	o := realm.Outcome{Cause: realm.CauseAuth, Scope: realm.ScopeNone, Next: realm.NextOther, Err: err}
	if errors.Is(err, codex.ErrSlow) {
		o.Cause = realm.CauseTimeout
	}
	if ctx.Err() != nil {
		o = realm.Outcome{Cause: realm.CauseClientGone, Next: realm.NextStop, Err: err}
		if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
			o.Cause = realm.CauseTimeout
		}
	}
	return &upstream.Failure{Outcome: o}
}

// observe takes note of what an answer tells of the account's plan.
func (x *exchange) observe(credential realm.ID, res *upstream.Response, f *upstream.Failure) {
	switch {
	case res != nil && len(res.Limits.Windows) > 0:
		x.g.o.Codex.Observe(credential, res.Limits)
	case f != nil && len(f.Limits.Windows) > 0:
		x.g.o.Codex.Observe(credential, f.Limits)
	}
}

var rateLimitsEvent = []byte("codex.rate_limits")

// observeEvent does the same with an event that tells it.
func (x *exchange) observeEvent(ev sse.Event) {
	if x.channel.Type != realm.CodexOAuth || !bytes.Equal(ev.Type, rateLimitsEvent) && !bytes.Contains(ev.Data, rateLimitsEvent) {
		return
	}
	if limits, ok := openai.ReadRateLimits(ev.Data); ok {
		limits.At = time.Now()
		x.g.o.Codex.Observe(x.lastTry().Credential, limits)
	}
}

// renew gives a refused account one new token in a request, and the same attempt
// once more with it.
func (x *exchange) renew(ctx context.Context, ex *upstream.Exchange, f *upstream.Failure) {
	cr := ex.Attempt.Credential
	if slices.Contains(x.renewed, cr.ID) || !renewable(ex, f) {
		return
	}
	x.renewed = append(x.renewed, cr.ID)
	x.g.renew(ctx, ex, f)
}

// renewable tells whether a failure says that the account's token is not taken, and
// another may be.
func renewable(ex *upstream.Exchange, f *upstream.Failure) bool {
	return ex.Identity != nil && f.Outcome.Cause == realm.CauseAuth && !f.Outcome.Final
}

// renew renews an account's token and says in the failure what may follow: the same
// once more with the new one. What passes (an issuer that is away, a client that has
// left meanwhile) is not the account's fault; that the provider takes its tokens no
// more is.
func (g *Gateway) renew(ctx context.Context, ex *upstream.Exchange, f *upstream.Failure) {
	o := &f.Outcome
	_, err := g.o.Codex.Renew(ctx, ex.Attempt.Credential, *ex.Identity)
	switch {
	case err == nil:
		o.Next, o.Scope = realm.NextSameCredential, realm.ScopeNone
	case ctx.Err() != nil:
		*o = noIdentity(ctx, err).Outcome
	case !errors.Is(err, codex.ErrRefused):
		// What it has is refused, and nothing better to be had: it is left alone for as
		// long as the issuer is.
		o.Light, o.Wait = true, min(max(realm.AsError(err).RetryAfter, renewPause), maxRenewPause)
		g.o.Log.Debug("token not renewed", "credential", ex.Attempt.Credential.ID.String(), "error", err)
	}
}

// How long an account is left alone whose token is refused and cannot be renewed now.
const (
	renewPause    = 5 * time.Second
	maxRenewPause = time.Minute
)
