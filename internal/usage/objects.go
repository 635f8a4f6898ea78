package usage

import (
	"container/list"
	"context"
	"fmt"
	"sync"
	"time"

	"realms/internal/realm"
)

// ObjectsKept bounds the objects remembered in memory; older ones are read from
// the store.
const ObjectsKept = 50_000

// ObjectLife is how long an object's owner is remembered. OpenAI keeps stored
// responses for 30 days.
const ObjectLife = 30 * 24 * time.Hour

// Objects tells who owns an object that an upstream keeps and which credential
// reaches it. It is safe for concurrent use.
type Objects struct {
	// Load reads an object from the store; realm.CodeNotFound in a *realm.Error
	// when there is none.
	Load func(ctx context.Context, id string, user realm.ID) (realm.Object, error)

	mu    sync.Mutex
	byID  map[string]*list.Element
	order list.List // newest first
}

// Remember keeps an object in memory, so that it is found before its row is
// written. Who is first owns the id.
func (o *Objects) Remember(obj realm.Object) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.byID == nil {
		o.byID = make(map[string]*list.Element)
	}
	if _, ok := o.byID[obj.ID]; ok {
		return
	}
	o.byID[obj.ID] = o.order.PushFront(obj)
	if o.order.Len() > ObjectsKept {
		oldest := o.order.Back()
		delete(o.byID, oldest.Value.(realm.Object).ID)
		o.order.Remove(oldest)
	}
}

// Find gives the user's object. Another user's and an unknown one are the same
// CodeNotFound error.
func (o *Objects) Find(ctx context.Context, id string, user realm.ID) (realm.Object, error) {
	o.mu.Lock()
	el, ok := o.byID[id]
	o.mu.Unlock()
	if ok {
		obj := el.Value.(realm.Object)
		if obj.UserID == user {
			return obj, nil
		}
		return realm.Object{}, NotFound(id)
	}
	return o.Load(ctx, id, user)
}

// NotFound says that the user has no such object.
func NotFound(id string) error {
	return &realm.Error{Code: realm.CodeNotFound, Message: fmt.Sprintf("No object with id '%.100s' was found.", id)}
}
