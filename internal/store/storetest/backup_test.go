package storetest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/store/storetest"
)

// fill gives every table rows, several pages of some.
func fill(t testing.TB, s *store.Store) {
	t.Helper()
	populate(t, s)
	var records []realm.RequestRecord
	for i := range size(2500) {
		records = append(records, tried(i))
	}
	records[1].Error = "line\nbreak \"quoted\" \\ 😀 \u2028 <&>"
	insertBatch(t, s, records)
	bump(t, s, 1, 2, 3)
	write(t, s, func(r store.Repos) error {
		return errors.Join(
			r.Settings.Set(t.Context(), "feature_disable_models", "true"),
			r.Audit.Insert(t.Context(), &store.AuditEntry{Actor: "command", Verb: "user.create", Detail: []byte(`{"a":1}`)}),
		)
	})
}

// backup is the file, as lines.
func backup(t testing.TB, s *store.Store) []string {
	t.Helper()
	var file bytes.Buffer
	if err := s.Backup(t.Context(), &file); err != nil {
		t.Fatalf("back up: %v", err)
	}
	return strings.SplitAfter(strings.TrimSuffix(file.String(), "\n"), "\n")
}

func restore(t testing.TB, s *store.Store, lines []string) error {
	t.Helper()
	return s.Restore(t.Context(), strings.NewReader(strings.Join(lines, "")), store.RestoreOptions{})
}

// From every engine to every engine: what is restored backs up to the same rows.
func TestBackupAndRestore(t *testing.T) {
	for _, from := range storetest.Engines(t) {
		t.Run("from "+from, func(t *testing.T) {
			source := storetest.Open(t, from)
			fill(t, source)
			lines := backup(t, source)
			for _, to := range storetest.Engines(t) {
				t.Run("to "+to, func(t *testing.T) {
					target := storetest.OpenDSN(t, store.Options{DSN: storetest.DSN(t, to)})
					if err := restore(t, target, lines); err != nil {
						t.Fatalf("restore: %v", err)
					}
					if err := target.CheckSchema(t.Context()); err != nil {
						t.Errorf("schema after a restore: %v", err)
					}
					got := backup(t, target)
					equal(t, "what was restored", got[1:len(got)-1], lines[1:len(lines)-1])
					equal(t, "version", version(t, target), int64(3))
					if err := restore(t, target, lines); realm.AsError(err).Code != realm.CodeConflict {
						t.Errorf("restored over what is there: %v", err)
					}
				})
			}
		})
	}
}

func TestRestoreIntoMigrated(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		source := storetest.SQLite(t)
		populate(t, source)
		if err := restore(t, s, backup(t, source)); err != nil {
			t.Fatalf("restore: %v", err)
		}
		must[*realm.Channel](t)(s.Read().Channels.ByName(t.Context(), "openai-main"))
	})
}

func TestRestoreNeedsAnEmptyStore(t *testing.T) {
	lines := backup(t, storetest.SQLite(t))
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		write(t, s, func(r store.Repos) error { return r.Settings.Set(t.Context(), "a", "1") })
		err := restore(t, s, lines)
		if e := realm.AsError(err); e.Code != realm.CodeConflict || !strings.Contains(e.Message, "not empty") {
			t.Errorf("restored over a setting: %v", err)
		}
		must[string](t)(s.Read().Settings.Get(t.Context(), "a"))
		must[*realm.Group](t)(s.Read().Groups.ByName(t.Context(), realm.DefaultGroup))
	})
}

// A store that was only started has a secret of its own, which a restored one
// replaces.
func TestRestoreOverAFirstStart(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		source := storetest.SQLite(t)
		for db, value := range map[*store.Store]string{source: "theirs", s: "ours"} {
			write(t, db, func(r store.Repos) error { return r.Settings.Add(t.Context(), store.InstanceSecret, value) })
		}
		if err := restore(t, s, backup(t, source)); err != nil {
			t.Fatalf("restore: %v", err)
		}
		equal(t, "secret", must[string](t)(s.Read().Settings.Get(t.Context(), store.InstanceSecret)), "theirs")
	})
}

// A damaged file says so, whatever is wrong with it, and loads nothing.
func TestDamagedBackups(t *testing.T) {
	source := storetest.SQLite(t)
	populate(t, source)
	insertBatch(t, source, []realm.RequestRecord{tried(1), tried(2)})
	lines := backup(t, source)
	whole := strings.Join(lines, "")
	damages := map[string]string{
		"empty":             "",
		"another file":      "SQLite format 3\x00",
		"another JSON file": `{"name":"x"}` + "\n",
		"without its head":  strings.Join(lines[1:], ""),
		"a row twice":       strings.Join(append(append([]string{}, lines[:3]...), lines[2:]...), ""),
		"a row too few":     strings.Join(append(append([]string{}, lines[:2]...), lines[3:]...), ""),
		"more at the end":   whole + "\n" + lines[len(lines)-1],
		"a table that is not ours": strings.Replace(whole, `{"table":"models"`,
			`{"table":"models; DROP TABLE users"`, 1),
		"another column": strings.Replace(whole, `"multiplier"`, `"multiplicator"`, 1),
	}
	for i := 0; i < len(lines); i++ {
		damages[fmt.Sprintf("cut after line %d", i)] = strings.Join(lines[:i], "")
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range size(200) {
		flipped := []byte(whole)
		i := random.IntN(len(flipped))
		flipped[i] ^= 1 << random.IntN(8)
		damages[fmt.Sprintf("byte %d is %q", i, flipped[i])] = string(flipped)
	}
	target := storetest.OpenDSN(t, store.Options{DSN: storetest.DSN(t, "sqlite")})
	for name, file := range damages {
		err := target.Restore(t.Context(), strings.NewReader(file), store.RestoreOptions{})
		var e *realm.Error
		if !errors.As(err, &e) {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
	}
	if err := restore(t, target, lines); err != nil { // nothing of all that stayed
		t.Errorf("the whole file, afterwards: %v", err)
	}
}

func TestRestoreOfANewerSchema(t *testing.T) {
	lines := backup(t, storetest.SQLite(t))
	var header struct{ Schema int }
	if err := json.Unmarshal([]byte(lines[0]), &header); err != nil {
		t.Fatal(err)
	}
	lines[0] = strings.Replace(lines[0], fmt.Sprintf(`"schema":%d`, header.Schema), `"schema":99`, 1)
	s := storetest.OpenDSN(t, store.Options{DSN: storetest.DSN(t, "sqlite")})
	err := restore(t, s, lines)
	if e := realm.AsError(err); e.Code != realm.CodeConflict || !strings.Contains(e.Message, "newer") {
		t.Errorf("a newer schema: %v", err)
	}
}

// The backup of a store under traffic is of one instant: as many change rows as
// its version says.
func TestBackupUnderTraffic(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			for ctx.Err() == nil {
				_ = s.Tx(ctx, func(r store.Repos) error { return r.Changes.Bump(ctx, store.KindUser, 1) })
			}
		}()
		for range size(20) {
			changes, version := 0, ""
			table := ""
			for _, line := range backup(t, s) {
				switch {
				case strings.HasPrefix(line, `{"table":`):
					table = line
				case strings.Contains(table, `"changes"`) && line[0] == '[':
					changes++
				case strings.Contains(table, `"versions"`) && line[0] == '[':
					version = strings.TrimSpace(line)
				}
			}
			if want := fmt.Sprintf(`["changes",%d]`, changes); version != want {
				t.Errorf("%d changes beside version %s", changes, version)
			}
		}
		cancel()
		<-done
	})
}

func TestBackupOfNothing(t *testing.T) {
	s := storetest.OpenDSN(t, store.Options{DSN: storetest.DSN(t, "sqlite")})
	if err := s.Backup(t.Context(), &bytes.Buffer{}); !strings.Contains(realm.AsError(err).Message, "migrate up") {
		t.Errorf("backup of a database without tables: %v", err)
	}
}
