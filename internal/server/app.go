// Package server assembles Realms and runs it.
//
// It owns the one place where every piece is built (Open), the list of what is
// mounted (mount), and the process's life: listening, draining, leaving. It holds
// no rule of its own about requests, tokens or upstreams.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"realms/internal/account"
	"realms/internal/catalog"
	"realms/internal/cluster"
	"realms/internal/codex"
	"realms/internal/config"
	"realms/internal/gateway"
	"realms/internal/limit"
	"realms/internal/netguard"
	"realms/internal/realm"
	"realms/internal/scheduler"
	"realms/internal/settings"
	"realms/internal/store"
	"realms/internal/upstream"
	"realms/internal/usage"
	"realms/internal/version"
)

// dialTime bounds dialling by itself. An attempt's own limit is its channel's, and
// usually far shorter; a dial that outlasts its request serves the next.
const dialTime = 30 * time.Second

// App is every piece of a Realms process, built and loaded, not yet listening.
type App struct {
	Config    config.Config
	Log       *slog.Logger
	Registry  *prometheus.Registry
	Store     *store.Store
	Accounts  *account.Service
	Catalog   *catalog.Service
	Settings  *settings.Service
	Codex     *codex.Service
	Objects   *usage.Objects
	Usage     *usage.Recorder
	Scheduler *scheduler.Scheduler
	Cluster   *cluster.Cluster
	Upstream  *upstream.Executor
	Gateway   *gateway.Gateway
	Watcher   *store.Watcher

	health *healthLog
	ready  chan struct{}
	addr   string
}

// Open is OpenBeside for the process that serves: the store's secrets are brought
// under the master key, or it is said that there is none.
func Open(ctx context.Context, cfg config.Config, log *slog.Logger) (*App, error) {
	a, err := OpenBeside(ctx, cfg, log)
	if err != nil {
		return nil, err
	}
	if err := seal(ctx, cfg, a.Store, log); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// OpenBeside builds the pieces over the configured store and loads them. A store that
// was never used is given its schema; one whose schema is behind is an error that
// says so, since only `realms serve` and `realms migrate up` may change it.
func OpenBeside(ctx context.Context, cfg config.Config, log *slog.Logger) (*App, error) {
	st, err := openStore(ctx, cfg, log)
	if err != nil {
		return nil, err
	}
	a := &App{Config: cfg, Log: log, Store: st, Registry: prometheus.NewRegistry(), ready: make(chan struct{})}
	a.Registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if err := a.build(ctx); err != nil {
		return nil, joinClose(err, st)
	}
	if err := a.load(ctx); err != nil {
		return nil, fmt.Errorf("load: %w", joinClose(err, st))
	}
	return a, nil
}

func (a *App) build(ctx context.Context) error {
	cfg := a.Config
	a.Accounts = account.New(account.Options{Store: a.Store, Log: a.Log})
	a.Catalog = catalog.New(catalog.Options{Store: a.Store, Log: a.Log})
	a.Settings = settings.New(settings.Options{Store: a.Store, SelfMode: cfg.SelfMode.Enable, Log: a.Log})
	a.Objects = &usage.Objects{Load: a.loadObject}
	a.Usage = usage.New(usage.Options{Insert: a.insertRecords, Off: !cfg.Usage.Rows, Log: a.Log, Registry: a.Registry})
	a.Upstream = upstream.New(upstream.Options{
		Guard: netguard.New(netguard.Options{
			AllowPrivate:   cfg.PrivateNetworks(),
			Allow:          cfg.Upstream.AllowNetworks,
			ConnectTimeout: max(dialTime, cfg.Relay.Timeouts.Connect),
		}),
		CodexBackend: cfg.Codex.TestBackend,
		Version:      version.Number(),
	})
	a.buildCodex()
	secret, err := a.Settings.InstanceSecret(ctx)
	if err != nil {
		return fmt.Errorf("read the installation's secret: %w", err)
	}
	if err := a.buildScheduler(secret); err != nil {
		return err
	}
	a.buildGateway(secret)
	return nil
}

// buildGateway makes what carries requests, over all that was made before.
func (a *App) buildGateway(secret []byte) {
	cfg := a.Config
	a.Gateway = gateway.New(gateway.Options{
		Accounts:     a.Accounts,
		Catalog:      a.Catalog,
		Settings:     a.Settings,
		Scheduler:    a.Scheduler,
		Upstream:     a.Upstream,
		Usage:        a.Usage,
		Objects:      a.Objects,
		Codex:        a.Codex,
		FindSession:  a.Cluster.Bound,
		PseudonymKey: secret,
		Limits: gateway.Limits{
			BodyBytes:  int64(cfg.Limits.BodyBytes),
			BodyMemory: limit.NewBytes(int64(cfg.Limits.BodyMemory)),
			EventBytes: int(cfg.Limits.EventBytes),
		},
		Relay: gateway.Relay{
			SilentCommit: cfg.Relay.SilentCommit,
			KeepAlive:    cfg.Relay.KeepAlive,
			Connect:      cfg.Relay.Timeouts.Connect,
			FirstByte:    cfg.Relay.Timeouts.FirstByte,
			FirstWhole:   cfg.Relay.Timeouts.FirstByteWhole,
			FirstEvent:   cfg.Relay.Timeouts.FirstEvent,
			Idle:         cfg.Relay.Timeouts.Idle,
		},
		SelfMode: cfg.SelfMode.Enable,
		Log:      a.Log,
		Registry: a.Registry,
	})
}

// buildScheduler makes the scheduler and what ties it to other processes.
func (a *App) buildScheduler(secret []byte) (err error) {
	relay := a.Config.Relay
	a.health = newHealthLog(a)
	a.Cluster, err = cluster.New(cluster.Options{
		URL:     a.Config.Redis.URL.Reveal(),
		Prefix:  a.Config.Redis.Prefix,
		Hear:    func(c realm.Cooldown) { a.Scheduler.Hear(c, time.Now()) },
		Loads:   func() map[realm.ID]realm.Load { return a.Scheduler.Loads(time.Now()) },
		Others:  func(loads map[realm.ID]realm.Load) { a.Scheduler.SetOthers(loads, time.Now()) },
		Moved:   func(key realm.RouteKey, cr realm.ID) { a.Scheduler.Moved(key, cr, time.Now()) },
		Changed: func() { a.Watcher.Poke() },
		Log:     a.Log, Registry: a.Registry,
	})
	if err != nil {
		return err
	}
	options := scheduler.Options{
		Rand: rand.IntN,
		Policy: scheduler.Policy{
			Attempts:     relay.Attempts,
			FailoverTime: relay.FailoverTime,
			RetryShare:   relay.RetryShare,
			MaxWait:      relay.MaxWait,
			QueueSize:    relay.Queue.Waiting,
			QueueTime:    relay.Queue.Time,
		},
		Salt:     secret,
		OutOfUse: a.health.outOfUse,
		Note:     a.health.note,
	}
	if a.Cluster.State() != cluster.StateAlone {
		options.Tell = a.Cluster.Tell
		options.Bind = func(key realm.RouteKey, cr realm.ID, moved bool) {
			a.Cluster.Bind(key, cr, scheduler.StickyTime, moved)
		}
	}
	a.Scheduler = scheduler.New(options)
	return nil
}

// load reads what the hot path answers from, and places the watcher before it so
// that no change falls between.
func (a *App) load(ctx context.Context) error {
	from, err := a.Store.Read().Changes.Version(ctx)
	if err != nil {
		return err
	}
	a.Watcher = store.NewWatcher(store.WatcherOptions{
		Store: a.Store, From: from, OnChanges: a.applyChanges, OnReload: a.reload, Log: a.Log,
	})
	if err := a.reload(ctx); err != nil {
		return err
	}
	return a.recallPlans(ctx)
}

// reload reads everything anew. One part that cannot be read keeps no other from
// hearing what has changed: least of all that a token was revoked.
func (a *App) reload(ctx context.Context) error {
	defer a.published()
	var errs []error
	for _, load := range []func(context.Context) error{a.Settings.Load, a.Accounts.Load, a.Catalog.Load, a.Codex.Load} {
		errs = append(errs, load(ctx))
	}
	return errors.Join(errs...)
}

func (a *App) applyChanges(ctx context.Context, changes []store.Change) error {
	defer a.published()
	var errs []error
	for _, apply := range []func(context.Context, []store.Change) error{a.Settings.Apply, a.Accounts.Apply, a.Catalog.Apply, a.Codex.Apply} {
		errs = append(errs, apply(ctx, changes))
	}
	return errors.Join(errs...)
}

// published tells the pieces that remember something of the catalogue's parts which
// there are now.
func (a *App) published() {
	snap := a.Catalog.Snapshot()
	a.Upstream.Retain(snap)
	a.Scheduler.Adopt(snap, time.Now())
}

// changed has this process and the others read at once what somebody has written.
func (a *App) changed() {
	a.Watcher.Poke()
	a.Cluster.Announce()
}

func (a *App) insertRecords(ctx context.Context, batch []realm.RequestRecord) error {
	return a.Store.Tx(ctx, func(r store.Repos) error { return r.Requests.InsertBatch(ctx, batch) })
}

// Close lets everything go that Open took.
func (a *App) Close() error {
	a.Codex.Close()
	a.Upstream.Close()
	return a.Store.Close()
}
