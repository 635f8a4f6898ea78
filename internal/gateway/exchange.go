package gateway

import (
	"io"
	"strings"
	"sync"
	"time"

	"realms/internal/protocol/openai"
	"realms/internal/realm"
	"realms/internal/scheduler"
	"realms/internal/usage"
)

// exchange is the state of one recognised request. It belongs to the request's
// goroutine; what the keep-alive timer touches too is under mu.
type exchange struct {
	g         *Gateway
	call      *Call
	op        *openai.Operation
	client    Client
	principal *realm.Principal
	snap      *realm.Snapshot
	started   time.Time

	// read
	req *openai.Request // as the client wrote it; nil: there is no body

	native    form
	converted *form // nil: not asked for
	form      *form // of the present attempt

	// admit
	need    scheduler.Need
	model   *realm.Model // nil: not in the catalogue
	effort  string       // from the name's suffix
	session string       // what the client calls it; empty: it does not
	// stateField is the field that asks for a channel that keeps answers; empty: none.
	stateField string
	hops       int
	rec        *realm.RequestRecord // nil once settled: it is the recorder's then
	ticket     usage.Ticket

	// execute
	plan     scheduler.Plan
	channel  *realm.Channel // of the present attempt
	tries    []realm.AttemptRecord
	served   *realm.AttemptRecord // whose answer goes out, if not the last one's
	identity realm.CodexIdentity  // of the present attempt's account, if it has one
	renewed  []realm.ID           // credentials whose token was renewed for this request
	deadEnd  deadEnd              // what the failures so far add up to
	refusal  *realm.Error         // why the request has no other form; nil: it has one, or none was asked for
	empty    *kept                // an answer without output, kept in case nothing better comes

	deadline *time.Timer // of the client, until commit; nil: it told none

	mu        sync.Mutex
	committed bool
	silent    bool // committed before the upstream had produced anything
	lastWrite time.Time
}

// release lets go of what the request still holds.
func (x *exchange) release() {
	x.releaseBody()
	if x.converted != nil {
		x.converted.release()
	}
	if x.empty != nil {
		x.empty.body.release()
		x.empty = nil
	}
}

// releaseBody gives the request's body up: at commit, since no other attempt
// will need it, or at the end. A converted one stays to the end, because its conversion
// still holds it.
func (x *exchange) releaseBody() { x.native.release() }

// read is step 2: the whole body, and what of it must be known.
func (x *exchange) read() error {
	x.native.op, x.native.path = x.op, x.call.Path
	x.form = &x.native
	if x.op.Body == openai.BodyNone {
		// Nobody wants one. Its end is looked for all the same: behind it net/http
		// sees the client leave.
		_, _ = io.CopyN(io.Discard, x.call.Body, smallBody)
		return nil
	}
	b, err := readBody(x.call, x.g.o.Limits.BodyBytes, x.g.o.Limits.BodyMemory)
	if err != nil {
		return err
	}
	x.native.body = b
	if x.op.Body == openai.BodyMultipart || (x.op.Body == openai.BodyEither && isMultipart(x.call.ContentType)) {
		x.req, err = openai.ReadMultipart(x.op, b.buf, x.call.ContentType)
	} else {
		x.req, err = openai.ReadJSON(x.op, b.buf, nil)
	}
	x.native.req = x.req
	return err
}

// begin commits the answer. From here on no other upstream is asked.
func (x *exchange) begin() {
	x.committed = true
	if !x.silent {
		x.plan.Committed(time.Now())
	}
	if x.deadline != nil {
		x.deadline.Stop()
	}
	if x.rec != nil {
		x.rec.FirstByte = time.Since(x.started)
	}
	x.releaseBody()
}

func isMultipart(contentType string) bool {
	const form = "multipart/form-data"
	return len(contentType) >= len(form) && strings.EqualFold(contentType[:len(form)], form)
}
