package cluster_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"realms/internal/cluster"
	"realms/internal/realm"
	"realms/internal/testkit/redistest"
)

func TestAlone(t *testing.T) {
	p := start(t, "", "")
	p.Tell(cooldown(time.Minute))
	p.Bind(realm.RouteKey{1}, 7, time.Minute, false)
	p.Announce()
	if id, ok := p.Bound(t.Context(), realm.RouteKey{1}); ok {
		t.Errorf("bound to %d", id)
	}
	if got := p.State(); got != cluster.StateAlone {
		t.Errorf("state %q", got)
	}
	p.stop()
}

func TestURLs(t *testing.T) {
	password := rand.Text()
	for _, url := range []string{
		"http://user:" + password + "@host", "redis://user:" + password + "@host/x", "redis://user:" + password + "@host:port",
		"redis://user:" + password + "@host?unknown=1", "user:" + password + "@host", "redis://user:" + password + "@ho st",
	} {
		_, err := cluster.New(cluster.Options{URL: url})
		var e *realm.Error
		if !errors.As(err, &e) || e.Code != realm.CodeInvalid || e.Field != "redis.url" {
			t.Errorf("%v, want a refusal of redis.url", err)
		}
		if text := fmt.Sprintf("%v %+v", err, e); strings.Contains(text, password) {
			t.Error("the error shows the password")
		}
	}
	for _, url := range []string{"redis://host", "rediss://user:" + password + "@host:1/2", "unix:///run/redis.sock?db=1"} {
		if _, err := cluster.New(cluster.Options{URL: url}); err != nil {
			t.Errorf("a good URL: %v", err)
		}
	}
}

func TestCooldownsReachOthers(t *testing.T) {
	t.Parallel()
	url, prefix := redistest.URL(t), redistest.Prefix()+"*[a]?-^\\" // SCAN takes a pattern
	a, b := connected(t, url, prefix), connected(t, url, prefix)
	stranger := connected(t, url, redistest.Prefix())
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	var told []realm.Cooldown
	for scope := realm.ScopeCredentialModel; scope <= realm.ScopeChannelAPI; scope++ {
		for _, name := range []string{"", "gpt-5:*?[x]", "модель/模型", string(every)} {
			d := cooldown(time.Minute)
			d.Scope, d.Name = scope, name
			told = append(told, d)
			a.Tell(d)
		}
	}
	for _, d := range told {
		b.hears(t, d)
	}
	for _, d := range told {
		late := d
		d.Until, d.Cause = time.Time{}, ""
		a.Tell(d)
		b.hears(t, d)
		if d, ok := a.last(late); ok {
			t.Fatalf("heard its own word: %+v", d)
		}
	}
	joined := connected(t, url, prefix)
	kept := cooldown(time.Minute)
	a.Tell(kept)
	joined.hears(t, kept)
	for _, d := range told {
		if d, ok := joined.last(d); ok {
			t.Errorf("what was taken back is still there: %+v", d)
		}
	}
	stranger.locked(func() {
		if len(stranger.heard) > 0 {
			t.Errorf("another installation heard %+v", stranger.heard)
		}
	})
}

func TestLateJoiner(t *testing.T) {
	t.Parallel()
	url, prefix := redistest.URL(t), redistest.Prefix()
	a, witness := connected(t, url, prefix), connected(t, url, prefix)
	// Enough for several steps, among keys of another kind.
	var told []realm.Cooldown
	for i := range 2500 {
		d := cooldown(time.Minute)
		d.Name = fmt.Sprint(i)
		told = append(told, d)
		a.Tell(d)
		a.Bind(realm.RouteKey{byte(i), byte(i >> 8), 1}, d.ID, time.Minute, false)
	}
	short, long := cooldown(30*time.Millisecond), cooldown(30*24*time.Hour)
	a.Tell(short)
	a.Tell(long)
	long.Until = time.Now().Add(cluster.MaxCooldown)
	witness.hears(t, long)
	witness.hears(t, told[len(told)-1])
	until(t, 10*time.Second, "the last binding", func() bool {
		_, ok := witness.Bound(t.Context(), realm.RouteKey{2499 & 255, 2499 >> 8, 1})
		return ok
	})
	a.stop() // whoever told it may be gone
	late := connected(t, url, prefix)
	for _, d := range told {
		late.hears(t, d)
	}
	if d, ok := late.last(short); ok {
		t.Errorf("what was over is still there: %+v", d)
	}
	late.hears(t, long)
}

func TestBindings(t *testing.T) {
	t.Parallel()
	url, prefix := redistest.URL(t), redistest.Prefix()
	a, b := connected(t, url, prefix), connected(t, url, prefix)
	key, other := realm.RouteKey{1, 2, 3}, realm.RouteKey{3, 2, 1}
	for _, id := range []realm.ID{7, 8} { // the last one counts
		a.Bind(key, id, time.Minute, false)
		until(t, time.Second, "the binding", func() bool {
			got, ok := b.Bound(t.Context(), key)
			return ok && got == id
		})
	}
	if id, ok := b.Bound(t.Context(), other); ok {
		t.Errorf("another session is bound to %d", id)
	}
	a.Bind(other, 9, 100*time.Millisecond, false)
	a.Bind(realm.RouteKey{}, 9, time.Minute, false)
	a.Announce() // takes the bindings with it
	until(t, time.Second, "its end", func() bool { _, ok := b.Bound(t.Context(), key); return ok })
	until(t, 2*time.Second, "its end", func() bool { _, ok := b.Bound(t.Context(), other); return !ok })
	if id, ok := b.Bound(t.Context(), realm.RouteKey{}); ok {
		t.Errorf("no session is bound to %d", id)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 { // a client that has gone says nothing about Redis
		b.Bound(ctx, key)
	}
	if got := b.State(); got != cluster.StateConnected {
		t.Errorf("state %q after cancelled questions", got)
	}
	if n := b.metric(t, "realms_cluster_errors_total", ""); n != 0 {
		t.Errorf("%v errors", n)
	}
	if n := b.metric(t, "realms_cluster_connected", ""); n != 1 {
		t.Errorf("connected is %v", n)
	}
}

func TestChangesReachOthers(t *testing.T) {
	t.Parallel()
	url, prefix := redistest.URL(t), redistest.Prefix()
	a, b := connected(t, url, prefix), connected(t, url, prefix)
	count := func(p *process) (n int) { p.locked(func() { n = p.changes }); return n }
	until(t, time.Second, "the first notice", func() bool { return count(a) == 1 && count(b) == 1 })
	a.Announce()
	until(t, time.Second, "a notice", func() bool { return count(b) == 2 })
	if n := count(a); n != 1 {
		t.Errorf("its own notice came back: %d", n)
	}
}

func TestLoads(t *testing.T) {
	t.Parallel()
	url, prefix := redistest.URL(t), redistest.Prefix()
	a, b, c := connected(t, url, prefix), connected(t, url, prefix), connected(t, url, prefix)
	a.load(map[realm.ID]realm.Load{1: {InFlight: 1, Requests: 10, Tokens: 1000}, 2: {InFlight: 5}})
	b.load(map[realm.ID]realm.Load{1: {InFlight: 2, Requests: 20, Tokens: 1 << 35}})
	c.loads(t, map[realm.ID]realm.Load{1: {InFlight: 3, Requests: 30, Tokens: 1000 + 1<<35}, 2: {InFlight: 5}})
	a.loads(t, map[realm.ID]realm.Load{1: {InFlight: 2, Requests: 20, Tokens: 1 << 35}})
	b.load(nil)
	c.loads(t, map[realm.ID]realm.Load{1: {InFlight: 1, Requests: 10, Tokens: 1000}, 2: {InFlight: 5}})
	began := time.Now()
	a.stop()
	c.loads(t, nil)
	if took := time.Since(began); took > cluster.LoadKept*2/3 {
		t.Errorf("what left in good order was gone after %v", took)
	}
	// One that dies says nothing any more.
	publish(t, url, prefix+":load", `{"from":"dead","loads":{"1":[1,1,1]}}`)
	c.loads(t, map[realm.ID]realm.Load{1: {InFlight: 1, Requests: 1, Tokens: 1}})
	began = time.Now()
	c.loads(t, nil)
	if took := time.Since(began); took < cluster.LoadKept/2 {
		t.Errorf("gone after %v", took)
	}
}

func publish(t testing.TB, url, channel, text string) {
	t.Helper()
	if _, err := redistest.Do(url, "PUBLISH", channel, text); err != nil {
		t.Fatal(err)
	}
}

// Whatever somebody else puts there is counted, and nothing comes of it.
func TestGarbage(t *testing.T) {
	t.Parallel()
	url, prefix := redistest.URL(t), redistest.Prefix()
	long := strings.Repeat("x", 1<<20)
	name := base64.StdEncoding.EncodeToString([]byte(long[:257]))
	cooldowns := []string{
		"", "x", "null", "[]", "{}", long, `{"from":"p"}`, strings.Repeat("[", 100000),
		`{"from":"p","scope":1,"id":"1","cause":"auth","ms":-1}`,
		`{"from":"p","scope":0,"id":"1","cause":"auth","ms":1000}`,
		`{"from":"p","scope":99,"id":"1","cause":"auth","ms":1000}`,
		`{"from":"p","scope":300,"id":"1","cause":"auth","ms":1000}`,
		`{"from":"p","scope":1,"id":"-1","cause":"auth","ms":1000}`,
		`{"from":"p","scope":1,"id":"1e3","cause":"auth","ms":1000}`,
		`{"from":"p","scope":1,"id":"1","cause":"made_up","ms":1000}`,
		`{"from":"p","scope":1,"id":"1","cause":"auth","ms":99999999999999999999}`,
		`{"from":"p","scope":1,"id":"1","cause":"auth","ms":1000,"name":"%%%"}`,
		`{"from":"p","scope":1,"id":"1","cause":"auth","ms":1000,"name":"` + name + `"}`,
		`{"scope":1,"id":"1","cause":"auth","ms":1000}`,
	}
	loads := []string{
		"", "x", "null", "[]", "{}", long, `{"from":"p","loads":{"1":[-1,0,0]}}`, `{"from":"p","loads":{"x":[1,0,0]}}`,
		`{"from":"p","loads":{"1":[1,0,99999999999999]}}`, `{"from":"p","loads":{"1":["1",0,0]}}`, `{"loads":{"1":[1,0,0]}}`,
		`{"from":"` + long[:100] + `","loads":{"1":[1,0,0]}}`,
	}
	set := func(args ...any) {
		t.Helper()
		if _, err := redistest.Do(url, args...); err != nil {
			t.Fatal(err)
		}
	}
	for i, text := range cooldowns {
		set("SET", fmt.Sprintf("%s:cool:%d", prefix, i), text, "PX", 60000)
	}
	good := `{"from":"p","scope":1,"id":"1","cause":"auth","ms":1000}`
	set("SET", prefix+":cool:1:1:eA", good, "PX", 60000) // not its key
	set("SET", prefix+":cool:1:1:", good)                // has no end
	set("RPUSH", prefix+":cool:list", "x")
	set("PEXPIRE", prefix+":cool:list", 60000)
	key := realm.RouteKey{7}
	bind := prefix + ":bind:07" + strings.Repeat("00", 15)
	p := connected(t, url, prefix)
	garbage := func() float64 { return p.metric(t, "realms_cluster_errors_total", "garbage") }
	atLeast := func(n int) {
		t.Helper()
		until(t, 5*time.Second, fmt.Sprintf("the %dth piece of garbage", n), func() bool { return garbage() >= float64(n) })
	}
	n := len(cooldowns) - 1 + 3 // an empty value is as good as none
	atLeast(n)
	for _, text := range cooldowns {
		publish(t, url, prefix+":cool", text)
	}
	n += len(cooldowns)
	atLeast(n)
	for _, text := range loads {
		publish(t, url, prefix+":load", text)
	}
	n += len(loads)
	atLeast(n)
	for _, text := range []string{"x", "-1", "0", "1.5", long, "99999999999999999999"} {
		set("SET", bind, text, "PX", 60000)
		if id, ok := p.Bound(t.Context(), key); ok {
			t.Errorf("%.20q is bound to %d", text, id)
		}
		n++
		atLeast(n)
	}
	set("DEL", bind, prefix+":cool:1:1:")
	set("RPUSH", bind, "7")
	set("PEXPIRE", bind, 60000)
	if id, ok := p.Bound(t.Context(), key); ok {
		t.Errorf("a list is bound to %d", id)
	}
	atLeast(n + 1)
	publish(t, url, prefix+":cool", `{"from":"p","scope":1,"id":"5","cause":"auth","ms":9000000000000000000}`)
	p.hears(t, realm.Cooldown{Scope: 1, ID: 5, Until: time.Now().Add(cluster.MaxCooldown), Cause: realm.CauseAuth})
	p.locked(func() {
		if len(p.heard) != 1 || len(p.others) != 0 {
			t.Errorf("heard %+v, others have %v", p.heard, p.others)
		}
	})
	if got := p.State(); got != cluster.StateConnected {
		t.Errorf("state %q", got)
	}
}

// Nobody reads what is told, and it is far too much. Saying it costs nothing, even
// under the lock that hearing takes.
func TestNeverBlocks(t *testing.T) {
	limit := time.Second
	if race {
		limit = 5 * time.Second
	}
	for _, url := range []string{"redis://127.0.0.1:1", "redis://192.0.2.1:6379"} {
		p := start(t, url, "")
		d := cooldown(time.Minute)
		began := time.Now()
		p.locked(func() {
			for i := range 50000 {
				d.ID++
				p.Tell(d)
				p.Bind(realm.RouteKey{1, byte(i), byte(i >> 8)}, d.ID, time.Minute, false)
				p.Announce()
			}
		})
		if took := time.Since(began); took > limit {
			t.Errorf("took %v", took)
		}
		if n := p.metric(t, "realms_cluster_dropped_total", "cooldown"); n != 50000-4096 {
			t.Errorf("%v cool-downs were dropped", n)
		}
		if n := p.metric(t, "realms_cluster_dropped_total", "binding"); n != 50000-16384 {
			t.Errorf("%v bindings were dropped", n)
		}
		p.Tell(realm.Cooldown{Scope: realm.ScopeCredential, ID: 1, Name: strings.Repeat("x", 257), Until: d.Until, Cause: d.Cause})
		p.Tell(realm.Cooldown{Scope: realm.ScopeNone, ID: 1, Until: d.Until, Cause: d.Cause})
		if n := p.metric(t, "realms_cluster_dropped_total", "cooldown"); n != 50000-4096+2 {
			t.Errorf("%v cool-downs were dropped", n)
		}
		began = time.Now()
		for range 10000 {
			p.Bound(t.Context(), realm.RouteKey{1})
		}
		if took := time.Since(began); took > limit {
			t.Errorf("10,000 questions while Redis is away took %v", took)
		}
		if got := p.State(); got != cluster.StateAway {
			t.Errorf("state %q", got)
		}
		p.stop()
	}
}
