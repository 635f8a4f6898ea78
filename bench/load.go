package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// load is a bounded run of requests by some clients, each of which asks again
// as soon as it has its answer.
type load struct {
	addr    string
	request request
	clients int
	count   int // in all
}

// sample is what a run of load saw at the client.
type sample struct {
	first, whole []time.Duration // sorted
	wall         time.Duration
	sent         int // the warm-up's requests too
}

// run warms every connection up, calls begin, and then asks count times.
func (l load) run(ctx context.Context, begin func() error) (sample, error) {
	clients, err := dialAll(ctx, l.addr, l.clients)
	defer closeAll(clients)
	if err != nil {
		return sample{}, err
	}
	warm, err := l.each(ctx, clients, max(5, l.count/l.clients/10))
	if err != nil {
		return sample{}, fmt.Errorf("warm up: %w", err)
	}
	if err := begin(); err != nil {
		return sample{}, err
	}
	got, err := l.each(ctx, clients, max(1, l.count/l.clients))
	got.sent += warm.sent
	return got, err
}

// each lets every client ask n times, all at once.
func (l load) each(ctx context.Context, clients []*client, n int) (sample, error) {
	parts, errs := make([]sample, len(clients)), make([]error, len(clients))
	start := time.Now()
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() { parts[i], errs[i] = c.repeat(ctx, l.request, n) })
	}
	wg.Wait()
	all := sample{wall: time.Since(start), sent: n * len(clients)}
	for _, p := range parts {
		all.first = append(all.first, p.first...)
		all.whole = append(all.whole, p.whole...)
	}
	slices.Sort(all.first)
	slices.Sort(all.whole)
	return all, errors.Join(errs...)
}

// repeat asks n times in a row.
func (c *client) repeat(ctx context.Context, q request, n int) (sample, error) {
	s := sample{first: make([]time.Duration, 0, n), whole: make([]time.Duration, 0, n)}
	for range n {
		if err := ctx.Err(); err != nil {
			return s, err
		}
		first, whole, err := c.do(q)
		if err != nil {
			return s, err
		}
		s.first, s.whole = append(s.first, first), append(s.whole, whole)
	}
	return s, nil
}

func dialAll(ctx context.Context, addr string, n int) ([]*client, error) {
	clients := make([]*client, 0, n)
	for range n {
		c, err := dial(ctx, addr)
		if err != nil {
			return clients, err
		}
		clients = append(clients, c)
	}
	return clients, nil
}

func closeAll(clients []*client) {
	for _, c := range clients {
		_ = c.conn.Close() // the run is over
	}
}

// hold opens n streams that stay silent after their first events, waits until
// each has begun, and keeps them for the settling time before look is called.
func hold(ctx context.Context, addr string, q request, n int, settle time.Duration, look func() error) error {
	var clients []*client
	defer func() { closeAll(clients) }()
	for i := range n {
		c, err := dial(ctx, addr)
		if err != nil {
			return err
		}
		clients = append(clients, c)
		if err := c.conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			return fmt.Errorf("set the deadline: %w", err)
		}
		if _, err := c.begin(q); err != nil {
			return fmt.Errorf("stream %d of %d: %w", i+1, n, err)
		}
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(settle):
	}
	return look()
}

// quantile reads a sorted list; q is between 0 and 1.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
