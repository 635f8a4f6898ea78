package declare

import (
	"os"
	"strings"
	"testing"
)

// TestDocsExamples holds that the declarative files that the documentation shows
// are sound.
func TestDocsExamples(t *testing.T) {
	for _, file := range []string{"README.md", "README.zh-CN.md", "docs/operating.md"} {
		data, err := os.ReadFile("../../" + file)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for part := range strings.SplitSeq(string(data), "```yaml\n") {
			text, _, _ := strings.Cut(part, "```")
			if !strings.Contains(text, "\nchannels:\n") && !strings.HasPrefix(text, "channels:\n") {
				continue
			}
			found++
			doc, err := Read(file, []byte(text), ReadOptions{Lookup: func(string) (string, bool) { return "value", true }})
			if err != nil {
				t.Error(err)
				continue
			}
			if _, err := doc.Apply(t.Context(), Options{Store: open(t), Actor: "test"}); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
		if found == 0 {
			t.Errorf("%s shows no declarative file", file)
		}
	}
}
