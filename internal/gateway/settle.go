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
		if x.served != nil {
			try = x.served
		}
		rec.Channel, rec.Endpoint, rec.Credential, rec.UpstreamModel = try.Channel, try.Endpoint, try.Credential, try.Model
		if n > 1 || (ended == realm.EndedFailed && cause != realm.CauseClientError && !x.committed) {
			rec.Tries = x.tries // served at the first attempt, the row itself tells it all
		}
	}
	x.reportEnd(rec)
	x.g.metrics.requests.WithLabelValues(x.op.Name, string(ended)).Inc()
	x.tell(rec)
	if rec.FirstByte == 0 && rec.Status != 0 {
		rec.FirstByte = rec.Duration // it goes out as soon as this is durable
	}
	_ = x.ticket.Close()
}

// tell logs a request that an upstream could not serve well, once, at its end.
func (x *exchange) tell(rec *realm.RequestRecord) {
	switch rec.Ended {
	case realm.EndedCompleted, realm.EndedClientGone, realm.EndedRefused:
		return
	case realm.EndedFailed, realm.EndedUpstreamCut, realm.EndedTimeout, realm.EndedInterrupted:
	}
	why := rec.Error
	if n := len(x.tries); n > 0 && x.lastTry().Error != "" {
		why = x.lastTry().Error
	}
	x.g.o.Log.Info("request not served", "request_id", rec.ID.String(), "operation", rec.Operation, "model", rec.Model,
		"ended", string(rec.Ended), "cause", string(rec.Cause), "attempts", rec.Attempts, "reason", why)
}

// fail settles and answers with an error of ours. Nothing was committed.
func (x *exchange) fail(err *realm.Error, ended realm.Ended, cause realm.Cause) {
	x.rec.Status, x.rec.Error = x.client.Status(err), err.Message
	x.settle(ended, cause)
	x.client.Fail(err, Progress{Attempts: len(x.tries)})
}

// abandoned closes the record of a request whose handling panicked: the panic goes
// on, and the request still has its row.
func (x *exchange) abandoned() {
	if x.rec != nil {
		x.ticket = x.g.o.Usage.Open(x.rec)
		x.settle(realm.EndedFailed, realm.CauseInternal)
	}
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
