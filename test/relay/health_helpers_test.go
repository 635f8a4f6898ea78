package relay

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"realms/internal/catalog"
	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/scheduler"
	"realms/internal/store"
	"realms/internal/store/storetest"
	"realms/internal/testkit"
)

// onEngines runs a test over every engine, each time with a new, empty database that
// use puts into a configuration.
func onEngines(t *testing.T, test func(t *testing.T, use func(*config.Config))) {
	t.Helper()
	for _, engine := range storetest.Engines(t) {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			dsn := storetest.DSN(t, engine)
			test(t, func(c *config.Config) { c.DB.DSN = config.DSN(dsn) })
		})
	}
}

// channelState is what the relay knows of a channel now.
func (w *world) channelState(t testing.TB, name string) scheduler.ChannelState {
	t.Helper()
	for _, ch := range w.Channels(t) {
		if ch.Name == name {
			return ch
		}
	}
	t.Fatalf("there is no channel %s", name)
	return scheduler.ChannelState{}
}

// marks are what the relay holds against the scene's upstreams: "b1 told
// rate_limited", "a open server_error"; what is confined to another model than the
// scene's says which.
func (s *scene) marks(t testing.TB) []string {
	t.Helper()
	var list []string
	add := func(who string, marks []scheduler.Mark) {
		for _, m := range marks {
			text := who + " " + string(m.Kind) + " " + string(m.Cause)
			if m.For != "" && m.For != s.model {
				text += " " + m.For
			}
			list = append(list, text)
		}
	}
	for i, name := range s.names {
		ch, leg := s.w.channelState(t, name), string(rune('a'+i))
		add(leg, ch.Marks)
		for _, ep := range ch.Endpoints {
			add(leg, ep.Marks)
			for _, cr := range ep.Credentials {
				add(leg+cr.Name[len("credential-"):], cr.Marks)
			}
		}
	}
	return list
}

// credential is what the relay knows of the scene's credential with a label.
func (s *scene) credential(t testing.TB, label string) scheduler.CredentialState {
	t.Helper()
	for _, ep := range s.w.channelState(t, s.names[label[0]-'a']).Endpoints {
		for _, cr := range ep.Credentials {
			if cr.Name == "credential-"+label[1:] {
				return cr
			}
		}
	}
	t.Fatalf("there is no credential %s", label)
	return scheduler.CredentialState{}
}

// inFlight is what all channels have under way.
func (w *world) inFlight(t testing.TB) int {
	t.Helper()
	n := 0
	for _, ch := range w.Channels(t) {
		n += ch.InFlight
		for _, ep := range ch.Endpoints {
			n += ep.InFlight
			for _, cr := range ep.Credentials {
				n += cr.InFlight
			}
		}
	}
	return n
}

// settles waits until every slot was given back.
func (w *world) settles(t testing.TB) {
	t.Helper()
	testkit.Poll(t, "all slots to be given back", func() bool { return w.inFlight(t) == 0 })
}

// counted is how often each label was asked.
func (s *scene) counted() map[string]int {
	n := map[string]int{}
	for _, r := range s.requests() {
		n[s.keys[r.Key]]++
	}
	return n
}

// eventually is Poll for what takes longer: it asks ten times a second.
func eventually(t testing.TB, what string, most time.Duration, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(most)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited %s in vain for %s", most, what)
		}
	}
}

// usageOf is what an upstream of these tests counts if it is told nothing else.
func usageOf(tokens testkit.Tokens) realm.Usage {
	return realm.Usage{
		Input: int64(tokens.Input), Cached: int64(tokens.Cached), Output: int64(tokens.Output), Reasoning: int64(tokens.Reasoning),
		Source: realm.UsageUpstream,
	}
}

// rows are those of all requests so far.
func (w *world) rows(t testing.TB) []realm.RequestRecord {
	t.Helper()
	var all []realm.RequestRecord
	page := store.RequestPage{Limit: 1000}
	for {
		list, err := w.Store.Read().Requests.List(t.Context(), page)
		if err != nil {
			t.Fatalf("list the requests: %v", err)
		}
		if all = append(all, list...); len(list) < page.Limit {
			return all
		}
		last := list[len(list)-1]
		page.Before = store.RequestCursor{StartedAt: last.StartedAt, ID: last.ID}
	}
}

// spec is a channel as it is declared.
type spec = catalog.ChannelSpec

// edit changes a channel as an operator would. Secrets stay as they are.
func (w *world) edit(t testing.TB, name string, change func(*spec)) {
	t.Helper()
	state, err := w.Catalog.State(t.Context())
	if err != nil {
		t.Fatalf("read the catalogue: %v", err)
	}
	i := slices.IndexFunc(state.Channels, func(ch *realm.Channel) bool { return ch.Name == name })
	if i < 0 {
		t.Fatalf("there is no channel %s", name)
	}
	declared := state.Spec(state.Channels[i])
	change(&declared)
	w.Declare(t, declared)
}

// variants has a leg offer, beside the scene's model, every name that begins with it
// and a hyphen.
func variants(ch *spec) {
	ch.Bindings = append(ch.Bindings, realm.Binding{Model: ch.Bindings[0].Model + "-*"})
}

// askFor asks for another model.
func (s *scene) askFor(t testing.TB, model string, f form, header ...string) *answer {
	t.Helper()
	return s.w.do(s.w.Request(t, http.MethodPost, f.path, strings.ReplaceAll(f.body, "%s", model), header...))
}

// clients are requests whose answers nobody reads to their end, until they leave.
type clients struct {
	t     testing.TB
	ctx   context.Context
	leave func() // all at once, and waits for them
	wg    sync.WaitGroup
	sent  atomic.Int64
}

func (w *world) clients(t testing.TB) *clients {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c := &clients{t: t, ctx: ctx}
	c.leave = sync.OnceFunc(func() { cancel(); c.wg.Wait() })
	t.Cleanup(c.leave)
	return c
}

// begin sends a request and reads what comes.
func (c *clients) begin(s *scene, f form, header ...string) {
	c.t.Helper()
	req := s.request(c.t, f, header...).WithContext(c.ctx)
	c.wg.Go(func() {
		c.sent.Add(1)
		s.w.do(req)
	})
}
