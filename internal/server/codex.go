package server

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"realms/internal/codex"
	"realms/internal/realm"
	"realms/internal/version"
)

// buildCodex makes the keeper of the operator's ChatGPT accounts.
func (a *App) buildCodex() {
	cfg := a.Config.Codex
	a.Codex = codex.New(codex.Options{
		Store: a.Store, Catalog: a.Catalog, Settings: a.Settings, HTTP: a.codexClient,
		Issuer: cfg.TestIssuer, Backend: cfg.TestBackend, UserAgent: "realms/" + version.Number(),
		Changed: a.accountChanged, Renewed: a.accountRenewed,
		Log: a.Log, Registry: a.Registry,
	})
}

// accountChanged has the scheduler forget what it holds against a credential: it was
// about another account.
func (a *App) accountChanged(credential realm.ID) {
	snap := a.Catalog.Snapshot()
	if cr := snap.Credential(credential); cr != nil {
		a.Scheduler.Mend(snap, cr.Endpoint.Channel.ID, credential, time.Now())
	}
}

// accountRenewed has the scheduler forget that the tokens were refused that an account
// had before.
func (a *App) accountRenewed(credential realm.ID, version int64) {
	a.Scheduler.Renewed(credential, version, time.Now())
}

// codexClient is what the management of a channel's accounts goes through: its proxy
// and its certificates. A channel that is gone had none.
func (a *App) codexClient(ch *realm.Channel) *http.Client {
	if ch == nil {
		return a.Upstream.Client(nil)
	}
	return a.Upstream.Client(&ch.Settings)
}

// recallPlans tells the scheduler which accounts' plans were used up when that was
// last told: a restart is no reason to ask them before their time.
func (a *App) recallPlans(ctx context.Context) error {
	accounts, err := a.Codex.List(ctx)
	if err != nil {
		return fmt.Errorf("read the accounts' plans: %w", err)
	}
	now := time.Now()
	for _, one := range accounts {
		if until := spentUntil(one, now); !until.IsZero() {
			a.Scheduler.PlanSpent(one.CredentialID, until, now)
		}
	}
	return nil
}

// spentUntil is when the last of an account's windows that are used up is filled up
// again; zero: none is. Windows of single models say nothing of the others.
func spentUntil(account *codex.Account, now time.Time) time.Time {
	var until time.Time
	for _, w := range account.Limits.Windows {
		if w.Limit == "" && w.UsedPercent >= 100 && w.ResetsAt.After(now) && w.ResetsAt.After(until) {
			until = w.ResetsAt
		}
	}
	return until
}
