package server

import (
	"fmt"
	"net/http"
	"time"

	"realms/internal/realm"
	"realms/internal/scheduler"
)

// The scheduler's words for the state of channels, under names for the commands:
// those know the server and not its parts.
type (
	// ChannelState is scheduler.ChannelState.
	ChannelState = scheduler.ChannelState
	// EndpointState is scheduler.EndpointState.
	EndpointState = scheduler.EndpointState
	// CredentialState is scheduler.CredentialState.
	CredentialState = scheduler.CredentialState
	// Mark is scheduler.Mark.
	Mark = scheduler.Mark
	// MarkKind is scheduler.MarkKind.
	MarkKind = scheduler.MarkKind
	// Share is scheduler.Share.
	Share = scheduler.Share
)

// The kinds of marks, gravest first.
const (
	MarkTold       = scheduler.MarkTold
	MarkOpen       = scheduler.MarkOpen
	MarkHalfOpen   = scheduler.MarkHalfOpen
	MarkRecovering = scheduler.MarkRecovering
)

// Channels is the state of all channels at one instant.
type Channels struct {
	At       time.Time      `json:"at"`
	Live     bool           `json:"live"` // false: what the store holds, since nobody serves
	Channels []ChannelState `json:"channels"`
}

// Mended is what POST /channels/{name}/mend cleared.
type Mended struct {
	Cleared []Cleared `json:"cleared"`
}

// Cleared is a mark that was of a channel, of one of its endpoints or, where
// Credential says which, of a credential.
type Cleared struct {
	BaseURL    string `json:"base_url,omitempty"`
	Credential string `json:"credential,omitempty"`
	Mark       Mark   `json:"mark"`
}

// StoredChannels is the state of channels as far as the catalogue tells it:
// nothing is under way, and no mark is known.
func StoredChannels(channels []*realm.Channel) []ChannelState {
	list := make([]ChannelState, 0, len(channels))
	for _, ch := range channels {
		state := ChannelState{
			ID: ch.ID, Name: ch.Name, Enabled: ch.Enabled, Priority: ch.Priority, Weight: ch.Weight,
			Endpoints: make([]EndpointState, 0, len(ch.Endpoints)),
		}
		for _, ep := range ch.Endpoints {
			e := EndpointState{ID: ep.ID, BaseURL: ep.BaseURL, Credentials: make([]CredentialState, 0, len(ep.Credentials))}
			for _, cr := range ep.Credentials {
				e.Credentials = append(e.Credentials, CredentialState{
					ID: cr.ID, Name: cr.Name, Enabled: cr.Enabled, State: cr.State, Reason: cr.StateReason,
					Since: cr.StateSince, Priority: cr.Priority, Weight: cr.Weight,
				})
			}
			state.Endpoints = append(state.Endpoints, e)
		}
		list = append(list, state)
	}
	return list
}

func (c *control) listChannels(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, Channels{At: time.Now(), Live: true, Channels: c.channels()})
}

// mendChannel makes the scheduler forget what it holds against a channel, or
// against those of its credentials that have a name. What the store holds is the
// command's to change, and it is read here, so that the next look shows it.
func (c *control) mendChannel(w http.ResponseWriter, r *http.Request) {
	before := c.marks(r.PathValue("name"))
	if err := c.app.Catalog.Load(r.Context()); err != nil {
		replyError(w, err)
		return
	}
	ch := c.app.Catalog.Snapshot().Channel(r.PathValue("name"))
	if ch == nil {
		replyError(w, &realm.Error{Code: realm.CodeNotFound, Message: fmt.Sprintf("there is no channel named %q", r.PathValue("name"))})
		return
	}
	credentials, err := named(ch, r.URL.Query().Get("credential"))
	if err != nil {
		replyError(w, err)
		return
	}
	for _, id := range credentials {
		c.mend(ch.ID, id)
	}
	mended, after := Mended{Cleared: []Cleared{}}, c.marks(ch.Name)
	for _, was := range before {
		if !holds(after, was) {
			mended.Cleared = append(mended.Cleared, was)
		}
	}
	reply(w, http.StatusOK, mended)
}

// named finds a channel's credentials of a name, one an endpoint; no name is all
// of them, which is the id 0.
func named(ch *realm.Channel, credential string) ([]realm.ID, error) {
	if credential == "" {
		return []realm.ID{0}, nil
	}
	var ids []realm.ID
	for _, ep := range ch.Endpoints {
		for _, cr := range ep.Credentials {
			if cr.Name == credential {
				ids = append(ids, cr.ID)
			}
		}
	}
	if len(ids) == 0 {
		return nil, &realm.Error{Code: realm.CodeNotFound, Message: fmt.Sprintf("the channel %q has no credential named %q", ch.Name, credential)}
	}
	return ids, nil
}

// marks is everything that is held against a channel now.
func (c *control) marks(channel string) []Cleared {
	var all []Cleared
	add := func(baseURL, credential string, marks []Mark) {
		for _, m := range marks {
			all = append(all, Cleared{BaseURL: baseURL, Credential: credential, Mark: m})
		}
	}
	for _, ch := range c.channels() {
		if ch.Name != channel {
			continue
		}
		add("", "", ch.Marks)
		for _, ep := range ch.Endpoints {
			add(ep.BaseURL, "", ep.Marks)
			for _, cr := range ep.Credentials {
				add(ep.BaseURL, cr.Name, cr.Marks)
			}
		}
	}
	return all
}

// holds tells whether a mark is still there, whatever its time is now.
func holds(list []Cleared, m Cleared) bool {
	m.Mark.Until = time.Time{}
	for _, other := range list {
		if other.Mark.Until = (time.Time{}); other == m {
			return true
		}
	}
	return false
}
