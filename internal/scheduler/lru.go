package scheduler

import "container/list"

// lru is a map that forgets what was not used for longest when it is full.
type lru[K comparable, V any] struct {
	max     int
	entries map[K]*list.Element
	order   list.List // the latest used first; values are *entry[K, V]
	forgot  func(V)   // nil, or hears of each that had to go
}

type entry[K comparable, V any] struct {
	key   K
	value V
}

func (l *lru[K, V]) init(max int, forgot func(V)) {
	l.max, l.forgot = max, forgot
	l.entries = make(map[K]*list.Element)
	l.order.Init()
}

// get finds a value and marks it used.
func (l *lru[K, V]) get(k K) (V, bool) {
	e, ok := l.entries[k]
	if !ok {
		var none V
		return none, false
	}
	l.order.MoveToFront(e)
	return e.Value.(*entry[K, V]).value, true
}

// crowded tells whether it matters what is used: something may soon have to go.
func (l *lru[K, V]) crowded() bool { return len(l.entries) > l.max/2 }

// put sets a value, and lets the one go that was not used for longest if there is
// no more room.
func (l *lru[K, V]) put(k K, v V) {
	if e, ok := l.entries[k]; ok {
		e.Value.(*entry[K, V]).value = v
		l.order.MoveToFront(e)
		return
	}
	l.entries[k] = l.order.PushFront(&entry[K, V]{k, v})
	if len(l.entries) <= l.max {
		return
	}
	oldest := l.order.Back()
	l.order.Remove(oldest)
	gone := oldest.Value.(*entry[K, V])
	delete(l.entries, gone.key)
	if l.forgot != nil {
		l.forgot(gone.value)
	}
}

// deleteIf removes what a condition holds for.
func (l *lru[K, V]) deleteIf(is func(K, V) bool) {
	for k, e := range l.entries {
		if v := e.Value.(*entry[K, V]).value; is(k, v) {
			l.order.Remove(e)
			delete(l.entries, k)
			if l.forgot != nil {
				l.forgot(v)
			}
		}
	}
}

// all visits every value, the latest used first.
func (l *lru[K, V]) all(visit func(K, V)) {
	for e := l.order.Front(); e != nil; e = e.Next() {
		one := e.Value.(*entry[K, V])
		visit(one.key, one.value)
	}
}
