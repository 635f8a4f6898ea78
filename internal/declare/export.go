package declare

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"realms/internal/account"
	"realms/internal/catalog"
	"realms/internal/realm"
	"realms/internal/store"
)

// ExportOptions of Export.
type ExportOptions struct {
	// Secrets includes the credentials' keys, proxies with a user or password and
	// the values of headers; without them, applying the export to the same store
	// keeps what it has.
	Secrets bool
}

// Export writes what the store holds in the form that Read reads. Defaults are
// left out where a reader would not miss them.
func Export(ctx context.Context, s *store.Store, o ExportOptions) ([]byte, error) {
	var (
		state *catalog.State
		users []account.UserInfo
	)
	err := s.View(ctx, func(r store.Repos) (err error) {
		if state, err = catalog.Read(ctx, r); err != nil {
			return fmt.Errorf("read the catalogue: %w", err)
		}
		users, err = account.ReadUsers(ctx, r)
		return err
	})
	if err == nil {
		err = checkReadable(state, o.Secrets)
	}
	if err != nil {
		return nil, err
	}
	var w writer
	w.section("groups", len(state.Groups))
	for _, g := range state.Groups {
		w.item(1, flow{}.text("name", g.Name).plain("multiplier", g.Multiplier.String()))
	}
	w.section("models", len(state.Models))
	for _, m := range state.Models {
		w.item(1, exportModel(m))
	}
	w.section("channels", len(state.Channels))
	for _, ch := range state.Channels {
		exportChannel(&w, state.Spec(ch), ch, o.Secrets)
	}
	w.section("users", len(users))
	for _, u := range users {
		f := flow{}.text("name", u.Name).text("role", string(u.Role)).disabled(u.Enabled)
		w.item(1, f.plain("groups", textList(u.Groups)))
	}
	return w.Bytes(), nil
}

// checkReadable refuses to export as empty what could not be read.
func checkReadable(state *catalog.State, secrets bool) error {
	for _, ch := range state.Channels {
		if ch.Unreadable != nil {
			return fmt.Errorf("channel %q: %w", ch.Name, ch.Unreadable)
		}
		for _, ep := range ch.Endpoints {
			for _, cr := range ep.Credentials {
				if secrets && cr.Unreadable != nil {
					return fmt.Errorf("credential %q of channel %q: %w", cr.Name, ch.Name, cr.Unreadable)
				}
			}
		}
	}
	return nil
}

func exportModel(m *realm.Model) flow {
	f := flow{}.text("name", m.Name)
	if m.OwnedBy != "" {
		f = f.text("owned_by", m.OwnedBy)
	}
	f = f.disabled(m.Enabled)
	if m.MaxOutputTokens != 0 {
		f = f.plain("max_output_tokens", strconv.FormatInt(m.MaxOutputTokens, 10))
	}
	if p := m.Price; p != nil {
		amounts := flow{}
		for _, a := range []struct {
			key    string
			amount *realm.Money
		}{{"input", p.Input}, {"cached_input", p.CachedInput}, {"cache_write", p.CacheWrite}, {"output", p.Output}, {"reasoning", p.Reasoning}} {
			if a.amount != nil {
				amounts = amounts.plain(a.key, a.amount.String())
			}
		}
		f = f.plain("price", amounts.String())
	}
	if m.Compat != nil {
		f = f.plain("compat", textList(m.Compat))
	}
	return f
}

func exportChannel(w *writer, spec catalog.ChannelSpec, ch *realm.Channel, secrets bool) {
	w.line(1, "- name: %s", quote(spec.Name))
	w.line(2, "type: %s", quote(string(spec.Type)))
	if !spec.Enabled {
		w.line(2, "enabled: false")
	}
	slices.Sort(spec.Groups) // a channel is in its groups in no order
	w.line(2, "groups: %s", textList(spec.Groups))
	w.line(2, "priority: %d", spec.Priority)
	w.line(2, "weight: %d", spec.Weight)
	if spec.APIs != catalog.DefaultAPIs(spec.Type) {
		w.line(2, "apis: %s", textList(spec.APIs.Names()))
	}
	exportSettings(w, &spec.Settings, secrets)
	exportEndpoints(w, &spec, ch, secrets)
	w.list(2, "models", len(spec.Bindings))
	for _, b := range spec.Bindings {
		f := flow{}.text("name", b.Model)
		if b.Upstream != b.Model && b.Upstream != "" {
			f = f.text("upstream", b.Upstream)
		}
		if times := exportTimeouts(b.Timeouts); len(times) > 0 {
			f = f.plain("timeouts", times.String())
		}
		if len(f) == 1 {
			w.line(3, "- %s", quote(b.Model))
		} else {
			w.item(3, f)
		}
	}
}

func exportEndpoints(w *writer, spec *catalog.ChannelSpec, ch *realm.Channel, secrets bool) {
	keyed := secrets && spec.Type != realm.CodexOAuth
	w.list(2, "endpoints", len(spec.Endpoints))
	for i, ep := range spec.Endpoints {
		if spec.Type == realm.CodexOAuth {
			w.list(3, "- credentials", len(ep.Credentials))
		} else {
			w.line(3, "- base_url: %s", quote(ep.BaseURL))
			w.list(4, "credentials", len(ep.Credentials))
		}
		for j, c := range ep.Credentials {
			f := flow{}.text("name", c.Name)
			if keyed {
				f = f.text("api_key", ch.Endpoints[i].Credentials[j].APIKey.Reveal())
			}
			w.item(5, exportCredential(f, &c))
		}
	}
}

func exportCredential(f flow, c *catalog.CredentialSpec) flow {
	f = f.disabled(c.Enabled)
	if c.Priority != 0 {
		f = f.plain("priority", strconv.Itoa(c.Priority))
	}
	if c.Weight != defaultWeight {
		f = f.plain("weight", strconv.Itoa(c.Weight))
	}
	if limits := exportLimits(c.Limits); len(limits) > 0 {
		f = f.plain("limits", limits.String())
	}
	return f
}
