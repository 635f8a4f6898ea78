package relay

import (
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"realms/internal/config"
	"realms/internal/secret"
	"realms/internal/store"
	"realms/internal/testkit"
	"realms/internal/testkit/codextest"
)

// telling are answers in which an upstream repeats what it was shown, in every way
// that it might: plainly, escaped, in base64 and hex, in a header.
func telling() map[string]testkit.Fault {
	said := func(status int, say func(key string) string) testkit.Fault {
		return func(r *testkit.Request, a *testkit.Answer) {
			testkit.Error(status, "invalid_request_error", "told", "you came with "+say(r.Key)+" as "+r.Header.Get("Chatgpt-Account-Id"))(r, a)
			a.Header.Set("X-Codex-Told", r.Key)
			a.Header.Set("X-Codex-Account", r.Header.Get("Chatgpt-Account-Id"))
			a.Header.Set("X-Models-Etag", r.Key)
			a.Header.Set("Set-Cookie", "session="+r.Key)
		}
	}
	plain := func(key string) string { return key }
	faults := map[string]testkit.Fault{
		"in a 200": func(r *testkit.Request, a *testkit.Answer) {
			testkit.Header("X-Codex-Told", r.Key, "X-Codex-Account", r.Header.Get("Chatgpt-Account-Id"), "X-Reasoning-Included", r.Key, "X-Request-Id", r.Key)(r, a)
		},
		"in hex":    said(http.StatusBadRequest, func(key string) string { return hex.EncodeToString([]byte(key)) }),
		"in base64": said(http.StatusBadRequest, func(key string) string { return base64.StdEncoding.EncodeToString([]byte(key)) }),
		"in a failed event": func(r *testkit.Request, a *testkit.Answer) {
			testkit.FailedEvent("told", "you came with "+r.Key)(r, a)
		},
		"in an error event": func(r *testkit.Request, a *testkit.Answer) {
			testkit.Events("event: error\ndata: {\"type\":\"error\",\"error\":{\"code\":\"told\",\"message\":\"you are "+r.Key+"\"}}\n\n")(r, a)
		},
	}
	for _, status := range []int{400, 401, 402, 403, 404, 429, 500, 503} {
		faults["in a "+strconv.Itoa(status)] = said(status, plain)
	}
	return faults
}

// K-01, as far as accounts go: whatever the backend says, nothing that is told to
// anybody has a piece of a token. (The log is looked through at every test's end.)
func TestAccountTokensAreNotToldOn(t *testing.T) {
	t.Parallel()
	for name, fault := range telling() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newAccounts(t, accountOptions{})
			w.fake.Always(codextest.PathResponses, fault)
			for _, f := range forms {
				got := w.ask(t, f, cliHeader("s")...)
				if got.Response == nil {
					t.Fatalf("%s: %v", f.name, got.err)
				}
				w.noTrace(t, "the answer to "+f.name, got.body+headerText(got.Header))
				w.row(t, got)
				w.SignIn(t, w.fake, "mine", "main")
				w.Mend(t, "mine")
			}
			if w.asked() < len(forms) {
				t.Errorf("the account was asked %d times", w.asked())
			}
			w.mishaps(t)
		})
	}
}

// What the program and its commands tell an operator has none either.
func TestAccountTokensAreNotShown(t *testing.T) {
	t.Parallel()
	w := newAccounts(t, accountOptions{paid: true, program: build(t)})
	for _, fault := range []testkit.Fault{nil, codextest.TokenInvalidated(), testkit.EchoKey(http.StatusInternalServerError), testkit.EchoKey(http.StatusForbidden)} {
		w.fake.Always(codextest.PathResponses, fault)
		for _, f := range forms {
			w.good(t, w.ask(t, f))
		}
	}
	w.allRows(t, 16)
	w.mishaps(t)
	w.told(t)
}

// mishaps are what goes wrong with sign-ins, with the issuer's answers telling too
// much.
func (a *accounts) mishaps(t *testing.T) {
	t.Helper()
	tells := func(r *testkit.Request, answer *testkit.Answer) {
		testkit.Status(http.StatusUnauthorized, `{"error":{"code":"told","message":`+strconv.Quote("no: "+string(r.Body)+" of "+r.Key)+`}}`)(r, answer)
	}
	for _, path := range []string{codextest.PathToken, codextest.PathUsage, codextest.PathCheck} {
		a.fake.Instead(path, tells, tells)
	}
	for _, call := range []func() error{
		func() error { _, err := a.Codex.Usage(t.Context(), "test", "mine", "main"); return err },
		func() error { _, err := a.Codex.Refresh(t.Context(), "test", "mine", "main"); return err },
	} {
		if err := call(); err == nil {
			t.Error("what the issuer refuses succeeds")
		} else {
			a.noToken(t, "the error", err.Error())
		}
	}
	a.list(t)
}

// told is all that the program and its commands tell an operator.
func (a *accounts) told(t *testing.T) {
	t.Helper()
	for _, path := range []string{"/health", "/channels", "/metrics"} {
		a.noTrace(t, path, a.Control(t, path))
	}
	for _, rec := range a.rows(t)[:8] {
		a.noTrace(t, "a request's story", a.Control(t, "/requests/"+rec.ID.String()))
	}
	for _, args := range [][]string{{"export"}, {"codex", "list"}, {"codex", "list", "--json"}, {"channel", "list"}, {"request", "list"}, {"doctor"}, {"codex", "usage", "mine"}} {
		out, _ := a.Command(t, args...).CombinedOutput() // doctor says that something is out of use
		if len(out) == 0 {
			t.Errorf("realms %s says nothing", strings.Join(args, " "))
		}
		a.noToken(t, "realms "+strings.Join(args, " "), string(out))
	}
	audit, err := a.Store.Read().Audit.List(t.Context(), store.AuditPage{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if len(audit) == 0 {
		t.Error("nothing was written down")
	}
	for _, row := range audit {
		a.noToken(t, "the audit", string(row.Detail))
	}
}

// With a master key neither the database nor a backup has a token or a key to read;
// without one the log says so.
func TestAccountTokensAreSealed(t *testing.T) {
	t.Parallel()
	for _, sealed := range []bool{true, false} {
		t.Run(map[bool]string{true: "sealed", false: "in the clear"}[sealed], func(t *testing.T) {
			t.Parallel()
			o := accountOptions{paid: true, program: build(t), configure: func(c *config.Config) {
				if sealed {
					c.Security.MasterKey = config.Key(secret.NewKey().Reveal())
				}
			}}
			w := newAccounts(t, o)
			w.good(t, w.ask(t, respEvents))
			w.fake.Invalidate(codextest.AccountID)
			w.good(t, w.ask(t, respEvents)) // so that renewed ones are there too
			in, err := w.Codex.StartBrowser(t.Context(), "test", target)
			if err != nil {
				t.Fatal(err)
			}
			backup := filepath.Join(w.Config.DataDir, "backup")
			if out, err := w.Command(t, "backup", backup).CombinedOutput(); err != nil {
				t.Fatalf("realms backup: %v\n%s", err, out)
			}
			secrets := append(w.tokens(t), w.secrets[1]) // the paid channel's key; the first is the client's
			plain, files := 0, 0
			err = filepath.WalkDir(w.Config.DataDir, func(path string, d os.DirEntry, err error) error {
				if err != nil || !d.Type().IsRegular() {
					return err
				}
				text, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				files++
				if strings.Contains(string(text), in.State) {
					t.Errorf("%s has a sign-in's state in the clear", filepath.Base(path))
				}
				if sealed {
					noPiece(t, filepath.Base(path), string(text), secrets)
				} else if strings.Contains(string(text), w.Account(t, w.list(t)[0].CredentialID).Tokens.Refresh.Reveal()) {
					plain++
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if files < 2 {
				t.Errorf("%d files in the data directory", files)
			}
			if warned := strings.Contains(w.log.String(), "secrets are stored in the clear"); warned == sealed {
				t.Errorf("the log warns: %v", warned)
			}
			if !sealed && plain == 0 {
				t.Error("the test does not find what is in the clear")
			}
		})
	}
}

// recorder takes what would fail a test.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Errorf(string, ...any) { r.failed = true }

// The search itself finds what it looks for.
func TestPiecesOfTokensAreFound(t *testing.T) {
	t.Parallel()
	f := codextest.Start(t, codextest.Options{})
	token := f.SignIn(t, codextest.AccountID).Access.Reveal()
	shown := map[string]string{
		"plain": token, "a piece": token[len(token)/2:][:pieceOfToken], "hex": hex.EncodeToString([]byte(token)),
		"base64": base64.StdEncoding.EncodeToString([]byte("x" + token)), "a piece in hex": hex.EncodeToString([]byte(token[len(token)/2:][:pieceOfToken])),
	}
	for name, text := range shown {
		r := &recorder{TB: t}
		if noPiece(r, name, "before "+text+" after", []string{token}); !r.failed {
			t.Errorf("%s: not found", name)
		}
	}
	r := &recorder{TB: t}
	if noPiece(r, "nothing", "before and after", []string{token}); r.failed {
		t.Error("found where nothing is")
	}
}
