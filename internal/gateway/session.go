package gateway

import (
	"crypto/sha256"
	"encoding/binary"

	"realms/internal/realm"
)

// sessionHeaders name a client's session, the first that is there. Codex sends
// session-id, its older versions session_id and conversation_id.
var sessionHeaders = [...]string{"Session-Id", "Session_id", "Conversation_id", "X-Session-Affinity"}

// bytesPerToken is about how many bytes of a request make a token, for limits.
const bytesPerToken = 4

// mostEstimated bounds that: what is larger is mostly images, which make far fewer.
const mostEstimated = 32_000

// bindSession finds the session that the request belongs to. Its account is asked
// first, so that what that has cached, or encrypted, is of use again.
func (x *exchange) bindSession() {
	x.needState()
	if x.req.Form == nil {
		x.need.Tokens = min(int64(len(x.native.body.buf))/bytesPerToken, mostEstimated)
	}
	name := x.req.RouteKey
	for i := 0; name == "" && i < len(sessionHeaders); i++ {
		if v := x.call.Header[sessionHeaders[i]]; len(v) > 0 {
			name = v[0]
		}
	}
	x.session = name
	if name != "" {
		x.need.Session = routeKey(x.principal.UserID, name)
		x.need.Hard = x.req.HasCompaction // no other account can read what it holds
	}
}

// needState finds out whether the request needs a channel that keeps answers.
func (x *exchange) needState() {
	if !x.op.Keeps {
		return
	}
	if x.req.Store != nil && *x.req.Store {
		x.stateField = "store"
	}
	for _, ref := range x.req.Objects {
		if ref.Field == "previous_response_id" || ref.Field == "conversation" {
			x.stateField = ref.Field
		}
	}
	x.need.State = x.stateField != ""
}

// routeKey hashes what a client calls its session, within its user's own.
func routeKey(user realm.ID, name string) realm.RouteKey {
	text := make([]byte, 8, 128)
	binary.BigEndian.PutUint64(text, uint64(user))
	sum := sha256.Sum256(append(text, name...))
	return realm.RouteKey(sum[:len(realm.RouteKey{})])
}
