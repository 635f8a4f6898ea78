package relay

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"realms/internal/catalog"
	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/testkit"
	"realms/internal/testkit/testapp"
)

// A client that leaves a converted answer, wherever it has come, ends its upstream's
// work at once and blames nobody.
func TestConvertedClientsThatLeave(t *testing.T) {
	t.Parallel()
	w := newConvertedWorld(t, nil)
	for _, f := range forms {
		moments := map[string]testkit.Fault{"before the header": testkit.Hang()}
		if f.stream {
			moments["while events are held"] = testkit.StallAfter(1)
			moments["after its first word"] = testkit.StallAfter(6)
			moments["before its end"] = beforeEnd
		} else {
			moments["amid its body"] = testkit.CutBytes(100, testkit.EndStall)
		}
		for name, fault := range moments {
			t.Run(name+", "+f.name, func(t *testing.T) {
				t.Parallel()
				s := w.scene(t, failing(fault), good)
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				committed := name == "after its first word" || name == "before its end"
				left := make(chan struct{})
				read := make(chan struct{})
				req := s.request(t, f).WithContext(ctx)
				go func() {
					defer close(left)
					res, err := w.Client.Do(req)
					if err != nil {
						return
					}
					defer func() { _ = res.Body.Close() }()
					until(t, res.Body, "Hello")
					close(read)
					<-ctx.Done()
				}()
				r := s.ups[0].WaitRequests(t, 1)[0]
				if committed {
					<-read
				}
				begun := time.Now()
				leave()
				if d := r.WaitCancelled(t).Sub(begun); d > 4*cancelTime { // the machine is busy with others
					t.Errorf("the upstream heard of it after %s", d)
				}
				<-left
				rec := w.recordOf(t, s.model)
				if rec.Ended != realm.EndedClientGone || rec.Cause != realm.CauseClientGone || (rec.Status == http.StatusOK) != committed || s.asked() != "a1" {
					t.Errorf("asked %q, row %+v", s.asked(), rec)
				}
				if m := s.marks(t); len(m) != 0 {
					t.Errorf("marks %q", m)
				}
			})
		}
	}
}

// Told to stop, the process lets converted answers end, and ends those that outlast
// it in the client's words.
func TestConvertedAnswersAreDrained(t *testing.T) {
	t.Parallel()
	for _, f := range forms {
		for name, tt := range map[string]struct {
			fault testkit.Fault
			drain time.Duration
		}{
			"ends in time": {testkit.All(testkit.Pace(30*time.Millisecond), testkit.SlowFirst(200*time.Millisecond)), 20 * time.Second},
			"outlasts it":  {stallMidway, 300 * time.Millisecond},
		} {
			t.Run(name+", "+f.name, func(t *testing.T) {
				t.Parallel()
				up := testkit.NewUpstream(t, testkit.Options{Script: testkit.Always(tt.fault)})
				ch := testapp.Channel("main", up.BaseURL, "key-a")
				ch.APIs = f.other()
				app := testapp.Start(t, testapp.Options{
					Configure: func(c *config.Config) { c.Server.Drain = tt.drain }, Channels: []catalog.ChannelSpec{ch},
				})
				var wg sync.WaitGroup
				await := ""
				if f.stream {
					await = "Hello"
				}
				l := begin(t, app.Client, app.Request(t, http.MethodPost, f.path, strings.ReplaceAll(f.body, "%s", "m")), await, &wg)
				<-l.begun
				up.WaitRequests(t, 1)
				if err := app.Stop(); err != nil {
					t.Error(err)
				}
				wg.Wait()
				switch {
				case name == "ends in time":
					(&world{converted: true}).whole(t, f, l.body)
				case f.stream:
					if _, code := streamError(t, f, l.body); code != "interrupted" && code != "server_is_overloaded" || !strings.Contains(l.body, "Realms is stopping") {
						t.Errorf("code %q: %s", code, l.body)
					}
				default:
					if l.res == nil || l.res.StatusCode != http.StatusServiceUnavailable {
						t.Errorf("%v: %s", l.err, fmt.Sprint(l.res, l.body))
					}
				}
			})
		}
	}
}
