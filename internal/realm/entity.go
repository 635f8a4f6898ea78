package realm

import (
	"net/netip"
	"time"
)

// Group isolates upstreams: a token reaches the channels of its groups and no
// others.
type Group struct {
	ID         ID
	Name       string
	Multiplier PPM // of the model's price
}

// DefaultGroup is the group that the first migration makes.
const DefaultGroup = "default"

// Model is a name that clients may ask for. Model always means an LLM.
type Model struct {
	ID              ID
	Name            string
	OwnedBy         string
	Enabled         bool
	MaxOutputTokens int64    // 0: unknown
	Price           *Price   // nil: unpriced
	Compat          []string // nil: the preset of the model's family; empty: none
}

// Price is what a model's tokens cost, each per 1 000 000 tokens; nil means the
// price says nothing of them.
type Price struct {
	Input       *Money `json:"input,omitempty"`
	CachedInput *Money `json:"cached_input,omitempty"`
	CacheWrite  *Money `json:"cache_write,omitempty"`
	Output      *Money `json:"output,omitempty"`
	Reasoning   *Money `json:"reasoning,omitempty"`
}

// ChannelType says how an upstream is spoken to.
type ChannelType string

// The upstream types.
const (
	OpenAICompatible ChannelType = "openai_compatible" // a base URL and API keys
	CodexOAuth       ChannelType = "codex_oauth"       // the operator's own ChatGPT accounts
)

// Channel is a provider account as an operator thinks of it.
type Channel struct {
	ID       ID
	Name     string
	Type     ChannelType
	Enabled  bool
	Priority int // higher first
	Weight   int // share within a priority; 0 is chosen only when the others are exhausted
	APIs     APISet
	Groups   []ID
	Bindings []Binding
	Settings ChannelSettings
	// Unreadable is why the store's Settings could not be read, which are empty then:
	// nothing may go out through the channel. nil: they were.
	Unreadable error
	// Slot is the channel's place in Snapshot.Channels; filled by NewSnapshot.
	Slot int
	// Endpoints in declared order; filled by the catalogue, not by the store.
	Endpoints []*Endpoint
}

// Binding offers a model, or all whose names fit a pattern, on a channel.
type Binding struct {
	// Model is a public name. One that ends in a star is a pattern: "gpt-*" offers
	// every name that begins so, AnyModel whatever is asked.
	Model string
	// Upstream is the upstream's name for it; empty: the name as asked. A star in
	// it stands for what the pattern's star stood for: {"my-*", "*"} asks the
	// upstream for "gpt-4.1" where "my-gpt-4.1" was asked.
	Upstream string
	Timeouts Timeouts // for this model; nil fields: the channel's
}

// AnyModel in a binding stands for every name.
const AnyModel = "*"

// Endpoint is one base URL of a channel.
type Endpoint struct {
	ID        ID
	ChannelID ID
	// BaseURL is as declared; catalog and upstream read it, no client can choose or see
	// it. Empty for CodexOAuth, whose backend is the provider's only one.
	BaseURL  string
	Position int
	// Filled by the catalogue.
	Channel     *Channel
	Credentials []*Credential
}

// Credential is one API key on an endpoint.
type Credential struct {
	ID          ID
	EndpointID  ID
	Name        string
	APIKey      Secret // empty: the upstream asks for none, or a CodexAccount stands for it
	Enabled     bool
	Priority    int // higher first
	Weight      int
	Limits      Limits
	State       CredentialState
	StateReason string
	StateSince  time.Time // zero while CredentialOK
	// Unreadable is why the store's APIKey could not be read, which is empty then. nil:
	// it was.
	Unreadable error
	// Filled by the catalogue.
	Endpoint *Endpoint
}

// CredentialState tells whether a credential may be used.
type CredentialState string

// The states of a credential.
const (
	CredentialOK       CredentialState = "ok"
	CredentialDisabled CredentialState = "out_of_use" // until an operator mends it
)

// Usable tells whether requests may go out with the credential.
func (c *Credential) Usable() bool {
	return c.Enabled && c.State == CredentialOK && c.Unreadable == nil
}

// Role orders what a user may do.
type Role string

// The roles, weakest first.
const (
	RoleUser  Role = "user"
	RoleAdmin Role = "admin"
	RoleRoot  Role = "root"
)

// Administers tells whether the role may run the place.
func (r Role) Administers() bool { return r == RoleAdmin || r == RoleRoot }

// User owns tokens.
type User struct {
	ID      ID
	Name    string
	Role    Role
	Enabled bool
	Groups  []ID // in order of preference
}

// Token is what a client holds. Only its hash is kept.
type Token struct {
	ID        ID
	UserID    ID
	Name      string // the label its owner gave it
	Hash      TokenHash
	Hint      string   // the first characters, to tell one from another in a list
	Groups    []ID     // ordered; nil: its user's
	Models    []string // nil: all that its groups offer
	Networks  []netip.Prefix
	ExpiresAt time.Time // zero: never
	RevokedAt time.Time // zero: live
	CreatedAt time.Time
}

// TokenHash is the SHA-256 of a token's text.
type TokenHash [32]byte

// Principal is a recognised token with what its owner brings, ready for the hot
// path. It is immutable: a change publishes a new one.
type Principal struct {
	TokenID   ID
	UserID    ID
	Role      Role
	Groups    []ID // ordered, the user's and the token's already intersected
	Models    map[string]struct{}
	Networks  []netip.Prefix
	ExpiresAt time.Time
}

// AllowsModel tells whether the token may ask for the model by name.
func (p *Principal) AllowsModel(name string) bool {
	if p.Models == nil {
		return true
	}
	_, ok := p.Models[name]
	return ok
}

// AllowsAddress tells whether the token may be used from the address.
func (p *Principal) AllowsAddress(a netip.Addr) bool {
	if len(p.Networks) == 0 {
		return true
	}
	for _, n := range p.Networks {
		if n.Contains(a.Unmap()) {
			return true
		}
	}
	return false
}
