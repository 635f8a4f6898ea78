package convert

import (
	"fmt"
	"strings"
	"testing"
)

// Many messages with many parts, calls and fields each: what has been read of one is
// not mixed up with what is read of another.
func TestManyMessages(t *testing.T) {
	var messages, items []string
	for i := range 60 {
		var parts, calls, said, called []string
		for j := range 50 {
			parts = append(parts, fmt.Sprintf(`{"type":"text","text":"%d-%d"}`, i, j), fmt.Sprintf(`{"image_url":{"detail":"low","url":"%d-%d"},"type":"image_url"}`, i, j))
			said = append(said, fmt.Sprintf(`{"type":"input_text","text":"%d-%d"}`, i, j), fmt.Sprintf(`{"type":"input_image","image_url":"%d-%d","detail":"low"}`, i, j))
			calls = append(calls, fmt.Sprintf(`{"id":"c%d-%d","type":"custom","custom":{"name":"n%d","input":"%d"}}`, i, j, j, i))
			called = append(called, fmt.Sprintf(`{"type":"custom_tool_call","call_id":"c%d-%d","name":"n%d","input":"%d"}`, i, j, j, i))
		}
		messages = append(messages,
			fmt.Sprintf(`{"content":[%s],"x%d":{},"role":"user"}`, strings.Join(parts, ","), i),
			fmt.Sprintf(`{"role":"assistant","tool_calls":[%s],"content":"a%d"}`, strings.Join(calls, ","), i),
			fmt.Sprintf(`{"content":[{"text":"o%d","type":"text"}],"role":"tool","tool_call_id":"c%d-7"}`, i, i))
		items = append(items, fmt.Sprintf(`{"type":"message","role":"user","content":[%s]}`, strings.Join(said, ",")),
			fmt.Sprintf(`{"type":"message","role":"assistant","content":[{"type":"output_text","text":"a%d"}]}`, i), strings.Join(called, ","),
			fmt.Sprintf(`{"type":"custom_tool_call_output","call_id":"c%d-7","output":"o%d"}`, i, i))
	}
	c, err := toResponses(`{"model":"m","messages":[` + strings.Join(messages, ",") + `]}`)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(at(c.Body(), "input")), "["+strings.Join(items, ",")+"]"; got != want {
		t.Errorf("it became %s, not %s", got, want)
	}
}
