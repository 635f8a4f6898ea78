package scheduler

import (
	"fmt"
	"math/rand/v2"
	"time"

	"realms/internal/realm"
)

// The world of the simulation: a catalogue, and upstreams that fail by a seed. It
// keeps its own record of what it told, and knows at any time who would answer.

const day = 24 * time.Hour

// simFault is what is wrong with an upstream for a while.
type simFault uint8

const (
	faultNone     simFault = iota
	faultDown              // connections are refused
	faultErrors            // 500s
	faultGarbage           // 200s that are none
	faultDrip              // no header in time
	faultFlap              // 500s and answers, by turns of seconds
	faultFirewall          // 403 with a page
	faultRevoked           // 401 with the word that the key is gone
	faultKey               // 401
	faultQuota             // insufficient quota
	faultLimit             // 429 until the fault's end, and it says so
	faultBusy              // 429 without a time
	faultModel             // 403 for one model
	faultMissing           // 404: model not found
)

// spell is a fault from when to when, since the world began.
type spell struct {
	from, to time.Duration
	fault    simFault
	turn     time.Duration // faultFlap: how long each turn is
	model    string        // faultModel, faultMissing
}

func (s *spell) holds(at time.Duration, model string) bool {
	if at < s.from || at >= s.to || s.model != "" && s.model != model {
		return false
	}
	return s.fault != faultFlap || (at-s.from)/s.turn%2 == 0
}

// simUpstream is a channel, an endpoint or a credential as the other side knows it.
type simUpstream struct {
	spells   []spell
	perMin   int         // of a credential: more requests a minute get a 429; 0: none
	begun    []time.Time // of the last minute
	inFlight int
	most     int // that the catalogue allows at once
	rpm      int // that it allows a minute
	asked    []time.Time
}

func (u *simUpstream) fault(at time.Duration, model string) *spell {
	for i := range u.spells {
		if u.spells[i].holds(at, model) {
			return &u.spells[i]
		}
	}
	return nil
}

// calmWindow is when nothing fails, so that shares can be counted.
const (
	calmSince = 8 * time.Hour
	calmFrom  = calmSince - 90*time.Minute // what was told before has passed by calmSince
	calmTo    = 13 * time.Hour
)

// spoil gives an upstream its faults for the day: one per mean on average, of the
// given kinds and lengths.
func (u *simUpstream) spoil(rng *rand.Rand, mean time.Duration, kinds []spell) {
	at := time.Duration(rng.ExpFloat64() * float64(mean))
	for at < day {
		s := kinds[rng.IntN(len(kinds))]
		length := s.from + time.Duration(rng.Int64N(int64(s.to-s.from)))
		s.from, s.to = at, at+length
		if s.fault == faultFlap {
			s.turn = time.Second + time.Duration(rng.Int64N(int64(20*time.Second)))
		}
		if s.to < calmFrom || s.from > calmTo {
			u.spells = append(u.spells, s)
		}
		at = s.to + time.Duration(rng.ExpFloat64()*float64(mean))
	}
}

// What may befall whom; from and to are the shortest and longest time.
var (
	endpointFaults = []spell{
		{time.Minute, 10 * time.Minute, faultDown, 0, ""},
		{time.Hour, 3 * time.Hour, faultDown, 0, ""},
		{time.Minute, 10 * time.Minute, faultErrors, 0, ""},
		{20 * time.Second, 5 * time.Minute, faultGarbage, 0, ""},
		{time.Minute, 8 * time.Minute, faultDrip, 0, ""},
		{time.Minute, 10 * time.Minute, faultFlap, 0, ""},
		{time.Minute, 4 * time.Minute, faultFirewall, 0, ""},
	}
	credentialFaults = []spell{
		{time.Minute, time.Hour, faultKey, 0, ""},
		{time.Hour, 2 * time.Hour, faultRevoked, 0, ""},
		{10 * time.Minute, 40 * time.Minute, faultQuota, 0, ""},
		{10 * time.Second, 20 * time.Minute, faultLimit, 0, ""},
		{3 * time.Second, time.Minute, faultLimit, 0, ""},
		{5 * time.Second, 3 * time.Minute, faultBusy, 0, ""},
		{5 * time.Minute, 30 * time.Minute, faultModel, 0, "m1"},
	}
	channelFaults = []spell{{5 * time.Minute, 20 * time.Minute, faultMissing, 0, "m2"}}
)

// world holds the catalogue and its upstreams.
type world struct {
	version  int64
	snap     *realm.Snapshot
	start    time.Time
	parts    map[realm.ID]*simUpstream
	outUntil map[realm.ID]time.Time // credentials that the operator has yet to mend
	keys     map[realm.ID]realm.Secret
	told     map[markKey]time.Time // what the upstreams have said, by scope and name
}

// simChannel describes one channel of the catalogue.
type simChannel struct {
	name             string
	priority, weight int
	groups           []realm.ID
	models           []string
	endpoints        [][]int // weights of credentials
	concurrent, rpm  int     // of each credential
	most             int     // of the channel
	perMin           int     // that each account takes, by its own rules
}

const groupC realm.ID = 3

var simChannels = []simChannel{
	{name: "alpha", priority: 10, weight: 3, groups: []realm.ID{groupA}, models: []string{"m1", "m2"}, endpoints: [][]int{{1, 1}, {1, 1}}},
	{name: "beta", priority: 10, weight: 1, groups: []realm.ID{groupA, groupB}, models: []string{"m1", "m2"}, endpoints: [][]int{{1, 2, 3}}, perMin: 60},
	{name: "gamma", priority: 5, weight: 1, groups: []realm.ID{groupA, groupB}, models: []string{"m1"}, endpoints: [][]int{{1, 1}}, concurrent: 4},
	{name: "delta", priority: 5, weight: 2, groups: []realm.ID{groupB}, models: []string{"m1", "m2"}, endpoints: [][]int{{1}, {1}}, rpm: 20},
	{name: "epsilon", priority: 5, weight: 1, groups: []realm.ID{groupB, groupC}, models: []string{"m1", "m2"}, endpoints: [][]int{{1, 1}}, perMin: 30},
	{name: "zeta", priority: 0, weight: 1, groups: []realm.ID{groupA, groupB, groupC}, models: []string{"m1", "m2"}, endpoints: [][]int{{1, 1}, {1, 1}, {1, 1}}, most: 40},
	{name: "eta", priority: 0, weight: 1, groups: []realm.ID{groupC}, models: []string{"m1", "m2"}, endpoints: [][]int{{1}}},
	{name: "idle", priority: 0, weight: 0, groups: []realm.ID{groupC}, models: []string{"m1", "m2"}, endpoints: [][]int{{1}}},
}

func newWorld(seed uint64, start time.Time) *world {
	w := &world{
		start: start, parts: map[realm.ID]*simUpstream{}, outUntil: map[realm.ID]time.Time{},
		keys: map[realm.ID]realm.Secret{}, told: map[markKey]time.Time{},
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	// Once a day, all endpoints die together.
	dark := calmTo + time.Duration(rng.Int64N(int64(8*time.Hour)))
	for i, sc := range simChannels {
		id := realm.ID(i + 1)
		ch := &simUpstream{most: sc.most}
		ch.spoil(rng, 12*time.Hour, channelFaults)
		w.parts[id] = ch
		for j, weights := range sc.endpoints {
			ep := &simUpstream{}
			ep.spoil(rng, 3*time.Hour, endpointFaults)
			ep.spells = append(ep.spells, spell{dark, dark + 3*time.Minute, faultDown, 0, ""})
			w.parts[id*100+realm.ID(j)] = ep
			for k := range weights {
				cr := &simUpstream{most: sc.concurrent, rpm: sc.rpm, perMin: sc.perMin}
				cr.spoil(rng, 4*time.Hour, credentialFaults)
				w.parts[(id*100+realm.ID(j))*100+realm.ID(k)] = cr
			}
		}
	}
	w.publish(start)
	return w
}

// publish makes the catalogue anew: credentials that are out of use are so.
func (w *world) publish(now time.Time) {
	w.version++
	var channels []*realm.Channel
	for i, sc := range simChannels {
		ch := channel(realm.ID(i+1), sc.name, 0, sc.priority, sc.weight)
		ch.Groups = sc.groups
		ch.Settings.Limits.Concurrent = sc.most
		ch.Bindings = nil
		for _, m := range sc.models {
			ch.Bindings = append(ch.Bindings, realm.Binding{Model: m})
		}
		for j, weights := range sc.endpoints {
			ep := &realm.Endpoint{ID: ch.ID*100 + realm.ID(j)}
			for k, weight := range weights {
				cr := &realm.Credential{
					ID: ep.ID*100 + realm.ID(k), Name: fmt.Sprintf("%s%d%d", sc.name, j, k), Enabled: true,
					State: realm.CredentialOK, Weight: weight,
					Limits: realm.Limits{Concurrent: sc.concurrent, RequestsPerMinute: sc.rpm},
				}
				cr.APIKey = w.keys[cr.ID]
				if now.Before(w.outUntil[cr.ID]) {
					cr.State = realm.CredentialDisabled
				}
				ep.Credentials = append(ep.Credentials, cr)
			}
			ch.Endpoints = append(ch.Endpoints, ep)
		}
		channels = append(channels, ch)
	}
	w.snap = realm.NewSnapshot(w.version, nil, nil, channels)
}

// answer is what an upstream does with a request that reaches it now, and who says
// so. Nil: it serves.
func (w *world) answer(ch, ep, cr realm.ID, model string, now time.Time) *spell {
	at := now.Sub(w.start)
	if f := w.parts[ep].fault(at, model); f != nil {
		return f
	}
	if f := w.parts[ch].fault(at, model); f != nil {
		return f
	}
	if f := w.parts[cr].fault(at, model); f != nil {
		return f
	}
	if u := w.parts[cr]; u.perMin > 0 && len(u.recent(now)) >= u.perMin {
		return &spell{from: at, to: u.begun[0].Add(time.Minute).Sub(w.start), fault: faultLimit}
	}
	return nil
}

// recent drops what is older than a minute from what the upstream has taken.
func (u *simUpstream) recent(now time.Time) []time.Time {
	for len(u.begun) > 0 && now.Sub(u.begun[0]) >= time.Minute {
		u.begun = u.begun[1:]
	}
	return u.begun
}

// toldKeys are the marks that keep a candidate from being asked for a model.
func toldKeys(ch, ep, cr realm.ID, model string) [4]markKey {
	return [4]markKey{
		{realm.ScopeChannelModel, ch, model},
		{realm.ScopeEndpoint, ep, ""},
		{realm.ScopeCredential, cr, ""},
		{realm.ScopeCredentialModel, cr, model},
	}
}

// quiet tells whether nothing that was told keeps the candidate away.
func (w *world) quiet(ch, ep, cr realm.ID, model string, now time.Time) (markKey, bool) {
	for _, k := range toldKeys(ch, ep, cr, model) {
		if now.Before(w.told[k]) {
			return k, false
		}
	}
	return markKey{}, true
}

// full tells whether a candidate takes no more for now, by the catalogue's limits.
func (w *world) full(ch, cr realm.ID, now time.Time) bool {
	for _, id := range [...]realm.ID{ch, cr} {
		u := w.parts[id]
		if u.most > 0 && u.inFlight >= u.most {
			return true
		}
		// The scheduler may count by whole seconds: one more than a minute.
		if u.rpm > 0 && len(u.asked) >= u.rpm && now.Sub(u.asked[len(u.asked)-u.rpm]) < 62*time.Second {
			return true
		}
	}
	return false
}
