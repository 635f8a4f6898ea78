package convert

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"realms/internal/protocol/openai"
	"realms/internal/testkit"
)

// fiftyEvents are the data of a stream as the fake upstream composes it.
func fiftyEvents(call bool) [][]byte {
	deltas := make([]string, 43)
	for i := range deltas {
		deltas[i] = fmt.Sprintf(" word%d", i)
	}
	reply := testkit.Reply{Deltas: deltas}
	if call {
		reply.Call = &testkit.Call{Name: "f", Arguments: `{"a":1}`}
	}
	var events [][]byte
	for _, chunk := range testkit.Compose(&testkit.Request{Method: "POST", Path: "/v1/responses", Model: "m", Stream: true}, reply).Chunks {
		_, data, _ := bytes.Cut(bytes.TrimSpace(chunk), []byte("data: "))
		events = append(events, data)
	}
	return events
}

func streamed(tb testing.TB) Conversion {
	tb.Helper()
	c, err := toResponses(`{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"x"}]}`)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// TestDeltaAllocatesNothing: what a stream mostly consists of costs no memory.
func TestDeltaAllocatesNothing(t *testing.T) {
	for _, call := range []bool{false, true} {
		s := streamed(t).Stream(mostKept)
		var delta []byte
		dst := make([]byte, 0, 64<<10)
		for _, data := range fiftyEvents(call) {
			if bytes.Contains(data, []byte(".completed")) {
				break
			}
			if _, err := s.Event(dst, nil, data); err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(data, []byte(".delta\"")) {
				delta = data
			}
		}
		n := testing.AllocsPerRun(100, func() {
			if out, err := s.Event(dst, nil, delta); err != nil || len(out) == 0 {
				t.Fatal(len(out), err)
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", delta, n)
		}
	}
}

func BenchmarkToResponsesStream(b *testing.B) {
	events := fiftyEvents(false)
	size := 0
	for _, e := range events {
		size += len(e)
	}
	dst, c := make([]byte, 0, 64<<10), streamed(b)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		s := c.Stream(mostKept)
		for _, data := range events {
			if _, err := s.Event(dst, nil, data); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(len(events)), "events/op")
}

// offeringRequest asks one question: 40 tools with long descriptions and schemas, a
// prompt of 30 KB.
func offeringRequest() string {
	about := strings.Repeat(`Reads what is asked for.\nPaths are \"absolute\", lines count from 1. `, 5)
	tools := make([]string, 40)
	for i := range tools {
		tools[i] = fmt.Sprintf(`{"type":"function","function":{"name":"tool_%d","description":"%s","strict":false,"parameters":{"type":"object","properties":{`+
			`"path":{"type":"string","description":"Where it is, as an absolute path."},"first":{"type":"integer","description":"The first line."},`+
			`"kinds":{"type":"array","items":{"type":"string","enum":["file","directory","link"]}}},"required":["path"],"additionalProperties":false}}}`, i, about)
	}
	const words = `The quick brown fox jumps over the lazy dog; 0123456789 and so on.\n`
	return `{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"system","content":"You are helpful."},{"role":"user","content":"` +
		strings.Repeat(words, 30<<10/len(words)+1) + `"}],"tools":[` + strings.Join(tools, ",") + `],"temperature":0.2}`
}

// conversationRequest goes on with an agent's work: it has called a tool, or two, some
// hundred times, and been told what came of it.
func conversationRequest() string {
	messages := []string{
		`{"role":"system","content":"You are helpful."}`,
		`{"role":"user","content":[{"type":"text","text":"Look at all files."},{"type":"text","text":"Then tell."}]}`,
	}
	for i := range 100 {
		call := fmt.Sprintf(`{"id":"call_%d","type":"function","function":{"name":"tool_%d","arguments":"{\"path\":\"/src/file_%d.go\",\"first\":1}"}}`, i, i%40, i)
		output := fmt.Sprintf(`{"role":"tool","tool_call_id":"call_%d","content":"%s"}`, i, strings.Repeat(`package main\n\tfunc main() {}\n`, 20))
		if i%4 == 3 {
			call += fmt.Sprintf(`,{"id":"patch_%d","type":"custom","custom":{"name":"patch","input":"*** Begin Patch\n+x\n"}}`, i)
			output += fmt.Sprintf(`,{"role":"tool","tool_call_id":"patch_%d","content":[{"type":"text","text":"Done."}]}`, i)
		}
		messages = append(messages, `{"role":"assistant","content":"I look at the next one.","tool_calls":[`+call+`]}`, output)
	}
	return `{"model":"m","stream":true,"messages":[` + strings.Join(messages, ",") + `]}`
}

// A conversion costs few allocations, however many tools and messages there are.
func TestToResponsesAllocatesLittle(t *testing.T) {
	most := 60.0
	if raceEnabled {
		most *= 2 // the detector's own; there are some 40 tools and 325 messages
	}
	for name, body := range map[string]string{"offering": offeringRequest(), "conversation": conversationRequest()} {
		r, err := openai.ReadJSON(operation("chat.completions"), []byte(body), nil)
		if err != nil {
			t.Fatal(err)
		}
		n := testing.AllocsPerRun(10, func() { _, err = ToResponses(r) })
		if err != nil || n > most {
			t.Errorf("%s: %v allocations, %v", name, n, err)
		}
	}
}

// BenchmarkToResponsesRequest converts a request; passing is what the relay does to it
// without a conversion, but for reading and writing: it looks at all of it and copies
// it.
func BenchmarkToResponsesRequest(b *testing.B) {
	op := operation("chat.completions")
	for _, bench := range []struct{ name, request string }{{"offering", offeringRequest()}, {"conversation", conversationRequest()}} {
		body := []byte(bench.request)
		for _, convert := range []bool{false, true} {
			name := bench.name + "/passing"
			if convert {
				name = bench.name + "/converting"
			}
			b.Run(name, func(b *testing.B) {
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				for b.Loop() {
					r, err := openai.ReadJSON(op, body, nil)
					if err != nil {
						b.Fatal(err)
					}
					if !convert {
						_ = append(make([]byte, 0, len(body)), body...)
					} else if _, err := ToResponses(r); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
