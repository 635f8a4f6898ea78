package catalog

import (
	"context"
	"fmt"
	"strings"

	"realms/internal/realm"
)

// codexAPIs is what the backend of ChatGPT accounts speaks.
const codexAPIs = realm.APISet(realm.APIResponses | realm.APICompact)

// DefaultAPIs is what a channel of the type speaks that declares no apis.
func DefaultAPIs(t realm.ChannelType) realm.APISet {
	if t == realm.CodexOAuth {
		return codexAPIs
	}
	return realm.AllAPIs
}

// EndpointName is an endpoint as lists and changes show it: its base URL, or
// ChatGPT where it has none.
func EndpointName(baseURL string) string {
	if baseURL == "" {
		return "ChatGPT"
	}
	return baseURL
}

// CodexCredential finds a credential of a codex_oauth channel by names, its
// Endpoint and the Endpoint's Channel filled. An empty credential means the
// channel's only one.
func (x Inner) CodexCredential(ctx context.Context, channel, credential string) (*realm.Credential, error) {
	ch, err := x.Repos.Channels.ByName(ctx, channel)
	if err != nil {
		return nil, notFound(err, "channel", channel)
	}
	if ch.Type != realm.CodexOAuth {
		return nil, &realm.Error{Code: realm.CodeInvalid, Field: "channel", Message: fmt.Sprintf(
			"The channel %q is of the type %s, which has API keys: only one of the type %s has accounts to sign in.", ch.Name, ch.Type, realm.CodexOAuth)}
	}
	if ch.Unreadable != nil { // how its account is to be reached is not known
		return nil, ch.Unreadable
	}
	endpoints, err := x.Repos.Endpoints.ByChannel(ctx, ch.ID)
	if err != nil {
		return nil, fmt.Errorf("read the endpoints: %w", err)
	}
	var all []*realm.Credential
	for _, ep := range endpoints {
		ep.Channel = ch
		credentials, err := x.Repos.Credentials.ByEndpoint(ctx, ep.ID)
		if err != nil {
			return nil, fmt.Errorf("read the credentials: %w", err)
		}
		for _, cr := range credentials {
			cr.Endpoint = ep
			all = append(all, cr)
		}
	}
	return chooseCredential(ch, all, strings.TrimSpace(credential))
}

func chooseCredential(ch *realm.Channel, all []*realm.Credential, name string) (*realm.Credential, error) {
	if name != "" {
		if cr := find(all, func(c *realm.Credential) bool { return c.Name == name }); cr != nil {
			return cr, nil
		}
		return nil, noCredential(ch.Name, name)
	}
	switch len(all) {
	case 1:
		return all[0], nil
	case 0:
		return nil, &realm.Error{Code: realm.CodeNotFound, Field: "credential", Message: fmt.Sprintf(
			"The channel %q has no credential: declare one under endpoints, such as {credentials: [{name: main}]}.", ch.Name)}
	}
	names := make([]string, len(all))
	for i, cr := range all {
		names[i] = ch.Name + "/" + cr.Name
	}
	return nil, &realm.Error{Code: realm.CodeInvalid, Field: "credential", Message: fmt.Sprintf(
		"The channel %q has %d credentials; say which one is meant: %s.", ch.Name, len(all), some(names))}
}

func noCredential(channel, name string) error {
	return &realm.Error{Code: realm.CodeNotFound, Message: fmt.Sprintf("The channel %q has no credential named %q.", channel, name)}
}
