package codex

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/testkit/codextest"
)

// canaries collect what must be seen nowhere.
type canaries struct{ secrets []string }

func (c *canaries) add(secrets ...realm.Secret) {
	for _, s := range secrets {
		if s != "" {
			c.secrets = append(c.secrets, s.Reveal())
		}
	}
}

func (c *canaries) tokens(t realm.CodexTokens) { c.add(t.ID, t.Access, t.Refresh) }

// look searches a text for the secrets, in the forms in which they may get there,
// and for pieces of them that are long enough to be of use.
func (c *canaries) look(t *testing.T, where, text string) {
	t.Helper()
	text = strings.ReplaceAll(text, `\`, "")
	for i, s := range c.secrets {
		forms := []string{url.QueryEscape(s), hex.EncodeToString([]byte(s)), base64.StdEncoding.EncodeToString([]byte(s))[:16]}
		// A JWT's first part is the same for all, and no secret.
		tail := s[strings.Index(s, ".")+1:]
		for j := 0; j+16 <= len(tail); j += 4 {
			forms = append(forms, tail[j:j+16])
		}
		for _, form := range forms {
			if strings.Contains(text, form) {
				t.Errorf("%s shows a piece of secret %d of %d", where, i, len(c.secrets))
				break
			}
		}
	}
}

// Nothing of a sign-in's secrets is in what is logged, answered or written down,
// whatever happens to it.
func TestSecretsAreSeenNowhere(t *testing.T) {
	r := newRig(t, "sqlite", twoAccounts()...)
	p := r.process()
	var c canaries
	var shown strings.Builder
	note := func(v any, err error) {
		text, encoded := json.Marshal(v)
		if encoded != nil {
			t.Fatal(encoded)
		}
		fmt.Fprintf(&shown, "%s %+v %#v %v\n", text, v, v, err)
		if err != nil {
			fmt.Fprintf(&shown, "%+v %s\n", err, realm.AsError(err).Message)
		}
	}
	keep := func() {
		a, err := p.db.Read().CodexAccounts.Get(t.Context(), p.cr("main").ID)
		if err == nil {
			c.tokens(a.Tokens)
		}
	}
	main := Target{Channel: "codex", Credential: "main"}

	note(r.signIn(p), nil)
	keep()
	in, err := p.StartBrowser(t.Context(), actor, main)
	p.must(err)
	row, err := p.db.Read().CodexSignIns.Get(t.Context(), realm.Secret(in.State))
	p.must(err)
	c.add(row.Secret)
	callback := r.fake.Authorize(t, in.URL)
	u, err := url.Parse(callback)
	p.must(err)
	c.add(realm.Secret(u.Query().Get("code")), realm.Secret(in.State))
	note(p.FinishBrowser(t.Context(), "8", callback))
	note(p.FinishBrowser(t.Context(), actor, callback))
	keep()
	note(p.FinishBrowser(t.Context(), actor, callback))
	file := r.fake.SignIn(t, codextest.AccountID)
	c.tokens(file)
	note(p.Import(t.Context(), actor, main, r.fake.AuthFile(file, codextest.AccountID)))
	keep()
	note(p.Import(t.Context(), actor, main, r.fake.AuthFile(file, codextest.AccountID)))
	r.fake.Visit("acc-0002")
	device, err := p.StartDevice(t.Context(), actor, main)
	p.must(err)
	c.add(realm.Secret(device.State))
	r.fake.Confirm(t, device.UserCode)
	note(p.PollDevice(t.Context(), actor, device.State))
	note(p.Refresh(t.Context(), actor, "codex", "main"))
	keep()
	note(p.Usage(t.Context(), actor, "codex", "main"))
	r.fake.Instead(codextest.PathUsage, codextest.TokenInvalidated(), codextest.Challenge())
	note(p.Usage(t.Context(), actor, "codex", "main"))
	keep()
	r.fake.Instead(codextest.PathToken, codextest.Overloaded(), codextest.Challenge(), codextest.RefreshRefused("refresh_token_reused"))
	for range 3 {
		r.forward(time.Hour)
		note(p.Refresh(t.Context(), actor, "codex", "main"))
	}
	r.forward(tokenLife)
	id, err := p.identify()
	note(id, err)
	note(p.List(t.Context()))
	note(p.Remove(t.Context(), actor, "codex", "main"))
	note(p.List(t.Context()))
	p.tend(t.Context())
	rows, err := p.db.Read().Audit.List(t.Context(), store.AuditPage{Limit: 1000})
	p.must(err)

	if len(c.secrets) < 15 || len(rows) < 8 || len(r.log.String()) < 500 {
		t.Errorf("too little happened: %d secrets, %d audit rows, %d bytes of log", len(c.secrets), len(rows), len(r.log.String()))
	}
	c.look(t, "the log", r.log.String())
	c.look(t, "an answer", shown.String())
	for i := range rows {
		c.look(t, "an audit row", fmt.Sprintf("%+v %s", rows[i], rows[i].Detail))
	}
}
