package convert

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestCallsAreBounded: what waits for a call's name or end is bounded, and so are the
// items.
func TestCallsAreBounded(t *testing.T) {
	const mib = 1 << 20
	many := strings.Repeat("x", mib)
	tests := map[string]struct {
		event func(i int) string
		n     int
		want  error
	}{
		"arguments of a call without a name": {
			func(int) string {
				return `{"type":"response.function_call_arguments.delta","item_id":"a","delta":"` + many + `"}`
			}, mostKept/mib + 1, errTooMuchHeld,
		},
		"arguments that may come again": {
			func(i int) string {
				return fmt.Sprintf(`{"type":"response.output_item.added","item":{"type":"function_call","id":"fc_%d","call_id":"call_%d","name":"f","arguments":%q}}`, i, i, many)
			}, mostKept/mib + 1, errTooMuchHeld,
		},
		"names": {
			func(i int) string {
				return fmt.Sprintf(`{"type":"response.output_item.added","item":{"type":"message","id":"%d%s"}}`, i, many)
			}, mostKept/mib + 1, errTooMuchHeld,
		},
		"names that come later": {
			func(i int) string {
				if i%2 == 0 {
					return fmt.Sprintf(`{"type":"response.output_item.added","output_index":%d,"item":{"type":"message"}}`, i)
				}
				return fmt.Sprintf(`{"type":"response.output_text.delta","output_index":%d,"item_id":"%d%s","delta":"x"}`, i-1, i, many)
			}, 2 * mostKept / mib, errTooMuchHeld,
		},
		"texts, each of another message": {
			func(i int) string {
				return fmt.Sprintf(`{"type":"response.output_text.delta","item_id":"a%d","delta":"x"}`, i)
			}, maxItems + 1, errTooManyItems,
		},
		"arguments, each of another call": {
			func(i int) string {
				return fmt.Sprintf(`{"type":"response.function_call_arguments.delta","item_id":"a%d","delta":"x"}`, i)
			}, maxItems + 1, errTooManyItems,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := streamed(t).Stream(mostKept)
			for i := range tt.n {
				if _, err := s.Event(nil, nil, []byte(tt.event(i))); err != nil {
					if !errors.Is(err, tt.want) || i < tt.n-2 {
						t.Errorf("event %d of %d: %v", i, tt.n, err)
					}
					return
				}
			}
			t.Error("it has no bound")
		})
	}
}

// TestManyItems: as many items as a stream may have take a time that one can wait for,
// although each is looked for among the others.
func TestManyItems(t *testing.T) {
	var items, events []string
	for i := range maxItems {
		item := fmt.Sprintf(`{"type":"function_call","id":"fc_%d","call_id":"call_%d","name":"f","arguments":"{}"}`, i, i)
		items = append(items, strings.ReplaceAll(item, "call_", "again_"))
		events = append(events, `{"type":"response.output_item.done","item":`+item+`}`)
	}
	events = append(events, `{"type":"response.completed","response":{"status":"completed","output":[`+strings.Join(items, ",")+`]}}`)
	begun := time.Now()
	out, err := runStream(streamed(t), strings.Join(events, "\n"))
	if err != nil || strings.Count(out, `"arguments":"{}"`) != maxItems {
		t.Errorf("%d calls: %v", strings.Count(out, `"arguments":"{}"`), err)
	}
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
}
