package gateway

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"realms/internal/protocol/openai"
	"realms/internal/realm"
	"realms/internal/upstream"
)

// wholeMost is up to which size an answer is held whole, so that a broken one can
// still fail over. Larger ones are passed on as they come.
const wholeMost = 1 << 20

// heldTail is how much of a larger answer waits until its usage is durable.
const heldTail = 64 << 10

// kept is an answer without any output. It goes out if nothing better comes.
type kept struct {
	body   *body
	header map[string][]string
	status int
	stream bool
	usage  realm.Usage
	try    realm.AttemptRecord
}

// relay is step 6. Nil means that the request has its end.
func (x *exchange) relay(ctx context.Context, ex *upstream.Exchange, res *upstream.Response) *upstream.Failure {
	defer func() { _ = res.Body.Close() }()
	if res.EventStream() {
		if !x.allowsStream() {
			return badAnswer(res, errStream) // the client cannot read events it did not ask for
		}
		return x.relayStream(ctx, ex, res)
	}
	if x.wantsStream() && !isJSON(res) {
		return x.relayStream(ctx, ex, res) // events under another name; what is none of them fails there
	}
	if x.op.Binary && !isJSON(res) {
		return x.relayBytes(ctx, res)
	}
	return x.relayWhole(ctx, ex, res)
}

// relayBytes passes on an answer that is sound rather than text, from its first
// bytes on: nothing in it but its absence can be judged.
func (x *exchange) relayBytes(ctx context.Context, res *upstream.Response) *upstream.Failure {
	head := make([]byte, 4<<10)
	n, err := io.ReadAtLeast(res.Body, head, 1)
	switch {
	case n > 0 && openai.IsHTML(head[:n]) && !strings.HasPrefix(res.MediaType, "audio/"):
		return badAnswer(res, errHTML)
	case n > 0:
		return x.relayLarge(ctx, res, head[:n])
	case errors.Is(err, io.EOF):
		return badAnswer(res, errEmptyBody)
	default:
		return x.readFailure(ctx, res, err)
	}
}

// allowsStream tells whether the client asked for events, in the body or, for an
// object that is streamed again, in the query.
func (x *exchange) allowsStream() bool {
	if x.req != nil {
		return x.req.Stream
	}
	return strings.Contains(x.call.RawQuery, "stream=true")
}

// wantsStream tells whether nothing but events will do: older transcription
// models answer whole whatever was asked.
func (x *exchange) wantsStream() bool {
	return x.allowsStream() && x.op.Answer != openai.AnswerJSONOrRaw
}

func (x *exchange) relayWhole(ctx context.Context, ex *upstream.Exchange, res *upstream.Response) *upstream.Failure {
	answer := newBody(int(min(max(res.Length, 0), wholeMost))+1, nil)
	defer func() {
		if answer != nil {
			answer.release()
		}
	}()
	more, err := answer.readUpTo(res.Body, wholeMost)
	if err != nil {
		return x.readFailure(ctx, res, err)
	}
	if more {
		return x.relayLarge(ctx, res, answer.buf)
	}
	if x.wantsStream() {
		return x.refusedStream(ex, res, answer.buf)
	}
	a, f := x.inspectWhole(ex, res, answer.buf)
	if f != nil {
		return f
	}
	if a.Empty && x.worthAnother() {
		x.empty = &kept{body: answer, header: res.Header, status: res.Status, usage: a.Usage, try: *x.lastTry()}
		answer = nil
		return emptyFailure(res)
	}
	x.noteUsage(a.Usage)
	x.keepObjects(a.ID, a.OutputIDs)
	x.rec.Status = res.Status
	x.settle(realm.EndedCompleted, realm.CauseOK)
	x.begin()
	x.client.Begin(res.Status, res.Header, false, int64(len(answer.buf)))
	_ = x.client.Write(answer.buf) // the client may be gone; the record is closed
	return nil
}

// readUpTo fills the body from r; more says that r has over most bytes.
func (b *body) readUpTo(r io.Reader, most int) (more bool, err error) {
	for {
		if len(b.buf) > most {
			return true, nil
		}
		if len(b.buf) == cap(b.buf) {
			b.grow()
		}
		n, err := r.Read(b.buf[len(b.buf):cap(b.buf)])
		b.buf = b.buf[:len(b.buf)+n]
		if errors.Is(err, io.EOF) {
			return len(b.buf) > most, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// inspectWhole judges an answer that is there from first to last byte.
func (x *exchange) inspectWhole(ex *upstream.Exchange, res *upstream.Response, b []byte) (openai.Answer, *upstream.Failure) {
	switch {
	case len(b) == 0 && x.op.Meters:
		return openai.Answer{}, badAnswer(res, errEmptyBody)
	case len(b) == 0 || (x.op.Answer == openai.AnswerJSONOrRaw && !isJSON(res)):
		if openai.IsHTML(b) {
			return openai.Answer{}, badAnswer(res, errHTML)
		}
		return openai.Answer{Usage: noUsage()}, nil
	}
	a, err := openai.InspectAnswer(x.op, b)
	if err != nil {
		return a, badAnswer(res, err)
	}
	if a.Error != nil {
		return a, x.g.o.Upstream.ClassifyError(ex, res.Header, *a.Error)
	}
	return a, nil
}

// refusedStream judges a JSON answer to a request for events: an error that came
// with a status of success, or an upstream that does not stream.
func (x *exchange) refusedStream(ex *upstream.Exchange, res *upstream.Response, b []byte) *upstream.Failure {
	if a, err := openai.InspectAnswer(x.op, b); err == nil && a.Error != nil {
		return x.g.o.Upstream.ClassifyError(ex, res.Header, *a.Error)
	}
	return badAnswer(res, errNoStream)
}

// relayLarge passes on an answer that is too large to hold, or is not to be held.
// Its end waits until the usage is durable; after the first byte nothing else can
// be asked.
func (x *exchange) relayLarge(ctx context.Context, res *upstream.Response, head []byte) *upstream.Failure {
	x.rec.Status = res.Status
	x.begin()
	x.client.Begin(res.Status, res.Header, false, res.Length)
	cut := max(len(head)-heldTail, 0)
	if cut > 0 && x.client.Write(head[:cut]) != nil {
		x.clientGone()
		return nil
	}
	tail := append(make([]byte, 0, 2*heldTail), head[cut:]...)
	for {
		n, err := res.Body.Read(tail[len(tail):cap(tail)])
		tail = tail[:len(tail)+n]
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			x.cut(ctx, err, Progress{})
			return nil
		}
		if cut = len(tail) - heldTail; cut < heldTail {
			continue
		}
		if x.client.Write(tail[:cut]) != nil {
			x.clientGone()
			return nil
		}
		tail = append(tail[:0], tail[cut:]...)
	}
	x.noteUsage(openai.TailUsage(tail))
	x.settle(realm.EndedCompleted, realm.CauseOK)
	_ = x.client.Write(tail) // the client may be gone; the record is closed
	return nil
}

// worthAnother tells whether an answer without output may be put aside to ask one
// other credential, and only one.
func (x *exchange) worthAnother() bool {
	return x.op.Meters && x.op.Body != openai.BodyNone && x.empty == nil && x.need.Credential == 0
}

// deliverEmpty sends the answer without output after all.
func (x *exchange) deliverEmpty() {
	k := x.empty
	x.tries = append(x.tries, k.try)
	x.noteUsage(k.usage)
	x.rec.Status = k.status
	x.settle(realm.EndedCompleted, realm.CauseEmpty)
	x.begin()
	x.client.Begin(k.status, k.header, k.stream, int64(len(k.body.buf)))
	_ = x.client.Write(k.body.buf) // the client may be gone; the record is closed
}

// readFailure is what the end of an answer that is not its end teaches, while
// nothing is committed.
func (x *exchange) readFailure(ctx context.Context, res *upstream.Response, err error) *upstream.Failure {
	if ctx.Err() != nil {
		return &upstream.Failure{Outcome: realm.Outcome{Cause: realm.CauseClientGone, Next: realm.NextStop, Err: err}}
	}
	var re *upstream.ReadError
	if errors.As(err, &re) {
		return &upstream.Failure{Outcome: re.Outcome(res.Status), FirstByte: res.FirstByte}
	}
	return badAnswer(res, err)
}

// cut ends a committed answer that its upstream did not finish.
func (x *exchange) cut(ctx context.Context, err error, at Progress) {
	ended, cause, code := realm.EndedUpstreamCut, realm.CauseUpstreamCut, realm.CodeUpstreamBad
	message := "The upstream's answer was cut before its end."
	var re *upstream.ReadError
	switch {
	case stopping(ctx):
		ended, cause, code = realm.EndedInterrupted, realm.CauseRefused, realm.CodeUnavailable
		message = messageStopping
	case ctx.Err() != nil || (errors.As(err, &re) && re.Cause == realm.CauseClientGone):
		x.clientGone()
		return
	case re != nil && re.Cause == realm.CauseTimeout:
		ended, cause, code = realm.EndedTimeout, realm.CauseTimeout, realm.CodeUpstreamTimeout
		message = "The upstream fell silent before the end of its answer."
	}
	x.rec.Error = oneLine(err.Error())
	x.settle(ended, cause)
	at.Attempts = len(x.tries)
	x.client.Fail(&realm.Error{Code: code, Message: message, Reason: string(cause)}, at)
}

// noteUsage puts the usage on the record. An answer that only shows an earlier
// response again has consumed nothing of its own.
func (x *exchange) noteUsage(u realm.Usage) {
	if x.op.Meters {
		x.rec.Usage = u
	}
}

// keepObjects remembers which account holds what the answer made, unless the
// client asked that nothing be kept.
func (x *exchange) keepObjects(id string, outputs []string) {
	if !x.op.Keeps || id == "" || (x.req.Store != nil && !*x.req.Store) {
		return
	}
	now := time.Now()
	for _, one := range append([]string{id}, outputs...) {
		if one == "" || len(one) > 190 {
			continue
		}
		obj := realm.Object{ID: one, UserID: x.principal.UserID, Credential: x.lastTry().Credential, CreatedAt: now}
		x.g.o.Objects.Remember(obj)
		if x.rec != nil {
			x.rec.Objects = append(x.rec.Objects, obj)
		}
	}
}

// isJSON tells whether the upstream says that its answer is JSON.
func isJSON(res *upstream.Response) bool {
	return res.MediaType == "application/json" || strings.HasSuffix(res.MediaType, "+json")
}

var (
	errEmptyBody = errors.New("the answer has no body")
	errHTML      = errors.New("the answer is an HTML page")
	errNoStream  = errors.New("events were asked for and one JSON answer came")
	errStream    = errors.New("one answer was asked for and events came")
)

func badAnswer(res *upstream.Response, why error) *upstream.Failure {
	return &upstream.Failure{Outcome: upstream.BadAnswer(res.Status, why), FirstByte: res.FirstByte}
}

func emptyFailure(res *upstream.Response) *upstream.Failure {
	return &upstream.Failure{Outcome: upstream.EmptyAnswer(res.Status), FirstByte: res.FirstByte}
}

func noUsage() realm.Usage { return realm.Usage{Input: -1, Output: -1, Source: realm.UsageNone} }
