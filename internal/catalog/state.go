package catalog

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"realms/internal/realm"
	"realms/internal/store"
)

// State is the whole catalogue as the store has it, linked: channels hold their
// endpoints in declared order, those their credentials by priority and name.
// Credentials carry their secrets; what could not be read is Unreadable and out of
// use.
type State struct {
	Version  int64
	Groups   []*realm.Group   // by name
	Models   []*realm.Model   // by name
	Channels []*realm.Channel // by name
}

// Read reads the catalogue. It is consistent if the repositories are of one
// transaction or view.
func Read(ctx context.Context, r store.Repos) (*State, error) {
	var (
		s         State
		err       error
		endpoints []*realm.Endpoint
		creds     []*realm.Credential
	)
	if s.Version, err = r.Changes.Version(ctx); err != nil {
		return nil, fmt.Errorf("read the version: %w", err)
	}
	if s.Groups, err = r.Groups.List(ctx); err != nil {
		return nil, fmt.Errorf("read the groups: %w", err)
	}
	if s.Models, err = r.Models.List(ctx); err != nil {
		return nil, fmt.Errorf("read the models: %w", err)
	}
	if s.Channels, err = r.Channels.List(ctx); err != nil {
		return nil, fmt.Errorf("read the channels: %w", err)
	}
	if endpoints, err = r.Endpoints.List(ctx); err != nil {
		return nil, fmt.Errorf("read the endpoints: %w", err)
	}
	if creds, err = r.Credentials.List(ctx); err != nil {
		return nil, fmt.Errorf("read the credentials: %w", err)
	}
	s.link(endpoints, creds)
	s.withdraw()
	return &s, nil
}

// withdraw shows as out of use what could not be read, whatever its row says: the
// credential, or all credentials of a channel whose settings say how they are used.
func (s *State) withdraw() {
	for _, ch := range s.Channels {
		for _, ep := range ch.Endpoints {
			for _, cr := range ep.Credentials {
				if err := cmp.Or(ch.Unreadable, cr.Unreadable); err != nil {
					cr.State, cr.StateReason = realm.CredentialDisabled, oneLine(realm.AsError(err).Message)
				}
			}
		}
	}
}

func (s *State) link(endpoints []*realm.Endpoint, creds []*realm.Credential) {
	channels := make(map[realm.ID]*realm.Channel, len(s.Channels))
	for _, ch := range s.Channels {
		channels[ch.ID] = ch
	}
	byID := make(map[realm.ID]*realm.Endpoint, len(endpoints))
	for _, ep := range endpoints {
		byID[ep.ID] = ep
		if ch := channels[ep.ChannelID]; ch != nil {
			ep.Channel = ch
			ch.Endpoints = append(ch.Endpoints, ep)
		}
	}
	for _, cr := range creds {
		if ep := byID[cr.EndpointID]; ep != nil {
			cr.Endpoint = ep
			ep.Credentials = append(ep.Credentials, cr)
		}
	}
	for _, ep := range endpoints {
		sortCredentials(ep.Credentials)
	}
}

// Group finds a group by name; nil if there is none.
func (s *State) Group(name string) *realm.Group {
	return find(s.Groups, func(g *realm.Group) bool { return g.Name == name })
}

// Model finds a model by name; nil if there is none.
func (s *State) Model(name string) *realm.Model {
	return find(s.Models, func(m *realm.Model) bool { return m.Name == name })
}

// Channel finds a channel by name; nil if there is none.
func (s *State) Channel(name string) *realm.Channel {
	return find(s.Channels, func(c *realm.Channel) bool { return c.Name == name })
}

func find[T any](list []*T, is func(*T) bool) *T {
	if i := slices.IndexFunc(list, is); i >= 0 {
		return list[i]
	}
	return nil
}

func (s *State) groupNames(ids []realm.ID) []string {
	names := make([]string, 0, len(ids))
	for _, id := range ids {
		if g := find(s.Groups, func(g *realm.Group) bool { return g.ID == id }); g != nil {
			names = append(names, g.Name)
		}
	}
	return names
}
