package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"realms/internal/catalog"
	"realms/internal/netguard"
	"realms/internal/realm"
)

// How long an upstream may take to say anything, how many are asked at once, and
// how far clocks may be apart before certificates and expiries go wrong.
const (
	probePatience = 5 * time.Second
	probesAtOnce  = 8
	maxSkew       = 2 * time.Minute
)

// probe is what asking a base URL found.
type probe struct {
	url, channel string
	status       int
	skew         time.Duration // of our clock against the upstream's
	err          error
}

// upstreams asks each base URL for its models, without a key: any answer at all
// means that the way there is open. The backend of ChatGPT accounts is left alone:
// what asks it without an account is taken for a robot.
func (d *doctor) upstreams(ctx context.Context, state *catalog.State) {
	var probes []*probe
	for _, ch := range state.Channels {
		if ch.Type == realm.CodexOAuth {
			continue
		}
		for _, ep := range ch.Endpoints {
			probes = append(probes, &probe{url: ep.BaseURL, channel: ch.Name})
		}
	}
	guard := netguard.New(netguard.Options{
		AllowPrivate: d.cfg.PrivateNetworks(), Allow: d.cfg.Upstream.AllowNetworks, ConnectTimeout: d.cfg.Relay.Timeouts.Connect,
	})
	client := &http.Client{
		Transport:     &http.Transport{DialContext: guard.DialContext, DisableKeepAlives: true, ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	var work errgroup.Group
	work.SetLimit(probesAtOnce)
	for _, p := range probes {
		work.Go(func() error {
			p.ask(ctx, client, d.now)
			return nil
		})
	}
	_ = work.Wait() // each keeps its own error
	for _, p := range probes {
		d.judge(p)
	}
}

func (p *probe) ask(ctx context.Context, client *http.Client, now func() time.Time) {
	ctx, cancel := context.WithTimeout(ctx, probePatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/models", http.NoBody)
	if err != nil {
		p.err = err
		return
	}
	resp, err := client.Do(req)
	if err != nil {
		p.err = err
		return
	}
	_ = resp.Body.Close() // only the head matters
	p.status = resp.StatusCode
	if theirs, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		p.skew = now().Sub(theirs)
	}
}

func (d *doctor) judge(p *probe) {
	where := fmt.Sprintf("%s (channel %q)", p.url, p.channel)
	var refused *netguard.RefusedError
	switch {
	case errors.As(p.err, &refused):
		d.bad("upstream", "%s: the %s; allow it with upstream.allow_networks if it is meant", where, refused)
	case errors.Is(p.err, context.DeadlineExceeded):
		d.bad("upstream", "%s does not answer within %s: check the address and the way there", where, probePatience)
	case p.err != nil:
		d.bad("upstream", "%s cannot be reached: %s; check the address and the way there", where, innermost(p.err))
	case p.status >= http.StatusInternalServerError:
		d.bad("upstream", "%s answers %d: it has trouble, or the address is not its own", where, p.status)
	default:
		d.ok("upstream", "%s answers", where)
	}
	if p.err == nil && p.skew.Abs() > maxSkew {
		d.bad("clock", "it is %s off that of %s: set it", p.skew.Round(time.Second), p.url)
	}
}
