package convert

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// callHabits are what the events of one upstream tell of a call, and when.
type callHabits struct {
	indices      bool
	id, callID   moment
	pieces       bool // the arguments come in deltas
	whole        bool // and in an event that has them whole
	addedAt      int  // ahead of which of these; -1: never
	done, output bool
}

// moment is when an id is told.
type moment int

const (
	never moment = iota
	atItsEnd
	always
)

func drawCallHabits(t *rapid.T) callHabits {
	on := func(name string) bool { return rapid.IntRange(0, 3).Draw(t, name) > 0 }
	told := func(name string) moment { return moment(rapid.IntRange(int(never), int(always)).Draw(t, name)) }
	h := callHabits{
		indices: rapid.Bool().Draw(t, "indices"), id: told("id"), callID: told("call_id"), pieces: on("pieces"), whole: on("whole"),
		addedAt: rapid.IntRange(-1, 3).Draw(t, "added at"), done: on("done"), output: on("output"),
	}
	switch known := h.indices || h.id == always; {
	case !known: // nothing but their ends tells two calls apart
		h.done = true
	case h.addedAt < 0 && !h.output, !h.pieces && !h.whole && !h.output: // nothing else tells the name, or the arguments
		h.done = true
	}
	return h
}

// drawnCall is a call of an upstream.
type drawnCall struct {
	callHabits
	n           int
	kind, input string
}

func drawCall(t *rapid.T, h callHabits, n int) drawnCall {
	return drawnCall{
		callHabits: h, n: n, kind: rapid.SampledFrom([]string{"function_call", "custom_tool_call"}).Draw(t, "kind"),
		input: rapid.OneOf(rapid.Just(""), anyText).Draw(t, "input"),
	}
}

// item is the call as an object, as far as it is told.
func (c *drawnCall) item(end bool) string {
	fields := []string{`"type":` + quote(c.kind), `"name":"weather"`}
	if c.id == always || c.id == atItsEnd && end {
		fields = append(fields, fmt.Sprintf(`"id":"fc_%d"`, c.n))
	}
	if c.callID == always || c.callID == atItsEnd && end {
		fields = append(fields, fmt.Sprintf(`"call_id":"call_%d"`, c.n))
	}
	key, input := "arguments", ""
	if c.kind == "custom_tool_call" {
		key = "input"
	}
	if end {
		input = c.input
	}
	return "{" + strings.Join(append(fields, quote(key)+":"+quote(input)), ",") + "}"
}

// events are those of the call alone.
func (c *drawnCall) events(t *rapid.T) []string {
	event := func(kind, rest string) string {
		e := `{"type":"` + kind + `"`
		if c.indices {
			e += fmt.Sprintf(`,"output_index":%d`, c.n)
		}
		return e + "," + rest + "}"
	}
	kind, key, ref := "response.function_call_arguments", "arguments", ""
	if c.kind == "custom_tool_call" {
		kind, key = "response.custom_tool_call_input", "input"
	}
	if c.id == always {
		ref = fmt.Sprintf(`"item_id":"fc_%d",`, c.n)
	}
	var all []string
	if c.pieces {
		pieces := split(t, c.input)
		if c.whole && c.indices { // then the last may be lost
			pieces = pieces[:rapid.IntRange(0, len(pieces)).Draw(t, "come")]
		}
		for _, piece := range pieces {
			all = append(all, event(kind+".delta", ref+`"delta":`+quote(piece)))
		}
	}
	if c.whole {
		all = append(all, event(kind+".done", ref+quote(key)+":"+quote(c.input)))
	}
	if c.addedAt >= 0 {
		at := min(c.addedAt, len(all))
		added := event("response.output_item.added", `"item":`+c.item(false))
		all = append(all[:at], append([]string{added}, all[at:]...)...)
	}
	if c.done {
		all = append(all, event("response.output_item.done", `"item":`+c.item(true)))
	}
	return all
}

// TestCallsInAnyOrder: whatever an upstream tells of its calls first and last, each
// reaches the client once, with a name, all of its arguments, and an id of its own.
func TestCallsInAnyOrder(t *testing.T) {
	conversion, err := toResponses(`{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		h := drawCallHabits(t)
		var calls []drawnCall
		lines := []string{`{"type":"response.created","response":{"id":"resp_1","model":"gpt-x","created_at":5}}`}
		var items []string
		for n := range rapid.IntRange(1, 4).Draw(t, "calls") {
			c := drawCall(t, h, n)
			calls = append(calls, c)
			lines = append(lines, c.events(t)...)
			items = append(items, c.item(true))
		}
		last := `{"type":"response.completed","response":{"id":"resp_1","status":"completed"`
		if h.output {
			last += `,"output":[` + strings.Join(items, ",") + `]`
		}
		events := strings.Join(append(lines, last+"}}"), "\n")
		out, err := runStream(conversion, events)
		if err != nil {
			t.Fatalf("%v in\n%s", err, events)
		}
		checkCalls(t, calls, accumulate(t, out), events+"\n→\n"+out)
	})
}

func checkCalls(t failer, calls []drawnCall, got told, context string) {
	t.Helper()
	count := func(of map[string]int, kind, input string) {
		text, _ := json.Marshal([]string{kind, input})
		of[string(text)]++
	}
	want, have, ids := map[string]int{}, map[string]int{}, map[string]bool{}
	for i := range calls {
		kind := "function"
		if calls[i].kind == "custom_tool_call" {
			kind = "custom"
		}
		count(want, kind, calls[i].input)
	}
	for _, c := range got.Calls {
		if c.Name != "weather" || c.ID == "" || ids[c.ID] {
			t.Fatalf("a call %q with the id %q in\n%s", c.Name, c.ID, context)
		}
		ids[c.ID] = true
		count(have, c.Type, c.Input)
	}
	if diff := cmp.Diff(want, have); diff != "" || got.Finish != "tool_calls" {
		t.Fatalf("%s: -calls +told:\n%s\n%s", got.Finish, diff, context)
	}
}
