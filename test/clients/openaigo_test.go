package clients

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
)

// connectGo makes a client of the SDK for Go, and a counter of its requests.
func connectGo(g *gateway, options ...option.RequestOption) (openai.Client, *atomic.Int64) {
	requests := new(atomic.Int64)
	count := option.WithMiddleware(func(r *http.Request, next option.MiddlewareNext) (*http.Response, error) {
		requests.Add(1)
		return next(r)
	})
	options = append([]option.RequestOption{option.WithBaseURL(g.URL), option.WithAPIKey(g.Token), count}, options...)
	return openai.NewClient(options...), requests
}

func chatGo(model string) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{Model: model, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("hi")}}
}

func TestOpenAIGoChat(t *testing.T) {
	c, _ := connectGo(startGateway(t))
	got, err := c.Chat.Completions.New(t.Context(), chatGo(modelGood))
	if err != nil {
		t.Fatal(err)
	}
	if text := got.Choices[0].Message.Content; text != saidChat {
		t.Errorf("the model said %q", text)
	}
	if got.Usage.TotalTokens != 16 || got.Usage.PromptTokensDetails.CachedTokens != 3 {
		t.Errorf("usage is %+v", got.Usage)
	}
}

func TestOpenAIGoChatStream(t *testing.T) {
	c, _ := connectGo(startGateway(t))
	params := chatGo(modelGood)
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
	if text := all.Choices[0].Message.Content; text != saidChat {
		t.Errorf("the model said %q", text)
	}
	if all.Usage.TotalTokens != 16 {
		t.Errorf("usage is %+v", all.Usage)
	}
}

func TestOpenAIGoResponses(t *testing.T) {
	c, _ := connectGo(startGateway(t))
	params := responses.ResponseNewParams{Model: modelGood, Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("hi")}}
	got, err := c.Responses.New(t.Context(), params)
	if err != nil {
		t.Fatal(err)
	}
	if got.OutputText() != saidResponses || got.Usage.InputTokensDetails.CachedTokens != 4 {
		t.Errorf("got %q with usage %+v", got.OutputText(), got.Usage)
	}

	stream := c.Responses.NewStreaming(t.Context(), params)
	defer func() { _ = stream.Close() }()
	var text strings.Builder
	last := ""
	for stream.Next() {
		e := stream.Current()
		last = e.Type
		if e.Type == "response.output_text.delta" {
			text.WriteString(e.Delta)
		}
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	if text.String() != saidResponses || last != "response.completed" {
		t.Errorf("streamed %q, the last event was %s", text.String(), last)
	}
}

func TestOpenAIGoEmbeddingsAndModels(t *testing.T) {
	c, _ := connectGo(startGateway(t))
	e, err := c.Embeddings.New(t.Context(), openai.EmbeddingNewParams{
		Model: modelEmbedding, Input: openai.EmbeddingNewParamsInputUnion{OfString: openai.String("hi")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if v := e.Data[0].Embedding; len(v) != 2 || v[0] != 1 || v[1] != -2 {
		t.Errorf("the vector is %v", v)
	}
	models := c.Models.ListAutoPaging(t.Context())
	found := false
	for models.Next() {
		found = found || models.Current().ID == modelGood
	}
	if models.Err() != nil || !found {
		t.Errorf("%s is not in the list (%v)", modelGood, models.Err())
	}
}

func TestOpenAIGoErrors(t *testing.T) {
	g := startGateway(t)
	for _, c := range []struct {
		name     string
		model    string
		options  []option.RequestOption
		statuses []int
		code     string
		requests int64
	}{
		{"client's fault", modelBadRequest, nil, []int{400}, "unsupported_value", 1},
		{"wrong token", modelGood, []option.RequestOption{option.WithAPIKey("wrong")}, []int{401}, "invalid_api_key", 1},
		{"unknown model", modelUnknown, nil, []int{404}, "model_not_found", 1},
		{"limited for long", modelLimited, nil, []int{429}, "", 1},
		{"upstream fails", modelUnreachable, nil, []int{502, 503, 504}, "", 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, requests := connectGo(g, c.options...)
			_, err := client.Chat.Completions.New(t.Context(), chatGo(c.model))
			var e *openai.Error
			if !errors.As(err, &e) {
				t.Fatalf("the error is %v", err)
			}
			ok := false
			for _, s := range c.statuses {
				ok = ok || e.StatusCode == s
			}
			if !ok || c.code != "" && e.Code != c.code {
				t.Errorf("status %d, code %q: %v", e.StatusCode, e.Code, err)
			}
			if n := requests.Load(); n != c.requests {
				t.Errorf("%d requests, not %d", n, c.requests)
			}
		})
	}
}
