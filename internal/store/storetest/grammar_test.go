package storetest_test

import (
	"go/ast"
	goparser "go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/pingcap/tidb/pkg/parser"
	_ "github.com/pingcap/tidb/pkg/parser/test_driver" // the values of its syntax tree

	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/store/storetest"
)

// Every statement, migrations included, is one that MySQL 8 reads: a reserved
// word that MariaDB and SQLite allow shows here.
func TestStatementsAreMySQL(t *testing.T) {
	for _, engine := range storetest.Engines(t) {
		t.Run(engine, func(t *testing.T) {
			var mu sync.Mutex
			heard := make(map[string]bool)
			open := func() *store.Store {
				return storetest.OpenDSN(t, store.Options{DSN: storetest.DSN(t, engine), Trace: func(text string) {
					mu.Lock()
					defer mu.Unlock()
					heard[text] = true
				}})
			}
			s := open()
			must[[]string](t)(s.Migrate(t.Context()))
			everyVerb(t, s, open())
			p := parser.New()
			for text := range heard {
				// The one clause that is SQLite's own; its dialect has it.
				if _, _, err := p.Parse(strings.TrimSuffix(text, " ON CONFLICT DO NOTHING"), "", ""); err != nil {
					t.Errorf("%s\n%v", text, err)
				}
			}
			all := strings.Join(slices.Collect(maps.Keys(heard)), "\n")
			for _, text := range statementsInSource(t) {
				if _, _, err := p.Parse(text, "", ""); err != nil && !strings.Contains(all, text) {
					t.Errorf("%q was never sent, and is not a whole statement of MySQL's: %v", text, err)
				}
			}
		})
	}
}

// statementsInSource is every text in the store's own files that begins like a
// statement of the portable subset.
func statementsInSource(t *testing.T) (texts []string) {
	t.Helper()
	files := must[[]string](t)(filepath.Glob("../*.go"))
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		tree := must[*ast.File](t)(goparser.ParseFile(token.NewFileSet(), file, nil, 0))
		ast.Inspect(tree, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				text := must[string](t)(strconv.Unquote(lit.Value))
				verb, rest, _ := strings.Cut(text, " ")
				if rest != "" && slices.Contains([]string{"SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "DROP", "DO"}, verb) {
					texts = append(texts, text)
				}
			}
			return true
		})
	}
	if len(texts) < 60 {
		t.Errorf("only %d statements were found in the source", len(texts))
	}
	return texts
}

// The grammar must bite, or the test above proves nothing.
func TestGrammarRefusesReservedNames(t *testing.T) {
	p := parser.New()
	for _, text := range []string{"CREATE TABLE groups (id BIGINT)", "SELECT key FROM t", "INSERT INTO t (a) VALUES (1) RETURNING a", "SELECT window FROM t"} {
		if _, _, err := p.Parse(text, "", ""); err == nil {
			t.Errorf("%s is taken for MySQL", text)
		}
	}
}

// everyVerb sends every statement there is; empty is restored into.
func everyVerb(t *testing.T, s, empty *store.Store) {
	ctx := t.Context()
	p := populate(t, s)
	bump(t, s, 1)
	var records []realm.RequestRecord
	for i := range 1001 { // more than a page of a backup
		records = append(records, tried(i))
	}
	insertBatch(t, s, records)
	write(t, s, func(r store.Repos) error {
		for _, err := range []error{
			r.Groups.Update(ctx, &p.group), r.Models.Update(ctx, &p.model), r.Channels.Update(ctx, &p.channel), r.Endpoints.Update(ctx, &p.endpoint),
			r.Credentials.Update(ctx, &p.credential), r.Users.Update(ctx, &p.user), r.Tokens.Update(ctx, &p.token),
			r.Settings.Set(ctx, "a", "1"), r.Settings.Set(ctx, "b", "1"), r.Settings.Delete(ctx, "b"), r.Settings.Add(ctx, "c", "1"), r.Audit.Insert(ctx, &store.AuditEntry{}),
			r.Objects.Insert(ctx, []realm.Object{{ID: "file-1", UserID: 1}}), r.Objects.Delete(ctx, "file-1", 1),
		} {
			if err != nil {
				return err
			}
		}
		return nil
	})
	reads(t, s, p)
	everyCodexVerb(t, s, p.credential.ID)
	if err := restore(t, empty, backup(t, s)); err != nil {
		t.Errorf("restore: %v", err)
	}
	write(t, s, func(r store.Repos) error {
		if _, err := r.Credentials.SetState(ctx, p.credential.ID, realm.CredentialDisabled, realm.CredentialOK, "", at); err != nil {
			return err
		}
		if _, err := r.Credentials.Refuse(ctx, p.credential.ID, p.credential.APIKey, "", at); err != nil {
			return err
		}
		if _, err := r.Tokens.Revoke(ctx, p.token.ID, at); err != nil {
			return err
		}
		if _, err := r.Changes.DeleteBefore(ctx, at.AddDate(10, 0, 0), 10); err != nil {
			return err
		}
		if _, err := r.Requests.DeleteBefore(ctx, at.AddDate(10, 0, 0), 10); err != nil {
			return err
		}
		if _, err := r.Objects.DeleteBefore(ctx, at.AddDate(10, 0, 0), 10); err != nil {
			return err
		}
		for _, err := range []error{
			r.Tokens.Delete(ctx, p.token.ID), r.Users.Delete(ctx, p.user.ID), r.Credentials.Delete(ctx, p.credential.ID),
			r.Endpoints.Delete(ctx, p.endpoint.ID), r.Channels.Delete(ctx, p.channel.ID), r.Models.Delete(ctx, p.model.ID), r.Groups.Delete(ctx, p.group.ID),
		} {
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func reads(t *testing.T, s *store.Store, p *populated) {
	ctx, r := t.Context(), s.Read()
	must[[]*realm.Group](t)(r.Groups.List(ctx))
	must[*realm.Group](t)(r.Groups.Get(ctx, 1))
	must[*realm.Group](t)(r.Groups.ByName(ctx, "vip"))
	must[[]*realm.Model](t)(r.Models.List(ctx))
	must[*realm.Model](t)(r.Models.Get(ctx, p.model.ID))
	must[*realm.Model](t)(r.Models.ByName(ctx, p.model.Name))
	must[[]*realm.Channel](t)(r.Channels.List(ctx))
	must[*realm.Channel](t)(r.Channels.Get(ctx, p.channel.ID))
	must[*realm.Channel](t)(r.Channels.ByName(ctx, p.channel.Name))
	must[[]*realm.Endpoint](t)(r.Endpoints.List(ctx))
	must[[]*realm.Endpoint](t)(r.Endpoints.ByChannel(ctx, p.channel.ID))
	must[*realm.Endpoint](t)(r.Endpoints.Get(ctx, p.endpoint.ID))
	must[[]*realm.Credential](t)(r.Credentials.List(ctx))
	must[[]*realm.Credential](t)(r.Credentials.ByEndpoint(ctx, p.endpoint.ID))
	must[*realm.Credential](t)(r.Credentials.Get(ctx, p.credential.ID))
	must[[]*realm.User](t)(r.Users.List(ctx))
	must[*realm.User](t)(r.Users.Get(ctx, p.user.ID))
	must[*realm.User](t)(r.Users.ByName(ctx, p.user.Name))
	must[[]*realm.Token](t)(r.Tokens.List(ctx))
	must[[]*realm.Token](t)(r.Tokens.ByUser(ctx, p.user.ID))
	must[*realm.Token](t)(r.Tokens.Get(ctx, p.token.ID))
	must[*realm.Token](t)(r.Tokens.ByHash(ctx, p.token.Hash))
	must[realm.RequestRecord](t)(r.Requests.Get(ctx, tried(1).ID))
	first := must[[]realm.RequestRecord](t)(r.Requests.List(ctx, store.RequestPage{Limit: 1}))
	cursor := store.RequestCursor{StartedAt: first[0].StartedAt, ID: first[0].ID}
	must[[]realm.RequestRecord](t)(r.Requests.List(ctx, store.RequestPage{User: 1, Before: cursor}))
	must[realm.Object](t)(r.Objects.Get(ctx, "resp_1", tried(1).UserID))
	must[[]store.AuditEntry](t)(r.Audit.List(ctx, store.AuditPage{}))
	must[[]store.AuditEntry](t)(r.Audit.List(ctx, store.AuditPage{Before: 1 << 62}))
	must[map[string]string](t)(r.Settings.All(ctx))
	must[string](t)(r.Settings.Get(ctx, "a"))
	must[[]store.Change](t)(r.Changes.Since(ctx, 0, 10))
}
