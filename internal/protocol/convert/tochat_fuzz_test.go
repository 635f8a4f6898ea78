package convert

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"realms/internal/protocol/openai"
	"realms/internal/protocol/rawjson"
	"realms/internal/realm"
)

// chatSeeds are the files of one name in the transcripts.
func chatSeeds(f *testing.F, name string) []string {
	f.Helper()
	files, err := filepath.Glob("testdata/tochat/*.txtar")
	if err != nil || len(files) == 0 {
		f.Fatalf("no transcripts: %v", err)
	}
	var out []string
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, part := range archive.Files {
			if part.Name == name {
				out = append(out, string(part.Data))
			}
		}
	}
	return out
}

// FuzzToChat: a request is refused naming a field, or becomes one that Chat's own
// reader takes.
func FuzzToChat(f *testing.F) {
	for _, seed := range chatSeeds(f, "request") {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := openai.ReadJSON(operation("responses"), body, nil)
		if err != nil {
			return
		}
		c, err := ToChat(r)
		if err != nil {
			var refused *realm.Error
			if !errors.As(err, &refused) || refused.Code != realm.CodeInvalid || refused.Field == "" {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		chat, err := openai.ReadJSON(operation("chat.completions"), c.Body(), nil)
		if err != nil {
			t.Fatalf("%v in %s", err, c.Body())
		}
		if chat.Model != r.Model || chat.Stream != r.Stream || chat.IncludeUsage != r.Stream {
			t.Fatalf("the model or the stream is another: %s", c.Body())
		}
		out, err := convertEvents(c, []byte("data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := readResponse(out); err != nil && rawjson.Valid(c.(*responsesClient).echoObject()) == nil {
			t.Fatal(err)
		}
	})
}

// echoObject is what responses repeat of the request, as an object.
func (c *responsesClient) echoObject() []byte { return fields(c.echo) }

// fuzzRequest offers a tool of each kind.
const fuzzRequest = `{"model":"m","input":"hi","stream":true,"tools":[{"type":"function","name":"run"},{"type":"custom","name":"patch"},{"type":"tool_search","execution":"client"},{"type":"namespace","name":"ns","tools":[{"type":"custom","name":"patch"}]}]}`

// FuzzChatStream: whatever an upstream sends, the client gets sound events without a
// gap, that say in the end what they said on the way.
func FuzzChatStream(f *testing.F) {
	for _, seed := range chatSeeds(f, "events") {
		f.Add([]byte(seed), false)
		f.Add([]byte(strings.ReplaceAll(seed, `"name":"run"`, `"name":"patch"`)), true)
	}
	f.Fuzz(func(t *testing.T, wire []byte, summary bool) {
		c, err := toChat(fuzzRequest)
		if err != nil {
			t.Fatal(err)
		}
		c.(*responsesClient).summary = summary
		out, failed := convertEvents(watched{c, t}, wire)
		response, err := readResponse(out)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if failed != nil {
			return // the gateway ends the stream
		}
		if response == nil {
			t.Fatalf("no end\n%s", out)
		}
	})
}

// FuzzChatAnswer: a whole answer is refused, or becomes a response.
func FuzzChatAnswer(f *testing.F) {
	for _, seed := range chatSeeds(f, "answer") {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		c, err := toChat(fuzzRequest)
		if err != nil {
			t.Fatal(err)
		}
		out, err := c.Answer(nil, answer)
		if err != nil {
			return
		}
		got, err := openai.InspectAnswer(operation("responses"), out)
		if err != nil || got.ID == "" || got.Error != nil || !soundEscapes(out) {
			t.Fatalf("%v %v\n%s", err, got.Error, out)
		}
	})
}
