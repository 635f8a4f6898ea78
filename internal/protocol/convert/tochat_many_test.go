package convert

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"realms/internal/protocol/openai"
)

// A request with very many tools, all of them named again as allowed, is converted in
// a time that grows with its length alone: ten times the tools take nowhere near a
// hundred times as long.
func TestManyTools(t *testing.T) {
	took := func(n int) time.Duration {
		var tools, allowed []string
		for i := range n {
			tools = append(tools, fmt.Sprintf(`{"type":"function","name":"f%d"}`, i))
			allowed = append(allowed, fmt.Sprintf(`{"type":"function","name":"f%d"}`, i))
		}
		body := `{"model":"m","input":"hi","tools":[` + strings.Join(tools, ",") + `],"tool_choice":{"type":"allowed_tools","mode":"auto","tools":[` + strings.Join(allowed, ",") + `]}}`
		best := time.Hour
		for range 3 {
			req, err := openai.ReadJSON(operation("responses"), []byte(body), nil)
			if err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			if _, err := ToChat(req); err != nil {
				t.Fatal(err)
			}
			best = min(best, time.Since(begun))
		}
		return best
	}
	few, many := took(2000), took(20000)
	if many > 50*few {
		t.Errorf("2,000 tools took %v, 20,000 took %v", few, many)
	}
}
