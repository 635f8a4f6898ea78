package relay

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"realms/internal/realm"
	"realms/internal/testkit"
	"realms/internal/testkit/codextest"
)

// cliHeader is what Codex CLI sends beside its body.
func cliHeader(session string) []string {
	return []string{
		"User-Agent", "codex_cli_rs/0.169.0 (Debian 12.0.0; x86_64) xterm", "Originator", "codex_cli_rs", "Version", "0.169.0",
		"Session-Id", session, "Thread-Id", session, "X-Client-Request-Id", session, "X-Codex-Window-Id", session + ":0",
		"X-Codex-Beta-Features", "remote_compaction_v2", "X-Codex-Turn-Metadata", `{"turn":1}`, "Accept", "text/event-stream",
	}
}

// cliBody has what no schema lists, in an order and with a number that no program
// would write again.
func cliBody(session string) string {
	return `{ "model":"` + accountModel + `","input":[{"type":"additional_tools","role":"developer","tools":[{"type":"namespace","name":"functions"}]},` +
		`{"type":"message","role":"user","content":[{"type":"input_text","text":"hi <b>&\u00e9"}],"n":12345678901234567890.50},{"type":"custom_tool_call_output","call_id":"c","output":[]}],` +
		`"tool_choice":"auto","parallel_tool_calls":false,"reasoning":{"effort":"high","context":"auto"},"store":false,"stream":true,"include":[],` +
		`"prompt_cache_key":"` + session + `","client_metadata":{"x":"y"},"text":{"verbosity":"low"} }`
}

// What Codex CLI sends reaches the backend as it wrote it, compressed or not.
func TestAccountBodiesOfTheCLIStayBytes(t *testing.T) {
	t.Parallel()
	w := newAccounts(t, accountOptions{})
	plain := []byte(cliBody("session-1"))
	pack, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	packed := string(pack.EncodeAll(plain, nil))
	header := cliHeader("session-1")
	for name, req := range map[string]*http.Request{
		"plain": w.Request(t, http.MethodPost, "/v1/responses", string(plain), header...),
		"zstd":  w.Request(t, http.MethodPost, "/v1/responses", packed, append([]string{"Content-Encoding", "zstd"}, header...)...),
	} {
		before := w.asked()
		got := w.do(req)
		w.good(t, got)
		sent := w.fake.Requests(codextest.PathResponses)[before]
		if !bytes.Equal(sent.Body, plain) {
			t.Errorf("%s: the body was changed:\n%s\n%s", name, plain, sent.Body)
		}
		for i := 0; i < len(header); i += 2 {
			if v := sent.Header.Get(header[i]); v != header[i+1] {
				t.Errorf("%s: header %s is %q, not %q", name, header[i], v, header[i+1])
			}
		}
		if sent.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s: the body is said to be in %q", name, sent.Header.Get("Content-Encoding"))
		}
		if got.body != relayed(sentBy(w, got)) {
			t.Errorf("%s: the events were changed:\n%s", name, got.body)
		}
	}
}

// sentBy is what the fake answers if nobody tells it otherwise.
func sentBy(w *accounts, got *answer) [][]byte {
	r := &testkit.Request{Path: "/v1/responses", Stream: true, Model: accountModel}
	return testkit.Compose(r, testkit.Reply{}).Chunks
}

// A program that is no Codex CLI does not pass for one.
func TestAccountProgramsAreNotTheCLI(t *testing.T) {
	t.Parallel()
	w := newAccounts(t, accountOptions{})
	w.good(t, w.ask(t, respEvents, "User-Agent", "openai-python/2.0", "X-Codex-Window-Id", "x", "X-Oai-Attestation", "forged",
		"Chatgpt-Account-Id", "acc-of-another", "Cookie", "a=b", "Openai-Organization", "org-1", "X-Realms-Channel", "mine"))
	sent := w.fake.Requests(codextest.PathResponses)[0]
	if got := sent.Header.Get("Originator"); got != "realms" {
		t.Errorf("originator is %q", got)
	}
	if got := sent.Header.Get("User-Agent"); !strings.HasPrefix(got, "realms") {
		t.Errorf("user agent is %q", got)
	}
	if got := sent.Header.Get("Chatgpt-Account-Id"); got != codextest.AccountID {
		t.Errorf("account is %q", got)
	}
	for _, name := range []string{"X-Codex-Window-Id", "X-Oai-Attestation", "Cookie", "Openai-Organization", "X-Realms-Channel", "X-Realms-Hops"} {
		if got := sent.Header.Get(name); got != "" {
			t.Errorf("%s went up: %q", name, got)
		}
	}
}

// The catalogue of models is the backend's, byte for byte.
func TestAccountModels(t *testing.T) {
	t.Parallel()
	w := newAccounts(t, accountOptions{paid: true})
	const path = "/v1/models?client_version=0.169.0"
	got := w.do(w.Request(t, http.MethodGet, path, "", cliHeader("s")...))
	if got.StatusCode != http.StatusOK || !strings.Contains(got.body, `"revision":9007199254740993`) || !strings.HasPrefix(got.body, `{"models":[`) {
		t.Fatalf("%d %s", got.StatusCode, got.body)
	}
	etag := got.Header.Get("Etag")
	if !strings.HasPrefix(etag, `W/"`) {
		t.Errorf("etag is %q", etag)
	}
	if got.Header.Get("Content-Type") != "application/json" {
		t.Errorf("content type is %q", got.Header.Get("Content-Type"))
	}
	w.noTrace(t, "the catalogue", got.body+headerText(got.Header))
	asked := w.fake.Requests(codextest.PathModels)
	if len(asked) != 1 || asked[0].Query != "client_version=0.169.0" {
		t.Fatalf("the backend was asked %d times: %+v", len(asked), asked)
	}

	again := w.do(w.Request(t, http.MethodGet, path, "", append(cliHeader("s"), "If-None-Match", etag)...))
	if again.StatusCode != http.StatusOK && again.StatusCode != http.StatusNotModified || strings.Contains(again.body, `"object":"list"`) {
		t.Errorf("with the etag: %d %s", again.StatusCode, again.body)
	}

	// Without a version, from a program or for a user, it is the list.
	for name, req := range map[string]*http.Request{
		"no version": w.Request(t, http.MethodGet, "/v1/models", ""),
	} {
		list := w.do(req)
		if list.StatusCode != http.StatusOK || !strings.Contains(list.body, `"object":"list"`) {
			t.Errorf("%s: %d %s", name, list.StatusCode, list.body)
		}
	}
	w.fake.Always(codextest.PathModels, codextest.Challenge())
	if list := w.do(w.Request(t, http.MethodGet, path, "")); list.StatusCode != http.StatusOK || strings.Contains(list.body, "<") {
		t.Errorf("behind a firewall: %d %s", list.StatusCode, list.body)
	}
}

// Older CLIs have their conversations made shorter by a question of its own.
func TestAccountCompact(t *testing.T) {
	t.Parallel()
	w := newAccounts(t, accountOptions{})
	body := `{"model":"` + accountModel + `", "input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"hi"}],"n":12345678901234567890}],"instructions":"be short"}`
	got := w.do(w.Request(t, http.MethodPost, "/v1/responses/compact", body, cliHeader("s")...))
	if got.StatusCode != http.StatusOK || got.body != `{"output":[{"type":"compaction","id":"cmp_fake","encrypted_content":"sealed-by-the-fake"}]}` {
		t.Fatalf("%d %s", got.StatusCode, got.body)
	}
	sent := w.fake.Requests(codextest.PathCompact)
	if len(sent) != 1 || string(sent[0].Body) != body {
		t.Errorf("the backend got %d requests: %s", len(sent), sent[0].Body)
	}
	if rec := w.row(t, got); rec.Status != http.StatusOK || rec.Attempts != 1 {
		t.Errorf("row: %+v", rec)
	}
}

// What the last item of a conversation asks for is the backend's to do.
func TestAccountCompactionTrigger(t *testing.T) {
	t.Parallel()
	w := newAccounts(t, accountOptions{})
	f := form{path: "/v1/responses", stream: true, body: `{"model":"%s","stream":true,"store":false,"instructions":"","input":[{"role":"user","content":"hi"},{"type":"compaction_trigger"}]}`}
	got := w.ask(t, f, cliHeader("s")...)
	if n := strings.Count(got.body, `"type":"response.output_item.done"`); got.StatusCode != http.StatusOK || n != 1 || !strings.Contains(got.body, "sealed-by-the-fake") {
		t.Errorf("%d, %d items: %s", got.StatusCode, n, got.body)
	}
	f.stream, f.body = false, strings.Replace(f.body, `"stream":true,`, "", 1)
	if got := w.ask(t, f); got.StatusCode != http.StatusOK || !strings.Contains(got.body, "sealed-by-the-fake") || strings.Contains(got.body, "event:") {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
}

// No program has to know what the backend refuses.
func TestAccountFieldsThatTheBackendRefuses(t *testing.T) {
	t.Parallel()
	w := newAccounts(t, accountOptions{})
	fields := []string{
		`"temperature":0.5`, `"top_p":0.5`, `"max_output_tokens":10`, `"max_completion_tokens":10`, `"max_tokens":10`, `"frequency_penalty":0`, `"presence_penalty":0`,
		`"user":"u"`, `"truncation":"auto"`, `"safety_identifier":"s"`, `"prompt_cache_retention":"24h"`, `"stream_options":{"include_obfuscation":false}`,
		`"context_management":[]`, `"metadata":{"a":"b"}`, `"service_tier":"auto"`, `"service_tier":"priority"`, `"store":false`, `"store":null`, `"instructions":null`,
		`"previous_response_id":null`, `"include":["message.output_text.logprobs"]`, `"input":"only text"`, `"input":[{"role":"system","content":"s"},{"role":"user","content":"u"}]`,
		`"input":[{"type":"item_reference","id":"msg_1"},{"role":"user","content":"u"}]`,
		`"input":[{"type":"message","role":"assistant","id":"msg_` + strings.Repeat("x", 80) + `","content":[{"type":"output_text","text":"t"}]},{"role":"user","content":"u"}]`,
	}
	for _, stream := range []bool{false, true} {
		for _, field := range fields {
			body := fmt.Sprintf(`{"model":%q,"stream":%v,%s`, accountModel, stream, field)
			if !strings.Contains(field, `"input"`) {
				body += `,"input":"hello"`
			}
			got := w.do(w.Request(t, http.MethodPost, "/v1/responses", body+"}"))
			if got.StatusCode != http.StatusOK {
				t.Errorf("%s, stream %v: %d %s", field, stream, got.StatusCode, got.body)
			}
		}
	}
	for _, rec := range w.allRows(t, 2*len(fields)) {
		if rec.Attempts != 1 || rec.Cause != realm.CauseOK {
			t.Errorf("%d attempts, %s: %s", rec.Attempts, causes(rec), rec.Error)
		}
	}
	tier := 0
	for _, r := range w.fake.Requests(codextest.PathResponses) {
		var body struct {
			Tier *string `json:"service_tier"`
		}
		if err := json.Unmarshal(r.Body, &body); err != nil {
			t.Fatal(err)
		}
		if body.Tier != nil && *body.Tier == "priority" {
			tier++
		}
	}
	if tier != 2 {
		t.Errorf("%d requests asked for the priority tier, not 2", tier)
	}
}

// Bodies with images in them are as long as bodies get.
func TestAccountLargeBodies(t *testing.T) {
	t.Parallel()
	w := newAccounts(t, accountOptions{})
	image := strings.Repeat("iVBORw0KGgo", 1<<20)
	body := strings.Replace(cliBody("s"), `{"type":"input_text"`, `{"type":"input_image","image_url":"data:image/png;base64,`+image+`"},{"type":"input_text"`, 1)
	w.good(t, w.do(w.Request(t, http.MethodPost, "/v1/responses", body, cliHeader("s")...)))
	if sent := w.fake.Requests(codextest.PathResponses); string(sent[0].Body) != body {
		t.Errorf("the body was changed: %d bytes of %d", len(sent[0].Body), len(body))
	}
}
