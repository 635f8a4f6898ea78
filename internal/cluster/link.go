package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"realms/internal/realm"
)

const (
	// failuresInARow end a link. One may be a pause of this process or of Redis.
	failuresInARow = 5
	// dialTimeout and ioTimeout are for what nobody waits for.
	dialTimeout = 500 * time.Millisecond
	ioTimeout   = 250 * time.Millisecond
	// connectTimeout is for all that makes a link.
	connectTimeout = 2 * time.Second
	// maxAsking is how many sessions are asked for at a time.
	maxAsking = 16
	// poolSize is above what all of us need at a time, far enough that the library
	// does not begin to dial by itself when dials fail (it does after as many
	// failures, and its goroutine outlives the client by a second).
	poolSize = 8 * maxAsking
)

// link is a connection to Redis while it lasts. It ends once, for one cause, and a
// new one is made: that is the whole breaker.
type link struct {
	c        *Cluster
	ctx      context.Context
	cancel   context.CancelCauseFunc
	client   *redis.Client
	sub      *redis.PubSub
	failures atomic.Int32
	heard    atomic.Pointer[time.Time] // when the subscription last heard something

	// hearing is held while a cool-down is passed on, so that one that was read
	// does not come after a newer one that was heard.
	hearing sync.Mutex
	newer   map[topic]bool // what was heard while the learner reads; nil when it has read all

	mu    sync.Mutex
	peers map[string]peer // by process
	sum   map[realm.ID]realm.Load
}

// peer is what another process has under way.
type peer struct {
	loads map[realm.ID]realm.Load
	at    time.Time
}

// redisOptions reads a URL. What may not be chosen in it is set here.
func redisOptions(address string) (*redis.Options, error) {
	o, err := redis.ParseURL(address)
	if err != nil {
		return nil, realm.Invalid("redis.url",
			"This is not the address of a Redis: redis://user:password@host:port/database, rediss://… with TLS, or unix:///path?db=0.")
	}
	o.Protocol = 2 // messages that are not asked for come on the subscription alone
	o.MaxRetries = -1
	o.ContextTimeoutEnabled = true
	o.DialerRetries = 1
	o.DialTimeout = dialTimeout
	o.ReadTimeout, o.WriteTimeout = ioTimeout, ioTimeout
	o.PoolTimeout = ioTimeout
	o.PoolSize, o.PipelinePoolSize = poolSize, -1
	o.MinIdleConns, o.MaxIdleConns = 0, maxAsking
	o.ReadBufferSize, o.WriteBufferSize = 4096, 4096
	o.DisableIdentity = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return o, nil
}

// connect makes a link that has proved to hear, to take what is written, and to
// answer in the time that Bound has. It does not outlive ctx.
func (c *Cluster) connect(ctx context.Context) (*link, error) {
	l := &link{c: c, newer: map[topic]bool{}, peers: map[string]peer{}}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	o := *c.redis
	o.Dialer = l.dialer(o.TLSConfig)
	l.client = redis.NewClient(&o)
	limited, cancel := context.WithTimeout(l.ctx, connectTimeout)
	defer cancel()
	if err := l.prove(limited); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *link) prove(ctx context.Context) error {
	channels := []string{l.c.coolChannel(), l.c.loadChannel(), l.c.bindChannel(), l.c.changedChannel()}
	l.sub = l.client.Subscribe(ctx)
	if err := l.sub.Subscribe(ctx, channels...); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	for confirmed := 0; confirmed < len(channels); {
		got, err := l.sub.ReceiveTimeout(ctx, connectTimeout)
		if err != nil {
			return fmt.Errorf("subscribe: %w", err)
		}
		switch got := got.(type) {
		case *redis.Subscription:
			confirmed++
		case *redis.Message:
			l.receive(got)
		}
	}
	now := time.Now()
	l.heard.Store(&now)
	if err := l.alive(ctx); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	quick, cancel := context.WithTimeout(ctx, BoundTimeout)
	defer cancel()
	if err := l.client.Ping(quick).Err(); err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	return nil
}

// alive tries whether Redis takes what is written: one that is read-only, or full,
// still reads and still publishes.
func (l *link) alive(ctx context.Context) error {
	return l.client.Set(ctx, l.c.aliveKey(), "1", LoadKept).Err()
}

// dialer ends its dials with the link. The library's own go on when nobody waits
// for them any more, and with TLS know nothing of a context.
func (l *link) dialer(config *tls.Config) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		defer context.AfterFunc(l.ctx, cancel)()
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil || config == nil {
			return conn, err
		}
		secure := tls.Client(conn, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, err
		}
		return secure, nil
	}
}

// note hears how an operation ended.
func (l *link) note(err error) {
	if err == nil || errors.Is(err, redis.Nil) {
		l.failures.Store(0)
		return
	}
	if l.ctx.Err() != nil {
		return // it failed because the link has ended
	}
	kind := kindOf(err)
	l.c.metrics.errors.WithLabelValues(kind).Inc()
	switch {
	case kind == errorGarbage: // it answered
		l.failures.Store(0)
	case kind == errorRefused, l.failures.Add(1) >= failuresInARow:
		l.end(err)
	}
}

// end makes Bound answer from nothing at once; Run does the rest.
func (l *link) end(cause error) {
	l.c.link.CompareAndSwap(l, nil)
	l.cancel(cause)
}

// close releases everything.
func (l *link) close() {
	l.end(context.Canceled)
	if l.sub != nil {
		_ = l.sub.Close()
	}
	_ = l.client.Close()
}

// kindOf sorts the errors of an operation.
func kindOf(err error) string {
	var timeout net.Error
	var refused redis.Error
	switch {
	case redis.HasErrorPrefix(err, "WRONGTYPE"):
		return errorGarbage // somebody else's key under our name
	case errors.As(err, &refused):
		return errorRefused
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, redis.ErrPoolTimeout):
		return errorTimeout
	default:
		return errorConnection
	}
}
