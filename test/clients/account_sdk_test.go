package clients

import (
	"bytes"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
	"github.com/openai/openai-go/v3/shared"

	"realms/internal/testkit"
	"realms/internal/testkit/codextest"
)

// askForWeather, in the input, makes the account's model call the tool "weather".
const askForWeather = "what is the weather in Paris"

// accountScript is what the account's model says to programs.
func accountScript(r *testkit.Request) testkit.Fault {
	switch {
	case bytes.Contains(r.Body, []byte(askForWeather)) && !bytes.Contains(r.Body, []byte(`"function_call_output"`)):
		return testkit.With(testkit.Reply{Call: &testkit.Call{Name: "weather", Arguments: `{"city":"Paris"}`}, Model: r.Model})
	case bytes.Contains(r.Body, []byte("by schema")) && bytes.Contains(r.Body, []byte(`"json_schema"`)):
		return testkit.Say(`{"answer":`, `"yes"}`)
	}
	return nil
}

// Both ways in which the backend may end a stream: with the whole output, or with
// none of it.
func onBothEnds(t *testing.T, test func(t *testing.T, g *accountGateway)) {
	t.Helper()
	for name, empty := range map[string]bool{"whole output": false, "empty output": true} {
		t.Run(name, func(t *testing.T) {
			test(t, startAccountGateway(t, codextest.Options{Script: accountScript, EmptyOutput: empty}))
		})
	}
}

// noRefusal fails if the backend has refused anything that was sent to it.
func noRefusal(t *testing.T, g *accountGateway) {
	t.Helper()
	rows, err := g.app.Store.Read().Requests.List(t.Context(), requestPage)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		for _, try := range row.Tries {
			if try.Status >= 400 {
				t.Errorf("the backend answered %d: %s", try.Status, try.Error)
			}
		}
	}
}

// The SDK for Node, in one process for all its cases.
func TestAccountOpenAINode(t *testing.T) {
	need(t, "openai/package.json")
	onBothEnds(t, func(t *testing.T, g *accountGateway) {
		const least = 17 // cases in account.mjs
		nodeCases(t, g.gateway, "account.mjs", least, map[string]string{"model": modelGood, "text": saidAccount, "askForTool": askForWeather})
		noRefusal(t, g)
		g.effortBySuffix(t)
	})
}

// effortBySuffix fails unless the request that named an effort in its model's name
// came with it.
func (g *accountGateway) effortBySuffix(t *testing.T) {
	t.Helper()
	for _, r := range g.fake.Requests(codextest.PathResponses) {
		if !bytes.Contains(r.Body, []byte("effort by name")) {
			continue
		}
		reasoning, _ := r.JSON()["reasoning"].(map[string]any)
		if r.Model != modelGood || reasoning["effort"] != "high" {
			t.Errorf("the backend was asked for %s with %v", r.Model, reasoning)
		}
		return
	}
	t.Error("no request named its effort in the model's name")
}

func TestAccountOpenAIGoChat(t *testing.T) {
	onBothEnds(t, func(t *testing.T, g *accountGateway) {
		c, _ := connectGo(g.gateway)
		params := chatGo(modelGood)
		params.Temperature, params.MaxCompletionTokens = openai.Float(0.3), openai.Int(50)
		params.Seed = openai.Int(7)
		params.ReasoningEffort = shared.ReasoningEffortLow
		params.Messages = append(params.Messages, openai.SystemMessage("be short"))
		got, err := c.Chat.Completions.New(t.Context(), params)
		if err != nil {
			t.Fatal(err)
		}
		if text := got.Choices[0].Message.Content; text != saidAccount {
			t.Errorf("the model said %q", text)
		}
		if got.Usage.TotalTokens != 18 || got.Usage.PromptTokensDetails.CachedTokens != 2 {
			t.Errorf("usage is %+v", got.Usage)
		}

		params.StreamOptions.IncludeUsage = openai.Bool(true)
		stream := c.Chat.Completions.NewStreaming(t.Context(), params)
		defer func() { _ = stream.Close() }()
		var all openai.ChatCompletionAccumulator
		for stream.Next() {
			if !all.AddChunk(stream.Current()) {
				t.Fatalf("the chunk does not fit: %+v", stream.Current())
			}
		}
		if err := stream.Err(); err != nil {
			t.Fatal(err)
		}
		if all.Choices[0].Message.Content != saidAccount || all.Usage.TotalTokens != 18 {
			t.Errorf("streamed %q with usage %+v", all.Choices[0].Message.Content, all.Usage)
		}
		noRefusal(t, g)
	})
}

func TestAccountOpenAIGoResponses(t *testing.T) {
	onBothEnds(t, func(t *testing.T, g *accountGateway) {
		c, _ := connectGo(g.gateway)
		params := responses.ResponseNewParams{
			Model: modelGood, Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("hi")},
			MaxOutputTokens: openai.Int(100), Temperature: openai.Float(0.1), Instructions: openai.String("be short"),
		}
		got, err := c.Responses.New(t.Context(), params)
		if err != nil {
			t.Fatal(err)
		}
		if got.OutputText() != saidAccount || got.Usage.InputTokensDetails.CachedTokens != 2 || got.Status != "completed" {
			t.Errorf("got %q, %s, with usage %+v", got.OutputText(), got.Status, got.Usage)
		}
		stream := c.Responses.NewStreaming(t.Context(), params)
		defer func() { _ = stream.Close() }()
		var text strings.Builder
		last := ""
		for stream.Next() {
			if last = stream.Current().Type; last == "response.output_text.delta" {
				text.WriteString(stream.Current().Delta)
			}
		}
		if err := stream.Err(); err != nil {
			t.Fatal(err)
		}
		if text.String() != saidAccount || last != "response.completed" {
			t.Errorf("streamed %q, the last event was %s", text.String(), last)
		}
		noRefusal(t, g)
	})
}

// A used up plan is told as the CLI is told it, and no SDK asks again.
func TestAccountOpenAIGoPlanUsedUp(t *testing.T) {
	g := startAccountGateway(t, codextest.Options{})
	g.fake.Change(codextest.AccountID, func(a *codextest.Account) { a.Windows[0].UsedPercent = 100 })
	c, requests := connectGo(g.gateway, option.WithMaxRetries(2))
	_, err := c.Chat.Completions.New(t.Context(), chatGo(modelGood))
	e := asError(t, err)
	if e.StatusCode != 429 || e.Type != "usage_limit_reached" || requests.Load() != 1 {
		t.Errorf("%d requests, status %d, type %q: %v", requests.Load(), e.StatusCode, e.Type, err)
	}
}
