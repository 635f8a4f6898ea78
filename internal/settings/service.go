package settings

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"realms/internal/realm"
	"realms/internal/store"
)

// Options of New.
type Options struct {
	Store    *store.Store
	SelfMode bool         // self_mode.enable of the configuration
	Log      *slog.Logger // nil: nothing is logged
}

// Service publishes the settings and holds the verb that changes them. It is
// safe for concurrent use.
type Service struct {
	store    *store.Store
	selfMode bool
	log      *slog.Logger

	loading sync.Mutex // one reading at a time, so the last one read is the last one put
	state   atomic.Pointer[FeatureState]
}

// New makes a service whose state is what the configuration alone says.
func New(o Options) *Service {
	s := &Service{store: o.Store, selfMode: o.SelfMode, log: o.Log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	byDefault := compute(o.SelfMode, func(Feature) bool { return false })
	s.state.Store(&byDefault)
	return s
}

// State is what is on and off now.
func (s *Service) State() FeatureState { return *s.state.Load() }

// Load reads the settings anew. When it fails the state stays as it was.
func (s *Service) Load(ctx context.Context) error {
	s.loading.Lock()
	defer s.loading.Unlock()
	values, err := s.store.Read().Settings.All(ctx)
	if err != nil {
		return fmt.Errorf("load the settings: %w", err)
	}
	state := compute(s.selfMode, func(f Feature) bool { return s.disabled(ctx, values, f) })
	state.codexAccepted = values[codexAccepted] == codexYes
	s.state.Store(&state)
	return nil
}

// disabled reads one switch. What is no truth value was not written by Set: the
// feature stays as it is by default, and the log says so.
func (s *Service) disabled(ctx context.Context, values map[string]string, f Feature) bool {
	text, ok := values[f.Setting()]
	if !ok {
		return false
	}
	off, err := strconv.ParseBool(text)
	if err != nil {
		s.log.WarnContext(ctx, "setting ignored: true or false is expected", "setting", f.Setting())
	}
	return off
}

// Apply reads the settings anew if any of the changes is about them.
func (s *Service) Apply(ctx context.Context, changes []store.Change) error {
	if slices.ContainsFunc(changes, func(c store.Change) bool { return c.Kind == store.KindSetting }) {
		return s.Load(ctx)
	}
	return nil
}

// Inner is the verb over one transaction.
type Inner struct {
	Repos store.Repos
	Actor string // for the audit row: "cli", a user's id
}

// Set gives a setting a value; the same value again changes nothing.
func (x Inner) Set(ctx context.Context, name, value string) ([]store.Mutation, error) {
	value, err := check(name, value)
	if err != nil {
		return nil, err
	}
	old, err := x.Repos.Settings.Get(ctx, name)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("read setting: %w", err)
	}
	if old == value {
		return nil, nil
	}
	return x.write(ctx, name, old, value)
}

// write puts a value that differs from the old one, with its audit row.
func (x Inner) write(ctx context.Context, name, old, value string) ([]store.Mutation, error) {
	if err := x.Repos.Settings.Set(ctx, name, value); err != nil {
		return nil, fmt.Errorf("write setting: %w", err)
	}
	m := store.Mutation{
		Verb: "set", Kind: store.KindSetting, Name: name,
		Fields: []store.FieldChange{{Field: name, Before: old, After: value}},
	}
	if err := x.Repos.Record(ctx, x.Actor, m); err != nil {
		return nil, fmt.Errorf("set setting: %w", err)
	}
	return []store.Mutation{m}, nil
}

// check is the value as it is stored, or what is wrong with it.
func check(name, value string) (string, error) {
	if f, ok := strings.CutPrefix(name, settingPrefix); !ok || bit(Feature(f)) == 0 {
		return "", &realm.Error{Code: realm.CodeNotFound, Field: "name", Message: fmt.Sprintf(
			"There is no setting named %q; there are %s.", name, strings.Join(names(), ", "))}
	}
	off, err := strconv.ParseBool(strings.TrimSpace(value))
	if err != nil {
		return "", realm.Invalid("value", fmt.Sprintf("%q is neither true nor false.", value))
	}
	return strconv.FormatBool(off), nil
}

func names() []string {
	list := make([]string, 0, len(features))
	for _, f := range features {
		list = append(list, f.Setting())
	}
	return list
}

// Set is Inner.Set in a transaction of its own.
func (s *Service) Set(ctx context.Context, actor, name, value string) ([]store.Mutation, error) {
	return s.edit(ctx, actor, func(x Inner) ([]store.Mutation, error) { return x.Set(ctx, name, value) })
}

// edit is every verb: the inner one in a transaction, then the settings read anew
// without waiting for the change feed.
func (s *Service) edit(ctx context.Context, actor string, verb func(Inner) ([]store.Mutation, error)) ([]store.Mutation, error) {
	var done []store.Mutation
	err := s.store.Tx(ctx, func(r store.Repos) error {
		if err := r.Changes.Lock(ctx); err != nil {
			return err
		}
		var err error
		done, err = verb(Inner{Repos: r, Actor: actor})
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(done) > 0 {
		if err := s.Load(ctx); err != nil {
			s.log.WarnContext(ctx, "settings not read again at once; the change feed will", "error", err)
		}
	}
	return done, nil
}

// SetFeature switches a feature on or off. What the form forces off stays off.
func (s *Service) SetFeature(ctx context.Context, actor string, f Feature, enabled bool) ([]store.Mutation, error) {
	return s.Set(ctx, actor, f.Setting(), strconv.FormatBool(!enabled))
}
