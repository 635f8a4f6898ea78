package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"realms/internal/testkit"
	"realms/internal/testkit/codextest"
)

type sentKey struct{}

func withSent(ctx context.Context, at int) context.Context {
	return context.WithValue(ctx, sentKey{}, at)
}

// newAccountCodex is the Codex CLI in front of an account.
func newAccountCodex(t *testing.T, o codextest.Options) (*codex, *accountGateway) {
	t.Helper()
	codexBinary(t) // or there is nothing to start a gateway for
	g := startAccountGateway(t, o)
	return newCodexAt(t, g.gateway), g
}

// ownHeaders are those that the CLI alone knows the value of. The backend gets them
// as they were written.
var ownHeaders = []string{
	"Originator", "User-Agent", "Version", "Session-Id", "Thread-Id", "X-Client-Request-Id", "X-Openai-Internal-Codex-Responses-Lite",
}

// unchanged fails unless the backend got what the CLI sent: its body byte for byte,
// its own headers, and the account's name on it.
func unchanged(t *testing.T, g *accountGateway) ([]sent, []*testkit.Request) {
	t.Helper()
	client, backend := g.turns(t)
	for i, got := range backend {
		want := client[i]
		if !bytes.Equal(want.body, got.Body) {
			t.Errorf("request %d: the body was changed (-sent +got):\n%s", i, cmp.Diff(string(want.body), string(got.Body)))
		}
		names := slices.Clone(ownHeaders)
		for name := range want.header {
			if strings.HasPrefix(name, "X-Codex-") {
				names = append(names, name)
			}
		}
		for _, name := range names {
			if diff := cmp.Diff(want.header[name], got.Header[name]); diff != "" {
				t.Errorf("request %d: header %s (-sent +got):\n%s", i, name, diff)
			}
		}
		for name, value := range got.Header {
			added := want.header[name] == nil && name != "Chatgpt-Account-Id" && name != "Accept-Encoding"
			if added && (name != "Cookie" || value[0] != "__cf_bm=cookie-of-the-upstream") { // the firewall's alone
				t.Errorf("request %d: header %s was added: %q", i, name, value)
			}
		}
		if got.Key == g.Token || got.Header.Get("Chatgpt-Account-Id") != codextest.AccountID {
			t.Errorf("request %d: it does not come in the account's name", i)
		}
	}
	return client, backend
}

func TestAccountCodexTextTurnAndResume(t *testing.T) {
	c, g := newAccountCodex(t, codextest.Options{})
	first := c.exec(t, "-s", "danger-full-access", "say hi")
	if !slices.Equal(first.messages, []string{saidAccount}) || len(first.troubles) != 0 || first.thread == "" {
		t.Fatalf("the turn was not as expected:\n%s", first.raw)
	}
	second := c.exec(t, "resume", first.thread, "and again")
	if !slices.Equal(second.messages, []string{saidAccount}) || second.thread != first.thread || len(second.troubles) != 0 {
		t.Errorf("the resumed turn was not as expected:\n%s", second.raw)
	}
	_, backend := unchanged(t, g)
	if len(backend) != 2 {
		t.Errorf("both turns took %d requests", len(backend))
	}
	for i, r := range backend {
		if r.Header.Get("Session-Id") != first.thread || r.JSON()["prompt_cache_key"] != first.thread {
			t.Errorf("request %d: the session is %q, the prompt's cache %v, not %s", i, r.Header.Get("Session-Id"), r.JSON()["prompt_cache_key"], first.thread)
		}
	}
}

func TestAccountCodexToolTurn(t *testing.T) {
	c, g := newAccountCodex(t, codextest.Options{Script: testkit.Always(codextest.ToolTurn(saidAfterTool))})
	got := c.exec(t, "-s", "danger-full-access", codextest.AskForTool+"echo done > made-by-codex.txt")
	text, err := os.ReadFile(filepath.Join(c.work, "made-by-codex.txt"))
	if err != nil || string(text) != "done\n" {
		t.Fatalf("the command did not run: %q, %v\n%s", text, err, got.raw)
	}
	if !slices.Equal(got.messages, []string{saidAfterTool}) || len(got.troubles) != 0 {
		t.Errorf("the turn was not as expected:\n%s", got.raw)
	}
	client, backend := unchanged(t, g)
	if len(backend) != 2 {
		t.Fatalf("the turn took %d requests", len(backend))
	}
	for i, s := range client {
		if v := s.answered.Get("X-Codex-Turn-State"); v != codextest.TurnState {
			t.Errorf("answer %d: the turn's state is %q", i, v)
		}
		if v := s.answered.Get("X-Codex-Primary-Used-Percent"); v != "12.5" {
			t.Errorf("answer %d: the administrator does not see the plan: %q", i, v)
		}
		if v := s.answered.Get("Openai-Model"); v != "" {
			t.Errorf("answer %d: openai-model went down: %q", i, v)
		}
	}
	if v := backend[0].Header.Get("X-Codex-Turn-State"); v != "" {
		t.Errorf("the first request of a turn has a state: %q", v)
	}
	if v := backend[1].Header.Get("X-Codex-Turn-State"); v != codextest.TurnState {
		t.Errorf("the second request of the turn has the state %q", v)
	}
}

// A model that the CLI speaks to in another way altogether: its tools are an item of
// the input.
func TestAccountCodexLiteModel(t *testing.T) {
	c, g := newAccountCodex(t, codextest.Options{})
	got := c.exec(t, "-m", modelLite, "-s", "danger-full-access", "say hi")
	if !slices.Equal(got.messages, []string{saidAccount}) || len(got.troubles) != 0 {
		t.Fatalf("the turn was not as expected:\n%s", got.raw)
	}
	client, _ := unchanged(t, g)
	if !bytes.Contains(client[0].body, []byte(`"additional_tools"`)) {
		t.Errorf("the CLI does not send this model its tools in another way any more")
	}
}

func TestAccountCodexSchema(t *testing.T) {
	c, g := newAccountCodex(t, codextest.Options{Script: testkit.Always(testkit.Say(`{"answer":`, `"yes"}`))})
	schema := filepath.Join(c.work, "schema.json")
	const text = `{"type":"object","properties":{"answer":{"type":"string"}},"required":["answer"],"additionalProperties":false}`
	if err := os.WriteFile(schema, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got := c.exec(t, "--output-schema", schema, "-s", "danger-full-access", "answer yes")
	if !slices.Equal(got.messages, []string{`{"answer":"yes"}`}) {
		t.Fatalf("the turn was not as expected:\n%s", got.raw)
	}
	_, backend := unchanged(t, g)
	format, _ := backend[0].JSON()["text"].(map[string]any)["format"].(map[string]any)
	var want any
	if err := json.Unmarshal([]byte(text), &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, format["schema"]); diff != "" || format["type"] != "json_schema" {
		t.Errorf("the backend got the format %v", format)
	}
}

// The CLI sees what has become of the account's plan, and asks no second time.
func TestAccountCodexPlanUsedUp(t *testing.T) {
	c, g := newAccountCodex(t, codextest.Options{})
	g.fake.Change(codextest.AccountID, func(a *codextest.Account) { a.Windows[0].UsedPercent = 100 })
	out := c.fails(t, "exec", "--skip-git-repo-check", "--json", "say hi")
	if !strings.Contains(out, "usage limit") {
		t.Errorf("the CLI does not tell of the limit:\n%s", out)
	}
	client, _ := g.turns(t)
	if len(client) != 1 || client[0].status != http.StatusTooManyRequests {
		t.Errorf("%d requests, the first was answered with %d", len(client), client[0].status)
	}
}

// fails executes the CLI, which must not succeed, and returns all that it printed.
func (c *codex) fails(t *testing.T, args ...string) string {
	t.Helper()
	cmd := command(t, c.work, []string{"HOME=" + c.home, "CODEX_HOME=" + c.home, "REALMS_TOKEN=" + c.gateway.Token}, c.binary, args...)
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("codex %s succeeded:\n%s", strings.Join(args, " "), out)
	}
	return string(out)
}

// A long conversation is made shorter in the way that the provider's name calls for;
// what the account has encrypted of it goes back to it.
func TestAccountCodexCompaction(t *testing.T) {
	for name, sealed := range map[string]bool{"Realms": false, "OpenAI": true} {
		t.Run(name, func(t *testing.T) {
			c, g := newAccountCodex(t, codextest.Options{})
			config := filepath.Join(c.home, "config.toml")
			text, err := os.ReadFile(config)
			if err != nil {
				t.Fatal(err)
			}
			changed := "model_auto_compact_token_limit = 10\n" + strings.Replace(string(text), `name = "Realms"`, `name = "`+name+`"`, 1)
			if err := os.WriteFile(config, []byte(changed), 0o600); err != nil {
				t.Fatal(err)
			}
			first := c.exec(t, "-s", "danger-full-access", "say hi")
			second := c.exec(t, "resume", first.thread, "and again")
			if !slices.Equal(second.messages, []string{saidAccount}) {
				t.Errorf("the turn was not as expected:\n%s", second.raw)
			}
			_, backend := unchanged(t, g)
			if len(backend) < 3 {
				t.Fatalf("nothing was made shorter: %d requests", len(backend))
			}
			last := string(backend[len(backend)-1].Body)
			if back := strings.Contains(last, "sealed-by-the-fake"); back != sealed {
				t.Errorf("what the account has encrypted goes back to it: %v\n%s", back, last)
			}
		})
	}
}
