package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"realms/internal/gateway"
	"realms/internal/limit"
	"realms/internal/realm"
)

// Limits of the listener. A body's time and a client's stall have their own.
const (
	headerTimeout  = 5 * time.Second
	bodyTimeout    = 60 * time.Second
	keepAliveIdle  = 2 * time.Minute
	maxHeaderBytes = 32 << 10
	maxStreams     = 100 // of one HTTP/2 connection
	// leaveTime is how long requests have to say goodbye after the drain, and
	// settleTime how long those have to write their rows whose clients do not listen.
	leaveTime  = 1500 * time.Millisecond
	settleTime = 300 * time.Millisecond
)

// Run listens and serves until ctx ends, then drains: no new connection, open
// answers go on for server.drain, and what is left gets an error event and its
// row. It returns nil after a clean end. The caller holds the data directory's Lock,
// or has made a directory that nobody else knows of.
func (a *App) Run(ctx context.Context) error {
	ln, err := listen(ctx, a.Config.Server.Addr)
	if err != nil {
		return err
	}
	a.addr = ln.Addr().String()
	capped := &limit.Listener{Listener: ln, Max: maxConnections()}
	requests, cancelRequests := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancelRequests(nil)
	var open atomic.Int64
	srv := a.httpServer(requests, &open)
	control := a.controlServer()

	// Whatever requests need lives on until the last of them has ended.
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBackground()
	var work errgroup.Group
	work.Go(func() error { return a.Usage.Run(background) })
	work.Go(func() error { return ignoreCancel(a.Watcher.Run(background)) })
	work.Go(func() error { return a.deleteOldRows(background) })
	work.Go(func() error { return a.health.run(background) })
	work.Go(func() error { return ignoreCancel(a.Cluster.Run(background)) })
	work.Go(func() error { return a.Gateway.Probe(background) })
	work.Go(func() error { return ignoreCancel(a.Codex.Run(background)) })
	served := make(chan error, 1)
	go func() { served <- srv.Serve(capped) }()
	close(a.ready) // before the control socket is there: who sees that may tell us to stop
	if err := control.start(ctx, &work); err != nil {
		a.Log.Warn("no control socket: commands see changes within half a second only", "error", err)
	}
	select {
	case err = <-served:
	case <-ctx.Done():
		err = a.drain(srv, cancelRequests)
		<-served
		awaitNone(&open)
	}
	control.stop()
	stopBackground()
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return errors.Join(err, work.Wait())
}

// Addr is where the app listens; it waits until it does, or ctx ends.
func (a *App) Addr(ctx context.Context) (string, error) {
	select {
	case <-a.ready:
		return a.addr, nil
	default:
	}
	select {
	case <-a.ready:
		return a.addr, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// httpServer serves what is mounted, and counts in open what is being served.
func (a *App) httpServer(requests context.Context, open *atomic.Int64) *http.Server {
	mounted := a.mount()
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			open.Add(1)
			defer open.Add(-1)
			mounted.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       keepAliveIdle,
		MaxHeaderBytes:    maxHeaderBytes,
		Protocols:         &protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		BaseContext:       func(net.Listener) context.Context { return requests },
		ErrorLog:          slog.NewLogLogger(a.Log.Handler(), slog.LevelDebug),
	}
}

// drain stops accepting, waits for open answers, and ends those that outlast the
// drain with an error event each.
func (a *App) drain(srv *http.Server, cancelRequests context.CancelCauseFunc) error {
	a.Log.Info("stopping: no new connections, open answers go on", "drain", a.Config.Server.Drain)
	patience, done := context.WithTimeout(context.Background(), a.Config.Server.Drain)
	defer done()
	err := srv.Shutdown(patience)
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	a.Log.Warn("the drain is over, ending what is left")
	cancelRequests(gateway.ErrStopping)
	last, done := context.WithTimeout(context.Background(), leaveTime)
	defer done()
	if err := srv.Shutdown(last); err != nil {
		return srv.Close()
	}
	return nil
}

// awaitNone waits until no request is open: http.Server.Close cuts connections and
// does not wait for those who serve them.
func awaitNone(open *atomic.Int64) {
	for deadline := time.Now().Add(settleTime); open.Load() > 0 && time.Now().Before(deadline); {
		<-time.After(time.Millisecond)
	}
}

func listen(ctx context.Context, addr string) (net.Listener, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, &realm.Error{Code: realm.CodeUnavailable, Err: err, Message: fmt.Sprintf(
			"cannot listen on %s: %s; stop what uses the address, or choose another with REALMS_SERVER_ADDR", addr, reason(err))}
	}
	return ln, nil
}

// reason is the innermost word of a network error.
func reason(err error) string {
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return err.Error()
}

func ignoreCancel(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
