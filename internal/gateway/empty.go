package gateway

import (
	"realms/internal/protocol/openai"
	"realms/internal/realm"
)

// kept is an answer without any output. It goes out if nothing better comes.
type kept struct {
	body   *body
	header map[string][]string
	status int
	stream bool
	usage  realm.Usage
	group  realm.ID // that served
	try    int      // the attempt, in exchange.tries
}

// worthAnother tells whether an answer without output may be put aside to ask one
// other credential, and only one.
func (x *exchange) worthAnother() bool {
	return x.op.Meters && x.op.Body != openai.BodyNone && x.empty == nil && x.need.Credential == 0
}

// keep puts the present attempt's answer aside.
func (x *exchange) keep(k *kept) {
	k.group, k.try = x.rec.Group, len(x.tries)-1
	x.empty = k
}

// causeOf is the cause of an answer that was completed.
func causeOf(empty bool) realm.Cause {
	if empty {
		return realm.CauseEmpty
	}
	return realm.CauseOK
}

// deliverEmpty sends the answer without output after all.
func (x *exchange) deliverEmpty() {
	k := x.empty
	x.served, x.rec.Group = &x.tries[k.try], k.group
	x.noteUsage(k.usage)
	x.rec.Status = k.status
	x.settle(realm.EndedCompleted, realm.CauseEmpty)
	x.begin()
	x.client.Begin(k.status, k.header, k.stream, int64(len(k.body.buf)))
	_ = x.client.Write(k.body.buf) // the client may be gone; the record is closed
}
