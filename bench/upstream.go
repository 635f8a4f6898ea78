package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// The models of the fake upstream; each is a way of answering.
const (
	modelSmall  = "bench-small"  // a whole answer of some 450 bytes
	modelStream = "bench-stream" // streamEvents events, one flush each, back to back
	modelPaced  = "bench-paced"  // the same, paceGap apart, as a model would write
	modelIdle   = "bench-idle"   // one event, then silence until the client goes
)

const (
	streamEvents = 50
	paceGap      = 2 * time.Millisecond
)

var smallAnswer = []byte(`{"id":"chatcmpl-bench0001","object":"chat.completion","created":1790000000,"model":"bench-small","choices":[{"index":0,"message":{"role":"assistant","content":"The capital of France is Paris. It lies on the Seine, in the north of the country, and has about two million inhabitants.","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":24,"completion_tokens":27,"total_tokens":51},"system_fingerprint":"fp_bench"}`)

// streamBytes are the events of a stream, each with its blank line.
func streamBytes() [][]byte {
	const head = `data: {"id":"chatcmpl-bench0002","object":"chat.completion.chunk","created":1790000000,"model":"bench-stream","system_fingerprint":"fp_bench","choices":[`
	const tail = "]}\n\n"
	events := make([][]byte, 0, streamEvents)
	add := func(s string) { events = append(events, []byte(s)) }
	add(head + `{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}` + tail)
	for i := range streamEvents - 4 {
		add(head + fmt.Sprintf(`{"index":0,"delta":{"content":" token%02d"},"logprobs":null,"finish_reason":null}`, i) + tail)
	}
	add(head + `{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}` + tail)
	add(`data: {"id":"chatcmpl-bench0002","object":"chat.completion.chunk","created":1790000000,"model":"bench-stream","choices":[],"usage":{"prompt_tokens":24,"completion_tokens":46,"total_tokens":70}}` + "\n\n")
	add("data: [DONE]\n\n")
	return events
}

// serveUpstream answers on a port of its own until the context ends; it prints
// its address first.
func serveUpstream(ctx context.Context, ready io.Writer) error {
	return serve(ctx, &fakeUpstream{events: streamBytes()}, ready)
}

type fakeUpstream struct{ events [][]byte }

func (u *fakeUpstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, "body", http.StatusBadRequest)
		return
	}
	head := body[:min(len(body), 256)]
	switch {
	case bytes.Contains(head, []byte(modelStream)):
		u.stream(w, 0)
	case bytes.Contains(head, []byte(modelPaced)):
		u.stream(w, paceGap)
	case bytes.Contains(head, []byte(modelIdle)):
		w.Header().Set("Content-Type", "text/event-stream")
		// Two events: the first carries no text, and a gateway may hold it back.
		for _, e := range u.events[:2] {
			if !send(w, e) {
				return
			}
		}
		<-r.Context().Done()
	default:
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(smallAnswer)
	}
}

func (u *fakeUpstream) stream(w http.ResponseWriter, gap time.Duration) {
	w.Header().Set("Content-Type", "text/event-stream")
	for _, e := range u.events {
		if !send(w, e) {
			return
		}
		if gap > 0 {
			time.Sleep(gap)
		}
	}
}

// send writes one event and flushes it.
func send(w http.ResponseWriter, event []byte) bool {
	if _, err := w.Write(event); err != nil {
		return false
	}
	return http.NewResponseController(w).Flush() == nil
}

// serve runs a handler on a free loopback port and prints "http://ADDRESS".
func serve(ctx context.Context, h http.Handler, ready io.Writer) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if _, err := fmt.Fprintf(ready, "http://%s\n", l.Addr()); err != nil {
		return fmt.Errorf("say where: %w", err)
	}
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}
