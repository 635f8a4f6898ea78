package gateway

import (
	"strings"
	"time"

	"realms/internal/realm"
)

// settle is step 7. It happens exactly once a request, before the client sees
// the end of its answer; later calls do nothing. The error of a record that could
// not be kept is the recorder's to count: the answer goes out all the same.
func (x *exchange) settle(ended realm.Ended, cause realm.Cause) {
	rec := x.rec
	if rec == nil {
		return
	}
	x.rec = nil
	rec.Ended, rec.Cause = ended, cause
	rec.Duration = time.Since(x.started)
	rec.Attempts = len(x.tries)
	if n := len(x.tries); n > 0 {
		try := x.lastTry()
		if try.Duration == 0 {
			try.Duration, try.Cause = time.Since(try.StartedAt), cause
			x.g.metrics.attempts.WithLabelValues(string(cause)).Inc()
		}
		rec.Channel, rec.Endpoint, rec.Credential, rec.UpstreamModel = try.Channel, try.Endpoint, try.Credential, try.Model
		if n > 1 {
			rec.Tries = x.tries
		}
	}
	x.g.metrics.requests.WithLabelValues(x.op.Name, string(ended)).Inc()
	if rec.FirstByte == 0 && rec.Status != 0 {
		rec.FirstByte = rec.Duration // it goes out as soon as this is durable
	}
	_ = x.ticket.Close()
}

// fail settles and answers with an error of ours. Nothing was committed.
func (x *exchange) fail(err *realm.Error, ended realm.Ended, cause realm.Cause) {
	x.rec.Status, x.rec.Error = x.client.Status(err), err.Message
	x.settle(ended, cause)
	x.client.Fail(err, Progress{Attempts: len(x.tries)})
}

// refused ends a request that was turned away before any upstream was asked.
func (x *exchange) refused(err error) {
	e := realm.AsError(err)
	if e.Code == realm.CodeInternal {
		x.g.o.Log.Error("request failed", "request_id", x.call.ID.String(), "error", err)
	}
	x.ticket = x.g.o.Usage.Open(x.rec)
	x.fail(e, realm.EndedRefused, realm.CauseRefused)
}

// oneLine bounds and flattens a text for a column.
func oneLine(s string) string {
	const most = 500
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "")
	}
	return strings.Join(strings.Fields(s), " ")
}
