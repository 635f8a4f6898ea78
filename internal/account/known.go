package account

import (
	"sync"

	"realms/internal/realm"
)

const shardCount = 64

// known is every token that may be used now, by hash. Reading takes one shard's
// read lock and allocates nothing; writing also keeps the two indexes by which a
// changed token or user is found.
type known struct {
	shards [shardCount]shard

	mu sync.Mutex // guards what follows and orders all writing
	// generation grows with every beginning of an Apply or a Load.
	generation uint64
	hashes     map[realm.ID]realm.TokenHash       // by token
	owned      map[realm.ID]map[realm.ID]struct{} // tokens by user
	owners     map[realm.ID]realm.ID              // users by token
}

type shard struct {
	mu sync.RWMutex
	m  map[realm.TokenHash]*realm.Principal
	_  [32]byte // one shard's lock is not on another's cache line
}

// entry is one token as it goes into the map.
type entry struct {
	hash      realm.TokenHash
	principal *realm.Principal
}

func newKnown() *known {
	k := &known{}
	k.reset()
	return k
}

func (k *known) reset() {
	k.hashes = make(map[realm.ID]realm.TokenHash)
	k.owned = make(map[realm.ID]map[realm.ID]struct{})
	k.owners = make(map[realm.ID]realm.ID)
}

// The first byte of a SHA-256 spreads evenly.
func (k *known) shard(hash *realm.TokenHash) *shard { return &k.shards[hash[0]%shardCount] }

// get finds a token; nil means it is not known.
func (k *known) get(hash *realm.TokenHash) *realm.Principal {
	s := k.shard(hash)
	s.mu.RLock()
	p := s.m[*hash]
	s.mu.RUnlock()
	return p
}

// begin announces that rows are about to be read again because they changed: no
// fill that read before this moment is published after it.
func (k *known) begin() {
	k.mu.Lock()
	k.generation++
	k.mu.Unlock()
}

// now is the generation a fill must take before it reads the store.
func (k *known) current() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.generation
}

// publish adds what a miss found, unless an Apply began since the generation was
// taken: what was read then may be what that Apply takes away.
func (k *known) publish(generation uint64, e entry) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.generation != generation {
		return false
	}
	k.put(e)
	return true
}

// set makes the user's tokens exactly these.
func (k *known) set(user realm.ID, entries []entry) {
	k.mu.Lock()
	defer k.mu.Unlock()
	keep := make(map[realm.ID]struct{}, len(entries))
	for _, e := range entries {
		keep[e.principal.TokenID] = struct{}{}
		k.put(e)
	}
	for token := range k.owned[user] {
		if _, ok := keep[token]; !ok {
			k.drop(token)
		}
	}
}

// replace adds or renews one token.
func (k *known) replace(e entry) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.put(e)
}

// remove forgets one token.
func (k *known) remove(token realm.ID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drop(token)
}

// load replaces the whole map.
func (k *known) load(entries []entry) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.reset()
	var maps [shardCount]map[realm.TokenHash]*realm.Principal
	for i := range maps {
		maps[i] = make(map[realm.TokenHash]*realm.Principal, len(entries)/shardCount+1)
	}
	for _, e := range entries {
		maps[e.hash[0]%shardCount][e.hash] = e.principal
		k.index(e)
	}
	for i := range maps {
		s := &k.shards[i]
		s.mu.Lock()
		s.m = maps[i]
		s.mu.Unlock()
	}
}

func (k *known) put(e entry) {
	if old, ok := k.hashes[e.principal.TokenID]; ok && old != e.hash {
		k.drop(e.principal.TokenID)
	}
	k.index(e)
	s := k.shard(&e.hash)
	s.mu.Lock()
	if s.m == nil {
		s.m = make(map[realm.TokenHash]*realm.Principal)
	}
	s.m[e.hash] = e.principal
	s.mu.Unlock()
}

func (k *known) index(e entry) {
	token, user := e.principal.TokenID, e.principal.UserID
	k.hashes[token], k.owners[token] = e.hash, user
	if k.owned[user] == nil {
		k.owned[user] = make(map[realm.ID]struct{})
	}
	k.owned[user][token] = struct{}{}
}

func (k *known) drop(token realm.ID) {
	hash, ok := k.hashes[token]
	if !ok {
		return
	}
	user := k.owners[token]
	delete(k.hashes, token)
	delete(k.owners, token)
	delete(k.owned[user], token)
	if len(k.owned[user]) == 0 {
		delete(k.owned, user)
	}
	s := k.shard(&hash)
	s.mu.Lock()
	delete(s.m, hash)
	s.mu.Unlock()
}
