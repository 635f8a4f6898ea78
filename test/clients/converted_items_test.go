package clients

import (
	"bytes"
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"realms/internal/testkit"
)

// turns plays a model that calls tools one after the other, and then says its text.
// Which is next shows in how many outputs a request brings.
func turns(calls ...testkit.Call) testkit.Script {
	return testkit.Always(func(r *testkit.Request, a *testkit.Answer) {
		if done := bytes.Count(r.Body, []byte(`"role":"tool"`)); done < len(calls) {
			reply := a.Reply
			reply.Call = &calls[done]
			testkit.With(reply)(r, a)
		}
	})
}

// wantTurn fails the test unless a turn went without trouble, in so many requests.
func (c *codex) wantTurn(t *testing.T, got turn, requests int) []string {
	t.Helper()
	list := c.gateway.bodies(t, "/chat/completions")
	if !slices.Equal(got.messages, []string{saidByFake}) || len(got.troubles) != 0 || len(list) != requests {
		t.Fatalf("the turn took %d requests, and was:\n%s", len(list), got.raw)
	}
	return list
}

// A custom tool with a grammar: the model writes JSON, the CLI gets the patch, and
// what the CLI says of it goes up. So does the whole of it, once the session goes on.
func TestCodexOverChatCustomTool(t *testing.T) {
	const patch = `*** Begin Patch\n*** Add File: made-by-codex.txt\n+two \"words\"\n*** End Patch\n`
	c := chatOnly(t, turns(testkit.Call{Name: "apply_patch", Arguments: `{"input":"` + patch + `"}`}))
	got := c.exec(t, "-s", "danger-full-access", "make the file")
	list := c.wantTurn(t, got, 2)
	text, err := os.ReadFile(filepath.Join(c.work, "made-by-codex.txt"))
	if err != nil || string(text) != "two \"words\"\n" {
		t.Errorf("the patch left %q, %v\n%s", text, err, got.raw)
	}
	c.exec(t, "resume", got.thread, "and again")
	list = append(list, c.gateway.bodies(t, "/chat/completions")[2:]...)
	for i, part := range []string{`"name":"apply_patch","description":`, patch[:40], patch[:40]} {
		if !strings.Contains(strings.ReplaceAll(list[i], `\\n`, `\n`), part) {
			t.Errorf("request %d lacks %q:\n%s", i, part, list[i])
		}
	}
}

// The tools of a server of the Model Context Protocol are in a namespace, and offered
// once the model has searched for them: both are known on the way back.
func TestCodexOverChatNamespace(t *testing.T) {
	c := chatOnly(t, turns(
		testkit.Call{Name: "tool_search", Arguments: `{"query":"weather of a city"}`},
		testkit.Call{Name: "mcp__weather__forecast", Arguments: `{"city":"Oslo"}`},
	))
	server, err := filepath.Abs("mcp.mjs")
	if err != nil {
		t.Fatal(err)
	}
	c.configure(t, fmt.Sprintf("[mcp_servers.weather]\ncommand = \"node\"\nargs = [%q]\n", server))
	list := c.wantTurn(t, c.exec(t, "-s", "danger-full-access", "how is the weather in Oslo"), 3)
	if strings.Contains(list[0], "forecast") || !strings.Contains(list[1], `"function":{"name":"mcp__weather__forecast",`) {
		t.Errorf("the tool was not offered as it was found:\n%s", list[1])
	}
	if !strings.Contains(list[2], "It snows in Oslo.") {
		t.Errorf("the tool did not run:\n%s", list[2])
	}
}

// An image that the user shows goes up as Chat has it.
func TestCodexOverChatImage(t *testing.T) {
	c := chatOnly(t, nil)
	var picture bytes.Buffer
	if err := png.Encode(&picture, image.NewGray(image.Rect(0, 0, 8, 8))); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(c.home, "picture.png")
	if err := os.WriteFile(file, picture.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	list := c.wantTurn(t, c.exec(t, "-s", "danger-full-access", "-i", file, "--", "what is in it"), 1)
	if !strings.Contains(list[0], `{"type":"image_url","image_url":{"url":"data:image/png;base64,`) {
		t.Errorf("the request has no image:\n%s", list[0])
	}
}

// The reasoning that led to a call stands beside it in the next request, as models
// that reason between calls want it.
func TestCodexOverChatReasoning(t *testing.T) {
	const thought = "let me look first"
	play := turns(testkit.Call{Name: "exec_command", Arguments: `{"cmd":"echo seen"}`})
	c := chatOnly(t, func(r *testkit.Request) testkit.Fault {
		return testkit.All(play(r), testkit.Rewrite(func(e []byte) []byte {
			return bytes.Replace(e, []byte(`"delta":{"role":"assistant","content":""`), []byte(`"delta":{"role":"assistant","content":null,"reasoning_content":"`+thought+`"`), 1)
		}))
	})
	list := c.wantTurn(t, c.exec(t, "-s", "danger-full-access", "look"), 2)
	if !strings.Contains(list[1], `"reasoning_content":"`+thought+`"`) {
		t.Errorf("the reasoning is not in:\n%s", list[1])
	}
}
