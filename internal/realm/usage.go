package realm

import "time"

// Usage is what a request consumed, in tokens. Cached and CacheWrite are part of
// Input; Reasoning is part of Output. -1 in Input and Output together with
// UsageNone means unknown, which is not zero.
type Usage struct {
	Input      int64
	Cached     int64
	CacheWrite int64
	Output     int64
	Reasoning  int64
	Source     UsageSource
}

// UsageSource tells where the counts came from.
type UsageSource string

// The sources of usage.
const (
	UsageNone      UsageSource = "none"
	UsageUpstream  UsageSource = "upstream"
	UsageEstimated UsageSource = "estimated"
)

// Ended is how a request ended.
type Ended string

// The ends of a request.
const (
	EndedCompleted   Ended = "completed"
	EndedClientGone  Ended = "client_gone"
	EndedUpstreamCut Ended = "upstream_cut"
	EndedTimeout     Ended = "timeout"
	EndedFailed      Ended = "failed"      // an upstream's error went to the client
	EndedRefused     Ended = "refused"     // by us, before any upstream
	EndedInterrupted Ended = "interrupted" // this process died or was stopped
)

// RequestRecord is the row of one request.
type RequestRecord struct {
	ID              RequestID
	StartedAt       time.Time
	UserID          ID
	TokenID         ID
	Operation       string // "chat.completions"
	Model           string // as asked, after aliases
	Stream          bool
	Status          int // sent to the client, 0 when nothing was
	Ended           Ended
	Cause           Cause
	Group           ID
	Channel         ID
	Endpoint        ID
	Credential      ID
	UpstreamModel   string
	Usage           Usage
	Duration        time.Duration
	FirstByte       time.Duration // to the first byte sent to the client; 0: none was
	Attempts        int
	ClientRequestID string // as the client sent it: kept, not trusted
	Error           string // one scrubbed line
	// Tries has one record an attempt; nil when there was only one, whose story
	// the request's own row tells.
	Tries   []AttemptRecord
	Objects []Object
}

// AttemptRecord is the row of one attempt of a request that took several.
type AttemptRecord struct {
	Number     int
	StartedAt  time.Time
	Channel    ID
	Endpoint   ID
	Credential ID
	Model      string // the upstream's name
	Status     int
	Cause      Cause
	Duration   time.Duration
	FirstByte  time.Duration // to the upstream's header; 0: none came
	Error      string
}

// Object says who owns something that an upstream keeps, and which credential
// alone can reach it.
type Object struct {
	ID         string // the upstream's: resp_…, file-…
	UserID     ID
	Credential ID
	CreatedAt  time.Time
}
