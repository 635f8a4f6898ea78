package relay

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"realms/internal/config"
	"realms/internal/store/storetest"
	"realms/internal/testkit"
	"realms/internal/testkit/codextest"
)

// For minutes three programs share an account whose tokens live shorter than Realms
// likes, are taken back now and then, and are renewed by an issuer that is slow or
// away; meanwhile the programs are started anew, one after the other. No refresh token
// is used twice, none is lost, and every request is served.
func TestNightlyAccountChurn(t *testing.T) {
	if !storetest.MariaDB(t) {
		return
	}
	dsn := storetest.DSN(t, "mysql")
	o := accountOptions{paid: true, channel: unlimited, fake: codextest.Options{AccessLife: 35 * time.Second}, configure: func(c *config.Config) {
		c.DB.DSN = config.DSN(dsn)
		c.Server.Drain = 5 * time.Second
	}}
	w := newAccounts(t, o)
	token := w.Token
	if err := w.Stop(); err != nil {
		t.Fatal(err)
	}
	o.program = build(t)
	var slots [3]atomic.Pointer[world]
	for i := range slots {
		w.start(t, o, token)
		slots[i].Store(w.world)
	}
	over := time.Now().Add(3 * time.Minute)
	var served, refused atomic.Int64
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			for n := i; time.Now().Before(over); n++ {
				at := slots[n%len(slots)].Load()
				if at == nil {
					continue
				}
				f := forms[n%len(forms)]
				got := at.do(w.at(t, at, f))
				switch {
				case got.Response != nil && got.StatusCode == http.StatusOK && got.err == nil:
					served.Add(1)
				case slots[n%len(slots)].Load() == at:
					refused.Add(1)
					t.Errorf("%v %+v %s", got.err, got.Response, got.body)
				default: // it was being stopped
				}
			}
		})
	}
	faults := []func(){
		func() { w.fake.Invalidate(codextest.AccountID) },
		func() { w.fake.Instead(codextest.PathToken, testkit.ServerError(), testkit.Reset()) },
		func() { w.fake.Instead(codextest.PathToken, testkit.Hangup()); w.fake.Invalidate(codextest.AccountID) },
		func() { w.fake.Instead(codextest.PathResponses, codextest.Challenge(), codextest.Overloaded()) },
	}
	tick := time.NewTicker(4 * time.Second)
	defer tick.Stop()
	for n := 0; time.Now().Before(over.Add(-10 * time.Second)); n++ {
		<-tick.C
		faults[n%len(faults)]()
		if n%4 == 3 { // one is started anew
			slot := &slots[n/4%len(slots)]
			old := slot.Swap(nil)
			if err := old.Stop(); err != nil {
				t.Errorf("stop a program: %v", err)
			}
			w.start(t, o, token)
			slot.Store(w.world)
		}
	}
	wg.Wait()
	t.Logf("%d served, %d refused; %d renewals, %d asked the account, %d the other channel", served.Load(), refused.Load(), w.renewed(), w.asked(), w.paid.Count())
	if n := w.fake.Reuses(); n != 0 {
		t.Errorf("%d refresh tokens were used twice", n)
	}
	one := w.list(t)[0]
	if one.RefreshError != "" {
		t.Errorf("the account: %+v", one)
	}
	row := w.Account(t, one.CredentialID)
	if !w.fake.Serves(row.Tokens.Refresh) {
		t.Error("the refresh token that is stored would not serve")
	}
	if w.renewed() < 5 || w.asked() < 100 {
		t.Errorf("little happened: %d renewals, %d requests", w.renewed(), w.asked())
	}
}

// at asks a program for the accounts' model.
func (a *accounts) at(t testing.TB, w *world, f form) *http.Request {
	t.Helper()
	one := &accounts{world: w}
	return one.request(t, f)
}
