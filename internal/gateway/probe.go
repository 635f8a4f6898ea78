package gateway

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"realms/internal/realm"
	"realms/internal/scheduler"
)

// Probing: how often it is looked whether a probe is due, how soon its answer must
// begin, and how long it may take in all.
const (
	probeTick      = time.Second
	probeFirstByte = 30 * time.Second // a whole answer, but a small one
	probePatient   = time.Minute
)

// Probe asks the endpoints of channels that want it one small question now and
// then, so that what is broken is known before a client finds it, and what has
// recovered is used again. It returns when ctx ends and the last probe has.
func (g *Gateway) Probe(ctx context.Context) error {
	var probes sync.WaitGroup
	defer probes.Wait()
	tick := time.NewTicker(probeTick)
	defer tick.Stop()
	due := make(map[realm.ID]time.Time)
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			snap := g.o.Catalog.Snapshot()
			for _, ep := range dueProbes(snap, due, now) {
				probes.Go(func() { g.probe(ctx, snap, ep) })
			}
		}
	}
}

// dueProbes are the endpoints whose time has come, and notes when it will be again:
// spread a little, so that endpoints declared together are not asked together.
func dueProbes(snap *realm.Snapshot, due map[realm.ID]time.Time, now time.Time) []*realm.Endpoint {
	var list []*realm.Endpoint
	for _, ch := range snap.Channels() {
		every := ch.Settings.Probe
		if every == 0 || !ch.Enabled {
			continue
		}
		for _, ep := range ch.Endpoints {
			at, known := due[ep.ID]
			if known && now.Before(at) {
				continue
			}
			if known {
				list = append(list, ep)
			}
			due[ep.ID] = now.Add(every - every/10 + rand.N(every/5))
		}
	}
	return list
}

// probe makes one exchange with an endpoint and tells the scheduler how it went.
func (g *Gateway) probe(ctx context.Context, snap *realm.Snapshot, ep *realm.Endpoint) {
	ch := ep.Channel
	name, up, err := testModel(ch, "")
	if err != nil {
		return // it offers nothing by name: there is nothing to ask for
	}
	op, body, err := testRequest(ch, up)
	if err != nil {
		return // nor anything to ask
	}
	ctx, cancel := context.WithTimeout(ctx, probePatient)
	defer cancel()
	var plan scheduler.Plan
	g.o.Scheduler.Begin(&plan, snap, scheduler.Need{
		Groups: ch.Groups, Model: name, API: op.API, Channel: ch.Name, Endpoint: ep.ID,
		Accounts: g.o.Settings.State().CodexAccepted(),
	}, time.Now())
	defer func() { plan.Close(time.Now()) }()
	step := plan.Next(time.Now())
	if step.Kind != scheduler.StepAttempt {
		return // the upstream has named a time, or its slots are taken
	}
	begun := time.Now()
	limits := g.o.Relay.timeouts(&step.Attempt, false)
	limits.FirstByte = min(limits.FirstByte, probeFirstByte)
	_, f := g.askOnce(ctx, &step.Attempt, op, body, limits)
	o := realm.Outcome{Cause: realm.CauseOK}
	if f != nil {
		o = f.Outcome
	}
	if o.Scope == realm.ScopeChannelModel || o.Scope == realm.ScopeChannelAPI {
		o.Scope = realm.ScopeNone // it may be the question that was wrong: nobody asked for it
	}
	g.metrics.probes.WithLabelValues(string(o.Cause)).Inc()
	plan.Report(&o, time.Since(begun), time.Now())
}
