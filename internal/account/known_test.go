package account

import (
	"testing"

	"realms/internal/realm"
)

func known1(token, user realm.ID, hash int) entry {
	return entry{hashOf(hash), &realm.Principal{TokenID: token, UserID: user}}
}

func (k *known) has(n int) bool {
	h := hashOf(n)
	return k.get(&h) != nil
}

// size counts what is kept, in the shards and in the indexes.
func (k *known) size() (tokens, hashes, owned, owners int) {
	for i := range k.shards {
		tokens += len(k.shards[i].m)
	}
	for _, o := range k.owned {
		owned += len(o)
	}
	return tokens, len(k.hashes), owned, len(k.owners)
}

func (k *known) check(t *testing.T, want int) {
	t.Helper()
	tokens, hashes, owned, owners := k.size()
	if tokens != want || hashes != want || owned != want || owners != want {
		t.Errorf("%d tokens, %d hashes, %d owned, %d owners; want %d of each", tokens, hashes, owned, owners, want)
	}
}

func TestKnownReplaceAndRemove(t *testing.T) {
	k := newKnown()
	k.remove(1)
	k.replace(known1(1, 10, 1))
	k.replace(known1(2, 10, 2))
	k.replace(known1(1, 10, 3)) // the same token under another hash
	if k.has(1) || !k.has(2) || !k.has(3) {
		t.Errorf("hashes 1, 2, 3: %v %v %v", k.has(1), k.has(2), k.has(3))
	}
	k.check(t, 2)
	k.remove(2)
	k.remove(2)
	k.check(t, 1)
	k.remove(1)
	k.check(t, 0)
	if len(k.owned) != 0 {
		t.Error("a user without tokens is still indexed")
	}
}

func TestKnownSetMakesAUsersTokensExact(t *testing.T) {
	k := newKnown()
	k.load([]entry{known1(1, 10, 1), known1(2, 10, 2), known1(3, 20, 3)})
	k.check(t, 3)
	k.set(10, []entry{known1(2, 10, 2), known1(4, 10, 4)})
	if k.has(1) || !k.has(2) || !k.has(3) || !k.has(4) {
		t.Errorf("hashes 1 to 4: %v %v %v %v", k.has(1), k.has(2), k.has(3), k.has(4))
	}
	k.set(10, nil)
	k.check(t, 1)
	k.load(nil)
	k.check(t, 0)
}

func TestKnownPublishRefusesWhatAnApplyOvertook(t *testing.T) {
	k := newKnown()
	generation := k.current()
	if !k.publish(generation, known1(1, 10, 1)) {
		t.Error("a fill that nothing overtook was refused")
	}
	k.begin()
	if k.publish(generation, known1(2, 10, 2)) || k.has(2) {
		t.Error("a fill that an Apply overtook was kept")
	}
}
