package convert

import (
	"bytes"
	"strings"
	"testing"
)

// TestEventInSeveralLines: an event whose data came in several lines becomes the chunks
// that it becomes in one, each of them in one line.
func TestEventInSeveralLines(t *testing.T) {
	c, err := toResponses(`{"model":"m","stream":true,"logprobs":true,"top_logprobs":1,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"x"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	events := []string{
		"{\"type\":\"response.created\",\n\"response\":{\"id\":\"resp_1\",\n\"model\":\"m\"}}",
		"{\"type\":\"response.output_text.delta\",\n\"delta\":\"a\",\"logprobs\":[{\"token\":\"a\",\"logprob\":-1,\"bytes\":[\n97\r\n],\"top_logprobs\":[{\"token\":\"b\",\"logprob\":-1,\"bytes\":[98,\n99]}]}]}",
		"{\"type\":\"response.output_text.delta\",\n\"delta\":\"b\"}",
		"{\"type\":\"response.output_text.delta\",\n\"delta\":\"c\"}", // as the one before
		"{\"type\":\"response.output_text.delta\", \"delta\":\"d\"}",
		"{\"type\":\"response.output_text.annotation.added\",\"annotation\":{\"type\":\"url_citation\",\"start_index\":\n0,\"url\":\"u\"}}",
		"{\"type\":\"response.completed\",\"response\":{\"status\":\"completed\",\"usage\":{\"input_tokens\":1,\"output_tokens\":2,\"input_tokens_details\":{\n\"cached_tokens\":0\r}}}}",
	}
	broken, plain := c.Stream(mostKept), c.Stream(mostKept)
	for _, event := range events {
		data := []byte(event)
		got, err := broken.Event(nil, nil, data)
		if err != nil {
			t.Fatal(err)
		}
		if string(data) != event {
			t.Errorf("%q has become %q", event, data)
		}
		want, err := plain.Event(nil, nil, []byte(strings.NewReplacer("\n", " ", "\r", " ").Replace(event)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%q became %q, in one line %q", event, got, want)
		}
	}
	_, err = c.Stream(mostKept).Event(nil, nil, []byte("{\"type\":\"response.output_text.delta\",\"delta\":\"a\nb\"}"))
	if err == nil {
		t.Error("a text is no JSON where it has a line break of its own")
	}
}
