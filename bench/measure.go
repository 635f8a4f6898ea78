package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

// scenario is one shape of traffic at one number of clients.
type scenario struct {
	name    string
	model   string
	prompt  int // bytes
	tools   int // that the request offers
	clients int
	count   int // requests in a run at -scale 1
}

// converted tells whether nothing but Realms can serve the scenario.
func (s scenario) converted() bool { return s.model == modelOverChat || s.model == modelOverResponses }

// runs tells whether a target is part of the scenario.
func (s scenario) runs(t *target) bool { return !s.converted() || t.token != "" }

// An agent's request is about as large as one of Codex CLI with a few servers of tools:
// some 60 KiB, half of it tools.
const (
	agentPrompt = 30 << 10
	agentTools  = 40
)

// scenarios are what a run of load is made of. The counts give a gateway about
// half a second of CPU time at 32 clients.
var scenarios = []scenario{
	{"small answer", modelSmall, 100, 0, 1, 2000},
	{"small answer", modelSmall, 100, 0, 32, 12000},
	{"stream of 50 events", modelStream, 100, 0, 1, 500},
	{"stream of 50 events", modelStream, 100, 0, 32, 3200},
	{"stream of 50 events, 2 ms apart", modelPaced, 100, 0, 32, 640},
	{"stream of 50 deltas of Responses", modelResponses, 100, 0, 32, 3200},
	{"Responses over a chat upstream", modelOverChat, 100, 0, 32, 3200},
	{"chat over a Responses upstream", modelOverResponses, 100, 0, 32, 3200},
	{"an agent's Responses request", modelResponses, agentPrompt, agentTools, 32, 1600},
	{"an agent's Responses request over a chat upstream", modelOverChat, agentPrompt, agentTools, 32, 1600},
	{"an agent's chat request", modelStream, agentPrompt, agentTools, 32, 1600},
	{"an agent's chat request over a Responses upstream", modelOverResponses, agentPrompt, agentTools, 32, 1600},
	{"200 KiB prompt", modelSmall, 200 << 10, 0, 1, 400},
	{"200 KiB prompt", modelSmall, 200 << 10, 0, 32, 2400},
}

// observation is one run of one scenario against one target.
type observation struct {
	cpu                time.Duration // of the gateway, per request; 0 for direct
	p50, p99           time.Duration
	firstP50, firstP99 time.Duration
	rate               float64 // requests per second
	peak               int64   // KiB
}

// life is what a fresh process of a target costs before any load.
type life struct {
	cold      time.Duration // from exec to the first answer
	idle      int64         // KiB resident
	perStream float64       // KiB for each idle stream
}

// results are all observations, by target and in the order of the rounds.
type results struct {
	lives map[string][]life
	loads []map[string][]observation // by the index of scenarios
}

// lifeRounds is how often each target is started afresh.
const lifeRounds = 5

// measure does it all, and prints the report.
func measure(ctx context.Context, o options) error {
	r, err := build(ctx, o)
	if err != nil {
		return err
	}
	defer r.close()
	res := results{lives: map[string][]life{}, loads: make([]map[string][]observation, len(scenarios))}
	for i := range res.loads {
		res.loads[i] = map[string][]observation{}
	}
	before := loadAverage()
	if err := r.lives(ctx, o, &res); err != nil {
		return err
	}
	for round := range o.rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round+1, o.rounds)
		if err := r.round(ctx, o, round, &res); err != nil {
			return err
		}
	}
	text := report{rig: r, options: o, results: res, loadBefore: before, loadAfter: loadAverage()}.markdown(ctx)
	fmt.Print(text)
	if o.out == "" {
		return nil
	}
	if err := os.WriteFile(o.out, []byte(text), 0o644); err != nil { //nolint:gosec // a report for everybody to read
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// lives starts every target afresh some times, in turn.
func (r *rig) lives(ctx context.Context, o options, res *results) error {
	for i := range min(o.rounds, lifeRounds) {
		for j := range r.targets {
			t := r.targets[(i+j)%len(r.targets)]
			if t.launch == nil {
				continue
			}
			fmt.Fprintf(os.Stderr, "fresh start %d: %s\n", i+1, t.name)
			l, err := t.live(ctx, o.streams)
			if err != nil {
				return err
			}
			res.lives[t.name] = append(res.lives[t.name], l)
		}
	}
	return nil
}

// live starts the target, looks at its memory, holds idle streams, and stops it.
func (t *target) live(ctx context.Context, streams int) (l life, err error) {
	if l.cold, err = t.start(ctx); err != nil {
		return l, err
	}
	defer t.stop()
	select {
	case <-ctx.Done():
		return l, ctx.Err()
	case <-time.After(time.Second):
	}
	before, err := t.running.memory()
	if err != nil {
		return l, err
	}
	l.idle = before.now
	t.sent += streams
	err = hold(ctx, t.addr, newRequest(modelIdle, t.token, 100, 0), streams, 3*time.Second, func() error {
		after, err := t.running.memory()
		l.perStream = float64(after.now-before.now) / float64(streams)
		return err
	})
	if err != nil {
		return l, fmt.Errorf("%s, idle streams: %w", t.name, err)
	}
	return l, nil
}

// round runs every scenario once against every target; the order turns. The
// processes are new in each round, so that no target keeps the luck or the bad
// luck of one heap's layout.
func (r *rig) round(ctx context.Context, o options, round int, res *results) error {
	for _, t := range r.targets {
		if _, err := t.start(ctx); err != nil {
			return err
		}
		defer t.stop()
	}
	for i, s := range scenarios {
		for j := range r.targets {
			t := r.targets[(round+j)%len(r.targets)]
			if !s.runs(t) {
				continue
			}
			ob, err := t.observe(ctx, s, max(s.clients, int(float64(s.count)*o.scale)))
			if err != nil {
				return fmt.Errorf("%s, %s at %d clients: %w", t.name, s.name, s.clients, err)
			}
			res.loads[i][t.name] = append(res.loads[i][t.name], ob)
		}
	}
	return nil
}

// observe runs one load and reads the gateway's cost around it.
func (t *target) observe(ctx context.Context, s scenario, count int) (ob observation, err error) {
	var cpu time.Duration
	l := load{addr: t.addr, request: newRequest(s.model, t.token, s.prompt, s.tools), clients: s.clients, count: count}
	got, err := l.run(ctx, func() (err error) {
		if t.running == nil {
			return nil
		}
		if err := t.running.resetPeak(); err != nil {
			return err
		}
		cpu, err = t.running.cpu()
		return err
	})
	if err != nil {
		return ob, err
	}
	t.sent += got.sent
	n := len(got.whole)
	ob = observation{
		p50: quantile(got.whole, 0.5), p99: quantile(got.whole, 0.99),
		firstP50: quantile(got.first, 0.5), firstP99: quantile(got.first, 0.99),
		rate: float64(n) / got.wall.Seconds(),
	}
	if t.running == nil {
		return ob, nil
	}
	end, err := t.running.cpu()
	if err != nil {
		return ob, err
	}
	ob.cpu = (end - cpu) / time.Duration(n)
	m, err := t.running.memory()
	ob.peak = m.peak
	return ob, err
}
