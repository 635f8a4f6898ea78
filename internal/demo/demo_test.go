package demo

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func start(t *testing.T, o Options) string {
	t.Helper()
	u, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := u.Close(); err != nil {
			t.Error(err)
		}
	})
	return u.BaseURL
}

func post(t *testing.T, url, body string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(data)
}

func decode[T any](t *testing.T, body string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return v
}

type responsesWire struct {
	Status string
	Output []struct{ Content []struct{ Text string } }
	Usage  struct {
		Input  int `json:"input_tokens"`
		Output int `json:"output_tokens"`
		Total  int `json:"total_tokens"`
	}
}

func (r responsesWire) check(t *testing.T, words string) {
	t.Helper()
	if r.Status != "completed" || len(r.Output) != 1 || len(r.Output[0].Content) != 1 {
		t.Fatalf("the answer is %+v", r)
	}
	if text := r.Output[0].Content[0].Text; !strings.Contains(text, words) {
		t.Errorf("%q does not repeat %q", text, words)
	}
	if r.Usage.Input == 0 || r.Usage.Output == 0 || r.Usage.Input+r.Usage.Output != r.Usage.Total {
		t.Errorf("usage is %+v", r.Usage)
	}
}

func TestResponses(t *testing.T) {
	base := start(t, Options{})
	for name, input := range map[string]string{
		"text":  `"my last words"`,
		"items": `[{"type":"message","role":"user","content":[{"type":"input_text","text":"first"}]},{"type":"function_call","call_id":"c"},{"role":"user","content":"my last words"},{"role":"assistant","content":"no"}]`,
	} {
		t.Run(name, func(t *testing.T) {
			_, body := post(t, base+"/responses", `{"model":"realms-demo","input":`+input+`,"tools":[{"type":"function"}]}`)
			decode[responsesWire](t, body).check(t, "my last words")
		})
	}
}

func TestResponsesStream(t *testing.T) {
	resp, body := post(t, start(t, Options{})+"/responses", `{"model":"realms-demo","input":"my last words","stream":true}`)
	if ct := resp.Header.Get("Content-Type"); ct != "text/event-stream" {
		t.Errorf("content type %q", ct)
	}
	var names []string
	var deltas strings.Builder
	events := strings.Split(strings.TrimSuffix(body, "\n\n"), "\n\n")
	for i, ev := range events {
		head, data, ok := strings.Cut(ev, "\ndata: ")
		v := decode[struct {
			Type     string
			Sequence int `json:"sequence_number"`
			Delta    string
			Response responsesWire
		}](t, data)
		if !ok || head != "event: "+v.Type || v.Sequence != i {
			t.Fatalf("event %d is %s", i, ev)
		}
		deltas.WriteString(v.Delta)
		if len(names) == 0 || names[len(names)-1] != v.Type {
			names = append(names, v.Type)
		}
		if i == len(events)-1 {
			v.Response.check(t, "my last words")
			if got := v.Response.Output[0].Content[0].Text; got != deltas.String() {
				t.Errorf("the deltas make %q, the answer is %q", deltas.String(), got)
			}
		}
	}
	want := "response.created response.in_progress response.output_item.added response.content_part.added response.output_text.delta " +
		"response.output_text.done response.content_part.done response.output_item.done response.completed"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("events are %s, want %s", got, want)
	}
}

type chatWire struct {
	Choices []struct {
		Message, Delta struct{ Role, Content string }
		Finish         string `json:"finish_reason"`
	}
	Usage *struct {
		Prompt     int `json:"prompt_tokens"`
		Completion int `json:"completion_tokens"`
	}
}

func TestChat(t *testing.T) {
	_, body := post(t, start(t, Options{})+"/chat/completions", `{"model":"realms-demo","messages":[{"role":"system","content":"be brief"},{"role":"user","content":[{"type":"text","text":"my last words"}]}]}`)
	c := decode[chatWire](t, body)
	if len(c.Choices) != 1 || c.Choices[0].Finish != "stop" || !strings.Contains(c.Choices[0].Message.Content, "my last words") {
		t.Errorf("the answer is %s", body)
	}
	if c.Usage == nil || c.Usage.Prompt == 0 || c.Usage.Completion == 0 {
		t.Errorf("usage is missing: %s", body)
	}
}

func TestChatStream(t *testing.T) {
	base := start(t, Options{})
	for options, wantUsage := range map[string]bool{"": false, `,"stream_options":{"include_usage":true}`: true} {
		_, body := post(t, base+"/chat/completions", `{"model":"realms-demo","stream":true,"messages":[{"role":"user","content":"my last words"}]`+options+`}`)
		events := strings.Split(strings.TrimSuffix(body, "\n\n"), "\n\n")
		if last := events[len(events)-1]; last != "data: [DONE]" {
			t.Fatalf("the last event is %q", last)
		}
		var text, finish string
		usage := false
		for _, ev := range events[:len(events)-1] {
			c := decode[chatWire](t, strings.TrimPrefix(ev, "data: "))
			usage = usage || c.Usage != nil
			for _, choice := range c.Choices {
				text += choice.Delta.Content
				finish += choice.Finish
			}
		}
		if !strings.Contains(text, "my last words") || finish != "stop" || usage != wantUsage {
			t.Errorf("%q: text %q, finish %q, usage %v", options, text, finish, usage)
		}
	}
}

func TestEmbeddings(t *testing.T) {
	base := start(t, Options{})
	type wire[V any] struct {
		Data []struct {
			Index     int
			Embedding V
		}
	}
	_, body := post(t, base+"/embeddings", `{"model":"realms-demo","input":["one","two","one"],"dimensions":8}`)
	floats := decode[wire[[]float32]](t, body).Data
	_, body = post(t, base+"/embeddings", `{"model":"realms-demo","input":["one","two","one"],"dimensions":8,"encoding_format":"base64"}`)
	coded := decode[wire[string]](t, body).Data
	if len(floats) != 3 || len(coded) != 3 {
		t.Fatalf("%d and %d vectors", len(floats), len(coded))
	}
	for i, f := range floats {
		raw, err := base64.StdEncoding.DecodeString(coded[i].Embedding)
		if err != nil || len(raw) != 4*8 || len(f.Embedding) != 8 || f.Index != i {
			t.Fatalf("vector %d: %v, %d bytes, %d numbers", i, err, len(raw), len(f.Embedding))
		}
		sum := 0.0
		for j, v := range f.Embedding {
			sum += float64(v) * float64(v)
			if math.Float32frombits(binary.LittleEndian.Uint32(raw[4*j:])) != v {
				t.Errorf("vector %d differs between the two formats", i)
			}
		}
		if math.Abs(sum-1) > 1e-5 {
			t.Errorf("vector %d has length² %f", i, sum)
		}
	}
	if floats[0].Embedding[0] != floats[2].Embedding[0] || floats[0].Embedding[0] == floats[1].Embedding[0] {
		t.Error("a vector must depend on its text and on nothing else")
	}
}

func TestModelsAndErrors(t *testing.T) {
	base := start(t, Options{})
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/models", "", 200, `"id":"realms-demo"`},
		{"GET", "/models/realms-demo", "", 200, `"id":"realms-demo"`},
		{"GET", "/models/other", "", 404, `"code":"model_not_found"`},
		{"POST", "/responses", `{"model":"other","input":"x"}`, 404, `"code":"model_not_found"`},
		{"POST", "/chat/completions", `{`, 400, `"code":"invalid_json"`},
		{"POST", "/audio/speech", `{}`, 404, `does not serve POST /v1/audio/speech`},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, base+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != c.status || !strings.Contains(string(data), c.want) {
			t.Errorf("%s %s: %d %s (%v)", c.method, c.path, resp.StatusCode, data, err)
		}
	}
}

// TestStreamComesInPieces holds that deltas are sent as they are made, and that
// an answer ends when its client goes.
func TestStreamComesInPieces(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	// Nothing but the first events can arrive before the pause is over, and the
	// pause is longer than the test; Close waits for the handler.
	server := httptest.NewServer(NewHandler(Options{Pause: time.Hour}))
	defer server.Close()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"/v1/responses", strings.NewReader(`{"model":"realms-demo","input":"x","stream":true}`))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	defer cancel()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if lines.Text() == "event: response.content_part.added" {
			return
		}
	}
	t.Fatalf("the stream ended before its first pause: %v", lines.Err())
}

func TestReplyIsBounded(t *testing.T) {
	long := strings.Repeat("é", 10*maxEcho) + "the end"
	text := strings.Join(reply(long), "")
	if !strings.Contains(text, "éthe end") || len([]rune(text)) > maxEcho+300 {
		t.Errorf("%d characters: %s", len([]rune(text)), text)
	}
	if text := strings.Join(reply(lastWords(nil)), ""); !strings.Contains(text, "nothing yet") {
		t.Error(text)
	}
}
