package store

import (
	"context"
	"encoding/json"
	"time"

	"realms/internal/realm"
)

// Audit is the table of who changed what. Its rows are never changed.
type Audit struct{ h handle }

// AuditEntry is one mutation. It never holds a secret.
type AuditEntry struct {
	ID         realm.ID
	At         time.Time // zero: now
	Actor      string    // "command", or a user's id
	Verb       string    // "channel.update"
	ObjectKind string    // a Kind
	ObjectID   realm.ID
	ObjectName string
	Detail     json.RawMessage // what changed; nil: {}
}

// AuditPage asks for entries, newest first.
type AuditPage struct {
	Before realm.ID // the last of the page before; zero: from the newest
	Limit  int      // 0: 100; at most 1000
}

const (
	selectAudit = "SELECT id, at, actor, verb, object_kind, object_id, object_name, detail FROM audit"
	insertAudit = "INSERT INTO audit (id, at, actor, verb, object_kind, object_id, object_name, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)

// Insert adds e, minting e.ID when it is zero.
func (r Audit) Insert(ctx context.Context, e *AuditEntry) error {
	if e.At.IsZero() {
		e.At = r.h.now()
	}
	text := string(e.Detail)
	switch {
	case text == "":
		text = "{}"
	case len(text) > maxText:
		text = `{"omitted":"too long"}` // that it happened counts more than what it was
	}
	if err := checkText("detail", text); err != nil {
		return err
	}
	return r.h.insert(ctx, &e.ID, insertAudit, millis(e.At), clip(e.Actor, maxName), clip(e.Verb, maxName),
		clip(e.ObjectKind, maxWord), e.ObjectID, clip(e.ObjectName, maxName), text)
}

// List is a page, newest first. Ids are minted in time's order, to the
// millisecond.
func (r Audit) List(ctx context.Context, page AuditPage) ([]AuditEntry, error) {
	text, args := selectAudit, []any(nil)
	if page.Before != 0 {
		text, args = text+" WHERE id < ?", append(args, page.Before)
	}
	return list(ctx, r.h, readAudit, text+" ORDER BY id DESC LIMIT ?", append(args, pageSize(page.Limit))...)
}

func readAudit(row scanner) (AuditEntry, error) {
	var e AuditEntry
	var at int64
	var detail string
	err := row.Scan(&e.ID, &at, &e.Actor, &e.Verb, &e.ObjectKind, &e.ObjectID, &e.ObjectName, &detail)
	e.At, e.Detail = fromMillis(at), json.RawMessage(detail)
	return e, err
}
