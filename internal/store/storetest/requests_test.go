package storetest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/store/storetest"
)

// record is the n-th of a series: a minute apart, two users in turn.
func record(n int) realm.RequestRecord {
	started := at.Add(time.Duration(n) * time.Minute)
	return realm.RequestRecord{
		ID: realm.NewRequestID(started, 1, uint64(n)), StartedAt: started, UserID: realm.ID(1 + n%2), TokenID: 3,
		Operation: "chat.completions", Model: "gpt-5.5", Stream: true, Status: 200, Ended: realm.EndedCompleted, Cause: realm.CauseOK,
		Group: 4, Channel: 5, Endpoint: 6, Credential: 7, UpstreamModel: "gpt-5.5-mini",
		Usage:    realm.Usage{Input: 1000, Cached: 10, CacheWrite: 20, Output: 300, Reasoning: 30, Source: realm.UsageUpstream},
		Duration: 2500 * time.Millisecond, FirstByte: 312 * time.Millisecond, Attempts: 1, ClientRequestID: `a"b\c` + "\n",
	}
}

func tried(n int) realm.RequestRecord {
	r := record(n)
	r.Attempts, r.Error = 2, "second time lucky — 界"
	r.Tries = []realm.AttemptRecord{
		{Number: 1, StartedAt: r.StartedAt, Channel: 5, Endpoint: 6, Credential: 8, Model: "m", Status: 503, Cause: realm.CauseServerError, Duration: time.Second, Error: "overloaded"},
		{Number: 2, StartedAt: r.StartedAt.Add(time.Second), Channel: 5, Endpoint: 6, Credential: 7, Model: "m", Status: 200, Cause: realm.CauseOK, Duration: time.Second, FirstByte: time.Millisecond},
	}
	r.Objects = []realm.Object{{ID: fmt.Sprintf("resp_%d", n), UserID: r.UserID, Credential: 7, CreatedAt: r.StartedAt}}
	return r
}

func insertBatch(t testing.TB, s *store.Store, records []realm.RequestRecord) {
	t.Helper()
	write(t, s, func(r store.Repos) error { return r.Requests.InsertBatch(t.Context(), records) })
}

func TestRequestRoundTrip(t *testing.T) {
	bare := realm.RequestRecord{ID: realm.NewRequestID(at, 0, 0), StartedAt: at, Usage: realm.Usage{Input: -1, Output: -1, Source: realm.UsageNone}, Ended: realm.EndedRefused}
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		insertBatch(t, s, nil)
		insertBatch(t, s, []realm.RequestRecord{record(1), tried(2), bare})
		for _, want := range []realm.RequestRecord{record(1), tried(2), bare} {
			want.Objects = nil
			got := must[realm.RequestRecord](t)(s.Read().Requests.Get(t.Context(), want.ID))
			equal(t, "request", got, want)
		}
	})
}

// However often a batch comes again, and with what else, each row is there once
// and as it was first.
func TestInsertBatchAgain(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		changed := tried(1)
		changed.Status, changed.Tries[0].Status = 500, 500
		changed.Objects[0].UserID = 99
		insertBatch(t, s, []realm.RequestRecord{tried(1), tried(2)})
		insertBatch(t, s, []realm.RequestRecord{changed, tried(2), tried(3)})
		insertBatch(t, s, []realm.RequestRecord{tried(3), tried(3)})

		list := must[[]realm.RequestRecord](t)(s.Read().Requests.List(t.Context(), store.RequestPage{}))
		if len(list) != 3 {
			t.Fatalf("%d requests, want 3", len(list))
		}
		got := must[realm.RequestRecord](t)(s.Read().Requests.Get(t.Context(), changed.ID))
		want := tried(1)
		want.Objects = nil
		equal(t, "request", got, want)
		owner := tried(1).Objects[0]
		equal(t, "object", must[realm.Object](t)(s.Read().Objects.Get(t.Context(), owner.ID, owner.UserID)), owner)
		if _, err := s.Read().Objects.Get(t.Context(), owner.ID, 99); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("another user's object: %v, want ErrNotFound", err)
		}
	})
}

func TestLargeBatch(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		n := size(2000)
		var records []realm.RequestRecord
		for i := range n {
			records = append(records, tried(i))
		}
		insertBatch(t, s, records)
		for _, i := range []int{0, n / 2, n - 1} {
			got := must[realm.RequestRecord](t)(s.Read().Requests.Get(t.Context(), records[i].ID))
			want := tried(i)
			want.Objects = nil
			equal(t, "request", got, want)
			must[realm.Object](t)(s.Read().Objects.Get(t.Context(), records[i].Objects[0].ID, records[i].UserID))
		}
	})
}

// What clients and upstreams send must not keep a batch from being stored.
func TestHostileRecords(t *testing.T) {
	var records []realm.RequestRecord
	for i, text := range []string{
		strings.Repeat("x", 1<<20), strings.Repeat("界", 1<<16), "\xff\xfe\xfd", "a\x00b", strings.Repeat("\x01", 1<<16), strings.Repeat(`"\`, 1<<16),
		"trailing   ", "\u2028", "'; DROP TABLE requests; --", "{}", "?", "😀",
	} {
		r := tried(i)
		r.Operation, r.Model, r.UpstreamModel, r.ClientRequestID, r.Error = text, text, text, text, text
		r.Cause, r.Ended, r.Usage.Source = realm.Cause(text), realm.Ended(text), realm.UsageSource(text)
		r.Tries[0].Error, r.Tries[0].Model, r.Tries[0].Cause = text, text, realm.Cause(text)
		r.Objects = []realm.Object{{ID: text, UserID: 1, CreatedAt: at}}
		r.Usage.Output = 1<<63 - 1
		records = append(records, r)
	}
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		insertBatch(t, s, records)
		for _, want := range records {
			got := must[realm.RequestRecord](t)(s.Read().Requests.Get(t.Context(), want.ID))
			if got.Usage != (realm.Usage{Input: 1000, Cached: 10, CacheWrite: 20, Output: 1<<63 - 1, Reasoning: 30, Source: got.Usage.Source}) || len(got.Tries) != 2 {
				t.Errorf("numbers around %.20q: %+v", want.Model, got.Usage)
			}
			if cut := clipped(want.Model); got.Model != cut || got.ClientRequestID != cut {
				t.Errorf("%.20q became %.20q and %.20q", want.Model, got.Model, got.ClientRequestID)
			}
			must[realm.Object](t)(s.Read().Objects.Get(t.Context(), want.Objects[0].ID, 1))
		}
		// Ids that differ only in what a key column does not see stay apart.
		if _, err := s.Read().Objects.Get(t.Context(), "trailing", 1); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("an id without its spaces: %v, want ErrNotFound", err)
		}
	})
}

func TestRequestPages(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		var records, mine []realm.RequestRecord // newest first
		for i := range 25 {
			r := record(i)
			r.StartedAt = at.Add(time.Duration(i/5) * time.Minute) // five share an instant
			r.ID = realm.NewRequestID(r.StartedAt, 0, uint64(i))
			records = append([]realm.RequestRecord{r}, records...)
		}
		for _, r := range records {
			if r.UserID == 2 {
				mine = append(mine, r)
			}
		}
		insertBatch(t, s, records)
		for user, want := range map[realm.ID][]realm.RequestRecord{0: records, 2: mine, 77: nil} {
			var got []realm.RequestRecord
			page := store.RequestPage{User: user, Limit: 3}
			for {
				part := must[[]realm.RequestRecord](t)(s.Read().Requests.List(t.Context(), page))
				if len(part) == 0 {
					break
				}
				got = append(got, part...)
				last := part[len(part)-1]
				page.Before = store.RequestCursor{StartedAt: last.StartedAt, ID: last.ID}
			}
			equal(t, fmt.Sprintf("pages of user %d", user), got, want)
		}
	})
}

func TestRetention(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		var records []realm.RequestRecord
		for i := range 10 {
			records = append(records, tried(i))
		}
		insertBatch(t, s, records)
		cut := records[6].StartedAt
		for _, want := range []int64{4, 2, 0} {
			for what, remove := range map[string]func(r store.Repos) (int64, error){
				"requests": func(r store.Repos) (int64, error) { return r.Requests.DeleteBefore(t.Context(), cut, 4) },
				"objects":  func(r store.Repos) (int64, error) { return r.Objects.DeleteBefore(t.Context(), cut, 4) },
			} {
				var n int64
				write(t, s, func(r store.Repos) (err error) { n, err = remove(r); return err })
				if n != want {
					t.Errorf("%d %s removed, want %d", n, what, want)
				}
			}
		}
		ctx, r := context.Background(), s.Read()
		left := must[[]realm.RequestRecord](t)(r.Requests.List(ctx, store.RequestPage{}))
		if len(left) != 4 || left[3].ID != records[6].ID {
			t.Errorf("%d left", len(left))
		}
		if got := must[realm.RequestRecord](t)(r.Requests.Get(ctx, records[6].ID)); len(got.Tries) != 2 {
			t.Errorf("what is left lost its attempts: %+v", got.Tries)
		}
		insertBatch(t, s, []realm.RequestRecord{record(0)}) // with no attempts of the removed one
		if got := must[realm.RequestRecord](t)(r.Requests.Get(ctx, record(0).ID)); len(got.Tries) != 0 {
			t.Errorf("attempts outlived their request: %+v", got.Tries)
		}
		write(t, s, func(r store.Repos) error { return r.Objects.Delete(ctx, "resp_9", records[9].UserID) })
		if _, err := r.Objects.Get(ctx, "resp_9", records[9].UserID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("deleted object: %v", err)
		}
	})
}

// clipped is what is kept of a text: 190 characters of valid UTF-8 without NUL.
func clipped(s string) string {
	r := []rune(strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "\uFFFD"))
	return string(r[:min(len(r), 190)])
}
