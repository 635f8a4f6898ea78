package store_test

import (
	"fmt"
	"testing"
	"time"

	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/store/storetest"
)

// BenchmarkInsertBatch is the cost of a request's row, its share of the commit
// included; ns/op is a row's.
func BenchmarkInsertBatch(b *testing.B) {
	for _, size := range []int{1, 50, 500, 2000} {
		b.Run(fmt.Sprintf("rows=%d", size), func(b *testing.B) {
			s := storetest.SQLite(b)
			start := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
			records := make([]realm.RequestRecord, size)
			b.ReportAllocs()
			n := 0
			for n < b.N {
				for i := range records {
					n++
					at := start.Add(time.Duration(n) * time.Millisecond)
					records[i] = realm.RequestRecord{
						ID: realm.NewRequestID(at, uint16(n), uint64(n)*0x9E3779B97F4A7C15), StartedAt: at, UserID: realm.ID(1<<50 + n*7919%100), TokenID: 1 << 51,
						Operation: "chat.completions", Model: "gpt-5.5", Stream: true, Status: 200, Ended: realm.EndedCompleted, Cause: realm.CauseOK,
						Group: 1, Channel: 1 << 52, Endpoint: 1 << 53, Credential: 1 << 54, UpstreamModel: "gpt-5.5-mini", Attempts: 1,
						Usage: realm.Usage{Input: 1000, Cached: 512, Output: 300, Source: realm.UsageUpstream}, Duration: 2 * time.Second, FirstByte: 300 * time.Millisecond,
					}
				}
				err := s.Tx(b.Context(), func(r store.Repos) error { return r.Requests.InsertBatch(b.Context(), records) })
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
