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

// relay is step 6. Nil means that the request has its end.
func (x *exchange) relay(ctx context.Context, ex *upstream.Exchange, res *upstream.Response) *upstream.Failure {
	defer func() { _ = res.Body.Close() }()
	if x.collects(ex.Attempt.Channel) && !isJSON(res) {
		return x.relayCollected(ctx, ex, res)
	}
	if res.EventStream() {
		if !x.allowsStream() {
			return badAnswer(res, errStream) // the client cannot read events it did not ask for
		}
		return x.relayStream(ctx, ex, res)
	}
	if x.wantsStream() && !isJSON(res) {
		return x.relayStream(ctx, ex, res) // events under another name; what is none of them fails there
	}
	if x.form.op.Binary && !isJSON(res) {
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
		return readFailure(ctx, res, err)
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
	defer answer.release()
	most := wholeMost
	if x.form.conv != nil { // it is converted in one piece
		most = x.g.o.Limits.EventBytes
	}
	more, err := answer.readUpTo(res.Body, most)
	if err != nil {
		return readFailure(ctx, res, err)
	}
	if x.wantsStream() {
		return x.refusedStream(ex, res, answer.buf)
	}
	if more && x.form.conv != nil {
		return badAnswer(res, errTooLarge)
	}
	if more {
		if f := x.inspectHead(ex, res, answer.buf); f != nil {
			return f
		}
		return x.relayLarge(ctx, res, answer.buf)
	}
	return x.relayAnswer(ctx, ex, res, answer)
}

// relayAnswer judges an answer that is there in one piece, and ends the request with
// it. The caller keeps its own reference of the body.
func (x *exchange) relayAnswer(ctx context.Context, ex *upstream.Exchange, res *upstream.Response, answer *body) *upstream.Failure {
	a, f := x.inspectWhole(ex, res, answer.buf)
	if f != nil {
		return f
	}
	if f = x.convertWhole(ex, res, answer); f != nil {
		return f
	}
	if a.Empty && x.worthAnother() {
		answer.refs.Add(1)
		x.keep(&kept{body: answer, header: res.Header, status: res.Status, usage: a.Usage})
		return emptyFailure(res)
	}
	x.deliver(ctx, res, &a, answer.buf)
	return nil
}

// deliver ends the request with a whole answer.
func (x *exchange) deliver(ctx context.Context, res *upstream.Response, a *openai.Answer, text []byte) {
	x.noteUsage(a.Usage)
	x.keepObjects(a.ID, a.OutputIDs)
	if clientLeft(ctx) {
		x.clientGone() // the answer was read to its end for its usage
		return
	}
	x.finish(res.Status, realm.EndedCompleted, causeOf(a.Empty))
	x.begin()
	x.client.Begin(res.Status, res.Header, false, int64(len(text)))
	_ = x.client.Write(text) // the client may be gone; the record is closed
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
	case len(b) == 0 || (x.form.op.Answer == openai.AnswerJSONOrRaw && !isJSON(res)):
		if openai.IsHTML(b) {
			return openai.Answer{}, badAnswer(res, errHTML)
		}
		return openai.Answer{Usage: noUsage()}, nil
	}
	a, err := openai.InspectAnswer(x.form.op, b)
	if err != nil {
		return a, badAnswer(res, err)
	}
	if a.Error != nil {
		return a, x.g.o.Upstream.ClassifyError(ex, res.Header, *a.Error)
	}
	return a, nil
}

// inspectHead judges an answer by its first MiB, before it is passed on.
func (x *exchange) inspectHead(ex *upstream.Exchange, res *upstream.Response, head []byte) *upstream.Failure {
	if x.op.Answer == openai.AnswerJSONOrRaw && !isJSON(res) {
		return nil
	}
	a := openai.InspectHead(x.op, head)
	if a.Error != nil {
		return x.g.o.Upstream.ClassifyError(ex, res.Header, *a.Error)
	}
	x.keepObjects(a.ID, nil)
	return nil
}

// refusedStream judges a JSON answer to a request for events: an error that came
// with a status of success, or an upstream that does not stream.
func (x *exchange) refusedStream(ex *upstream.Exchange, res *upstream.Response, b []byte) *upstream.Failure {
	a, err := openai.InspectAnswer(x.form.op, b)
	if err != nil {
		a = openai.InspectHead(x.form.op, b) // too large to be here whole, or broken
	}
	if a.Error != nil {
		return x.g.o.Upstream.ClassifyError(ex, res.Header, *a.Error)
	}
	return badAnswer(res, errNoStream)
}

// readFailure is what the end of an answer that is not its end teaches, while
// nothing is committed.
func readFailure(ctx context.Context, res *upstream.Response, err error) *upstream.Failure {
	if ctx.Err() != nil {
		cause := realm.CauseClientGone
		if pastDeadline(ctx) {
			cause = realm.CauseTimeout
		}
		return &upstream.Failure{Outcome: realm.Outcome{Cause: cause, Next: realm.NextStop, Err: err}}
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
	x.client.Fail(&realm.Error{Code: code, Message: message, Reason: string(ended)}, at)
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
	if !x.op.Keeps || id == "" || x.form.conv != nil || !x.channel.KeepsState() || (x.req.Store != nil && !*x.req.Store) {
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
	errTooLarge  = errors.New("the answer is larger than limits.event_bytes, and must be converted in one piece")
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
