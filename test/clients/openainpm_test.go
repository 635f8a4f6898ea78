package clients

import (
	"bufio"
	"bytes"
	"encoding/json"
	"testing"
)

// The SDK for Node, in one process for all its cases.
func TestOpenAINode(t *testing.T) {
	need(t, "openai/package.json")
	const least = 16 // cases in sdk.mjs
	nodeCases(t, startGateway(t), "sdk.mjs", least, map[string]string{
		"model": modelGood, "embedding": modelEmbedding, "badRequest": modelBadRequest, "unreachable": modelUnreachable,
		"limited": modelLimited, "unknown": modelUnknown, "chat": saidChat, "responses": saidResponses,
	})
}

// nodeCases runs a script of the SDK's against a gateway, and makes a subtest of each
// case that it reports. Fewer than least mean that it ended early.
func nodeCases(t *testing.T, g *gateway, script string, least int, known map[string]string) {
	t.Helper()
	expect, err := json.Marshal(known)
	if err != nil {
		t.Fatal(err)
	}
	cmd := command(t, ".", []string{"BASE_URL=" + g.URL, "TOKEN=" + g.Token, "EXPECT=" + string(expect)}, "node", script)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("node: %v\n%s", err, stderr.Bytes())
	}
	cases := 0
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); cases++ {
		var c struct {
			Name  string
			Error *string
		}
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatalf("%s printed %q: %v", script, lines.Bytes(), err)
		}
		t.Run(c.Name, func(t *testing.T) {
			if c.Error != nil {
				t.Error(*c.Error)
			}
		})
	}
	if cases < least {
		t.Errorf("%d cases ran, at least %d were expected", cases, least)
	}
}
