package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"realms/internal/realm"
)

// Objects is the table of who owns what an upstream keeps.
type Objects struct{ h handle }

const (
	selectObject     = "SELECT user_id, credential_id, created_at FROM objects WHERE id = ? AND user_id = ?"
	deleteObject     = "DELETE FROM objects WHERE id = ? AND user_id = ?"
	selectOldObjects = "SELECT id FROM objects WHERE created_at < ? ORDER BY created_at LIMIT ?"
	deleteObjects    = "DELETE FROM objects WHERE id IN "
)

// objectKey is an object's id as it is stored. Upstreams choose ids, so one that
// a key column cannot tell apart from others (too long, spaces at the end, not
// plain ASCII) is stored as its hash.
func objectKey(id string) string {
	plain := len(id) > 0 && len(id) <= maxName
	for i := 0; plain && i < len(id); i++ {
		plain = id[i] > ' ' && id[i] < 0x7f
	}
	if plain {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Get finds an object of the user. Another user's and a missing one are the same
// ErrNotFound.
func (r Objects) Get(ctx context.Context, id string, user realm.ID) (realm.Object, error) {
	return one(ctx, r.h, func(row scanner) (realm.Object, error) {
		o := realm.Object{ID: id}
		var created int64
		err := row.Scan(&o.UserID, &o.Credential, &created)
		o.CreatedAt = fromMillis(created)
		return o, err
	}, selectObject, objectKey(id), user)
}

// Insert adds objects; one that is there already is left as it is.
func (r Objects) Insert(ctx context.Context, objects []realm.Object) error {
	b := batch{h: r.h}
	b.add(objects)
	return b.flush(ctx, insertObjects, "id", objectColumns)
}

// Delete removes an object of the user.
func (r Objects) Delete(ctx context.Context, id string, user realm.ID) error {
	return r.h.execOne(ctx, deleteObject, objectKey(id), user)
}

// DeleteBefore removes up to limit of the oldest objects made before t, and tells
// how many.
func (r Objects) DeleteBefore(ctx context.Context, t time.Time, limit int) (int64, error) {
	keys, err := list(ctx, r.h, readText, selectOldObjects, millis(t), limit)
	if err != nil {
		return 0, err
	}
	return r.h.deleteIn(ctx, deleteObjects, keys)
}
