package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// The models of the fake upstream; each is a way of answering.
const (
	modelSmall  = "bench-small"  // a whole answer of some 450 bytes
	modelStream = "bench-stream" // streamEvents events, one flush each, back to back
	modelPaced  = "bench-paced"  // the same, paceGap apart, as a model would write
	modelIdle   = "bench-idle"   // one event, then silence until the client goes

	// The same stream where it is not all chat. Their clients speak Responses but for
	// the last one's; their upstreams Responses but for the second one's.
	modelResponses     = "bench-stream-responses"
	modelOverChat      = "bench-stream-over-chat"
	modelOverResponses = "bench-stream-over-responses"
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

// responseBytes are the events of a stream of Responses with as many pieces of the
// same text; around them it has more than chat does.
func responseBytes() [][]byte {
	var events [][]byte
	add := func(kind, fields string) {
		events = append(events, fmt.Appendf(nil, "event: %s\ndata: {\"type\":%q,\"sequence_number\":%d,%s}\n\n", kind, kind, len(events), fields))
	}
	const at = `"item_id":"msg_bench0003","output_index":0,"content_index":0,`
	object := func(status, output, usage string) string {
		return fmt.Sprintf(`"response":{"id":"resp_bench0003","object":"response","created_at":1790000000,"status":%q,"background":false,"error":null,"incomplete_details":null,"instructions":"You are helpful.","max_output_tokens":null,"model":"bench-stream","output":[%s],"parallel_tool_calls":true,"previous_response_id":null,"reasoning":{"effort":null,"summary":null},"service_tier":"default","store":false,"temperature":0.2,"text":{"format":{"type":"text"}},"tool_choice":"auto","tools":[],"top_p":1.0,"truncation":"disabled","usage":%s,"user":null,"metadata":{}}`, status, output, usage)
	}
	part := func(text string) string {
		return `{"type":"output_text","annotations":[],"logprobs":[],"text":"` + text + `"}`
	}
	item := func(status, content string) string {
		return `{"id":"msg_bench0003","type":"message","status":"` + status + `","role":"assistant","content":[` + content + `]}`
	}
	add("response.created", object("in_progress", "", "null"))
	add("response.in_progress", object("in_progress", "", "null"))
	add("response.output_item.added", `"output_index":0,"item":`+item("in_progress", ""))
	add("response.content_part.added", at+`"part":`+part(""))
	text := ""
	for i := range streamEvents - 4 {
		text += fmt.Sprintf(" token%02d", i)
		add("response.output_text.delta", at+fmt.Sprintf(`"delta":" token%02d","logprobs":[],"obfuscation":"aB3dE6gH"`, i))
	}
	add("response.output_text.done", at+`"text":"`+text+`","logprobs":[]`)
	add("response.content_part.done", at+`"part":`+part(text))
	add("response.output_item.done", `"output_index":0,"item":`+item("completed", part(text)))
	add("response.completed", object("completed", item("completed", part(text)), `{"input_tokens":24,"input_tokens_details":{"cached_tokens":0},"output_tokens":46,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":70}`))
	return events
}

// serveUpstream answers on a port of its own until the context ends; it prints
// its address first.
func serveUpstream(ctx context.Context, ready io.Writer) error {
	return serve(ctx, newUpstream(), ready)
}

type fakeUpstream struct {
	events    [][]byte // of chat
	responses [][]byte
}

func newUpstream() *fakeUpstream {
	return &fakeUpstream{events: streamBytes(), responses: responseBytes()}
}

func (u *fakeUpstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, "body", http.StatusBadRequest)
		return
	}
	head := body[:min(len(body), 256)]
	switch {
	case strings.HasSuffix(r.URL.Path, "/responses"):
		stream(w, u.responses, 0)
	case bytes.Contains(head, []byte(modelStream)):
		stream(w, u.events, 0)
	case bytes.Contains(head, []byte(modelPaced)):
		stream(w, u.events, paceGap)
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

func stream(w http.ResponseWriter, events [][]byte, gap time.Duration) {
	w.Header().Set("Content-Type", "text/event-stream")
	for _, e := range events {
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
