package codex

import (
	"sync"
	"sync/atomic"
	"time"

	"realms/internal/realm"
)

const (
	// renewAhead is how long before their end tokens are renewed: enough for several
	// tries. Tokens that live shorter are renewed in the last quarter of their life.
	renewAhead = 5 * time.Minute
	// blindLife is after how long tokens are renewed that do not say when they end, as
	// the Codex CLI does it.
	blindLife = 8 * 24 * time.Hour
	// freshTime is how long tokens that were just given pass for good whatever they
	// say: the clocks of two machines are not the same.
	freshTime = 30 * time.Second
)

// entry is what this process knows of one credential's account.
type entry struct {
	id realm.ID

	view atomic.Pointer[view]             // nil: nothing is known, or nobody is signed in
	used atomic.Int64                     // when a request last asked for the identity, unix nanoseconds
	last atomic.Pointer[realm.Credential] // with its endpoint and channel, as the catalogue had it last

	missed atomic.Bool // the credential was gone when it was last looked for

	mu     sync.Mutex
	flight *flight // nil: none is under way

	// After a failure no flight begins before its time.
	failures  int
	notBefore time.Time
	failed    error

	// gone is the version whose refresh token the issuer will never take again, as it
	// told this process, and goneFor why.
	gone    int64
	goneFor string
	// recovered is the version that a 401 led to, and when.
	recovered   int64
	recoveredAt time.Time
	// pending is what the issuer gave and the store has not taken yet; its Version is
	// of the tokens that it replaces.
	pending *realm.CodexAccount
	// holder and leasedUntil are of the lease that this process took last.
	holder      string
	leasedUntil time.Time
	// unchecked is the version that this process has renewed and whose workspace is
	// still to be looked at.
	unchecked int64

	// slow: a flight has taken longer than a request waits, and none has done since.
	slow bool
	// account is the last one that was known, signed in or not, without its tokens;
	// nil: none ever was.
	account *realm.CodexAccount

	limits  realm.CodexLimits // the newest that are known
	dirty   bool              // and not stored
	askedAt time.Time         // when the usage was last asked for, whatever came of it
}

// view is an account as the hot path needs it. It is immutable.
type view struct {
	account  *realm.CodexAccount
	identity realm.CodexIdentity
	renewAt  time.Time
	deadAt   time.Time // zero: it does not say
}

func newView(a *realm.CodexAccount) *view {
	claims, _ := claimsOf(a.Tokens) // the row has what else it says
	v := &view{
		account: a,
		identity: realm.CodexIdentity{
			AccessToken: a.Tokens.Access, AccountID: a.AccountID, FedRAMP: claims.FedRAMP, Version: a.Version,
		},
	}
	fresh := a.RefreshedAt.Add(freshTime)
	// With a clock that is far ahead every token seems over as it comes. That says as
	// little as no end at all; the backend will tell.
	if !a.ExpiresAt.After(a.RefreshedAt) {
		v.renewAt = a.RefreshedAt.Add(blindLife)
		return v
	}
	ahead := min(renewAhead, max(a.ExpiresAt.Sub(a.RefreshedAt)/4, 0))
	v.renewAt = latest(a.ExpiresAt.Add(-ahead), fresh)
	v.deadAt = latest(a.ExpiresAt, fresh)
	return v
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// dead tells whether the access token is over. One that does not say when it is
// over never is: the backend will tell.
func (v *view) dead(now time.Time) bool {
	return v.account.Tokens.Access == "" || !v.deadAt.IsZero() && !now.Before(v.deadAt)
}

// due tells whether the tokens should be renewed, and can be.
func (v *view) due(now time.Time) bool {
	return !now.Before(v.renewAt) && v.account.RefreshError == ""
}

// adopt takes up what the store has, unless what is known is newer. Over says that
// it is right whatever was known, as after the store was replaced. It tells whether
// that is another account than was known before.
func (e *entry) adopt(a *realm.CodexAccount, over bool) (another bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	old := e.view.Load()
	if old != nil && !over && old.account.Version > a.Version {
		return false
	}
	if old == nil || old.account.Tokens.Access != a.Tokens.Access {
		e.failures, e.notBefore, e.failed = 0, time.Time{}, nil
	}
	another = e.account != nil && !sameAccount(e.account, a)
	known := *a
	known.Tokens = realm.CodexTokens{}
	e.account = &known
	if old == nil || another {
		e.limits, e.dirty = realm.CodexLimits{}, false
	}
	if a.Limits.At.After(e.limits.At) {
		e.limits, e.dirty = a.Limits, false
		e.limits.Bound()
	}
	e.view.Store(newView(a))
	return another
}

// unstored is what the issuer gave and the store has not taken yet; nil: nothing.
func (e *entry) unstored() *realm.CodexAccount {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.pending
}

// retryNow lets a flight begin whatever has failed before.
func (e *entry) retryNow() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.notBefore = time.Time{}
}

// forget is for an account that is not signed in any more; it gives what the store
// has not taken.
func (e *entry) forget() (unstored *realm.CodexAccount) {
	e.mu.Lock()
	defer e.mu.Unlock()
	unstored = e.pending
	e.view.Store(nil)
	e.failures, e.notBefore, e.failed, e.pending = 0, time.Time{}, nil, nil
	e.limits, e.dirty = realm.CodexLimits{}, false
	return unstored
}

// version is that of the tokens in use; 0: none are.
func (e *entry) version() int64 {
	if v := e.view.Load(); v != nil {
		return v.account.Version
	}
	return 0
}
