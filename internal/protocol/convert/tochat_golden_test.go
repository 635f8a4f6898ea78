package convert

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"realms/internal/protocol/openai"
	"realms/internal/sse"
)

var updateToChat = flag.Bool("update-tochat", false, "write what comes out into testdata/tochat")

// TestMain keeps rapid from writing its failures into testdata: the seed that it
// prints is enough to see one again.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("rapid.nofailfile", "true"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// TestToChatGolden holds transcripts: request → upstream.request, answer →
// client.answer, events → client.events. A transcript without a request has a plain
// one. What is refused or fails stands in error.
func TestToChatGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/tochat/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := chatTranscript(t, archive)
			if *updateToChat {
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

// plainRequest stands for a request that does not matter.
const plainRequest = `{"model":"m","input":"hi","stream":true,"store":false}`

// chatTranscript is the archive with what comes out now.
func chatTranscript(t *testing.T, archive *txtar.Archive) *txtar.Archive {
	t.Helper()
	got := &txtar.Archive{Comment: archive.Comment}
	add := func(name, data string) {
		got.Files = append(got.Files, txtar.File{Name: name, Data: []byte(data)})
	}
	c, err := toChat(plainRequest)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range archive.Files {
		switch f.Name {
		case "request":
			add(f.Name, string(f.Data))
			if c, err = toChat(string(f.Data)); err != nil {
				add("error", errorText(err))
				return got
			}
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
			out, err := convertEvents(c, f.Data)
			add("client.events", string(out))
			if err != nil {
				add("error", errorText(err))
			} else if _, err := readResponse(out); err != nil {
				t.Error(err)
			}
		}
	}
	return got
}

func toChat(body string) (Conversion, error) {
	r, err := openai.ReadJSON(operation("responses"), []byte(body), nil)
	if err != nil {
		return nil, err
	}
	return ToChat(r)
}

// convertEvents converts a stream as it comes over the wire, and ends it.
func convertEvents(c Conversion, wire []byte) ([]byte, error) {
	return convertPieces(c, bytes.NewReader(wire))
}

func convertPieces(c Conversion, r io.Reader) ([]byte, error) {
	scanner := sse.NewScanner(r, 1<<20)
	defer scanner.Release()
	s := c.Stream(mostKept)
	var out []byte
	for {
		for ev, ok := scanner.Next(); ok; ev, ok = scanner.Next() {
			if ev.Comment {
				continue
			}
			var err error
			if out, err = s.Event(out, ev.Type, ev.Data); err != nil {
				return out, err
			}
		}
		if scanner.Full() {
			scanner.Grow()
		}
		if err := scanner.Fill(); errors.Is(err, io.EOF) {
			return s.End(out)
		} else if err != nil {
			return out, err
		}
	}
}
