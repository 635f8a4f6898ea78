package relay

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"realms/internal/catalog"
	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/testkit"
)

// reloads changes a channel n times while requests go through it. Each version
// shows in two places of what goes up, which must be of the same one.
func reloads(t *testing.T, use func(*config.Config), n, rate int) {
	t.Helper()
	w := newWorld(t, use)
	var mixed, seen atomic.Int64
	s := w.scene(t, leg{keys: 3, script: func(r *testkit.Request) testkit.Fault {
		if r.Header.Get("X-Version") != r.Model[strings.LastIndex(r.Model, "-")+1:] {
			mixed.Add(1)
		}
		return nil
	}})
	versions := map[string]bool{}
	apply := func(version int) error {
		v := fmt.Sprint(version)
		var declared catalog.ChannelSpec
		w.edit(t, s.names[0], func(ch *spec) {
			ch.Bindings[0].Upstream = "version-" + v
			ch.Settings.SetHeaders = map[string]realm.Secret{"X-Version": realm.Secret(v)}
			ch.Priority, ch.Weight = version%5, version%7+1
			declared = *ch
		})
		declared.Weight = -1 // nobody can want this
		_, err := w.Catalog.UpsertChannel(t.Context(), "test", declared)
		return err
	}
	if err := apply(0); err == nil {
		t.Fatal("a bad version was taken")
	}
	var served tally
	stop := make(chan struct{})
	var load sync.WaitGroup
	load.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-tick.C:
				load.Go(func() { served.add(s.ask(t, forms[i%len(forms)])) })
			}
		}
	})
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for i := range n {
		if err := apply(i + 1); err == nil {
			t.Error("a bad version was taken")
		}
		<-tick.C
	}
	close(stop)
	load.Wait()
	served.all(t, "while the channel changed")
	for _, r := range s.requests() {
		versions[r.Model] = true
		seen.Add(1)
	}
	t.Logf("%d requests during %d changes saw %d versions", seen.Load(), n, len(versions))
	if mixed.Load() > 0 || len(versions) < 3 {
		t.Errorf("%d of %d requests saw two versions at once; %d versions were seen", mixed.Load(), seen.Load(), len(versions))
	}
	w.settles(t)
}

// H-05: changes during load fail no request, and each sees one version of them; a
// bad one is refused and the old one stays.
func TestChangesDuringLoad(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, use func(*config.Config)) { reloads(t, use, 100, 200) })
}

func TestHeavyChangesDuringLoad(t *testing.T) { reloads(t, nil, 1000, 300) }

// H-07: whatever becomes of a channel, the streams that it has under way go on to
// their ends.
func TestChangesCutNoStream(t *testing.T) {
	t.Parallel()
	const open = 200
	changes := map[string]func(t *testing.T, w *world, s *scene){
		"its key is rotated": func(t *testing.T, w *world, s *scene) {
			w.edit(t, s.names[0], func(ch *spec) {
				key := realm.Secret(s.mint(0, 1)[0])
				ch.Endpoints[0].Credentials[0].APIKey = &key
			})
		},
		"it is disabled": func(t *testing.T, w *world, s *scene) {
			if _, err := w.Catalog.SetChannelEnabled(t.Context(), "test", s.names[0], false); err != nil {
				t.Error(err)
			}
		},
		"it is removed": func(t *testing.T, w *world, s *scene) {
			if _, err := w.Catalog.DeleteChannel(t.Context(), "test", s.names[0]); err != nil {
				t.Error(err)
			}
		},
		"its endpoint is removed": func(t *testing.T, w *world, s *scene) {
			w.edit(t, s.names[0], func(ch *spec) {
				ch.Endpoints[0] = catalog.EndpointSpec{BaseURL: testkit.Refused(t), Credentials: ch.Endpoints[0].Credentials}
				for i := range ch.Endpoints[0].Credentials {
					ch.Endpoints[0].Credentials[i].APIKey = new(realm.Secret)
				}
			})
		},
		"it gets other settings": func(t *testing.T, w *world, s *scene) {
			w.edit(t, s.names[0], func(ch *spec) {
				ch.Settings.Timeouts = realm.Timeouts{Connect: new(time.Second), FirstByte: new(time.Second), FirstEvent: new(time.Millisecond), Idle: new(time.Millisecond)}
				ch.Settings.Limits.Concurrent = 1
			})
		},
	}
	w := newWorld(t, nil)
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			s := w.scene(t, leg{}, good)
			half, end := newGate(t), &atomic.Int64{}
			s.ups[0].SetScript(s.noting(testkit.Always(halfway(half, end))))
			var answers []<-chan *answer
			for i := range open {
				answers = append(answers, s.begin(t, streams[i%len(streams)]))
			}
			testkit.Poll(t, "the streams to be half way", func() bool { return end.Load() == open })
			change(t, w, s)
			a := s.ask(t, chatWhole) // by what is now
			if name != "its key is rotated" && name != "it gets other settings" && (a.StatusCode != http.StatusOK || s.last() != "b1") {
				t.Errorf("a new request: %d, asked %s", a.StatusCode, s.last())
			}
			half.open()
			for i, done := range answers {
				a, f := <-done, streams[i%len(streams)]
				if a.err != nil || a.StatusCode != http.StatusOK || text(t, f, a.body) != "Hello from the fake upstream." {
					t.Fatalf("stream %d: %v %+v: %s", i, a.err, a.Response, a.body)
				}
			}
			w.settles(t)
		})
	}
}

// halfway has an upstream stop in the middle of its answer until the gate is open,
// and counts those that are there.
func halfway(g *gate, there *atomic.Int64) testkit.Fault {
	return func(_ *testkit.Request, a *testkit.Answer) {
		if len(a.Chunks) < 2 {
			return // a whole answer
		}
		a.Before = func(chunk int) {
			if chunk == len(a.Chunks)-3 {
				there.Add(1)
				<-g.shut
			}
		}
	}
}
