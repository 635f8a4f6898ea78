package clients

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// codex is the Codex CLI with a home of its own.
type codex struct {
	binary  string
	home    string
	work    string // where its turns run
	gateway *gateway
}

// codexConfig takes the gateway's base URL. The provider's name must not be
// "OpenAI": the CLI treats that one in ways of its own.
const codexConfig = `model = %q
model_provider = "realms"
check_for_update_on_startup = false

[model_providers.realms]
name = "Realms"
base_url = %q
env_key = "REALMS_TOKEN"
wire_api = "responses"

[analytics]
enabled = false
`

func newCodex(t *testing.T) *codex {
	t.Helper()
	codexBinary(t) // or there is nothing to start a gateway for
	return newCodexAt(t, startGateway(t))
}

func newCodexAt(t *testing.T, g *gateway) *codex {
	t.Helper()
	c := &codex{binary: codexBinary(t), home: t.TempDir(), work: t.TempDir(), gateway: g}
	text := fmt.Sprintf(codexConfig, modelGood, c.gateway.URL)
	if err := os.WriteFile(filepath.Join(c.home, "config.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

// configure adds to the CLI's configuration.
func (c *codex) configure(t *testing.T, text string) {
	t.Helper()
	file := filepath.Join(c.home, "config.toml")
	old, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, append(append(old, '\n'), text...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// run executes the CLI and returns its standard output.
func (c *codex) run(t *testing.T, args ...string) string {
	t.Helper()
	cmd := command(t, c.work, []string{"HOME=" + c.home, "CODEX_HOME=" + c.home, "REALMS_TOKEN=" + c.gateway.Token}, c.binary, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("codex %s: %v\n%s\n%s", strings.Join(args, " "), err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.String()
}

// codexEvent is a line of `codex exec --json`.
type codexEvent struct {
	Type     string
	ThreadID string `json:"thread_id"`
	Item     struct {
		Type, Text       string
		AggregatedOutput string `json:"aggregated_output"`
		ExitCode         *int   `json:"exit_code"`
	}
	Usage struct {
		InputTokens  int `json:"input_tokens"`
		OutputTokens int `json:"output_tokens"`
	}
}

// turn is what one `codex exec` did.
type turn struct {
	thread   string
	messages []string
	commands []codexEvent
	troubles []string // lines that speak of an error, if only of one to be repeated
	usage    bool
	raw      string
}

func (c *codex) exec(t *testing.T, args ...string) turn {
	t.Helper()
	got := turn{raw: c.run(t, append([]string{"exec", "--skip-git-repo-check", "--json"}, args...)...)}
	for line := range strings.Lines(got.raw) {
		var e codexEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("codex printed %q: %v", line, err)
		}
		switch {
		case e.Type == "thread.started":
			got.thread = e.ThreadID
		case e.Type == "item.completed" && e.Item.Type == "agent_message":
			got.messages = append(got.messages, e.Item.Text)
		case e.Type == "item.completed" && e.Item.Type == "command_execution":
			got.commands = append(got.commands, e)
		case e.Type == "turn.completed":
			got.usage = e.Usage.InputTokens == 20 && e.Usage.OutputTokens == 7
		case e.Type == "error" || e.Type == "turn.failed" || e.Item.Type == "error":
			got.troubles = append(got.troubles, line)
		}
	}
	return got
}

func TestCodexTextTurnAndResume(t *testing.T) {
	c := newCodex(t)
	first := c.exec(t, "-s", "danger-full-access", "say hi")
	if !slices.Equal(first.messages, []string{saidResponses}) || !first.usage || first.thread == "" {
		t.Fatalf("the turn was not as expected:\n%s", first.raw)
	}
	if n := c.gateway.posts("/responses"); n != 1 {
		t.Errorf("the turn took %d requests", n)
	}

	second := c.exec(t, "resume", first.thread, "and again")
	if !slices.Equal(second.messages, []string{saidResponses}) || second.thread != first.thread {
		t.Errorf("the resumed turn was not as expected:\n%s", second.raw)
	}
	if n := c.gateway.posts("/responses"); n != 2 {
		t.Errorf("both turns took %d requests", n)
	}
}

func TestCodexToolTurn(t *testing.T) {
	c := newCodex(t)
	got := c.exec(t, "-s", "danger-full-access", askForTool+"echo done > made-by-codex.txt")
	text, err := os.ReadFile(filepath.Join(c.work, "made-by-codex.txt"))
	if err != nil || string(text) != "done\n" {
		t.Fatalf("the command did not run: %q, %v\n%s", text, err, got.raw)
	}
	if len(got.commands) != 1 || got.commands[0].Item.ExitCode == nil || *got.commands[0].Item.ExitCode != 0 {
		t.Errorf("the turn shows no command that ended well:\n%s", got.raw)
	}
	if !slices.Equal(got.messages, []string{saidAfterTool}) {
		t.Errorf("the model said %q", got.messages)
	}
	if n := c.gateway.posts("/responses"); n != 2 {
		t.Errorf("the turn took %d requests", n)
	}
}

// The CLI's own check of its provider asks HEAD /v1/responses and GET
// /v1/models, both without a token: any answer but "no such path" will do.
func TestCodexDoctor(t *testing.T) {
	c := newCodex(t)
	out := c.run(t, "doctor", "--json")
	var report struct {
		Checks map[string]struct {
			Status  string
			Details map[string]any
		}
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("codex doctor printed %q: %v", out, err)
	}
	check := report.Checks["network.provider_reachability"]
	if check.Status != "ok" {
		t.Errorf("the provider is not reachable: %v", check.Details)
	}
	for probe, want := range map[string]string{
		"realms API inference URL": " reachable (HTTP ",
		"realms API route probe":   " route exists (HTTP ",
	} {
		if got := fmt.Sprint(check.Details[probe]); !strings.Contains(got, want) {
			t.Errorf("%s: %q does not say %q", probe, got, want)
		}
	}
}
