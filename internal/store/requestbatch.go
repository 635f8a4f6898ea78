package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"realms/internal/realm"
)

const (
	insertRequests = "requests (id, started_at, user_id, token_id, model, channel_id, credential_id, status, ended, input_tokens, output_tokens, duration_ms, detail) VALUES "
	insertAttempts = "attempts (request_id, number, started_at, channel_id, credential_id, model, status, cause, duration_ms, detail) VALUES "
	insertObjects  = "objects (id, user_id, credential_id, created_at) VALUES "

	requestColumns = 13
	attemptColumns = 10
	objectColumns  = 4

	maxWord = 40 // characters, of a VARCHAR(40): a word of a closed set

	// rowsPerInsert: past some two hundred rows a statement costs nothing less a
	// row, and this stays far below both engines' limits on parameters and size.
	rowsPerInsert = 250

	usualText = 384 // bytes of a request's id and detail
)

// InsertBatch adds the rows of requests, of their attempts and of the objects
// they made. A row that is there already is left as it is, so a batch whose
// commit was in doubt is simply inserted again.
//
// Texts that came from a client or an upstream are cut to size and made valid
// UTF-8, so that no record can keep its batch from being stored. Instants and
// durations are kept to the millisecond.
func (r Requests) InsertBatch(ctx context.Context, records []realm.RequestRecord) error {
	n := min(rowsPerInsert, len(records))
	b := batch{h: r.h, text: make([]byte, 0, n*usualText), ends: make([]int, 0, 2*n), args: make([]any, 0, n*requestColumns)}
	for len(records) > 0 {
		part := records[:min(rowsPerInsert, len(records))]
		records = records[len(part):]
		if err := b.insert(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

// batch holds what one insert after the other can use again.
type batch struct {
	h    handle
	text []byte // ids and details of the rows at hand, one after the other
	ends []int
	args []any
}

func (b *batch) insert(ctx context.Context, records []realm.RequestRecord) error {
	if err := b.requests(ctx, records); err != nil {
		return fmt.Errorf("insert requests: %w", err)
	}
	if err := b.attempts(ctx, records); err != nil {
		return fmt.Errorf("insert attempts: %w", err)
	}
	b.reset()
	for i := range records {
		b.add(records[i].Objects)
	}
	if err := b.flush(ctx, insertObjects, "id", objectColumns); err != nil {
		return fmt.Errorf("insert objects: %w", err)
	}
	return nil
}

// mark ends a text that was appended to b.text.
func (b *batch) mark() { b.ends = append(b.ends, len(b.text)) }

// texts gives what was marked, in order, as parts of one string: one allocation
// for all the rows of a statement.
func (b *batch) texts() func() string {
	all, start, i := string(b.text), 0, 0
	return func() string {
		s := all[start:b.ends[i]]
		start, i = b.ends[i], i+1
		return s
	}
}

func (b *batch) reset() { b.text, b.ends, b.args = b.text[:0], b.ends[:0], b.args[:0] }

func (b *batch) requests(ctx context.Context, records []realm.RequestRecord) error {
	b.reset()
	for i := range records {
		b.text = append(b.text, records[i].ID.String()...)
		b.mark()
		b.text = appendRequestDetail(b.text, &records[i])
		b.mark()
	}
	next := b.texts()
	for i := range records {
		r := &records[i]
		b.args = append(b.args, next(), millis(r.StartedAt), int64(r.UserID), int64(r.TokenID), clip(r.Model, maxName),
			int64(r.Channel), int64(r.Credential), int64(r.Status), clip(string(r.Ended), maxWord), r.Usage.Input, r.Usage.Output,
			durationMillis(r.Duration), next())
	}
	return b.flush(ctx, insertRequests, "id", requestColumns)
}

func (b *batch) attempts(ctx context.Context, records []realm.RequestRecord) error {
	b.reset()
	for i := range records {
		for j := range records[i].Tries {
			b.text = append(b.text, records[i].ID.String()...)
			b.mark()
			b.text = appendAttemptDetail(b.text, &records[i].Tries[j])
			b.mark()
		}
	}
	next := b.texts()
	for i := range records {
		for j := range records[i].Tries {
			a := &records[i].Tries[j]
			b.args = append(b.args, next(), int64(a.Number), millis(a.StartedAt), int64(a.Channel), int64(a.Credential),
				clip(a.Model, maxName), int64(a.Status), clip(string(a.Cause), maxWord), durationMillis(a.Duration), next())
		}
	}
	return b.flush(ctx, insertAttempts, "request_id", attemptColumns)
}

// add appends the columns of objects to b.args.
func (b *batch) add(objects []realm.Object) {
	for _, o := range objects {
		b.args = append(b.args, objectKey(o.ID), int64(o.UserID), int64(o.Credential), millis(o.CreatedAt))
	}
}

// flush inserts what is in b.args, so many columns a row.
func (b *batch) flush(ctx context.Context, table, key string, columns int) error {
	head, tail := b.h.dialect.insertOnce(key)
	for args := b.args; len(args) > 0; {
		n := min(rowsPerInsert*columns, len(args))
		if _, err := b.h.exec(ctx, head+table+tuples(n/columns, columns)+tail, args[:n]...); err != nil {
			return err
		}
		args = args[n:]
	}
	return nil
}

// tuples is so many "(?,?)" of so many columns. A full statement's are cut from
// what was made once.
func tuples(rows, columns int) string {
	width := 2*columns + 2 // "(?,?),"
	switch columns {
	case requestColumns:
		return requestTuples[:rows*width-1]
	case attemptColumns:
		return attemptTuples[:rows*width-1]
	default:
		return objectTuples[:rows*width-1]
	}
}

var (
	requestTuples = repeatTuple(requestColumns)
	attemptTuples = repeatTuple(attemptColumns)
	objectTuples  = repeatTuple(objectColumns)
)

func repeatTuple(columns int) string {
	return strings.Repeat("(?"+strings.Repeat(",?", columns-1)+"),", rowsPerInsert)
}

// durationMillis rounds up, so that what took time does not read as nothing.
func durationMillis(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}
