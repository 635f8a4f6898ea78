package gateway

import (
	"context"
	"errors"
	"io"

	"realms/internal/protocol/openai"
	"realms/internal/realm"
	"realms/internal/upstream"
)

// heldTail is how much of a larger answer waits until its usage is durable.
const heldTail = 64 << 10

// relayLarge passes on an answer that is too large to hold, or is not to be held.
// Its end waits until the usage is durable. As long as all of it could be held,
// nothing is committed.
func (x *exchange) relayLarge(ctx context.Context, res *upstream.Response, head []byte) *upstream.Failure {
	cut := max(len(head)-heldTail, 0)
	if cut > 0 && !x.pass(res, head[:cut]) {
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
			if !x.committed {
				return readFailure(ctx, res, err)
			}
			x.cut(ctx, err, Progress{})
			return nil
		}
		if cut = len(tail) - heldTail; cut <= 0 {
			continue
		}
		if !x.pass(res, tail[:cut]) {
			return nil
		}
		tail = append(tail[:0], tail[cut:]...)
	}
	x.noteUsage(openai.TailUsage(tail))
	x.rec.Status = res.Status
	x.settle(realm.EndedCompleted, realm.CauseOK)
	if !x.committed {
		x.begin()
		x.client.Begin(res.Status, res.Header, false, int64(len(tail)))
	}
	_ = x.client.Write(tail) // the client may be gone; the record is closed
	return nil
}

// pass commits a large answer, if that is still to do, and sends a piece of it.
// False means that the client is gone, and the record is settled.
func (x *exchange) pass(res *upstream.Response, p []byte) bool {
	if !x.committed {
		x.rec.Status = res.Status
		x.begin()
		x.client.Begin(res.Status, res.Header, false, res.Length)
	}
	if x.client.Write(p) != nil {
		x.clientGone()
		return false
	}
	return true
}
