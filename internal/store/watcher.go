package store

import (
	"context"
	"log/slog"
	"time"
)

// WatcherOptions of NewWatcher.
type WatcherOptions struct {
	Store *Store
	// From is Read().Changes.Version from before the listeners loaded: changes
	// after it are told.
	From int64
	// Interval between polls; 0: 500 ms.
	Interval time.Duration
	// OnChanges hears of changes in version order, at most a thousand at a time.
	// When it fails they come again with the next poll.
	OnChanges func(ctx context.Context, changes []Change) error
	// OnReload is called instead when changes were missed (pruned, or the store
	// was replaced by an older one): everything must be read again.
	OnReload func(ctx context.Context) error
	// Log hears of failures; nil: nothing is logged.
	Log *slog.Logger
}

// Watcher follows the change feed. Exactly one Run may be active.
type Watcher struct {
	o        WatcherOptions
	poke     chan struct{}
	position int64 // the last version that was told
	failing  bool
}

// NewWatcher makes a watcher that starts after o.From.
func NewWatcher(o WatcherOptions) *Watcher {
	if o.Interval <= 0 {
		o.Interval = 500 * time.Millisecond
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Watcher{o: o, poke: make(chan struct{}, 1), position: o.From}
}

// Run polls until ctx ends and returns its error. A failure, be it the store's or
// a callback's, is logged once and tried again.
func (w *Watcher) Run(ctx context.Context) error {
	tick := time.NewTicker(w.o.Interval)
	defer tick.Stop()
	for {
		w.note(ctx, w.poll(ctx))
		select {
		case <-tick.C:
		case <-w.poke:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Poke makes Run poll now. It never blocks.
func (w *Watcher) Poke() {
	select {
	case w.poke <- struct{}{}:
	default: // one is waiting already, and will see this change too
	}
}

// note logs the first of several failures, and their end.
func (w *Watcher) note(ctx context.Context, err error) {
	switch {
	case ctx.Err() != nil:
	case err != nil && !w.failing:
		w.failing = true
		w.o.Log.WarnContext(ctx, "changes cannot be followed, trying again", "error", err, "version", w.position)
	case err == nil && w.failing:
		w.failing = false
		w.o.Log.InfoContext(ctx, "changes are followed again", "version", w.position)
	}
}

// changesPerCall is the most that OnChanges hears at a time.
const changesPerCall = 1000

// poll tells what is new. The position moves only past what was told.
func (w *Watcher) poll(ctx context.Context) error {
	changes := w.o.Store.Read().Changes
	version, err := changes.Version(ctx)
	if err != nil {
		return err
	}
	if version < w.position { // the store was replaced
		return w.reload(ctx, version)
	}
	for w.position < version {
		next, err := changes.Since(ctx, w.position, changesPerCall)
		if err != nil {
			return err
		}
		// Pruning takes the oldest, so one look at the first tells.
		if len(next) == 0 || next[0].Version != w.position+1 {
			return w.reload(ctx, version)
		}
		if err := w.o.OnChanges(ctx, next); err != nil {
			return err
		}
		w.position = next[len(next)-1].Version
	}
	return nil
}

// reload: version was read before, so what changes meanwhile is told afterwards.
func (w *Watcher) reload(ctx context.Context, version int64) error {
	if err := w.o.OnReload(ctx); err != nil {
		return err
	}
	w.position = version
	return nil
}
