package upstream

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

func unix(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) }

func TestClassifyClientFaults(t *testing.T) {
	get := func(x *Exchange) { x.Method, x.Path, x.Object = http.MethodGet, "/responses/resp_1", true }
	cancel := func(x *Exchange) { x.Path, x.Object = "/responses/resp_1/cancel", true }
	runClassify(t, []classifyCase{
		{name: "400", status: 400, body: errorBody("invalid_value", "messages[0].role", "Invalid value."), want: clientError},
		{name: "400 context", status: 400, body: errorBody("context_length_exceeded", "messages", "This model's maximum context length is 8192 tokens."), want: clientError},
		{name: "400 content", status: 400, body: errorBody("content_filter", "", "The response was filtered."), want: clientError},
		{name: "400 detail", status: 400, body: `{"detail":"Store must be set to false"}`, want: clientError},
		{name: "400 empty", status: 400, want: clientError},
		{name: "400 page", status: 400, body: page, want: bad},
		{name: "400 tools", status: 400, body: errorBody("", "", "The model does not support tools."), want: clientError},
		{name: "400 file", status: 400, body: errorBody("", "input[0].file_id", "File not found for the model."), want: clientError},
		{name: "404 previous response", status: 404, body: errorBody("previous_response_not_found", "previous_response_id", "Previous response with id 'resp_1' not found."), want: clientError},
		{name: "404 item", status: 404, body: errorBody("", "input", "Item with id 'rs_1' not found. Items are not persisted when store is set to false."), want: clientError},
		{name: "404 item without param", status: 404, body: errorBody("", "", "Item with id 'rs_1' not found."), want: clientError},
		{name: "404 object", status: 404, body: errorBody("", "", "Response not found."), edit: get, want: clientError},
		{name: "404 object page", status: 404, body: page, edit: get, want: clientError},
		{name: "404 cancel", status: 404, body: errorBody("", "", "Not found."), edit: cancel, want: clientError},
		{name: "405 object", status: 405, edit: get, want: clientError},
		{name: "410", status: 410, want: clientError},
		{name: "413", status: 413, body: errorBody("", "", "Too large."), want: clientError},
		{name: "413 page", status: 413, body: page, want: clientError},
		{name: "415", status: 415, want: clientError},
		{name: "422", status: 422, body: `{"detail":[{"loc":["body","n"],"msg":"ensure this value is greater than 0"}]}`, want: clientError},
		{name: "451", status: 451, want: clientError},
	})
}

func TestClassifyMissing(t *testing.T) {
	runClassify(t, []classifyCase{
		{name: "404 model", status: 404, body: errorBody("model_not_found", "", "The model `m` does not exist or you do not have access to it."), want: modelMissing},
		{name: "400 model", status: 400, body: errorBody("model_not_found", "model", "x"), want: modelMissing},
		{name: "vLLM", status: 404, body: `{"object":"error","message":"The model m does not exist.","type":"NotFoundError","param":null,"code":404}`, want: modelMissing},
		{name: "Ollama", status: 404, body: `{"error":{"message":"model \"m\" not found, try pulling it first","type":"api_error","param":null,"code":null}}`, want: modelMissing},
		{name: "Ollama, bare", status: 404, body: `{"error":"model 'm' not found"}`, want: modelMissing},
		{name: "DeepSeek", status: 400, body: errorBody("invalid_request_error", "", "Model Not Exist"), want: modelMissing},
		{name: "OpenRouter", status: 400, body: `{"error":{"message":"m is not a valid model ID","code":400}}`, want: modelMissing},
		{name: "Azure", status: 404, body: `{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist."}}`, want: modelMissing},
		{name: "Codex", status: 400, body: `{"type":"error","status":400,"error":{"type":"invalid_request_error","message":"The 'x' model is not supported when using Codex with a ChatGPT account."}}`, want: modelMissing},
		{name: "404 path of OpenAI", status: 404, body: errorBody("", "", "Invalid URL (POST /v1/responses)"), want: apiMissing},
		{name: "404 path by code", status: 404, body: errorBody("unknown_url", "", "Unknown request URL: POST /v1/x."), want: apiMissing},
		{name: "404 path of FastAPI", status: 404, body: `{"detail":"Not Found"}`, want: apiMissing},
		{name: "404 path as text", status: 404, header: header("Content-Type: text/plain"), body: "404 page not found", want: apiMissing},
		{name: "404 path as page", status: 404, body: page, want: pageForAPI},
		{name: "404 empty", status: 404, want: apiMissing},
		{name: "405", status: 405, body: `{"detail":"Method Not Allowed"}`, want: apiMissing},
		{name: "405 empty", status: 405, want: apiMissing},
	})
}

func TestClassifyFields(t *testing.T) {
	added := func(x *Exchange) { x.AddedFields = []string{"stream_options.include_usage"} }
	for _, body := range []string{
		errorBody("unknown_parameter", "stream_options", "Unknown parameter: 'stream_options'."),
		errorBody("", "stream_options.include_usage", "No."),
		errorBody("", "", "Unrecognized request argument supplied: stream_options"),
		errorBody("", "", "Extra field `stream_options` is not permitted."),
		`{"detail":"Unsupported parameter: stream_options"}`,
	} {
		runClassify(t, []classifyCase{
			{name: "added", status: 400, body: body, edit: added, want: field("stream_options.include_usage")},
			{name: "added, 422", status: 422, body: body, edit: added, want: field("stream_options.include_usage")},
		})
	}
	runClassify(t, []classifyCase{
		{name: "a longer name", status: 400, body: errorBody("", "", "my_stream_options_x is wrong"), edit: added, want: clientError},
		{name: "another param", status: 400, body: errorBody("", "stream_options_x", "wrong"), edit: added, want: clientError},
		{name: "not added", status: 400, body: errorBody("", "stream_options", "wrong"), want: clientError},
		{name: "page", status: 400, body: page + "stream_options", edit: added, want: bad},
		{name: "unsupported", status: 400, body: errorBody("unsupported_parameter", "max_tokens", "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."), want: field("max_tokens")},
		{name: "unsupported value", status: 400, body: errorBody("unsupported_value", "temperature", "Unsupported value: 'temperature' does not support 0.2 with this model."), want: field("temperature")},
		{name: "unsupported, by words", status: 400, body: `{"detail":"Unsupported parameter: max_output_tokens"}`, want: field("max_output_tokens")},
		{name: "unsupported, quoted", status: 400, body: errorBody("", "", "Unsupported parameter: 'reasoning.effort' is not supported."), want: field("reasoning.effort")},
		{name: "unsupported, but not what", status: 400, body: errorBody("unsupported_parameter", "", "No."), want: clientError},
		{name: "encrypted content", status: 400, body: errorBody("invalid_encrypted_content", "", "The encrypted content could not be verified."), want: field("encrypted_content")},
	})
}

// TestFailureIsPresentable: what a client's fault carries may be shown as it is.
func TestFailureIsPresentable(t *testing.T) {
	x := testExchange()
	body := errorBody("string_above_max_length", "input", "Too long, says the upstream.")
	f := testExecutor().classify(x, &http.Response{StatusCode: 400, Header: header()}, []byte("  "+body+"\n"))
	if string(f.Body) != body || f.Error.Code != "string_above_max_length" || f.Error.Param != "input" || f.Error.Message != "Too long, says the upstream." {
		t.Errorf("failure = %+v, body %s", f, f.Body)
	}
	for _, body := range []string{"", "plain words", page, `["array"]`, `{"broken":`, strings.Repeat("[", 64<<10)} {
		f := testExecutor().classify(x, &http.Response{StatusCode: 413, Header: header()}, []byte(body))
		if f.Body != nil || f.Error.Message == "" || f.Error.Type == "" || strings.Contains(f.Error.Message, "<") || len(f.Error.Message) > 1<<10 {
			t.Errorf("%.20q: body %.20q, error %+v", body, f.Body, f.Error)
		}
	}
}
