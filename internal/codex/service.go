package codex

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"realms/internal/catalog"
	"realms/internal/realm"
	"realms/internal/settings"
	"realms/internal/store"
	"realms/internal/upstream/codexauth"
)

// Options of New.
type Options struct {
	Store    *store.Store
	Catalog  *catalog.Service
	Settings *settings.Service
	// HTTP is what a channel's exchanges with the issuer and the backend go through
	// (its proxy, its certificates); nil: one of our own. It hears nil for a channel
	// that is gone.
	HTTP func(*realm.Channel) *http.Client
	// Issuer and Backend are where the provider is; empty: codexauth's defaults.
	Issuer, Backend string
	UserAgent       string                // empty: codexauth's default
	Now             func() time.Time      // nil: time.Now
	Log             *slog.Logger          // nil: nothing is logged
	Registry        prometheus.Registerer // nil: nothing is counted
	// Changed hears of a credential that has another account now than this process
	// knew: what was learnt about it was about the other one. It may be called from
	// any goroutine, with no lock held; nil: nobody wants to know.
	Changed func(credential realm.ID)
	// Renewed hears of the version of the tokens that a credential's account has, each
	// time that this process takes up others. It is called as Changed is.
	Renewed func(credential realm.ID, version int64)
}

// Service keeps the accounts. It is safe for concurrent use. What it does in the
// background ends with Run, or with Close where Run is not called.
type Service struct {
	o       Options
	log     *slog.Logger
	now     func() time.Time
	metrics metrics

	writeTime, patience, patienceSlow time.Duration

	entries sync.Map // realm.ID of a credential → *entry

	// Flights live in base, not in the context of who asked first.
	base    context.Context
	stop    context.CancelFunc
	closing sync.Mutex
	closed  bool
	flights sync.WaitGroup
}

// New makes a service that knows no account until Load; who does without Load has
// each account read at its first use.
func New(o Options) *Service {
	s := &Service{
		o: o, log: o.Log, now: o.Now, metrics: newMetrics(o.Registry),
		writeTime: writeTime, patience: patience, patienceSlow: patienceSlow,
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.o.HTTP == nil {
		own := &http.Client{Timeout: exchangeTime}
		s.o.HTTP = func(*realm.Channel) *http.Client { return own }
	}
	s.base, s.stop = context.WithCancel(context.Background())
	return s
}

// Close waits until what is under way has ended: an exchange with the issuer is
// never given up between its answer and the store, and what the store did not take is
// tried once more. That takes no longer than the exchange may, and the store; who waits
// for another process is sent away at once.
func (s *Service) Close() {
	s.closing.Lock()
	again := s.closed
	s.closed = true
	s.closing.Unlock()
	s.stop()
	s.flights.Wait()
	if !again {
		s.keepLast()
	}
}

// fly runs f in the background unless the service is closed.
func (s *Service) fly(f func()) bool {
	s.closing.Lock()
	defer s.closing.Unlock()
	if s.closed {
		return false
	}
	s.flights.Go(f)
	return true
}

// client speaks for a channel; nil: one that is gone. For one whose settings could not
// be read it speaks to nobody: there may be a proxy among them.
func (s *Service) client(ch *realm.Channel) *codexauth.Client {
	c := &codexauth.Client{Issuer: s.o.Issuer, Backend: s.o.Backend, Now: s.now, UserAgent: s.o.UserAgent}
	if ch != nil && ch.Unreadable != nil {
		c.HTTP = &http.Client{Transport: nowhere{}}
	} else {
		c.HTTP = s.o.HTTP(ch)
	}
	return c
}

// nowhere sends nothing.
type nowhere struct{}

func (nowhere) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("the channel's settings cannot be read")
}

func (s *Service) entry(credential realm.ID) *entry {
	if e, ok := s.entries.Load(credential); ok {
		return e.(*entry)
	}
	e, _ := s.entries.LoadOrStore(credential, &entry{id: credential})
	return e.(*entry)
}

// known is the entry of a credential that was asked for before; nil if none was.
func (s *Service) known(credential realm.ID) *entry {
	if e, ok := s.entries.Load(credential); ok {
		return e.(*entry)
	}
	return nil
}

// each calls f with every entry.
func (s *Service) each(f func(e *entry)) {
	s.entries.Range(func(_, e any) bool {
		f(e.(*entry))
		return true
	})
}

// Load reads every account. One whose tokens do not open is as good as not there; the
// others are served.
func (s *Service) Load(ctx context.Context) error {
	accounts, err := s.o.Store.Read().CodexAccounts.List(ctx)
	if err != nil {
		return fmt.Errorf("load the codex accounts: %w", err)
	}
	there := make(map[realm.ID]bool, len(accounts))
	for _, a := range accounts {
		there[a.Credential] = true
		if err := s.heard(ctx, s.entry(a.Credential), true); err != nil {
			return fmt.Errorf("load the codex accounts: %w", err)
		}
	}
	s.each(func(e *entry) {
		if !there[e.id] {
			s.forget(e)
		}
	})
	return nil
}

// Apply reads the accounts anew that any of the changes is about.
func (s *Service) Apply(ctx context.Context, changes []store.Change) error {
	done := make(map[realm.ID]bool)
	for _, c := range changes {
		if c.Kind != store.KindCodexAccount || done[c.ID] {
			continue
		}
		done[c.ID] = true
		if err := s.heard(ctx, s.entry(c.ID), false); err != nil {
			return fmt.Errorf("read a codex account again: %w", err)
		}
	}
	return nil
}

// heard is rereadOver for an account that is there, is gone, or cannot be read: one
// must not keep this process from hearing of the others.
func (s *Service) heard(ctx context.Context, e *entry, over bool) error {
	err := s.rereadOver(ctx, e, over)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case errors.Is(err, store.ErrUnreadable):
		s.log.ErrorContext(ctx, "codex account not used: its tokens cannot be read", "credential", s.name(e), "error", err)
		return nil
	}
	return err
}

// reread takes what the store has of an account; store.ErrNotFound: nothing.
func (s *Service) reread(ctx context.Context, e *entry) error { return s.rereadOver(ctx, e, false) }

// rereadOver is reread, over what is known even if that seems newer, or not.
func (s *Service) rereadOver(ctx context.Context, e *entry, over bool) error {
	a, err := s.o.Store.Read().CodexAccounts.Get(ctx, e.id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		s.forget(e)
		return err
	case errors.Is(err, store.ErrUnreadable):
		e.view.Store(nil) // there may be others now than those that are known
		return err
	case err != nil:
		return fmt.Errorf("read the account: %w", err)
	}
	s.adopt(e, a, over)
	return nil
}

// adopt takes up what is in the store, and tells whoever wants to know if that is
// another account, or has other tokens.
func (s *Service) adopt(e *entry, a *realm.CodexAccount, over bool) {
	before := e.version()
	if e.adopt(a, over) && s.o.Changed != nil {
		s.o.Changed(e.id)
	}
	if now := e.version(); now != before && s.o.Renewed != nil {
		s.o.Renewed(e.id, now)
	}
}

// forget is for an account that is not signed in any more. What the issuer has given
// for it and nobody has stored is given back.
func (s *Service) forget(e *entry) { s.drop(e, e.forget()) }

// accepted tells whether the operator has accepted the use of accounts.
func (s *Service) accepted() bool { return s.o.Settings.State().CodexAccepted() }

// requireAccepted is accepted for verbs: it reads the setting as it is now.
func (s *Service) requireAccepted(ctx context.Context) error {
	if err := s.o.Settings.Load(ctx); err != nil {
		return err
	}
	if !s.accepted() {
		return notAccepted()
	}
	return nil
}
