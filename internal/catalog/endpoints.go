package catalog

import (
	"context"
	"fmt"
	"time"

	"realms/internal/realm"
)

// putEndpoints makes the channel's endpoints exactly the specs, in their order.
func (x Inner) putEndpoints(ctx context.Context, d *diff, channel *realm.Channel, specs []EndpointSpec) error {
	old, err := x.Repos.Endpoints.ByChannel(ctx, channel.ID)
	if err != nil {
		return fmt.Errorf("read the endpoints: %w", err)
	}
	kept := make(map[realm.ID]bool, len(specs))
	for i, spec := range specs {
		at := endpointAt{channel: channel, field: index("endpoints", i), label: endpointLabel(spec.BaseURL)}
		ep := find(old, func(e *realm.Endpoint) bool { return e.BaseURL == spec.BaseURL })
		if ep == nil {
			ep = &realm.Endpoint{ChannelID: channel.ID, BaseURL: spec.BaseURL, Position: i}
			if err := x.Repos.Endpoints.Insert(ctx, ep); err != nil {
				return fmt.Errorf("insert endpoint: %w", err)
			}
			d.text(at.label, "", "new")
		} else if ep.Position != i {
			d.number(at.label+".position", int64(ep.Position), int64(i))
			ep.Position = i
			if err := x.Repos.Endpoints.Update(ctx, ep); err != nil {
				return fmt.Errorf("update endpoint: %w", err)
			}
		}
		kept[ep.ID] = true
		if err := x.putCredentials(ctx, d, at, ep.ID, spec.Credentials); err != nil {
			return err
		}
	}
	for _, ep := range old {
		if kept[ep.ID] {
			continue
		}
		if err := x.Repos.Endpoints.Delete(ctx, ep.ID); err != nil {
			return fmt.Errorf("delete endpoint: %w", err)
		}
		d.text(endpointLabel(ep.BaseURL), "was there", "")
	}
	return nil
}

func endpointLabel(baseURL string) string { return "endpoints[" + EndpointName(baseURL) + "]" }

// endpointAt says where an endpoint stands: in which channel, in the declaration,
// for an error, and in words, for a mutation.
type endpointAt struct {
	channel      *realm.Channel
	field, label string
}

// putCredentials makes the endpoint's credentials exactly the specs.
func (x Inner) putCredentials(ctx context.Context, d *diff, at endpointAt, endpoint realm.ID, specs []CredentialSpec) error {
	old, err := x.Repos.Credentials.ByEndpoint(ctx, endpoint)
	if err != nil {
		return fmt.Errorf("read the credentials: %w", err)
	}
	var p problems
	kept := make(map[realm.ID]bool, len(specs))
	for i, spec := range specs {
		label := at.label + ".credentials[" + spec.Name + "]"
		cr := find(old, func(c *realm.Credential) bool { return c.Name == spec.Name })
		if cr != nil {
			kept[cr.ID] = true
			if err := x.changeCredential(ctx, d, label, cr, spec); err != nil {
				return err
			}
			continue
		}
		if at.channel.Type == realm.CodexOAuth {
			if err := x.addAccount(ctx, d, label, at.channel, endpoint, spec); err != nil {
				return err
			}
			continue
		}
		if spec.APIKey == nil {
			p.add(at.field+"."+index("credentials", i)+".api_key",
				"The credential %q is new on this base URL, so there is no key to keep: give its api_key (an empty one if the upstream asks for none).", spec.Name)
			continue
		}
		if err := x.addCredential(ctx, d, label, endpoint, spec); err != nil {
			return err
		}
	}
	for _, cr := range old {
		if kept[cr.ID] {
			continue
		}
		if err := x.Repos.Credentials.Delete(ctx, cr.ID); err != nil {
			return fmt.Errorf("delete credential: %w", err)
		}
		d.text(at.label+".credentials["+cr.Name+"]", "was there", "")
	}
	return p.err()
}

func (x Inner) addCredential(ctx context.Context, d *diff, label string, endpoint realm.ID, spec CredentialSpec) error {
	cr := spec.credential(endpoint)
	cr.APIKey, cr.State = *spec.APIKey, realm.CredentialOK
	d.text(label, "", "new")
	d.text(label+".api_key", "", showSecret(cr.APIKey))
	return x.insertCredential(ctx, d, label, cr)
}

// addAccount adds a credential that a ChatGPT account will stand for: nothing goes
// out with it until somebody signs one in.
func (x Inner) addAccount(ctx context.Context, d *diff, label string, channel *realm.Channel, endpoint realm.ID, spec CredentialSpec) error {
	cr := spec.credential(endpoint)
	cr.State, cr.StateReason, cr.StateSince = realm.CredentialDisabled, ReasonNotSignedIn(channel.Name, spec.Name), x.Now
	d.text(label, "", "new")
	d.text(label+".state", "", string(cr.State))
	return x.insertCredential(ctx, d, label, cr)
}

// credential is the spec without its key.
func (c *CredentialSpec) credential(endpoint realm.ID) *realm.Credential {
	return &realm.Credential{
		EndpointID: endpoint, Name: c.Name, Enabled: c.Enabled, Priority: c.Priority, Weight: c.Weight, Limits: c.Limits,
	}
}

func (x Inner) insertCredential(ctx context.Context, d *diff, label string, cr *realm.Credential) error {
	if err := x.Repos.Credentials.Insert(ctx, cr); err != nil {
		return fmt.Errorf("insert credential: %w", err)
	}
	d.flag(label+".enabled", true, cr.Enabled)
	d.number(label+".priority", 0, int64(cr.Priority))
	d.number(label+".weight", 1, int64(cr.Weight))
	d.limits(label+".limits", realm.Limits{}, cr.Limits)
	return nil
}

func showSecret(s realm.Secret) string {
	if s == "" {
		return secretNone
	}
	return secretSet
}

// changeCredential writes what differs. A new secret also mends the credential:
// whatever put it out of use was about the old one.
func (x Inner) changeCredential(ctx context.Context, d *diff, label string, cr *realm.Credential, spec CredentialSpec) error {
	before := len(d.fields)
	if spec.APIKey != nil && (*spec.APIKey != cr.APIKey || cr.Unreadable != nil) {
		before, after := showSecret(cr.APIKey), showSecret(*spec.APIKey)
		switch {
		case cr.Unreadable != nil:
			before = secretLost
		case before == after:
			after = secretChanged
		}
		d.text(label+".api_key", before, after)
		cr.APIKey, cr.Unreadable = *spec.APIKey, nil
		d.text(label+".state", string(cr.State), string(realm.CredentialOK))
		cr.State, cr.StateReason, cr.StateSince = realm.CredentialOK, "", time.Time{}
	}
	d.flag(label+".enabled", cr.Enabled, spec.Enabled)
	d.number(label+".priority", int64(cr.Priority), int64(spec.Priority))
	d.number(label+".weight", int64(cr.Weight), int64(spec.Weight))
	d.limits(label+".limits", cr.Limits, spec.Limits)
	if len(d.fields) == before {
		return nil
	}
	cr.Enabled, cr.Priority, cr.Weight, cr.Limits = spec.Enabled, spec.Priority, spec.Weight, spec.Limits
	if err := x.Repos.Credentials.Update(ctx, cr); err != nil {
		return fmt.Errorf("update credential: %w", err)
	}
	return nil
}
