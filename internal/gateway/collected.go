package gateway

import (
	"context"
	"errors"
	"io"

	"realms/internal/protocol/openai"
	"realms/internal/sse"
	"realms/internal/upstream"
)

// relayCollected makes one answer of the events of an upstream that knows no other
// way, for a client that wants no events. Until it is whole nothing is committed, so
// that any failure may go to another upstream.
func (x *exchange) relayCollected(ctx context.Context, ex *upstream.Exchange, res *upstream.Response) *upstream.Failure {
	c := x.g.newCollection(ex, res)
	c.observe = x.observeEvent
	text, f := c.read(ctx)
	if f != nil {
		return f
	}
	res.Header["Content-Type"] = []string{"application/json"}
	answer := ownBody(text)
	defer answer.release()
	return x.relayAnswer(ctx, ex, res, answer)
}

// collection makes one answer of a Responses stream.
type collection struct {
	g       *Gateway
	ex      *upstream.Exchange
	res     *upstream.Response
	observe func(sse.Event) // hears every event
	sc      *sse.Scanner
	state   openai.StreamState
	all     *openai.Collector
	done    bool
}

func (g *Gateway) newCollection(ex *upstream.Exchange, res *upstream.Response) *collection {
	most := g.o.Limits.EventBytes
	c := &collection{
		g: g, ex: ex, res: res, observe: func(sse.Event) {},
		sc: sse.NewScanner(res.Body, most), all: openai.NewCollector(most),
	}
	c.state.Reset(openai.StreamResponses, 1)
	return c
}

// read reads the stream to its end, and gives the answer.
func (c *collection) read(ctx context.Context) ([]byte, *upstream.Failure) {
	defer c.sc.Release()
	for !c.done {
		err := c.sc.Fill()
		if f := c.round(); f != nil {
			return nil, f
		}
		switch {
		case c.done:
		case errors.Is(err, io.EOF):
			if f := c.tail(); f != nil {
				return nil, f
			}
		case err != nil:
			return nil, readFailure(ctx, c.res, err)
		case c.sc.Full():
			c.sc.Grow()
		}
	}
	text, err := c.all.Response()
	if err != nil {
		return nil, badAnswer(c.res, err)
	}
	return text, nil
}

// round takes in every complete event of one read.
func (c *collection) round() *upstream.Failure {
	for ev, ok := c.sc.Next(); ok && !c.done; ev, ok = c.sc.Next() {
		if f := c.event(ev); f != nil {
			return f
		}
	}
	return nil
}

// tail takes in what stands behind the last blank line.
func (c *collection) tail() *upstream.Failure {
	if ev, ok := c.sc.Finish(); ok {
		if f := c.event(ev); f != nil || c.done {
			return f
		}
	}
	return badAnswer(c.res, errNoEnd)
}

func (c *collection) event(ev sse.Event) *upstream.Failure {
	v, err := c.state.Inspect(ev)
	if err != nil {
		return badAnswer(c.res, err)
	}
	if v.Failed != nil {
		return c.g.o.Upstream.ClassifyError(c.ex, c.res.Header, *v.Failed)
	}
	c.observe(ev)
	if v.Class == openai.ClassSubstantive {
		c.res.Started()
	}
	if err := c.all.Add(ev); err != nil {
		return badAnswer(c.res, err)
	}
	c.done = v.Class == openai.ClassTerminal
	return nil
}
