package catalog

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"realms/internal/realm"
	"realms/internal/store"
)

// Options of New.
type Options struct {
	Store *store.Store
	Now   func() time.Time // nil: time.Now
	Log   *slog.Logger     // nil: nothing is logged
}

// Service publishes the catalogue and holds the verbs that change it.
type Service struct {
	store *store.Store
	now   func() time.Time
	log   *slog.Logger

	building sync.Mutex          // one read and publication at a time, so versions only grow
	lost     map[realm.ID]string // what could not be read, and why; under building
	loaded   atomic.Bool
	snapshot atomic.Pointer[realm.Snapshot]
}

// New makes a service whose snapshot is empty until Load.
func New(o Options) *Service {
	s := &Service{store: o.Store, now: o.Now, log: o.Log}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.snapshot.Store(realm.NewSnapshot(0, nil, nil, nil))
	return s
}

// Snapshot is the catalogue as it was last published; never nil.
func (s *Service) Snapshot() *realm.Snapshot { return s.snapshot.Load() }

// Load reads the whole catalogue and publishes it. When it fails the snapshot
// stays as it was.
func (s *Service) Load(ctx context.Context) error {
	s.building.Lock()
	defer s.building.Unlock()
	state, err := s.State(ctx)
	if err != nil {
		return fmt.Errorf("load the catalogue: %w", err)
	}
	s.sayLost(ctx, state)
	s.snapshot.Store(realm.NewSnapshot(state.Version, state.Groups, state.Models, state.Channels))
	s.loaded.Store(true)
	return nil
}

// sayLost says once of each channel and credential that it could not be read, and
// again when that has another reason.
func (s *Service) sayLost(ctx context.Context, state *State) {
	lost := make(map[realm.ID]string)
	say := func(id realm.ID, err error, about ...any) {
		if err == nil {
			return
		}
		if lost[id] = err.Error(); lost[id] != s.lost[id] {
			s.log.ErrorContext(ctx, "out of use: a secret of it cannot be read", append(about, "error", err)...)
		}
	}
	for _, ch := range state.Channels {
		say(ch.ID, ch.Unreadable, "channel", ch.Name)
		for _, ep := range ch.Endpoints {
			for _, cr := range ep.Credentials {
				say(cr.ID, cr.Unreadable, "channel", ch.Name, "credential", cr.Name)
			}
		}
	}
	s.lost = lost
}

// State is the whole catalogue as the store has it now.
func (s *Service) State(ctx context.Context) (*State, error) {
	var state *State
	err := s.store.View(ctx, func(r store.Repos) (err error) {
		state, err = Read(ctx, r)
		return err
	})
	return state, err
}

// Apply publishes anew if any of the changes is about the catalogue.
func (s *Service) Apply(ctx context.Context, changes []store.Change) error {
	newest := int64(0)
	for _, c := range changes {
		switch c.Kind {
		case store.KindGroup, store.KindModel, store.KindChannel, store.KindEndpoint, store.KindCredential:
			newest = max(newest, c.Version)
		}
	}
	if newest == 0 || newest <= s.Snapshot().Version {
		return nil // nothing of ours, or a verb of this process has published it already
	}
	return s.Load(ctx)
}

// edit is every public verb: the inner one in a transaction, then, where a
// snapshot is in use, its publication without waiting for the change feed.
func (s *Service) edit(ctx context.Context, actor string, verb func(Inner) ([]store.Mutation, error)) ([]store.Mutation, error) {
	var done []store.Mutation
	err := s.store.Tx(ctx, func(r store.Repos) error {
		if err := r.Changes.Lock(ctx); err != nil {
			return err
		}
		var err error
		done, err = verb(Inner{Repos: r, Actor: actor, Now: s.now()})
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(done) > 0 && s.loaded.Load() {
		if err := s.Load(ctx); err != nil {
			s.log.WarnContext(ctx, "catalogue not republished at once; the change feed will", "error", err)
		}
	}
	return done, nil
}
