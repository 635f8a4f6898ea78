package convert

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"realms/internal/protocol/openai"
	"realms/internal/realm"
)

var updateToResponses = flag.Bool("update-toresponses", false, "write what comes out into testdata/toresponses")

// TestToResponsesGolden holds transcripts: request → upstream.request, and answer →
// client.answer, and events → client.events. What is refused or fails stands in
// error.
func TestToResponsesGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/toresponses/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := transcript(t, archive)
			if *updateToResponses {
				if err := os.WriteFile(file, txtar.Format(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(txtar.Format(archive)), string(txtar.Format(got))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// transcript is the archive with what comes out now.
func transcript(t *testing.T, archive *txtar.Archive) *txtar.Archive {
	got := &txtar.Archive{Comment: archive.Comment}
	add := func(name, data string) {
		got.Files = append(got.Files, txtar.File{Name: name, Data: []byte(data)})
	}
	var c Conversion
	for _, f := range archive.Files {
		switch f.Name {
		case "request":
			add(f.Name, string(f.Data))
			conversion, err := toResponses(string(f.Data))
			if err != nil {
				add("error", errorText(err))
				return got
			}
			c = conversion
			add("upstream.request", indent(t, c.Body()))
		case "answer":
			add(f.Name, string(f.Data))
			out, err := c.Answer(nil, f.Data)
			if err != nil {
				add("error", errorText(err))
				continue
			}
			add("client.answer", indent(t, out))
		case "events":
			add(f.Name, string(f.Data))
			out, err := runStream(c, string(f.Data))
			add("client.events", out)
			if err != nil {
				add("error", errorText(err))
			}
		}
	}
	return got
}

func errorText(err error) string {
	var refused *realm.Error
	var failed *openai.UpstreamError
	switch {
	case errors.As(err, &refused):
		return string(refused.Code) + " " + refused.Field + ": " + refused.Message + "\n"
	case errors.As(err, &failed):
		return "upstream " + failed.Code + ": " + failed.Message + "\n"
	default:
		return err.Error() + "\n"
	}
}

func indent(t *testing.T, raw []byte) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", " "); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	return b.String() + "\n"
}

func toResponses(body string) (Conversion, error) {
	r, err := openai.ReadJSON(operation("chat.completions"), []byte(body), nil)
	if err != nil {
		return nil, err
	}
	return ToResponses(r)
}

func operation(name string) *openai.Operation {
	for _, op := range openai.Operations() {
		if op.Name == name {
			return op
		}
	}
	return nil
}

// runStream converts a stream in which each line is an event's data; a line END
// stands for its end without a terminal event.
func runStream(c Conversion, events string) (string, error) {
	s := c.Stream(mostKept)
	var out []byte
	var err error
	for line := range strings.Lines(events) {
		switch line = strings.TrimSpace(line); line {
		case "":
		case "END":
			out, err = s.End(out)
		default:
			out, err = s.Event(out, nil, []byte(line))
		}
		if err != nil {
			return string(out), err
		}
	}
	return string(out), nil
}
