package scheduler

import (
	"testing"
	"time"

	"realms/internal/realm"
)

// account is a channel of the operator's own account.
func account(id realm.ID, name string, priority int) *realm.Channel {
	ch := channel(id, name, groupA, priority, 1, []string{name + "1"})
	ch.Type = realm.CodexOAuth
	return ch
}

// ownNeed is what a request with an administrator's token needs.
func ownNeed() Need {
	need := chatNeed
	need.Accounts = true
	return need
}

// planLimit is an account whose plan is used up for a time.
func planLimit(d time.Duration) realm.Outcome {
	return realm.Outcome{Cause: realm.CauseRateLimited, Scope: realm.ScopeCredential, Next: realm.NextOther, Status: 429, Told: true, Wait: d}
}

func TestAccountsAreTheOperatorsAlone(t *testing.T) {
	r := newRigWith(t, policy, first, account(1, "own", 9), channel(2, "keys", groupA, 0, 1, []string{"k1"}))
	r.got(r.ask(chatNeed, realm.Outcome{Cause: realm.CauseOK}), "k1")
	r.got(r.ask(ownNeed(), realm.Outcome{Cause: realm.CauseOK}), "own1")

	alone := newRigWith(t, policy, first, account(1, "own", 9))
	p := alone.begin(chatNeed)
	alone.want(p, "none")
	if v := p.Verdict(alone.now); v.Lack != LackModel || v.Blocked != 0 {
		t.Errorf("another's token learns of the account: %+v", v)
	}
	p.Close(alone.now)
}

func TestAnAccountThatIsUsedUpIsWaitedFor(t *testing.T) {
	r := newRigWith(t, policy, first, account(1, "own", 9), account(2, "second", 5), channel(3, "keys", groupA, 0, 1, []string{"k1"}))
	p := r.begin(ownNeed())
	r.want(p, "own1")
	r.report(p, planLimit(5*time.Hour))
	r.want(p, "k1") // keys may serve, another account may not
	r.report(p, realm.Outcome{Cause: realm.CauseOK})
	p.Close(r.now)
	r.got(r.ask(ownNeed(), realm.Outcome{Cause: realm.CauseOK}), "k1")
	r.pass(5*time.Hour + time.Minute)
	r.got(r.ask(ownNeed(), realm.Outcome{Cause: realm.CauseOK}), "own1")
	r.idle()
}

func TestAllAccountsUsedUpSayUntilWhen(t *testing.T) {
	r := newRigWith(t, policy, first, account(1, "own", 9), account(2, "second", 5))
	r.got(r.ask(ownNeed(), planLimit(5*time.Hour)), "own1")
	p := r.begin(ownNeed())
	r.want(p, "none")
	v := p.Verdict(r.now)
	if v.Limited != 2 || v.Accounts != 2 || v.Blocked != 2 || v.Soonest != 5*time.Hour {
		t.Errorf("the verdict is %+v", v)
	}
	p.Close(r.now)
	r.idle()
}

func TestAModelsOwnAllowanceIsWaitedForToo(t *testing.T) {
	r := newRigWith(t, policy, first, account(1, "own", 9), account(2, "second", 5))
	o := planLimit(5 * time.Hour)
	o.Scope = realm.ScopeCredentialModel
	r.got(r.ask(ownNeed(), o), "own1")
	r.got(r.ask(ownNeed(), realm.Outcome{Cause: realm.CauseOK}), "none")
	r.idle()
}

// However little is left of it: a restart is no reason to take another account.
func TestAPlansLastMinutesAreWaitedForToo(t *testing.T) {
	r := newRigWith(t, policy, first, account(1, "own", 9), account(2, "second", 5))
	r.begin(ownNeed()).Close(r.now) // the snapshot is adopted
	r.s.PlanSpent(10000, r.now.Add(8*time.Minute), r.now)
	r.got(r.ask(ownNeed(), realm.Outcome{Cause: realm.CauseOK}), "none")
	r.pass(9 * time.Minute)
	r.got(r.ask(ownNeed(), realm.Outcome{Cause: realm.CauseOK}), "own1")
	r.idle()
}

// An account that the operator has taken out of use keeps none of his others away.
func TestADisabledAccountIsNobodysPlan(t *testing.T) {
	r := newRigWith(t, policy, first, account(1, "own", 9), account(2, "second", 5))
	r.got(r.ask(ownNeed(), planLimit(5*time.Hour)), "own1")
	disabled := account(1, "own", 9)
	disabled.Endpoints[0].Credentials[0].Enabled = false
	r.snap = realm.NewSnapshot(r.snap.Version+1, nil, []*realm.Model{{Name: "m", Enabled: true}}, []*realm.Channel{disabled, account(2, "second", 5)})
	r.got(r.ask(ownNeed(), realm.Outcome{Cause: realm.CauseOK}), "second1")
	r.idle()
}

// A limit of requests a minute is no plan's: it says nothing of other accounts.
func TestAShortLimitIsNoPlans(t *testing.T) {
	r := newRigWith(t, policy, first, account(1, "own", 9), account(2, "second", 5))
	p := r.begin(ownNeed())
	r.want(p, "own1")
	r.report(p, planLimit(20*time.Second))
	r.want(p, "second1")
	p.Close(r.now)
	r.idle()
}

// What a session's own account has begun, it goes on with.
func TestASessionKeepsItsAccount(t *testing.T) {
	need := ownNeed()
	need.Session = realm.RouteKey{7}
	r := newRigWith(t, policy, first, account(1, "own", 5), account(2, "second", 5))
	r.s.Rebind(need.Session, 20000, r.now)
	r.got(r.ask(ownNeed(), planLimit(5*time.Hour)), "own1")
	r.got(r.ask(need, realm.Outcome{Cause: realm.CauseOK}), "second1")
	r.idle()
}

func TestAnAccountTakesFewAtOnce(t *testing.T) {
	r := newRigWith(t, policy, first, account(1, "own", 9))
	var open []*Plan
	for range realm.CodexConcurrent {
		p := r.begin(ownNeed())
		r.want(p, "own1")
		open = append(open, p)
	}
	p := r.begin(ownNeed())
	r.want(p, "queue 10s")
	p.Close(r.now)
	for _, p := range open {
		p.Close(r.now)
	}
	r.idle()
}

func TestAPlanKnownToBeUsedUp(t *testing.T) {
	r := newRigWith(t, policy, first, account(1, "own", 9), channel(2, "keys", groupA, 0, 1, []string{"k1"}))
	r.begin(ownNeed()).Close(r.now) // the snapshot is adopted
	r.s.PlanSpent(10000, r.now.Add(time.Hour), r.now)
	r.s.PlanSpent(10000, r.now.Add(-time.Hour), r.now) // over: says nothing
	r.s.PlanSpent(99, r.now.Add(time.Hour), r.now)     // of nobody
	r.got(r.ask(ownNeed(), realm.Outcome{Cause: realm.CauseOK}), "k1")
	r.pass(time.Hour + time.Minute)
	r.got(r.ask(ownNeed(), realm.Outcome{Cause: realm.CauseOK}), "own1")
}

// refusedTokens is an account whose tokens of a version the backend does not take.
func refusedTokens(version int64, final bool) realm.Outcome {
	return realm.Outcome{Cause: realm.CauseAuth, Scope: realm.ScopeCredential, Next: realm.NextOther, Status: 401, Version: version, Final: final}
}

// What was said of tokens does not hold for others: not for those that were fetched
// by hand while requests were kept away, and not when it is said too late.
func TestRefusedTokensAreNotOthers(t *testing.T) {
	ok := realm.Outcome{Cause: realm.CauseOK}
	unrenewed := refusedTokens(5, false)
	unrenewed.Light, unrenewed.Wait = true, time.Minute
	for name, o := range map[string]realm.Outcome{"refused": refusedTokens(5, false), "for good": refusedTokens(5, true), "and not renewed": unrenewed} {
		t.Run(name, func(t *testing.T) {
			r := newRigWith(t, policy, first, account(1, "own", 9))
			r.s.Renewed(10000, 4, r.now) // the snapshot is not adopted: nothing is known
			r.begin(ownNeed()).Close(r.now)
			r.s.Renewed(10000, 5, r.now)
			r.got(r.ask(ownNeed(), o), "own1")
			r.s.Renewed(10000, 5, r.now) // as every look at the store says
			if r.ask(ownNeed(), ok) == "own1" {
				t.Fatal("it is asked though its tokens were refused")
			}
			r.s.Renewed(10000, 6, r.now)
			if last := r.told[len(r.told)-1]; last.ID != 10000 || last.Scope != realm.ScopeCredential || !last.Until.IsZero() {
				t.Errorf("other processes are told %+v", last)
			}
			r.got(r.ask(ownNeed(), o), "own1") // that one was under way: it is about the old ones
			r.got(r.ask(ownNeed(), ok), "own1")
			if want := map[bool]int{true: 1}[o.Final]; len(r.out) != want {
				t.Errorf("out of use for good: %q", r.out)
			}
			r.idle()
		})
	}
}

// Other tokens are the same plan: what it allows is waited for, whatever else was
// said beside it.
func TestOtherTokensDoNotFillUpAPlan(t *testing.T) {
	ok := realm.Outcome{Cause: realm.CauseOK}
	for name, said := range map[string][]realm.Outcome{
		"plan":                {planLimit(5 * time.Hour)},
		"tokens, then plan":   {refusedTokens(5, false), planLimit(5 * time.Hour)},
		"plan, then tokens":   {planLimit(5 * time.Hour), refusedTokens(5, false)},
		"its end, and tokens": {planLimit(30 * time.Second), refusedTokens(5, false)},
		"quota":               {{Cause: realm.CauseQuota, Scope: realm.ScopeCredential, Next: realm.NextOther, Status: 429}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRigWith(t, policy, first, account(1, "own", 9), channel(3, "keys", groupA, 0, 1, []string{"k1"}))
			var open []*Plan
			for range said { // they are under way together
				p := r.begin(ownNeed())
				r.want(p, "own1")
				open = append(open, p)
			}
			for i, p := range open {
				r.report(p, said[i])
				p.Close(r.now)
			}
			r.s.Renewed(10000, 6, r.now)
			r.got(r.ask(ownNeed(), ok), "k1")
			r.idle()
		})
	}
}

// The same for what is known from the store, or from another process.
func TestOtherTokensDoNotFillUpAKnownPlan(t *testing.T) {
	for name, tell := range map[string]func(r *rig){
		"stored": func(r *rig) { r.s.PlanSpent(10000, r.now.Add(time.Hour), r.now) },
		"heard": func(r *rig) {
			r.s.Hear(realm.Cooldown{
				Scope: realm.ScopeCredential, ID: 10000, Until: r.now.Add(time.Hour), Cause: realm.CauseRateLimited, Print: r.told[len(r.told)-1].Print,
			}, r.now)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRigWith(t, policy, first, account(1, "own", 9), channel(3, "keys", groupA, 0, 1, []string{"k1"}))
			r.got(r.ask(ownNeed(), refusedTokens(5, false)), "own1")
			tell(r)
			r.s.Renewed(10000, 6, r.now)
			r.got(r.ask(ownNeed(), realm.Outcome{Cause: realm.CauseOK}), "k1")
		})
	}
}
