package clients

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/shared"

	"realms/internal/catalog"
	"realms/internal/realm"
	"realms/internal/testkit"
	"realms/internal/testkit/testapp"
)

// What the upstreams of these tests say, and what makes them say something else.
const (
	saidByFake    = "Hello from the fake upstream."
	convertedTool = "what is the weather in Paris, by this tool"
)

// startConverted runs Realms before an upstream that speaks one dialect alone, so that
// clients of the other are converted.
func startConverted(t *testing.T, apis realm.APISet, script testkit.Script) *gateway {
	t.Helper()
	up := testkit.NewUpstream(t, testkit.Options{Script: script})
	channel := testapp.Channel("one-dialect", up.BaseURL, "test-"+"key")
	channel.APIs = apis
	var log bytes.Buffer
	t.Cleanup(func() { // runs after the app's own, when nobody writes any more
		if t.Failed() {
			t.Logf("the log of Realms:\n%s", log.Bytes())
		}
	})
	app := testapp.Start(t, testapp.Options{
		Models: []realm.Model{{Name: modelGood, OwnedBy: "test", Enabled: true}}, Channels: []catalog.ChannelSpec{channel}, Log: &log,
	})
	return &gateway{URL: app.URL + "/v1", Token: app.Token, upstream: up}
}

// bodies are what the upstream was asked, and fails the test where that was not on
// its one path.
func (g *gateway) bodies(t *testing.T, path string) []string {
	t.Helper()
	var list []string
	for _, r := range g.upstream.Requests() {
		if r.Path != "/v1"+path {
			t.Errorf("the upstream was asked for %s %s", r.Method, r.Path)
		}
		list = append(list, string(r.Body))
	}
	return list
}

func chatOnly(t *testing.T, script testkit.Script) *codex {
	t.Helper()
	codexBinary(t)
	return newCodexAt(t, startConverted(t, realm.APISet(realm.APIChat), script))
}

// Codex CLI over an upstream that speaks Chat alone: a turn, and the next of the same
// session, which brings the first along.
func TestCodexOverChatTextTurnAndResume(t *testing.T) {
	c := chatOnly(t, nil)
	first := c.exec(t, "-s", "danger-full-access", "say hi")
	if !slices.Equal(first.messages, []string{saidByFake}) || len(first.troubles) != 0 || first.thread == "" {
		t.Fatalf("the turn was not as expected:\n%s", first.raw)
	}
	if !strings.Contains(first.raw, `"input_tokens":11`) || !strings.Contains(first.raw, `"output_tokens":7`) {
		t.Errorf("the turn's usage is not the upstream's:\n%s", first.raw)
	}
	second := c.exec(t, "resume", first.thread, "and again")
	if !slices.Equal(second.messages, []string{saidByFake}) || second.thread != first.thread || len(second.troubles) != 0 {
		t.Errorf("the resumed turn was not as expected:\n%s", second.raw)
	}
	list := c.gateway.bodies(t, "/chat/completions")
	if len(list) != 2 {
		t.Fatalf("both turns took %d requests", len(list))
	}
	for _, part := range []string{"say hi", `"role":"assistant","content":"` + saidByFake + `"`, "and again"} {
		if !strings.Contains(list[1], part) {
			t.Errorf("the second turn's request lacks %q", part)
		}
	}
}

// A tool of the CLI's, called through Chat, really runs, and what it gave goes up.
func TestCodexOverChatToolTurn(t *testing.T) {
	c := chatOnly(t, testkit.Always(testkit.RunCommand("echo done > made-by-codex.txt; echo seen")))
	got := c.exec(t, "-s", "danger-full-access", "make the file")
	text, err := os.ReadFile(filepath.Join(c.work, "made-by-codex.txt"))
	if err != nil || string(text) != "done\n" {
		t.Fatalf("the command did not run: %q, %v\n%s", text, err, got.raw)
	}
	if len(got.commands) != 1 || got.commands[0].Item.ExitCode == nil || *got.commands[0].Item.ExitCode != 0 || len(got.troubles) != 0 {
		t.Errorf("the turn shows no command that ended well:\n%s", got.raw)
	}
	if !slices.Equal(got.messages, []string{saidByFake}) {
		t.Errorf("the model said %q", got.messages)
	}
	list := c.gateway.bodies(t, "/chat/completions")
	if len(list) != 2 {
		t.Fatalf("the turn took %d requests", len(list))
	}
	for _, part := range []string{`"tool_calls":[{"id":"call_fake"`, `"role":"tool","tool_call_id":"call_fake"`, "seen"} {
		if !strings.Contains(list[1], part) {
			t.Errorf("the second request lacks %q:\n%s", part, list[1])
		}
	}
	// A session with a call in it goes on.
	again := c.exec(t, "resume", got.thread, "and again")
	if !slices.Equal(again.messages, []string{saidByFake}) || len(again.troubles) != 0 {
		t.Errorf("the resumed turn was not as expected:\n%s", again.raw)
	}
}

// The CLI's --output-schema reaches the upstream as Chat has it.
func TestCodexOverChatOutputSchema(t *testing.T) {
	const answered = `{"answer":"yes"}`
	c := chatOnly(t, testkit.Always(testkit.Say(`{"answer":`, `"yes"}`)))
	schema := filepath.Join(c.home, "schema.json")
	text := `{"type":"object","properties":{"answer":{"type":"string"}},"required":["answer"],"additionalProperties":false}`
	if err := os.WriteFile(schema, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got := c.exec(t, "-s", "danger-full-access", "--output-schema", schema, "answer by the schema")
	if !slices.Equal(got.messages, []string{answered}) || len(got.troubles) != 0 {
		t.Errorf("the turn was not as expected:\n%s", got.raw)
	}
	var body struct {
		ResponseFormat struct {
			Type       string
			JSONSchema struct {
				Strict bool
				Schema struct{ Required []string }
			} `json:"json_schema"`
		} `json:"response_format"`
	}
	list := c.gateway.bodies(t, "/chat/completions")
	if err := json.Unmarshal([]byte(list[0]), &body); err != nil || len(list) != 1 {
		t.Fatalf("%d requests, %v", len(list), err)
	}
	if f := body.ResponseFormat; f.Type != "json_schema" || !f.JSONSchema.Strict || !slices.Equal(f.JSONSchema.Schema.Required, []string{"answer"}) {
		t.Errorf("the format went up as %+v", f)
	}
}

// An upstream that reasons, calls several tools at once and fails once before its
// first word costs the CLI nothing.
func TestCodexOverChatOddUpstreams(t *testing.T) {
	think := testkit.Rewrite(func(e []byte) []byte {
		return bytes.Replace(e, []byte(`"delta":{"role":"assistant","content":""`), []byte(`"delta":{"role":"assistant","content":null,"reasoning_content":"let me see"`), 1)
	})
	for name, script := range map[string]testkit.Script{
		"reasoning":   testkit.Always(think),
		"no [DONE]":   testkit.Always(testkit.NoDone()),
		"500 once":    testkit.Sequence(testkit.ServerError()),
		"cut at once": testkit.Sequence(testkit.Cut(1, testkit.EndFIN)),
		"comments":    testkit.Always(testkit.Comments()),
	} {
		t.Run(name, func(t *testing.T) {
			c := chatOnly(t, script)
			got := c.exec(t, "-s", "danger-full-access", "say hi")
			if !slices.Equal(got.messages, []string{saidByFake}) || len(got.troubles) != 0 {
				t.Errorf("the turn was not as expected:\n%s", got.raw)
			}
		})
	}
}

// responsesScript is what a model says to programs that speak Chat.
func responsesScript(r *testkit.Request) testkit.Fault {
	switch {
	case bytes.Contains(r.Body, []byte(convertedTool)) && !bytes.Contains(r.Body, []byte(`"function_call_output"`)):
		return testkit.With(testkit.Reply{Call: &testkit.Call{Name: "weather", Arguments: `{"city":"Paris"}`}})
	case bytes.Contains(r.Body, []byte("by schema")) && bytes.Contains(r.Body, []byte(`"json_schema"`)):
		return testkit.Say(`{"answer":`, `"yes"}`)
	case bytes.Contains(r.Body, []byte("break it")):
		return testkit.Cut(6, testkit.EndFIN)
	}
	return nil
}

// The SDK for Node speaks Chat, and its upstream Responses.
func TestOpenAINodeOverResponses(t *testing.T) {
	need(t, "openai/package.json")
	const least = 13 // cases in converted.mjs
	g := startConverted(t, realm.APISet(realm.APIResponses), responsesScript)
	nodeCases(t, g, "converted.mjs", least, map[string]string{"model": modelGood, "said": saidByFake, "weather": convertedTool})
	g.bodies(t, "/responses")
}

// The SDK for Go puts the chunks of a converted stream together: text, a call, a
// schema; and it sees what ends one early.
func TestOpenAIGoOverResponses(t *testing.T) {
	c, _ := connectGo(startConverted(t, realm.APISet(realm.APIResponses), responsesScript))
	tool := openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{
		Name: "weather", Parameters: shared.FunctionParameters{"type": "object", "properties": map[string]any{"city": map[string]any{"type": "string"}}},
	})
	collect := func(params openai.ChatCompletionNewParams) (openai.ChatCompletionAccumulator, error) {
		params.Model = modelGood
		params.StreamOptions.IncludeUsage = openai.Bool(true)
		stream := c.Chat.Completions.NewStreaming(t.Context(), params)
		defer func() { _ = stream.Close() }()
		var all openai.ChatCompletionAccumulator
		for stream.Next() {
			if !all.AddChunk(stream.Current()) {
				t.Errorf("the chunk does not fit: %s", stream.Current().RawJSON())
			}
		}
		return all, stream.Err()
	}
	say := func(text string) []openai.ChatCompletionMessageParamUnion {
		return []openai.ChatCompletionMessageParamUnion{openai.SystemMessage("Be brief."), openai.UserMessage(text)}
	}

	all, err := collect(openai.ChatCompletionNewParams{Messages: say("hi")})
	if err != nil || all.Choices[0].Message.Content != saidByFake || all.Choices[0].FinishReason != "stop" || all.Usage.TotalTokens != 18 || all.Usage.PromptTokensDetails.CachedTokens != 2 {
		t.Errorf("text: %v, %+v", err, all.ChatCompletion)
	}
	messages := say(convertedTool)
	all, err = collect(openai.ChatCompletionNewParams{Messages: messages, Tools: []openai.ChatCompletionToolUnionParam{tool}})
	if err != nil || len(all.Choices[0].Message.ToolCalls) != 1 || all.Choices[0].FinishReason != "tool_calls" {
		t.Fatalf("a call: %v, %+v", err, all.ChatCompletion)
	}
	call := all.Choices[0].Message.ToolCalls[0]
	if call.ID != "call_fake" || call.Function.Name != "weather" || call.Function.Arguments != `{"city":"Paris"}` {
		t.Errorf("the call is %+v", call)
	}
	messages = append(messages, all.Choices[0].Message.ToParam(), openai.ToolMessage("sunny", call.ID))
	all, err = collect(openai.ChatCompletionNewParams{Messages: messages, Tools: []openai.ChatCompletionToolUnionParam{tool}})
	if err != nil || all.Choices[0].Message.Content != saidByFake {
		t.Errorf("after the tool: %v, %+v", err, all.ChatCompletion)
	}
	_, err = collect(openai.ChatCompletionNewParams{Messages: say("break it")})
	if err == nil || !strings.Contains(err.Error(), "cut") {
		t.Errorf("a cut stream: %v", err)
	}
	_, err = c.Chat.Completions.New(t.Context(), openai.ChatCompletionNewParams{Model: modelGood, Messages: say("hi"), N: openai.Int(2)})
	var refused *openai.Error
	if !errors.As(err, &refused) || refused.StatusCode != 400 || refused.Param != "n" {
		t.Errorf("two choices: %v", err)
	}
}
