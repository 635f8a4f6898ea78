package convert

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"realms/internal/protocol/openai"
	"realms/internal/protocol/rawjson"
)

// A request with very many tools, all of them named again as allowed, is converted in
// a time that grows with its length alone: ten times the tools take nowhere near a
// hundred times as long.
func TestManyTools(t *testing.T) {
	took := func(n int) time.Duration {
		var tools, allowed []string
		for i := range n {
			tools = append(tools, fmt.Sprintf(`{"type":"function","name":"f%d"}`, i))
			allowed = append(allowed, fmt.Sprintf(`{"type":"function","name":"f%d"}`, i))
		}
		body := `{"model":"m","input":"hi","tools":[` + strings.Join(tools, ",") + `],"tool_choice":{"type":"allowed_tools","mode":"auto","tools":[` + strings.Join(allowed, ",") + `]}}`
		best := time.Hour
		for range 3 {
			req, err := openai.ReadJSON(operation("responses"), []byte(body), nil)
			if err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			if _, err := ToChat(req); err != nil {
				t.Fatal(err)
			}
			best = min(best, time.Since(begun))
		}
		return best
	}
	few, many := took(2000), took(20000)
	if many > 50*few {
		t.Errorf("2,000 tools took %v, 20,000 took %v", few, many)
	}
}

// What is refused costs no more than its length, however many elements it has: a request
// whose parts or items are none is not collected first.
func TestToChatRefusesCheaply(t *testing.T) {
	many := func(element string) string {
		return strings.TrimSuffix(strings.Repeat(element, (1<<20)/len(element)), ",")
	}
	message := func(role, parts string) string {
		return `{"model":"m","input":[{"role":"` + role + `","content":[` + parts + `]}]}`
	}
	for name, body := range map[string]string{
		"numbers":        message("user", many("0,")),
		"empty":          message("user", many("{},")),
		"of the system":  message("system", many("0,")),
		"of a model":     message("assistant", many("{},")),
		"items":          `{"model":"m","input":[` + many("{},") + `]}`,
		"of a tool":      `{"model":"m","input":[{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":[` + many("0,") + `]}]}`,
		"items, numbers": `{"model":"m","input":[` + many("0,") + `]}`,
	} {
		t.Run(name, func(t *testing.T) {
			req, err := openai.ReadJSON(operation("responses"), []byte(body), nil)
			if err != nil {
				t.Fatal(err)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if _, err = ToChat(req); err == nil {
				t.Error("taken")
			}
			runtime.ReadMemStats(&after)
			if took := after.TotalAlloc - before.TotalAlloc; took > 8*uint64(len(body)) {
				t.Errorf("%d bytes took %d", len(body), took)
			}
		})
	}
}

// A call whose name comes with each piece of its arguments is converted in a time that
// grows with its length alone, even if each piece might be the last.
func TestToChatNameInEachPiece(t *testing.T) {
	c, err := toChat(plainRequest)
	if err != nil {
		t.Fatal(err)
	}
	piece := func(arguments string) []byte {
		return []byte(`{"id":"a1","choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"run","arguments":"` + arguments + `"}}]}}]}`)
	}
	begin, more, end := piece(`{\"a\":\"{`), piece(`\\\"}`), piece(`\"}`)
	took := func(n int) time.Duration {
		best := time.Hour
		for range 3 {
			s := c.Stream(1 << 20)
			begun := time.Now()
			out, err := s.Event(nil, nil, begin)
			for range n {
				if err == nil {
					out, err = s.Event(out[:0], nil, more)
				}
			}
			if err == nil {
				_, err = s.Event(out[:0], nil, end)
			}
			best = min(best, time.Since(begun))
			if err != nil || len(s.(*responseStream).calls) != 1 {
				t.Fatalf("%v, %d calls", err, len(s.(*responseStream).calls))
			}
		}
		return best
	}
	few, many := took(2000), took(20000)
	if many > 50*few {
		t.Errorf("2,000 pieces took %v, 20,000 took %v", few, many)
	}
}

// Objects with more fields than are read are refused, and not read as if they were empty.
func TestToChatTooManyFields(t *testing.T) {
	var many []byte
	for i := range rawjson.MaxFields {
		many = fmt.Appendf(many, `"f%d":0,`, i)
	}
	for field, inner := range map[string]string{
		"text":      `"verbosity":"low"`,
		"reasoning": `"effort":"low"`,
	} {
		_, err := toChat(`{"model":"m","input":"hi","` + field + `":{` + string(many) + inner + `}}`)
		if err == nil || refusedField(t, err) != field || !strings.Contains(err.Error(), "too many fields") {
			t.Errorf("%s: %v", field, err)
		}
	}
}
