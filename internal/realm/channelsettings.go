package realm

import (
	"encoding/json"
	"time"
)

// ChannelSettings is how one channel differs from what the configuration says of
// all (section relay), and what it changes in requests and answers. The zero
// value changes nothing.
type ChannelSettings struct {
	Timeouts Timeouts
	// Attempts is how many exchanges of one request the channel takes at most; 0:
	// as many as the request may have.
	Attempts int
	Limits   Limits
	// Proxy is the URL through which the channel is reached: http, https, socks5
	// or socks5h. It may hold a password.
	Proxy Secret
	// CAFile is the path of a PEM file of certificates trusted beside the system's.
	CAFile string
	// Probe is how often each endpoint is asked one small question; 0: never.
	Probe            time.Duration
	OnDisconnect     OnDisconnect
	ServiceTier      ServiceTier
	Store            StorePolicy
	SafetyIdentifier SafetyIdentifier
	SetHeaders       map[string]Secret // canonical names; put on requests that go up
	DeleteHeaders    []string          // canonical names; taken off them
	BodyEdits        []BodyEdit        // in order
	StatusMap        map[int]int       // the upstream's status → the one it is treated as
}

// KeepsState tells whether answers may be kept upstream, to be referred to later.
func (ch *Channel) KeepsState() bool {
	return ch.Type != CodexOAuth && ch.Settings.Store != StoreFalse
}

// LimitsOf is what bounds one of the channel's credentials.
func (ch *Channel) LimitsOf(cr *Credential) Limits {
	l := cr.Limits
	if ch.Type == CodexOAuth && l.Concurrent == 0 {
		l.Concurrent = CodexConcurrent
	}
	return l
}

// Timeouts bound an attempt, phase by phase. Nil: as the next wider level says; a
// zero means no limit.
type Timeouts struct {
	Connect    *time.Duration // name, TCP and TLS together
	FirstByte  *time.Duration // from the connection to the answer's header, streamed or not
	FirstEvent *time.Duration // from the header to the first substantive event; streams only
	Idle       *time.Duration // silence between an answer's bytes
}

// Limits bound what goes to a channel or a credential; 0 means none.
type Limits struct {
	Concurrent        int   // requests at once
	RequestsPerMinute int   // of the last 60 s
	TokensPerMinute   int64 // input and output, of the last 60 s
}

// IsZero tells whether nothing is limited.
func (l Limits) IsZero() bool { return l == Limits{} }

// OnDisconnect says what becomes of an answer whose client has left.
type OnDisconnect string

// What becomes of it.
const (
	DisconnectCancel OnDisconnect = "cancel" // the default, ""
	DisconnectDrain  OnDisconnect = "drain"  // read on for a while, for exact usage
)

// ServiceTier says which values of the field service_tier go up.
type ServiceTier struct {
	Drop bool     // none
	Only []string // these alone; empty: all, unless Drop
}

// StorePolicy says what becomes of the field store.
type StorePolicy string

// What becomes of it.
const (
	StorePass  StorePolicy = "pass"  // the default, ""
	StoreFalse StorePolicy = "false" // always false
)

// SafetyIdentifier says what becomes of the field safety_identifier.
type SafetyIdentifier string

// What becomes of it.
const (
	SafetyPass SafetyIdentifier = "pass" // the default, ""
	SafetyDrop SafetyIdentifier = "drop"
	SafetyHMAC SafetyIdentifier = "hmac" // a keyed hash of our user takes its place
)

// BodyEdit is one change of a JSON body on its way up.
type BodyEdit struct {
	Op     BodyOp
	Path   string          // of fields, joined by dots
	To     string          // BodyRename: the path's new last name
	Value  json.RawMessage // BodySet
	Models []string        // public names or patterns to which it is confined; empty: all
}

// BodyOp is what a BodyEdit does.
type BodyOp string

// The body edits.
const (
	BodySet    BodyOp = "set"
	BodyDelete BodyOp = "delete"
	BodyRename BodyOp = "rename"
)
