package openai

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"realms/internal/sse"
)

// scanned reads a stream's events as the relay does, and adds them.
func scanned(t testing.TB, c *Collector, stream string) error {
	t.Helper()
	sc := sse.NewScanner(strings.NewReader(stream), 1<<20)
	defer sc.Release()
	for {
		err := sc.Fill()
		for ev, ok := sc.Next(); ok; ev, ok = sc.Next() {
			if err := c.Add(ev); err != nil {
				return err
			}
		}
		if err != nil {
			return nil
		}
	}
}

func event(data string) string { return "data: " + data + "\n\n" }

func TestCollector(t *testing.T) {
	const (
		big  = `{"id":"rs_1","type":"reasoning","encrypted_content":"x","n":9007199254740993}`
		call = `{"type":"custom_tool_call", "namespace":"functions","input":"a\u0062","future":{"k":[1e2]}}`
	)
	done := func(index int, item string) string {
		return event(fmt.Sprintf(`{"type":"response.output_item.done","output_index":%d,"item":%s}`, index, item))
	}
	completed := func(response string) string {
		return event(`{"type":"response.completed","sequence_number":9,"response":` + response + `}`)
	}
	start := ": hello\n\n" + event(`{"type":"response.created","response":{"id":"resp_1","output":[]}}`) +
		event(`{"type":"response.output_text.delta","delta":"Hi"}`) + event(`{"type":"keepalive"}`) + event(`{"type":"codex.rate_limits"}`)
	for name, tc := range map[string]struct{ stream, want string }{
		"as it is":              {start + done(0, call) + completed(`{"id":"resp_1" , "output":[{"a":1}],"created_at":1e9,"n":9007199254740993}`), `{"id":"resp_1" , "output":[{"a":1}],"created_at":1e9,"n":9007199254740993}`},
		"empty output":          {start + done(0, big) + done(1, call) + completed(`{"id":"resp_1","output":[ ],"x":1}`), `{"id":"resp_1","output":[` + big + `,` + call + `],"x":1}`},
		"null output":           {start + done(0, big) + completed(`{"output":null,"id":"resp_1"}`), `{"output":[` + big + `],"id":"resp_1"}`},
		"no output":             {start + done(0, big) + completed(`{"id":"resp_1"}`), `{"id":"resp_1","output":[` + big + `]}`},
		"in the order of index": {done(2, `{"c":1}`) + done(0, `{"a":1}`) + done(1, `{"b":1}`) + completed(`{"id":"r"}`), `{"id":"r","output":[{"a":1},{"b":1},{"c":1}]}`},
		"an item told twice":    {done(0, `{"a":1}`) + done(0, `{"a":2}`) + completed(`{"id":"r"}`), `{"id":"r","output":[{"a":2}]}`},
		"without index":         {done(3, `{"a":1}`) + event(`{"type":"response.output_item.done","item":{"b":1}}`) + completed(`{"id":"r"}`), `{"id":"r","output":[{"a":1},{"b":1}]}`},
		"nothing came of it":    {completed(`{"id":"r","output":[]}`), `{"id":"r","output":[]}`},
		"nothing, not even so":  {completed(`{"id":"r"}`), `{"id":"r","output":[]}`},
		"incomplete":            {done(0, `{"a":1}`) + event(`{"type":"response.incomplete","response":{"status":"incomplete","output":[]}}`), `{"status":"incomplete","output":[{"a":1}]}`},
		"done":                  {done(0, `{"a":1}`) + event(`{"type":"response.done","response":{"id":"r"}}`), `{"id":"r","output":[{"a":1}]}`},
		"type in the event line": {
			"event: response.output_item.done\ndata: {\"item\":{\"a\":1}}\n\nevent: response.completed\ndata: {\"response\":{\"id\":\"r\"}}\n\n", `{"id":"r","output":[{"a":1}]}`,
		},
		"[DONE] and more after the end": {completed(`{"id":"r","output":[1]}`) + event("[DONE]") + done(0, `{"a":1}`) + event("garbage"), `{"id":"r","output":[1]}`},
		"lines with CRLF":               {strings.ReplaceAll(done(0, `{"a":1}`)+completed(`{"id":"r"}`), "\n", "\r\n"), `{"id":"r","output":[{"a":1}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			c := NewCollector(1 << 20)
			if err := scanned(t, c, tc.stream); err != nil {
				t.Fatal(err)
			}
			for range 2 { // asked twice, the same
				got, err := c.Response()
				if err != nil || string(got) != tc.want {
					t.Fatalf("%v\ngot  %s\nwant %s", err, got, tc.want)
				}
			}
		})
	}
}

func TestCollectorErrors(t *testing.T) {
	item := event(`{"type":"response.output_item.done","item":{"a":"` + strings.Repeat("x", 100) + `"}}`)
	end := event(`{"type":"response.completed","response":{"id":"r"}}`)
	for name, tc := range map[string]struct {
		stream string
		limit  int
		want   error
	}{
		"no end":               {item, 1000, ErrUnfinished},
		"nothing":              {"", 1000, ErrUnfinished},
		"an end without words": {event(`{"type":"response.completed"}`), 1000, ErrUnfinished},
		"items too large":      {item + event(`{"type":"response.output_item.done","item":{"b":1}}`) + end, 200, ErrTooLarge},
		"one item again fits":  {item + strings.Replace(item, `"item"`, `"output_index":0,"item"`, 1) + end, 200, nil},
		"many small items":     {strings.Repeat(event(`{"type":"response.output_item.done","item":{}}`), 20) + end, 1000, ErrTooLarge},
		"response too large":   {event(`{"type":"response.completed","response":{"id":"` + strings.Repeat("r", 1000) + `"}}`), 1000, ErrTooLarge},
		"items go when the end repeats them": {
			strings.Repeat(item, 1) + event(`{"type":"response.completed","response":{"output":["`+strings.Repeat("x", 150)+`"]}}`), 200, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := NewCollector(tc.limit)
			_ = scanned(t, c, tc.stream)
			if _, err := c.Response(); !errors.Is(err, tc.want) {
				t.Errorf("error = %v, want %v", err, tc.want)
			}
		})
	}
	c := NewCollector(1000)
	if err := c.Add(sse.Event{Part: true}); !errors.Is(err, ErrPieces) {
		t.Errorf("an event in pieces: %v", err)
	}
	c = NewCollector(1000)
	var bad *DataError
	if err := c.Add(sse.Event{Data: []byte("garbage")}); !errors.As(err, &bad) {
		t.Errorf("garbage: %v", err)
	}
	if err := scanned(t, c, end); !errors.As(err, &bad) {
		t.Errorf("after an error: %v", err)
	}
}

// TestCollectorProperty: the terminal event's response comes out byte for byte where
// it has its output; where it has not, the items of the stream stand there, and
// nothing else differs.
func TestCollectorProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		items := rapid.SliceOfN(rapid.Custom(drawObject), 1, 4).Draw(t, "items")
		order := rapid.Permutation(slices.Collect(func(yield func(int) bool) {
			for i := range items {
				if !yield(i) {
					return
				}
			}
		})).Draw(t, "order")
		stream := ""
		for _, i := range order {
			stream += event(fmt.Sprintf(`{"type":"response.output_item.done","item":%s,"output_index":%d}`, items[i], i))
		}
		rest := drawObject(t)
		before := `{"id":"r",` // two fields around the output, however the rest is written
		after := `,"rest":` + rest + `}`
		output := "[" + strings.Join(items, ",") + "]"
		told := rapid.SampledFrom([]string{output, "[]", "null", "[ ]"}).Draw(t, "told")
		response := before + `"output":` + told + after
		c := NewCollector(1 << 20)
		if err := c.Add(sse.Event{Data: []byte("{}")}); err != nil {
			t.Fatal(err)
		}
		sc := sse.NewScanner(strings.NewReader(stream+event(`{"response":`+response+`,"type":"response.completed"}`)), 1<<20)
		defer sc.Release()
		for err := error(nil); err == nil; {
			err = sc.Fill()
			for ev, ok := sc.Next(); ok; ev, ok = sc.Next() {
				if err := c.Add(ev); err != nil {
					t.Fatal(err)
				}
			}
		}
		got, err := c.Response()
		if want := before + `"output":` + output + after; err != nil || string(got) != want {
			t.Fatalf("%v\ngot  %s\nwant %s", err, got, want)
		}
	})
}

// drawObject writes an object as some program might: with spaces, escapes, numbers
// that no float holds.
func drawObject(t *rapid.T) string {
	value := func() string {
		return rapid.SampledFrom([]string{
			"null", "1e400", "12345678901234567890", "-0.0", `"a\u0041\\\""`, `"é"`, "[ 1 , {} ]", `{"k" : [true]}`, `"]}"`, `"output"`,
		}).Draw(t, "value")
	}
	text := "{"
	for i := range rapid.IntRange(1, 4).Draw(t, "fields") {
		if i > 0 {
			text += " ,"
		}
		key, _ := json.Marshal(fmt.Sprint("k", i, rapid.SampledFrom([]string{"", "é", `"`, "output"}).Draw(t, "key")))
		text += string(key) + ":" + value()
	}
	return text + "}"
}
