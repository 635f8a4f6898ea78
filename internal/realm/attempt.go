package realm

import "time"

// Attempt is one HTTP exchange that the scheduler chose: which credential, and
// under which name the upstream knows the model.
type Attempt struct {
	Number     int // from 1
	Group      ID  // the group that served
	Channel    *Channel
	Endpoint   *Endpoint
	Credential *Credential
	API        API      // in which it is asked: the request's own, or the one it is converted to
	Model      string   // the upstream's name
	Timeouts   Timeouts // the model's on this channel; nil fields: the channel's
	// Leaves: the session is bound to another account, which made what is encrypted
	// in the request; none but that one can read it.
	Leaves bool
}

// Cause says in one word why an attempt ended as it did. It is a log field, a
// metric label and a column, so the set is closed.
type Cause string

// The causes of an attempt's end.
const (
	CauseOK           Cause = "ok"
	CauseStaleConn    Cause = "stale_connection" // cut before any byte on a reused connection: nobody's fault
	CauseConnect      Cause = "connect"          // refused, DNS, TLS, reset on a new connection
	CauseTimeout      Cause = "timeout"          // no header, no first event or no further byte in time
	CauseAuth         Cause = "auth"             // 401, or a 403 that names the key or account
	CauseForbidden    Cause = "forbidden"        // any other 403
	CauseBlocked      Cause = "blocked"          // a firewall page
	CauseRateLimited  Cause = "rate_limited"     // 429
	CauseQuota        Cause = "quota"            // insufficient_quota, 402
	CauseServerError  Cause = "server_error"     // 5xx, 408, 529, 409 without OpenAI's body
	CauseModelMissing Cause = "model_missing"    // the upstream does not know the model
	CauseAPIMissing   Cause = "api_missing"      // the upstream does not have the path
	CauseBadAnswer    Cause = "bad_answer"       // 200 that is not what it says, 3xx, unknown status or encoding
	CauseEmpty        Cause = "empty"            // completed without any output
	CauseField        Cause = "field"            // a 400 that names a field we may take away and try once more
	CauseClientError  Cause = "client_error"     // the client's own fault: returned as it is
	CauseClientGone   Cause = "client_gone"
	CauseUpstreamCut  Cause = "upstream_cut" // cut after commit
	CauseRefused      Cause = "refused"      // by us, before any upstream
	CauseInternal     Cause = "internal"
)

// Scope is how much of the catalogue a failure puts out of question.
type Scope uint8

// The scopes, narrowest first.
const (
	ScopeNone Scope = iota // nobody is to blame
	ScopeCredentialModel
	ScopeCredential
	ScopeEndpointModel
	ScopeEndpoint
	ScopeChannelModel
	ScopeChannelAPI
)

// Next says what may follow a failed attempt, as long as nothing is committed.
type Next uint8

// What may follow.
const (
	// NextStop: nothing. The answer, good or bad, is the client's.
	NextStop Next = iota
	// NextSameCredential: the same once more, on a new connection.
	NextSameCredential
	// NextWithoutField: the same once more, without Outcome.Field.
	NextWithoutField
	// NextOther: whatever the scope leaves.
	NextOther
)

// Outcome is what an attempt taught: classify fills it, the scheduler hears it.
type Outcome struct {
	Cause  Cause
	Scope  Scope
	Next   Next
	Status int // the upstream's, 0 when there was none
	// Passing: the fault may be gone in a moment (5xx, connect, a short 429), so
	// that the credential may be tried once more when all others are exhausted.
	Passing bool
	// Wait is the time the upstream named (Retry-After and its kin); Told says
	// that it named one, so that a zero means "at once".
	Wait time.Duration
	Told bool
	// Field is the one that NextWithoutField takes away.
	Field string
	// Light: counts less than a failure (CauseEmpty), or is no word against the
	// credential, which is left alone for Wait (CauseAuth).
	Light bool
	// Final: the upstream says that the account is closed or the key revoked; no
	// second word is needed to take the credential out of use.
	Final bool
	// Version is CodexIdentity.Version of what was shown, where that was one.
	Version int64
	// Err explains, for the log; the credential's secret is scrubbed from it.
	Err error
}

// Reason is why in the words of whoever said it, else the cause.
func (o *Outcome) Reason() string {
	if o.Err != nil {
		return o.Err.Error()
	}
	return string(o.Cause)
}

// Ends tells whether its credential is not asked again, for one reason or another.
func (o *Outcome) Ends() bool { return o.Next == NextStop || o.Next == NextOther }

// OK tells whether the attempt succeeded.
func (o *Outcome) OK() bool { return o.Cause == CauseOK }
