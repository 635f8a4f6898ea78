package declare

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"realms/internal/account"
	"realms/internal/store"
	"realms/internal/yamldoc"
)

func open(t testing.TB) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Options{DSN: "sqlite:" + filepath.Join(t.TempDir(), "realms.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func export(t testing.TB, s *store.Store, secrets bool) string {
	t.Helper()
	out, err := Export(t.Context(), s, ExportOptions{Secrets: secrets})
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func shown(r *Result) string {
	var b strings.Builder
	_ = r.Print(&b) // a Builder never fails
	return b.String() + r.Summary() + "\n"
}

func version(t testing.TB, s *store.Store) int64 {
	t.Helper()
	v, err := s.Read().Changes.Version(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestApply plays transcripts. Each file NAME.yaml is applied in order (its name
// holds "prune" to prune), first as a dry run, then in truth, then once more:
// the first two must say the same, the last nothing. NAME.out is what is shown
// or what is wrong, export the store at the end.
func TestApply(t *testing.T) {
	goldens(t, "testdata/apply/*.txtar", func(t *testing.T, g *golden) {
		s := open(t)
		for _, f := range g.archive.Files {
			name, isFile := strings.CutSuffix(f.Name, ".yaml")
			if !isFile {
				continue
			}
			g.check(t, name+".out", applyStep(t, s, g, f.Name))
		}
		text, kept := export(t, s, true), export(t, s, false)
		for secret := range strings.FieldsSeq(g.env["SECRETS"]) {
			if !strings.Contains(text, secret) {
				t.Errorf("the store does not hold the key %s", secret)
			}
			if strings.Contains(kept, secret) {
				t.Errorf("an export without secrets shows one:\n%s", kept)
			}
			text = strings.ReplaceAll(text, secret, "SECRET")
			for _, f := range g.archive.Files {
				if strings.HasSuffix(f.Name, ".out") && strings.Contains(string(f.Data), secret) {
					t.Errorf("%s shows a secret", f.Name)
				}
			}
		}
		g.check(t, "export", text)
	})
}

func applyStep(t *testing.T, s *store.Store, g *golden, name string) string {
	t.Helper()
	doc, err := g.read(name)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Store: s, Actor: "test", Prune: strings.Contains(name, "prune"), DryRun: true}
	before := export(t, s, true)
	dry, err := doc.Apply(t.Context(), o)
	if got := export(t, s, true); got != before {
		t.Errorf("%s: the dry run changed the store:\n%s", name, cmp.Diff(before, got))
	}
	o.DryRun = false
	if err != nil {
		var problems yamldoc.Problems
		if !errors.As(err, &problems) {
			t.Fatalf("%s: the error is no list of problems: %v", name, err)
		}
		if _, again := doc.Apply(t.Context(), o); again == nil || again.Error() != err.Error() {
			t.Errorf("%s: the dry run says %v, the real one %v", name, err, again)
		}
		if got := export(t, s, true); got != before {
			t.Errorf("%s: a refused file changed the store:\n%s", name, cmp.Diff(before, got))
		}
		return err.Error()
	}
	was := version(t, s)
	real, err := doc.Apply(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(shown(dry), shown(real)); diff != "" {
		t.Errorf("%s: the dry run and the real one differ:\n%s", name, diff)
	}
	if now := version(t, s); now != was+int64(len(real.Changes)) {
		t.Errorf("%s: %d changes moved the version from %d to %d", name, len(real.Changes), was, now)
	}
	again, err := doc.Apply(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(again.Changes) != 0 {
		t.Errorf("%s: applied again it changes more:\n%s", name, shown(again))
	}
	return shown(real)
}

// TestApplyLeavesTokensAlone holds what pruning must never touch.
func TestApplyLeavesTokensAlone(t *testing.T) {
	s := open(t)
	apply := func(text string, prune bool) {
		t.Helper()
		doc, err := Read("f.yaml", []byte(text), ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := doc.Apply(t.Context(), Options{Store: s, Actor: "test", Prune: prune}); err != nil {
			t.Fatal(err)
		}
	}
	apply("users: [{name: owner}]", false)
	accounts := account.New(account.Options{Store: s})
	if _, _, err := accounts.CreateToken(t.Context(), "test", account.TokenSpec{User: "owner", Name: "laptop"}); err != nil {
		t.Fatal(err)
	}
	apply("groups: []\nmodels: []\nchannels: []\nusers: []", true)
	tokens, err := accounts.ListTokens(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	users, err := accounts.ListUsers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(tokens) != 1 || !tokens[0].RevokedAt.IsZero() {
		t.Errorf("the tokens are now %+v", tokens)
	}
	if len(users) != 1 || users[0].Enabled {
		t.Errorf("the users are now %+v", users)
	}
	apply("users: [{name: owner}]", false)
	if users, err = accounts.ListUsers(t.Context()); err != nil || !users[0].Enabled {
		t.Errorf("naming the user again does not enable it: %+v, %v", users, err)
	}
}

func TestApplyWithoutSchema(t *testing.T) {
	s, err := store.Open(t.Context(), store.Options{DSN: "sqlite:" + filepath.Join(t.TempDir(), "realms.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	doc, err := Read("f.yaml", []byte("groups: []"), ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = doc.Apply(t.Context(), Options{Store: s, Actor: "test"})
	var problems yamldoc.Problems
	if err == nil || errors.As(err, &problems) {
		t.Errorf("a store without tables is blamed on the file: %v", err)
	}
}

// TestRoundTrip holds that whatever is declared, its export says the same: with
// secrets into an empty store, without them over what is there, pruned or not.
func TestRoundTrip(t *testing.T) {
	ctx, dir, n := t.Context(), t.TempDir(), 0
	fresh := func(t *rapid.T) *store.Store {
		n++
		s, err := store.Open(ctx, store.Options{DSN: fmt.Sprintf("sqlite:%s/%d.db", dir, n)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Migrate(ctx); err != nil {
			t.Fatal(err)
		}
		return s
	}
	rapid.Check(t, func(t *rapid.T) {
		s := fresh(t)
		defer s.Close()
		for range rapid.IntRange(1, 2).Draw(t, "files") {
			applyText(ctx, t, s, drawFile(t), false)
		}
		kept := rapidExport(ctx, t, s, false)
		for _, prune := range []bool{false, true} {
			if r := applyText(ctx, t, s, kept, prune); len(r.Changes) != 0 {
				t.Fatalf("the export applied again (prune %v) changes:\n%s\nof\n%s", prune, shown(r), kept)
			}
		}
		whole := rapidExport(ctx, t, s, true)
		other := fresh(t)
		defer other.Close()
		applyText(ctx, t, other, whole, false)
		if diff := cmp.Diff(whole, rapidExport(ctx, t, other, true)); diff != "" {
			t.Fatalf("a store made from the export differs:\n%s", diff)
		}
	})
}

func rapidExport(ctx context.Context, t *rapid.T, s *store.Store, secrets bool) string {
	out, err := Export(ctx, s, ExportOptions{Secrets: secrets})
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func applyText(ctx context.Context, t *rapid.T, s *store.Store, text string, prune bool) *Result {
	doc, err := Read("f.yaml", []byte(text), ReadOptions{})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	r, err := doc.Apply(ctx, Options{Store: s, Actor: "test", Prune: prune, Now: func() time.Time { return time.UnixMilli(1_800_000_000_000) }})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return r
}
