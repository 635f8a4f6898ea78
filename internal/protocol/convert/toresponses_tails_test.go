package convert

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf16"

	"pgregory.net/rapid"

	"realms/internal/protocol/rawjson"
)

// TestTails: what the deltas lack of a text goes out with the event that has all of it,
// and only if they are its beginning.
func TestTails(t *testing.T) {
	const (
		text      = "response.output_text"
		refusal   = "response.refusal"
		reasoning = "response.reasoning_text"
		summary   = "response.reasoning_summary_text"
		function  = "response.function_call_arguments"
		custom    = "response.custom_tool_call_input"
	)
	delta := func(kind, piece string) string {
		return fmt.Sprintf(`{"type":"%s.delta","item_id":"i","delta":"%s"}`, kind, piece)
	}
	done := func(kind, key, whole string) string {
		return fmt.Sprintf(`{"type":"%s.done","item_id":"i","%s":"%s"}`, kind, key, whole)
	}
	begun := func(kind, rest string) string {
		return `{"type":"response.output_item.added","item":{"type":"` + kind + `","id":"i"` + rest + `}}`
	}
	called := begun("function_call", `,"call_id":"c","name":"f"`)
	tests := map[string]struct {
		events []string
		want   string // text, refusal, reasoning and input, one behind the other
	}{
		"text":                  {[]string{delta(text, "a"), delta(text, "b"), done(text, "text", "abc")}, "abc"},
		"text out of the mold":  {[]string{delta(text, "a"), delta(text, "b"), delta(text, "c"), delta(text, "d"), done(text, "text", "abcde")}, "abcde"},
		"text, once":            {[]string{delta(text, "a"), done(text, "text", "ab"), done(text, "text", "ab"), delta(text, "c"), done(text, "text", "abcd")}, "abcd"},
		"text that differs":     {[]string{delta(text, "a"), delta(text, "b"), done(text, "text", "xbc")}, "ab"},
		"text that is shorter":  {[]string{delta(text, "a"), delta(text, "b"), done(text, "text", "a")}, "ab"},
		"text, escaped":         {[]string{delta(text, `\u00e9\n`), delta(text, `\ud83d`), delta(text, `\ude00`), done(text, "text", `é\u000a😀!`)}, "é\n\ufffd\ufffd!"},
		"half of a letter":      {[]string{delta(text, `a\ud83d`), done(text, "text", `a😀!`)}, "a\ufffd"},
		"part":                  {[]string{delta(text, "a"), `{"type":"response.content_part.done","item_id":"i","part":{"type":"output_text","text":"ab"}}`}, "ab"},
		"message":               {[]string{delta(text, "a"), `{"type":"response.output_item.done","item":{"type":"message","id":"i","content":[{"type":"output_text","text":"ab"}]}}`}, "ab"},
		"parts":                 {[]string{`{"type":"response.output_text.delta","item_id":"i","content_index":0,"delta":"a"}`, `{"type":"response.output_text.delta","item_id":"i","content_index":1,"delta":"b"}`, `{"type":"response.output_item.done","item":{"type":"message","id":"i","content":[{"type":"output_text","text":"ax"},{"type":"output_text","text":"bc"}]}}`}, "abc"},
		"parts in turns":        {[]string{`{"type":"response.output_text.delta","item_id":"i","content_index":0,"delta":"a"}`, `{"type":"response.output_text.delta","item_id":"i","content_index":1,"delta":"b"}`, `{"type":"response.output_text.delta","item_id":"i","content_index":0,"delta":"a"}`, `{"type":"response.output_text.done","item_id":"i","content_index":0,"text":"aa"}`}, "aba"},
		"refusal":               {[]string{delta(refusal, "a"), done(refusal, "refusal", "ab")}, "ab"},
		"reasoning":             {[]string{delta(reasoning, "a"), delta(reasoning, "b"), delta(reasoning, "c"), done(reasoning, "text", "abcd")}, "abcd"},
		"summary":               {[]string{delta(summary, "a"), done(summary, "text", "ab")}, "ab"},
		"reasoning, other kind": {[]string{delta(summary, "a"), done(reasoning, "text", "ab")}, "a"},
		"arguments":             {[]string{called, delta(function, "{"), done(function, "arguments", "{}")}, "{}"},
		"arguments, in turns": {[]string{
			called, delta(function, "{"), strings.ReplaceAll(strings.ReplaceAll(called, `"i"`, `"j"`), `"c"`, `"d"`),
			strings.ReplaceAll(delta(function, "["), `"i"`, `"j"`), strings.ReplaceAll(delta(function, "1"), `"i"`, `"j"`), strings.ReplaceAll(delta(function, ","), `"i"`, `"j"`),
			strings.ReplaceAll(done(function, "arguments", "[1,2]"), `"i"`, `"j"`), done(function, "arguments", "{}"),
		}, "{}[1,2]"},
		"arguments that differ": {[]string{called, delta(function, "{"), done(function, "arguments", "[]]")}, "{"},
		"arguments that waited": {[]string{delta(function, "{"), done(function, "arguments", "{}"), called}, "{}"},
		"arguments in the item": {[]string{called, delta(function, "{"), `{"type":"response.output_item.done","item":{"type":"function_call","id":"i","call_id":"c","name":"f","arguments":"{}"}}`}, "{}"},
		"input":                 {[]string{begun("custom_tool_call", `,"call_id":"c","name":"f"`), delta(custom, `a\"`), done(custom, "input", `a\u0022b`)}, `a"b`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			out, err := runStream(streamed(t), strings.Join(append(tt.events, `{"type":"response.completed","response":{"status":"completed"}}`), "\n"))
			if err != nil {
				t.Fatal(err)
			}
			if got := spokenText(t, out); got != tt.want {
				t.Errorf("it became %q, not %q: %s", got, tt.want, out)
			}
		})
	}
}

// spokenText is all that a client has of a stream.
func spokenText(t failer, events string) string {
	t.Helper()
	got := accumulate(t, events)
	text := got.Content + got.Refusal + got.Reasoning
	for _, call := range got.Calls {
		text += call.Input
	}
	return text
}

// TestRest: a text's rest is what comes behind what was sent of it, however either was
// escaped and wherever it was cut; and nothing if it begins otherwise.
func TestRest(t *testing.T) {
	written := func(t *rapid.T, text string) string {
		var b strings.Builder
		for _, r := range text {
			switch raw := quote(string(r)); {
			case rapid.Bool().Draw(t, "escaped"):
				for _, unit := range utf16.Encode([]rune{r}) {
					fmt.Fprintf(&b, `\u%04x`, unit)
				}
			case r == '/' || r == '\b' || r == '\f':
				b.WriteString(map[rune]string{'/': `\/`, '\b': `\b`, '\f': `\f`}[r])
			default:
				b.WriteString(raw[1 : len(raw)-1])
			}
		}
		return b.String()
	}
	letter := rapid.RuneFrom([]rune("ab/é世😀\"\\\n\t\r\b\f\x00\x01"))
	rapid.Check(t, func(t *rapid.T) {
		begin, end := rapid.StringOfN(letter, 0, 6, -1).Draw(t, "begin"), rapid.StringOfN(letter, 0, 6, -1).Draw(t, "end")
		var sent sentText
		for _, piece := range split(t, begin) {
			sent.add([]byte(written(t, piece)))
		}
		rest := func(text string) string {
			got, _ := rawjson.String(quoted(sent.rest([]byte(written(t, text)))))
			return got
		}
		if got := rest(begin + end); got != end {
			t.Fatalf("%q is the rest of %q behind %q", got, begin+end, begin)
		}
		if other := rapid.StringOfN(letter, 0, 8, -1).Draw(t, "other"); !strings.HasPrefix(other, begin) && rest(other) != "" {
			t.Fatalf("%q is the rest of %q behind %q", rest(other), other, begin)
		}
	})
}
