package store

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"realms/internal/realm"
)

// Requests is the tables of requests and attempts. Their rows are written once
// (InsertBatch) and refer to nothing: a request outlives its channel and user.
type Requests struct{ h handle }

const (
	selectRequests = "SELECT id, started_at, user_id, token_id, model, channel_id, credential_id, status, ended, input_tokens, output_tokens, duration_ms, detail FROM requests"
	selectAttempts = "SELECT number, started_at, channel_id, credential_id, model, status, cause, duration_ms, detail FROM attempts WHERE request_id = ? ORDER BY number"
	newestFirst    = " ORDER BY started_at DESC, id DESC LIMIT ?"
	// The first half is for the index, which cannot use the second.
	beforeCursor = "started_at <= ? AND (started_at < ? OR id < ?)"

	selectOldRequests = "SELECT id FROM requests WHERE started_at < ? ORDER BY started_at LIMIT ?"
	deleteRequests    = "DELETE FROM requests WHERE id IN "
	deleteAttempts    = "DELETE FROM attempts WHERE request_id IN "
)

// RequestPage asks for requests, newest first.
type RequestPage struct {
	User   realm.ID      // zero: everybody's
	Before RequestCursor // zero: from the newest
	Limit  int           // 0: 100; at most 1000
}

// RequestCursor is the last row of the page before.
type RequestCursor struct {
	StartedAt time.Time
	ID        realm.RequestID
}

// Get finds a request with its Tries; Objects stays nil.
func (r Requests) Get(ctx context.Context, id realm.RequestID) (realm.RequestRecord, error) {
	record, err := one(ctx, r.h, readRequest, selectRequests+" WHERE id = ?", id.String())
	if err != nil {
		return record, err
	}
	record.Tries, err = list(ctx, r.h, readAttempt, selectAttempts, id.String())
	return record, err
}

// List is a page, newest first, without Tries and Objects. The first page has a
// cursor too, past everything: without a bound SQLite sorts the whole table.
func (r Requests) List(ctx context.Context, page RequestPage) ([]realm.RequestRecord, error) {
	at, id := int64(math.MaxInt64), ""
	if !page.Before.ID.IsZero() {
		at, id = millis(page.Before.StartedAt), page.Before.ID.String()
	}
	if page.User == 0 {
		return list(ctx, r.h, readRequest, selectRequests+" WHERE "+beforeCursor+newestFirst, at, at, id, pageSize(page.Limit))
	}
	return list(ctx, r.h, readRequest, selectRequests+" WHERE user_id = ? AND "+beforeCursor+newestFirst, page.User, at, at, id, pageSize(page.Limit))
}

func pageSize(limit int) int {
	if limit <= 0 {
		return 100
	}
	return min(limit, 1000)
}

// DeleteBefore removes up to limit of the oldest requests that started before t,
// with their attempts, and tells how many.
func (r Requests) DeleteBefore(ctx context.Context, t time.Time, limit int) (int64, error) {
	ids, err := list(ctx, r.h, readText, selectOldRequests, millis(t), limit)
	if err != nil {
		return 0, err
	}
	if _, err := r.h.deleteIn(ctx, deleteAttempts, ids); err != nil {
		return 0, err
	}
	return r.h.deleteIn(ctx, deleteRequests, ids)
}

func readText(row scanner) (string, error) {
	var s string
	return s, row.Scan(&s)
}

// deleteIn runs a DELETE that ends with IN over keys, a few hundred at a time. The
// keys are selected apart, because MySQL knows no LIMIT inside IN (SELECT …).
func (h handle) deleteIn(ctx context.Context, text string, keys []string) (int64, error) {
	const most = 500
	var deleted int64
	for len(keys) > 0 {
		part := keys[:min(most, len(keys))]
		keys = keys[len(part):]
		args := make([]any, len(part))
		for i, k := range part {
			args[i] = k
		}
		n, err := h.exec(ctx, text+"("+strings.Repeat("?, ", len(part)-1)+"?)", args...)
		if err != nil {
			return deleted, err
		}
		deleted += n
	}
	return deleted, nil
}

func readRequest(row scanner) (realm.RequestRecord, error) {
	var r realm.RequestRecord
	var id, detail string
	var started, duration int64
	err := row.Scan(&id, &started, &r.UserID, &r.TokenID, &r.Model, &r.Channel, &r.Credential,
		&r.Status, &r.Ended, &r.Usage.Input, &r.Usage.Output, &duration, &detail)
	if err != nil {
		return r, err
	}
	if r.ID, err = realm.ParseRequestID(id); err != nil {
		return r, fmt.Errorf("row %q: %w", id, err)
	}
	r.StartedAt, r.Duration = fromMillis(started), fromDurationMillis(duration)
	return r, readRequestDetail(detail, &r)
}

func readAttempt(row scanner) (realm.AttemptRecord, error) {
	var a realm.AttemptRecord
	var detail string
	var started, duration int64
	err := row.Scan(&a.Number, &started, &a.Channel, &a.Credential, &a.Model, &a.Status, &a.Cause, &duration, &detail)
	if err != nil {
		return a, err
	}
	a.StartedAt, a.Duration = fromMillis(started), fromDurationMillis(duration)
	return a, readAttemptDetail(detail, &a)
}

func fromDurationMillis(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }
