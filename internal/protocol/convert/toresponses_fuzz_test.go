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

// seeds are the files of a name in all transcripts.
func seeds(f *testing.F, name string) []string {
	f.Helper()
	files, err := filepath.Glob("testdata/toresponses/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	var list []string
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, part := range archive.Files {
			if part.Name == name {
				list = append(list, string(part.Data))
			}
		}
	}
	if len(list) == 0 {
		f.Fatalf("no %s in the transcripts", name)
	}
	return list
}

// FuzzToResponses: a request is refused naming a field, or becomes one that is valid.
func FuzzToResponses(f *testing.F) {
	for _, body := range seeds(f, "request") {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		r, err := openai.ReadJSON(operation("chat.completions"), []byte(body), nil)
		if err != nil {
			return
		}
		c, err := ToResponses(r)
		if err != nil {
			var refused *realm.Error
			if !errors.As(err, &refused) || refused.Code != realm.CodeInvalid || refused.Field == "" {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		back, err := openai.ReadJSON(operation("responses"), c.Body(), nil)
		if err != nil {
			var refused *realm.Error
			if errors.As(err, &refused) && refused.Field != "" && refused.Field != "input" {
				return // a field we carry as it is, which is the upstream's to refuse
			}
			t.Fatalf("%q became %q: %v", body, c.Body(), err)
		}
		input, _ := back.Doc.Get("input")
		if back.Model != r.Model || back.Stream != r.Stream || !rawjson.IsArray(input) {
			t.Fatalf("%q became %q", body, c.Body())
		}
	})
}

// fuzzClients are conversions that differ in what the way back looks like.
func fuzzClients(f *testing.F) []Conversion {
	f.Helper()
	var list []Conversion
	for _, rest := range []string{``, `,"logprobs":true,"stream_options":{"include_usage":true}`, `,"functions":[{"name":"f"}]`} {
		c, err := toResponses(`{"model":"m","messages":[{"role":"user","content":"x"}]` + rest + `}`)
		if err != nil {
			f.Fatal(err)
		}
		list = append(list, c)
	}
	return list
}

// FuzzResponsesAnswer: whatever an upstream answers is an error or becomes valid JSON.
func FuzzResponsesAnswer(f *testing.F) {
	for _, answer := range seeds(f, "answer") {
		f.Add(answer)
	}
	clients := fuzzClients(f)
	f.Fuzz(func(t *testing.T, answer string) {
		for _, c := range clients {
			out, err := c.Answer([]byte("x"), []byte(answer))
			if err != nil {
				if string(out) != "x" {
					t.Fatalf("%q: %q beside %v", answer, out, err)
				}
				continue
			}
			if _, err := rawjson.Parse(out[1:], nil); err != nil {
				t.Fatalf("%q became %q: %v", answer, out, err)
			}
		}
	})
}

// parsed is what the events become if each is parsed, as far as they are good.
func parsed(c Conversion, events string) string {
	s, ok := c.Stream(mostKept).(*chatStream)
	if !ok {
		return ""
	}
	var out []byte
	for line := range strings.Lines(events) {
		if line = strings.TrimSpace(line); line == "" || line == "END" {
			continue
		}
		s.mold.n = 0
		next, err := s.Event(out, nil, []byte(line))
		if err != nil {
			break
		}
		out = next
	}
	return string(out)
}

// FuzzResponsesStream: whatever events an upstream sends become chunks that are valid
// JSON, and their end comes once and last; deltas that are not parsed become what
// they become if they are.
func FuzzResponsesStream(f *testing.F) {
	for _, events := range seeds(f, "events") {
		f.Add(events)
	}
	clients := fuzzClients(f)
	f.Fuzz(func(t *testing.T, events string) {
		if strings.Contains(events, "END") {
			return // our own word for the end
		}
		for _, c := range clients {
			out, err := runStream(c, events+"\nEND")
			if slow := parsed(c, events); !strings.HasPrefix(out, slow) {
				t.Fatalf("%q became %q, without the mold %q", events, out, slow)
			}
			chunks := strings.SplitAfter(out, "\n\n")
			for i, chunk := range chunks[:len(chunks)-1] {
				data := strings.TrimPrefix(strings.TrimSuffix(chunk, "\n\n"), "data: ")
				if data == "[DONE]" && i == len(chunks)-2 {
					continue
				}
				if _, err := rawjson.Parse([]byte(data), nil); err != nil {
					t.Fatalf("%q became %q: %v", events, chunk, err)
				}
			}
			if err == nil && !strings.HasSuffix(out, "data: [DONE]\n\n") || chunks[len(chunks)-1] != "" {
				t.Fatalf("%q ends with %q", events, out)
			}
		}
	})
}
