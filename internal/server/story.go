package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"realms/internal/catalog"
	"realms/internal/realm"
	"realms/internal/store"
)

// Story is a request as an operator reads it: its row, with the names of what it
// refers to where the store still has them. A name that is empty beside an id
// belonged to something that is gone.
type Story struct {
	ID              realm.RequestID `json:"id"`
	StartedAt       time.Time       `json:"started_at"`
	UserID          realm.ID        `json:"user_id,omitzero"`
	UserName        string          `json:"user_name,omitempty"`
	TokenID         realm.ID        `json:"token_id,omitzero"`
	TokenName       string          `json:"token_name,omitempty"`
	Operation       string          `json:"operation"`
	Model           string          `json:"model,omitempty"`
	Stream          bool            `json:"stream"`
	Status          int             `json:"status"` // sent to the client; 0: nothing was
	Ended           realm.Ended     `json:"ended"`
	Cause           realm.Cause     `json:"cause,omitempty"`
	Error           string          `json:"error,omitempty"`
	GroupID         realm.ID        `json:"group_id,omitzero"`
	GroupName       string          `json:"group_name,omitempty"`
	Place                           // that served, or was asked last
	UpstreamModel   string          `json:"upstream_model,omitempty"`
	Usage           StoryUsage      `json:"usage"`
	DurationMS      int64           `json:"duration_ms"`
	FirstByteMS     int64           `json:"first_byte_ms"` // to the first byte sent to the client; 0: none was
	Attempts        int             `json:"attempts"`
	ClientRequestID string          `json:"client_request_id,omitempty"`
	// Tries is empty for a request that succeeded at once, or was never sent on.
	Tries []StoryTry `json:"tries,omitempty"`
}

// Place is where an attempt went.
type Place struct {
	ChannelID      realm.ID `json:"channel_id,omitzero"`
	ChannelName    string   `json:"channel_name,omitempty"`
	EndpointID     realm.ID `json:"endpoint_id,omitzero"`
	BaseURL        string   `json:"base_url,omitempty"`
	CredentialID   realm.ID `json:"credential_id,omitzero"`
	CredentialName string   `json:"credential_name,omitempty"`
}

// StoryUsage is realm.Usage. Both Input and Output are -1 where nobody counted.
type StoryUsage struct {
	Input      int64             `json:"input"`
	Cached     int64             `json:"cached"`
	CacheWrite int64             `json:"cache_write"`
	Output     int64             `json:"output"`
	Reasoning  int64             `json:"reasoning"`
	Source     realm.UsageSource `json:"source"`
}

// StoryTry is one attempt of several, or one that failed.
type StoryTry struct {
	Number    int       `json:"number"`
	StartedAt time.Time `json:"started_at"`
	OffsetMS  int64     `json:"offset_ms"` // from the request's start
	WaitMS    int64     `json:"wait_ms"`   // from the end of the attempt before; of the first, from the request's start
	Place
	Model       string      `json:"model,omitempty"` // the upstream's name
	Status      int         `json:"status"`          // 0: no answer came
	Cause       realm.Cause `json:"cause"`
	FirstByteMS int64       `json:"first_byte_ms"` // to the upstream's header; 0: none came
	DurationMS  int64       `json:"duration_ms"`
	Error       string      `json:"error,omitempty"`
}

// ReadStory reads one request. One that the store does not have is a
// realm.CodeNotFound.
func ReadStory(ctx context.Context, st *store.Store, id realm.RequestID) (*Story, error) {
	var story *Story
	err := st.View(ctx, func(r store.Repos) error {
		rec, err := r.Requests.Get(ctx, id)
		if err != nil {
			return err
		}
		n, err := readNames(ctx, r)
		if err != nil {
			return err
		}
		story = n.story(&rec)
		return nil
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, &realm.Error{Code: realm.CodeNotFound, Message: "no request has this id; its row is written up to a second after its end"}
	}
	return story, err
}

// StoriesLookedAt is how many requests FindStories looks at before it gives up.
const StoriesLookedAt = 50_000

// FindStories reads the newest requests that fit, up to limit of them, without
// their Tries; looked is how many it has seen for that.
func FindStories(ctx context.Context, st *store.Store, limit int, fits func(*Story) bool) (found []*Story, looked int, err error) {
	const page = 1000
	found = []*Story{} // in JSON, nothing is a list too
	err = st.View(ctx, func(r store.Repos) error {
		n, err := readNames(ctx, r)
		if err != nil {
			return err
		}
		var cursor store.RequestCursor
		for looked < StoriesLookedAt {
			rows, err := r.Requests.List(ctx, store.RequestPage{Before: cursor, Limit: page})
			if err != nil {
				return fmt.Errorf("read the requests: %w", err)
			}
			for i := range rows {
				if looked++; fits(n.story(&rows[i])) {
					found = append(found, n.story(&rows[i]))
				}
				if len(found) == limit {
					return nil
				}
			}
			if len(rows) < page {
				return nil
			}
			cursor = store.RequestCursor{StartedAt: rows[page-1].StartedAt, ID: rows[page-1].ID}
		}
		return nil
	})
	return found, looked, err
}

// names is what ids stand for.
type names map[realm.ID]string

// readNames reads every name that a request may refer to; no secret stays in it.
func readNames(ctx context.Context, r store.Repos) (names, error) {
	n := names{}
	state, err := catalog.Read(ctx, r)
	if err != nil {
		return nil, err
	}
	for _, g := range state.Groups {
		n[g.ID] = g.Name
	}
	for _, ch := range state.Channels {
		n[ch.ID] = ch.Name
		for _, ep := range ch.Endpoints {
			n[ep.ID] = ep.BaseURL
			for _, cr := range ep.Credentials {
				n[cr.ID] = cr.Name
			}
		}
	}
	users, err := r.Users.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the users: %w", err)
	}
	for _, u := range users {
		n[u.ID] = u.Name
	}
	tokens, err := r.Tokens.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the tokens: %w", err)
	}
	for _, t := range tokens {
		n[t.ID] = t.Name
	}
	return n, nil
}

func (n names) place(channel, endpoint, credential realm.ID) Place {
	return Place{
		ChannelID: channel, ChannelName: n[channel], EndpointID: endpoint, BaseURL: n[endpoint],
		CredentialID: credential, CredentialName: n[credential],
	}
}

func (n names) story(rec *realm.RequestRecord) *Story {
	return &Story{
		ID: rec.ID, StartedAt: rec.StartedAt,
		UserID: rec.UserID, UserName: n[rec.UserID], TokenID: rec.TokenID, TokenName: n[rec.TokenID],
		Operation: rec.Operation, Model: rec.Model, Stream: rec.Stream,
		Status: rec.Status, Ended: rec.Ended, Cause: rec.Cause, Error: rec.Error,
		GroupID: rec.Group, GroupName: n[rec.Group],
		Place: n.place(rec.Channel, rec.Endpoint, rec.Credential), UpstreamModel: rec.UpstreamModel,
		Usage:      StoryUsage(rec.Usage),
		DurationMS: rec.Duration.Milliseconds(), FirstByteMS: rec.FirstByte.Milliseconds(),
		Attempts: rec.Attempts, ClientRequestID: rec.ClientRequestID, Tries: n.tries(rec),
	}
}

// tries tells attempts with the time that each waited for: the record has when
// each began and how long it took.
func (n names) tries(rec *realm.RequestRecord) []StoryTry {
	list := make([]StoryTry, 0, len(rec.Tries))
	before := rec.StartedAt
	for _, a := range rec.Tries {
		list = append(list, StoryTry{
			Number: a.Number, StartedAt: a.StartedAt, OffsetMS: a.StartedAt.Sub(rec.StartedAt).Milliseconds(),
			// Rounding of stored times may make it a millisecond less than nothing.
			WaitMS: max(a.StartedAt.Sub(before), 0).Milliseconds(),
			Place:  n.place(a.Channel, a.Endpoint, a.Credential), Model: a.Model,
			Status: a.Status, Cause: a.Cause, FirstByteMS: a.FirstByte.Milliseconds(),
			DurationMS: a.Duration.Milliseconds(), Error: a.Error,
		})
		before = a.StartedAt.Add(a.Duration)
	}
	return list
}
