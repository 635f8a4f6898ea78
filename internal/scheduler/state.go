package scheduler

import (
	"time"

	"realms/internal/realm"
)

// ChannelState is what the scheduler knows of a channel now, for operators. It
// holds no secret, but base URLs: it is not for clients.
type ChannelState struct {
	ID        realm.ID        `json:"id"`
	Name      string          `json:"name"`
	Enabled   bool            `json:"enabled"`
	Priority  int             `json:"priority"`
	Weight    int             `json:"weight"`
	InFlight  int             `json:"in_flight"`
	Marks     []Mark          `json:"marks,omitempty"` // of the whole channel, for a model or an API
	Endpoints []EndpointState `json:"endpoints"`
}

// EndpointState is what is known of one base URL.
type EndpointState struct {
	ID          realm.ID          `json:"id"`
	BaseURL     string            `json:"base_url"`
	InFlight    int               `json:"in_flight"`
	Marks       []Mark            `json:"marks,omitempty"`
	Credentials []CredentialState `json:"credentials"`
}

// CredentialState is what is known of one credential.
type CredentialState struct {
	ID       realm.ID              `json:"id"`
	Name     string                `json:"name"`
	Enabled  bool                  `json:"enabled"`
	State    realm.CredentialState `json:"state"`
	Reason   string                `json:"reason,omitempty"` // of a state that is not ok
	Since    time.Time             `json:"since,omitzero"`
	Priority int                   `json:"priority"`
	Weight   int                   `json:"weight"`
	InFlight int                   `json:"in_flight"`
	Marks    []Mark                `json:"marks,omitempty"`
	Last5    Share                 `json:"last_5m"`
	Last60   Share                 `json:"last_60m"`
}

// Share is how a credential did over some minutes.
type Share struct {
	Attempts    int   `json:"attempts"` // that said something of the upstream: neither refused nor left by a client
	Succeeded   int   `json:"succeeded"`
	FirstByteMS int64 `json:"first_byte_ms"` // of the succeeded, on average; 0: there is none
}

// Mark is one reason why something is passed by, or used with care.
type Mark struct {
	Kind  MarkKind    `json:"kind"`
	For   string      `json:"for,omitempty"` // the model or API that it is confined to
	Cause realm.Cause `json:"cause"`
	Since time.Time   `json:"since,omitzero"`
	Until time.Time   `json:"until,omitzero"` // zero: until it changes, or is mended
}

// MarkKind says how a mark keeps requests away.
type MarkKind string

// The kinds of marks.
const (
	MarkTold       MarkKind = "told"       // the upstream's word: not asked before its time
	MarkOpen       MarkKind = "open"       // our own guess, a breaker
	MarkHalfOpen   MarkKind = "half_open"  // one request at a time tries whether it has passed
	MarkRecovering MarkKind = "recovering" // back, with little load at first
)
