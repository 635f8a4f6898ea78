package gateway

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"realms/internal/account"
	"realms/internal/catalog"
	"realms/internal/limit"
	"realms/internal/protocol/openai"
	"realms/internal/realm"
	"realms/internal/scheduler"
	"realms/internal/settings"
	"realms/internal/upstream"
	"realms/internal/usage"
)

// Options makes a Gateway. Every field is needed but for Codex and FindSession.
type Options struct {
	Accounts  *account.Service
	Catalog   *catalog.Service
	Settings  *settings.Service
	Scheduler *scheduler.Scheduler
	Upstream  *upstream.Executor
	Usage     *usage.Recorder
	Objects   *usage.Objects
	Limits    Limits
	Relay     Relay
	// Codex has the operator's accounts; nil: there are none.
	Codex Identities
	// FindSession asks other processes which credential a session is bound to; nil:
	// there are none.
	FindSession func(context.Context, realm.RouteKey) (realm.ID, bool)
	// SelfMode: one owner, so ids that Realms has not seen may pass and the
	// upstream's rate-limit headers are the owner's to see.
	SelfMode     bool
	PseudonymKey []byte // keys the hash that stands for a user upstream
	Log          *slog.Logger
	Registry     prometheus.Registerer
}

// Limits bound what one request and all of them may hold.
type Limits struct {
	BodyBytes  int64        // of one request body, decoded
	BodyMemory *limit.Bytes // of all request bodies held at once
	EventBytes int          // of one event of a stream
}

// Relay holds the times of data-plane.md, "Routing" and "Streaming". A channel may
// have its own timeouts.
type Relay struct {
	SilentCommit time.Duration // from the request's start; 0: never
	KeepAlive    time.Duration // of silence before a keep-alive
	Connect      time.Duration
	FirstByte    time.Duration // to the header of a stream
	FirstWhole   time.Duration // to the header of a whole answer
	FirstEvent   time.Duration
	Idle         time.Duration
}

// Gateway serves requests. It is safe for concurrent use.
type Gateway struct {
	o       Options
	learned learned
	metrics metrics
}

// New makes a Gateway.
func New(o Options) *Gateway {
	return &Gateway{o: o, metrics: newMetrics(o.Registry)}
}

// Call is one request as its dialect read it off the wire.
type Call struct {
	ID        realm.RequestID
	Operation *openai.Operation
	Token     string
	Remote    netip.Addr
	Header    http.Header
	// Path is below /v1 with its ids in place; ObjectID is the id in it, if the
	// operation acts on an object.
	Path            string
	ObjectID        string
	RawQuery        string
	ContentEncoding string
	ContentType     string
	Length          int64 // of Body; -1 when unknown
	Body            io.Reader
}

// Client is the far end of a request, in its dialect. The gateway alone decides
// when to begin; the methods are called by one goroutine at a time.
type Client interface {
	// Begin sends the status and the header. It is called at most once, and no
	// other upstream is asked after it. stream says that events follow, else
	// length is the body's, -1 when unknown.
	Begin(status int, h http.Header, stream bool, length int64)
	// Write sends bytes and does not hold them back.
	Write(p []byte) error
	// KeepAlive sends something that a waiting client ignores.
	KeepAlive(at Progress) error
	// Fail ends the request with an error: as an answer of its own before Begin,
	// as the stream's own kind of error after it.
	Fail(err *realm.Error, at Progress)
	// Status is the one that Fail answers with before Begin.
	Status(err *realm.Error) int
}

// Progress says how far a stream has come, for a client that must add an event
// of its own to it.
type Progress struct {
	openai.Point
	Attempts int // made upstream
}

// NewRequestID mints the id of a request that has just arrived.
func NewRequestID(now time.Time) realm.RequestID {
	return realm.NewRequestID(now, uint16(rand.Uint32()), rand.Uint64())
}

// Serve carries a request to its end. When it returns the client has its answer,
// or is gone, and nothing of the request is left running.
func (g *Gateway) Serve(ctx context.Context, call *Call, client Client) {
	principal, err := g.recognise(ctx, call) // 1
	if err != nil {
		g.refuse(client, call, err)
		return
	}
	x := &exchange{
		g: g, call: call, op: call.Operation, client: client, principal: principal,
		snap: g.o.Catalog.Snapshot(), started: time.Now(),
	}
	g.metrics.inFlight.Inc()
	defer g.metrics.inFlight.Dec()
	defer x.release()
	x.record()
	defer x.abandoned()
	if err = x.read(); err == nil { // 2
		err = x.admit(ctx) // 3
	}
	if err != nil {
		x.refused(err)
		return
	}
	x.ticket = g.o.Usage.Open(x.rec)
	x.noteUsage(noUsage()) // unknown, until an upstream tells
	ctx, done := x.withDeadline(ctx)
	defer done()
	x.execute(ctx) // 4 to 7
}

// refuse answers a request that never reached a principal: it leaves no row.
func (g *Gateway) refuse(client Client, call *Call, err error) {
	e := realm.AsError(err)
	if e.Code == realm.CodeInternal {
		g.o.Log.Error("request failed", "request_id", call.ID.String(), "error", err)
	}
	g.metrics.requests.WithLabelValues(call.Operation.Name, string(realm.EndedRefused)).Inc()
	client.Fail(e, Progress{})
}
