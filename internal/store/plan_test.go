package store_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/store/storetest"
)

// A page of requests costs what the page holds, however many there are: both
// bounds of its index are used, and nothing is sorted but equal instants.
func TestPlansOfPages(t *testing.T) {
	cursor := store.RequestCursor{StartedAt: time.UnixMilli(1), ID: realm.RequestID{1}}
	dsn := storetest.DSN(t, "sqlite")
	var mu sync.Mutex
	var last string
	s := open(t, dsn, func(text string) {
		mu.Lock()
		defer mu.Unlock()
		last = text
	})
	migrate(t, s)
	for _, tt := range []struct {
		page store.RequestPage
		want string
	}{
		{store.RequestPage{}, "USING INDEX requests_started (started_at<?)"},
		{store.RequestPage{Before: cursor}, "USING INDEX requests_started (started_at<?)"},
		{store.RequestPage{User: 1}, "USING INDEX requests_user_started (user_id=? AND started_at<?)"},
		{store.RequestPage{User: 1, Before: cursor}, "USING INDEX requests_user_started (user_id=? AND started_at<?)"},
	} {
		if _, err := s.Read().Requests.List(t.Context(), tt.page); err != nil {
			t.Fatal(err)
		}
		plan := explain(t, dsn, last)
		if !strings.Contains(plan[0], tt.want) || slices.Contains(plan, "USE TEMP B-TREE FOR ORDER BY") {
			t.Errorf("%s\nplan: %q, want %q", last, plan, tt.want)
		}
	}
}

// explain is SQLite's plan of a statement.
func explain(t *testing.T, dsn, text string) (plan []string) {
	t.Helper()
	args := make([]any, strings.Count(text, "?"))
	for i := range args {
		args[i] = 1
	}
	rows, err := raw(t, dsn).QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+text, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id, parent, unused int
		var step string
		if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
			t.Fatal(err)
		}
		plan = append(plan, step)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return plan
}
