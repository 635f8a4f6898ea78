package testkit

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// countingListener lets an http.Server accept what the upstream tracks.
type countingListener struct{ u *Upstream }

func (l countingListener) Accept() (net.Conn, error) {
	c, err := l.u.listener.Accept()
	if err != nil {
		return nil, err
	}
	if !l.u.track(c) {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (l countingListener) Close() error   { return l.u.listener.Close() }
func (l countingListener) Addr() net.Addr { return l.u.listener.Addr() }

type servedKey struct{}

// h2Server speaks HTTP/2 by the standard library: what a fault may do there is
// what a handler may.
func (u *Upstream) h2Server(config *tls.Config) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP2(true)
	return &http.Server{
		Handler:           http.HandlerFunc(u.serveH2),
		TLSConfig:         config,
		Protocols:         &protocols,
		ErrorLog:          log.New(io.Discard, "", 0),
		ReadHeaderTimeout: patience,
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return context.WithValue(ctx, servedKey{}, new(atomic.Int64))
		},
	}
}

func (u *Upstream) serveH2(w http.ResponseWriter, req *http.Request) {
	served, _ := req.Context().Value(servedKey{}).(*atomic.Int64)
	r := newRequest(req, served.Add(1) > 1)
	var fault Fault
	if u.options.Early != nil {
		fault = u.options.Early(r)
	}
	if early := fault != nil; !early {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r.Body = body
		r.read()
		u.record(r)
		fault = u.choose(r)
	} else {
		u.record(r)
	}
	stop := context.AfterFunc(req.Context(), r.cancel)
	defer stop()
	a := Compose(r, Reply{})
	if fault != nil {
		fault(r, a)
	}
	if !deliverH2(req.Context(), u.ctx, w, r, a) {
		if req.Context().Err() != nil {
			r.cancel()
		}
		r.finish()
		panic(http.ErrAbortHandler)
	}
}

// deliverH2 writes an answer through a handler; false asks for a reset stream.
func deliverH2(ctx, upstream context.Context, w http.ResponseWriter, r *Request, a *Answer) bool {
	if !pauseEither(ctx, upstream, a.Wait) || a.Raw != nil {
		return false
	}
	if !a.NoHeader {
		for name, values := range a.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(a.Status)
		flush(w)
		for i, chunk := range a.Chunks {
			if !pauseEither(ctx, upstream, gap(a, i)) {
				return false
			}
			if _, err := w.Write(chunk); err != nil {
				return false
			}
			flush(w)
		}
		for name, values := range a.Trailer {
			w.Header()[http.TrailerPrefix+name] = values
		}
	}
	switch a.End {
	case EndClean:
		r.finish()
		return true
	case EndStall:
		select {
		case <-ctx.Done():
		case <-upstream.Done():
		}
	case EndReset, EndFIN:
	}
	return false
}

func flush(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }

func pauseEither(ctx, upstream context.Context, d time.Duration) bool {
	if d == 0 {
		return ctx.Err() == nil && upstream.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-upstream.Done():
	}
	return false
}
