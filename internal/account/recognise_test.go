package account

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
	"realms/internal/store"
)

func TestRecogniseGivesWhatTokenAndUserGiveTogether(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, f *fixture) {
		networks := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		expires := f.clock.now().Add(time.Hour)
		text, token := f.create(TokenSpec{
			Groups: []string{"slow", "default"}, Models: []string{"a", "b"}, Networks: networks, ExpiresAt: expires,
		})
		wanted := &realm.Principal{
			TokenID: token.ID, UserID: token.UserID, Role: realm.RoleRoot, Groups: f.groups("slow", "default"),
			Models: map[string]struct{}{"a": {}, "b": {}}, Networks: networks, ExpiresAt: expires,
		}
		filled := f.process()
		loaded := f.process()
		f.must(loaded.Load(t.Context()))
		for name, s := range map[string]*Service{"made here": f.Service, "by a miss": filled, "by Load": loaded} {
			if d := cmp.Diff(wanted, recognised(t, s, text), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
				t.Errorf("%s: %s", name, d)
			}
		}
		plain, _ := f.create(TokenSpec{})
		p := recognised(t, f.Service, plain)
		if d := cmp.Diff(f.groups("default", "vip", "slow"), p.Groups); d != "" || p.Models != nil || p.Networks != nil {
			t.Errorf("a token without limits: %+v %s", p, d)
		}
	})
}

func TestRecogniseRefusesWithoutAskingTheStore(t *testing.T) {
	f := newFixture(t, "sqlite")
	good, _ := f.create(TokenSpec{})
	f.must(f.db.Close()) // from here a question would be answered by "unavailable"
	cut := good[:36]
	other := []byte(good)
	other[10] ^= 1
	for token, words := range map[string]string{
		"": "Authorization: Bearer", "rlm_": "checksum", cut: "checksum", string(other): "checksum", good + " ": "checksum",
		"sk-short": "not known", "EMPTY": "not known", strings.Repeat("x", 513): "not known", "sk-with a space in it": "not known",
		"sk-with-a-line's-end\n": "not known",
	} {
		refused(t, f.Service, token, realm.CodeUnauthenticated, words)
	}
	recognised(t, f.Service, good)
}

func TestRecogniseWhileTheStoreIsAway(t *testing.T) {
	f := newFixture(t, "sqlite")
	known, _ := f.create(TokenSpec{})
	elsewhere := f.process()
	recognised(t, elsewhere, known)
	f.must(f.db.Close())
	for range 3 * questions { // past the limit, too
		refused(t, elsewhere, "sk-test-"+strings.Repeat("x", 20), realm.CodeUnavailable, "database")
	}
	refused(t, elsewhere, MintToken().Reveal(), realm.CodeUnavailable, "Try again")
	recognised(t, elsewhere, known)
	if err := elsewhere.Load(t.Context()); err == nil {
		t.Fatal("a closed store could be read")
	}
	recognised(t, elsewhere, known)
}

func TestRecogniseUnknownTokensAskTheStoreOnce(t *testing.T) {
	f := newFixture(t, "sqlite")
	asked := countQuestions(f.Service)
	token := MintToken().Reveal()
	for range 100 {
		refused(t, f.Service, token, realm.CodeUnauthenticated, "not known")
	}
	if *asked != 1 {
		t.Errorf("one unknown token asked the store %d times", *asked)
	}
	for range 10_000 {
		refused(t, f.Service, MintToken().Reveal(), realm.CodeUnauthenticated, "not known")
	}
	if *asked != questions {
		t.Errorf("10,000 unknown tokens in an instant asked the store %d times, want %d", *asked, questions)
	}
}

func countQuestions(s *Service) *int {
	var asked int
	find := s.find
	s.find = func(ctx context.Context, hash realm.TokenHash) (*realm.Token, *realm.User, error) {
		asked++
		return find(ctx, hash)
	}
	return &asked
}

func TestRecogniseAHitAllocatesNothing(t *testing.T) {
	f := newFixture(t, "sqlite")
	minted, _ := f.create(TokenSpec{ExpiresAt: f.clock.now().Add(time.Hour)})
	imported := "sk-" + strings.Repeat("a", maxTokenLength-3)
	_, err := f.ImportToken(t.Context(), "test", TokenSpec{User: "owner", Name: "old"}, realm.Secret(imported))
	f.must(err)
	f.must(f.db.Close())
	ctx := t.Context()
	for name, token := range map[string]string{"minted": minted, "imported": imported} {
		allocs := testing.AllocsPerRun(1000, func() {
			if _, err := f.Recognise(ctx, token); err != nil {
				t.Fatal(err)
			}
		})
		if allocs != 0 {
			t.Errorf("%s: %v allocations on a hit", name, allocs)
		}
	}
}

func BenchmarkRecognise(b *testing.B) {
	s := New(Options{})
	token := MintToken().Reveal()
	s.known.replace(entry{HashToken(token), &realm.Principal{TokenID: 1, UserID: 1}})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Recognise(context.Background(), token); err != nil {
			b.Fatal(err)
		}
	}
}

func TestRecogniseExpiry(t *testing.T) {
	f := newFixture(t, "sqlite")
	text, _ := f.create(TokenSpec{ExpiresAt: f.clock.now().Add(time.Minute)})
	recognised(t, f.Service, text)
	f.clock.add(time.Minute - time.Millisecond)
	recognised(t, f.Service, text)
	f.clock.add(time.Millisecond)
	refused(t, f.Service, text, realm.CodeUnauthenticated, "expired")
	refused(t, f.process(), text, realm.CodeUnauthenticated, "expired")
}

func TestRecogniseAfterTheUserChanged(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, f *fixture) {
		all, _ := f.create(TokenSpec{Name: "all"})
		some, _ := f.create(TokenSpec{Name: "some", Groups: []string{"vip", "slow"}})
		elsewhere := f.process()
		f.must(elsewhere.Load(t.Context()))
		change := func(spec UserSpec) {
			t.Helper()
			from := f.version()
			f.user(spec)
			f.must(elsewhere.Apply(t.Context(), f.changesSince(from)))
		}
		for _, step := range []struct {
			groups, all, some []string
			role              realm.Role
		}{
			{[]string{"slow", "vip"}, []string{"slow", "vip"}, []string{"vip", "slow"}, realm.RoleAdmin},
			{[]string{"default", "slow"}, []string{"default", "slow"}, []string{"slow"}, realm.RoleUser},
			{[]string{"default"}, []string{"default"}, []string{}, realm.RoleUser},
			{nil, []string{}, []string{}, realm.RoleUser},
		} {
			change(UserSpec{Name: "owner", Role: step.role, Enabled: true, Groups: step.groups})
			for _, s := range []*Service{f.Service, elsewhere} {
				a, b := recognised(t, s, all), recognised(t, s, some)
				if a.Role != step.role || !equalIDs(a.Groups, f.groups(step.all...)) || !equalIDs(b.Groups, f.groups(step.some...)) {
					t.Errorf("user in %v: %v and %v as %s", step.groups, a.Groups, b.Groups, a.Role)
				}
			}
		}
		for range 2 {
			change(UserSpec{Name: "owner", Role: realm.RoleUser})
			for _, s := range []*Service{f.Service, elsewhere, f.process()} {
				refused(t, s, all, realm.CodeUnauthenticated, "disabled")
			}
			change(UserSpec{Name: "owner", Role: realm.RoleUser, Enabled: true})
			for _, s := range []*Service{f.Service, elsewhere, f.process()} {
				recognised(t, s, all)
			}
		}
	})
}

func equalIDs(a, b []realm.ID) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func TestRevocationReachesAnotherProcessWithinASecond(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, f *fixture) {
		text, token := f.create(TokenSpec{})
		elsewhere := f.process()
		f.must(elsewhere.Load(t.Context()))
		ctx, stop := context.WithCancel(t.Context())
		w := store.NewWatcher(store.WatcherOptions{
			Store: f.db, From: f.version(), OnChanges: elsewhere.Apply, OnReload: elsewhere.Load,
		})
		var wg sync.WaitGroup
		wg.Go(func() { _ = w.Run(ctx) }) // ends with ctx
		defer wg.Wait()
		defer stop()

		recognised(t, elsewhere, text)
		_, err := f.RevokeToken(t.Context(), "test", TokenRef{Text: token.ID.String()})
		f.must(err)
		revoked := time.Now()
		refused(t, f.Service, text, realm.CodeUnauthenticated, "revoked")
		for {
			_, err := elsewhere.Recognise(t.Context(), text)
			if err != nil {
				break
			}
			if time.Since(revoked) > time.Second {
				t.Fatal("the other process still takes the token after a second")
			}
			<-time.After(5 * time.Millisecond)
		}
		refused(t, elsewhere, text, realm.CodeUnauthenticated, "revoked")
		// A token made elsewhere is known without a miss.
		asked := countQuestions(elsewhere)
		fresh, _ := f.create(TokenSpec{})
		hash := HashToken(fresh)
		for start := time.Now(); elsewhere.known.get(&hash) == nil; <-time.After(5 * time.Millisecond) {
			if time.Since(start) > time.Second {
				t.Fatal("a token made elsewhere is not known after a second")
			}
		}
		recognised(t, elsewhere, fresh)
		if *asked != 0 {
			t.Errorf("the store was asked %d times for a token that the feed told of", *asked)
		}
	})
}

// A fill that read the token before it was revoked must not put it back after.
func TestFillRacingWithRevokeNeverRevives(t *testing.T) {
	rounds := 10_000
	if raceEnabled {
		rounds = 3000
	}
	c := newClock()
	s := New(Options{Now: c.now})
	hash := HashToken("sk-test-" + strings.Repeat("x", 20))
	for round := range rounds {
		c.add(time.Minute) // no refusal is remembered from the round before
		var mu sync.Mutex
		row := realm.Token{ID: 1, UserID: 2, Hash: hash}
		s.find = func(context.Context, realm.TokenHash) (*realm.Token, *realm.User, error) {
			mu.Lock()
			read := row
			mu.Unlock()
			for range rand.N(4) { // the way back from the store
				runtime.Gosched()
			}
			return &read, &realm.User{ID: 2, Enabled: true}, nil
		}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { _, _ = s.Recognise(t.Context(), "sk-test-"+strings.Repeat("x", 20)) })
		}
		wg.Go(func() {
			mu.Lock() // the commit of the revocation
			row.RevokedAt = c.now()
			mu.Unlock()
			// What Apply does for it: announce, read again, take away.
			s.known.begin()
			s.known.remove(1)
		})
		wg.Wait()
		if p := s.known.get(&hash); p != nil {
			t.Fatalf("round %d: the revoked token came back", round)
		}
	}
}

func TestFillRacingWithRevokeNeverRevivesOnTheStore(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, f *fixture) {
		rounds := 150
		if raceEnabled {
			rounds = 40
		}
		for round := range rounds {
			f.clock.add(time.Minute)
			text, token := f.create(TokenSpec{})
			s := f.process() // it will have to ask
			s.loaded = true  // so that its verbs take effect at once
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() { _, _ = s.Recognise(t.Context(), text) })
			}
			_, err := s.RevokeToken(t.Context(), "test", TokenRef{Text: token.ID.String()})
			wg.Wait()
			f.must(err)
			hash := HashToken(text)
			if s.known.get(&hash) != nil {
				t.Fatalf("round %d: the revoked token came back", round)
			}
		}
	})
}

// The guard is what the two tests above rest on: without it, this order of
// events revives a token.
func TestFillOvertakenByARevokeIsNotKept(t *testing.T) {
	f := newFixture(t, "sqlite")
	text, token := f.create(TokenSpec{})
	s := f.process()
	s.loaded = true
	find := s.find
	s.find = func(ctx context.Context, hash realm.TokenHash) (*realm.Token, *realm.User, error) {
		row, user, err := find(ctx, hash)
		if _, revokeErr := s.RevokeToken(ctx, "test", TokenRef{Text: token.ID.String()}); revokeErr != nil {
			return nil, nil, errors.Join(err, revokeErr)
		}
		return row, user, err // read before, delivered after
	}
	recognised(t, s, text) // it was asked before the revocation
	s.find = find
	refused(t, s, text, realm.CodeUnauthenticated, "revoked")
}

func TestLoadReplacesWhatIsKnown(t *testing.T) {
	f := newFixture(t, "sqlite")
	text, token := f.create(TokenSpec{})
	other := f.process()
	_, err := other.RevokeToken(t.Context(), "test", TokenRef{Text: token.ID.String()})
	f.must(err)
	recognised(t, f.Service, text) // nobody told it yet
	f.must(f.Load(t.Context()))
	refused(t, f.Service, text, realm.CodeUnauthenticated, "revoked")
}

func TestApplyThatFailsLeavesWhatIsKnown(t *testing.T) {
	f := newFixture(t, "sqlite")
	text, token := f.create(TokenSpec{})
	f.must(f.db.Close())
	for _, kind := range []string{store.KindToken, store.KindUser} {
		if err := f.Apply(t.Context(), []store.Change{{Kind: kind, ID: token.ID}}); err == nil {
			t.Errorf("%s: a closed store could be read", kind)
		}
	}
	f.must(f.Apply(t.Context(), []store.Change{{Kind: store.KindModel, ID: 1}, {Kind: store.KindSetting}}))
	recognised(t, f.Service, text)
}

func TestOneTokensPrincipalIsNeverAnothers(t *testing.T) {
	f := newFixture(t, "sqlite")
	base := "sk-" + strings.Repeat("a", 60)
	tokens := map[string]realm.ID{}
	for n := 8; n < 63; n += 5 { // tokens that share 8 to 63 characters
		text := base[:n] + strings.Repeat("b", 63-n)
		token, err := f.ImportToken(t.Context(), "test", TokenSpec{User: "owner", Name: "n"}, realm.Secret(text))
		f.must(err)
		tokens[text] = token.ID
	}
	for text, id := range tokens {
		if p := recognised(t, f.Service, text); p.TokenID != id {
			t.Errorf("token %s was taken for %s", id, p.TokenID)
		}
		for _, near := range []string{strings.ToUpper(text), text + "b", text[:len(text)-1], " " + text, text + "\t"} {
			if p, err := f.Recognise(t.Context(), near); err == nil {
				t.Errorf("a text near token %s was taken for %s", id, p.TokenID)
			}
		}
	}
}
