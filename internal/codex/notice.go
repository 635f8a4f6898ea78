package codex

import (
	"context"
	"time"
)

type noticeKey struct{}

// WithNotice is a context under which f hears, in sentences, what a person should
// know who waits for a verb: what it waits for, and what did not go as well as its
// result says. It may be called from any goroutine.
func WithNotice(ctx context.Context, f func(sentence string)) context.Context {
	return context.WithValue(ctx, noticeKey{}, f)
}

// notice tells the person who waits, if one does.
func notice(ctx context.Context, sentence string) {
	if f, ok := ctx.Value(noticeKey{}).(func(string)); ok {
		f(sentence)
	}
}

// seeThrough is backstop for the part of a sign-in that cannot be done again: who
// gives up meanwhile is told that it goes on.
func seeThrough(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	forget := context.AfterFunc(ctx, func() {
		notice(ctx, "It is too late to stop: the sign-in is being finished. To end this program now would lose it.")
	})
	last, cancel := backstop(ctx, d)
	return last, func() { forget(); cancel() }
}
