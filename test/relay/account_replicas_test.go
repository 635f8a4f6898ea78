package relay

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/store/storetest"
	"realms/internal/testkit"
	"realms/internal/testkit/codextest"
)

// H-11: of three programs on one store, all of which find the token over at once, one
// refreshes, and all hundred requests are served.
func TestAccountOverIsRenewedByOneProgram(t *testing.T) {
	t.Parallel()
	if !storetest.MariaDB(t) {
		return
	}
	dsn := storetest.DSN(t, "mysql")
	o := accountOptions{old: true, channel: unlimited, configure: func(c *config.Config) { c.DB.DSN = config.DSN(dsn) }}
	w := newAccounts(t, o)
	w.expire(t)
	token := w.Token
	if err := w.Stop(); err != nil {
		t.Fatal(err)
	}
	o.program = build(t)
	var programs []*world
	for range 3 {
		w.start(t, o, token)
		programs = append(programs, w.world)
	}
	release := w.fake.Block(codextest.PathToken)
	answers := w.storm(t, 100, func() {
		w.fake.Waiting(t, codextest.PathToken, 1)
		release()
	}, programs...)
	for _, got := range answers {
		w.good(t, got)
	}
	w.counts(t, 100, 1, 0)
	if n := w.fake.Reuses(); n != 0 {
		t.Errorf("%d refresh tokens were used twice", n)
	}
	row := w.Account(t, w.list(t)[0].CredentialID)
	if !w.fake.Serves(row.Tokens.Refresh) || !w.fake.Accepts(row.Tokens.Access) {
		t.Error("what is stored would not serve")
	}

	// The same again, by a 401 this time, in all three at once.
	w.fake.Invalidate(codextest.AccountID)
	for _, got := range w.storm(t, 30, func() {}, programs...) {
		w.good(t, got)
	}
	if w.renewed() != 2 || w.fake.Reuses() != 0 {
		t.Errorf("renewed %d times in all, %d tokens used twice", w.renewed(), w.fake.Reuses())
	}
}

// H-12: a program that is killed between the issuer's answer and its own write has
// lost the tokens. The next one finds that out with one question, says so, and asks
// no more.
func TestAccountOfAProgramThatWasKilled(t *testing.T) {
	t.Parallel()
	if !storetest.MariaDB(t) {
		return
	}
	dsn := storetest.DSN(t, "mysql")
	o := accountOptions{old: true, paid: true, configure: func(c *config.Config) { c.DB.DSN = config.DSN(dsn) }}
	w := newAccounts(t, o)
	w.expire(t)
	token := w.Token
	if err := w.Stop(); err != nil {
		t.Fatal(err)
	}
	o.program = build(t)
	w.start(t, o, token)
	killed := w.world

	// From the moment that the issuer is asked nobody can write the account's row.
	db := storetest.Raw(t, dsn)
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	locked := make(chan error, 1)
	var once sync.Once
	w.fake.Hook(codextest.PathToken, func(*testkit.Request) {
		once.Do(func() {
			_, err := tx.ExecContext(context.WithoutCancel(t.Context()), "SELECT credential_id FROM codex_accounts FOR UPDATE")
			locked <- err
		})
	})
	before := w.renewed()
	cl := killed.clients(t)
	cl.t = t
	request := w.request(t, respEvents).WithContext(cl.ctx)
	cl.wg.Go(func() { killed.do(request) })
	if err := <-locked; err != nil {
		t.Fatal(err)
	}
	refresh := w.fake.Requests(codextest.PathToken)
	refresh[len(refresh)-1].WaitDone(t)
	killed.Kill(t)
	cl.leave()
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}

	// The lease of the dead ends by itself; here it has.
	if _, err := db.ExecContext(t.Context(), "UPDATE codex_accounts SET lease_until = ?", time.Now().Add(-time.Second).UnixMilli()); err != nil {
		t.Fatal(err)
	}
	w.start(t, o, token)
	for range 6 {
		got := w.ask(t, respEvents)
		if got.Response == nil || got.StatusCode != http.StatusOK {
			t.Fatalf("no answer: %+v", got)
		}
	}
	if n := w.renewed() - before; n != 2 || w.fake.Reuses() != 1 || w.asked() != 0 {
		t.Errorf("the issuer was asked %d times, not once by each program; %d tokens used twice; the account was asked %d times", n, w.fake.Reuses(), w.asked())
	}
	one := w.list(t)[0]
	if one.RefreshError == "" {
		t.Errorf("the account is not flagged: %+v", one)
	}
	testkit.Poll(t, "the credential to be out of use", func() bool { return w.list(t)[0].State != realm.CredentialOK })
	w.SignIn(t, w.fake, "mine", "main")
	eventually(t, "the new sign-in to serve", 10*time.Second, func() bool {
		w.good(t, w.ask(t, respEvents))
		return w.asked() > 0
	})
}
