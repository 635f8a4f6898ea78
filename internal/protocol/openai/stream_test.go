package openai

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"realms/internal/realm"
	"realms/internal/sse"
)

var update = flag.Bool("update", false, "write what the tests see into the goldens")

var kinds = map[string]StreamKind{
	"responses": StreamResponses, "chat": StreamChat, "completions": StreamCompletions,
	"images": StreamImages, "speech": StreamSpeech, "transcription": StreamTranscription,
}

var classes = map[Class]string{
	ClassComment: "comment", ClassHeld: "held", ClassSubstantive: "substantive", ClassUsageOnly: "usage only", ClassTerminal: "terminal",
}

// TestStreams reads recorded streams. The first line of each file says which kind
// it is and how many choices were asked for: "chat 2".
func TestStreams(t *testing.T) {
	paths, err := filepath.Glob("testdata/streams/*.txtar")
	if err != nil || len(paths) < 20 {
		t.Fatalf("%d recordings (%v)", len(paths), err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(path)
			if err != nil || len(a.Files) < 1 || a.Files[0].Name != "stream" {
				t.Fatalf("not a recording: %v", err)
			}
			var kind string
			var choices int
			if _, err := fmt.Sscan(string(a.Comment), &kind, &choices); err != nil || kinds[kind] == StreamNone {
				t.Fatalf("first line %q: %v", a.Comment, err)
			}
			got := transcript(t, kinds[kind], choices, string(a.Files[0].Data))
			if *update {
				a.Files = append(a.Files[:1], txtar.File{Name: "want", Data: []byte(got)})
				if err := os.WriteFile(path, txtar.Format(a), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if len(a.Files) != 2 {
				t.Fatal("the recording says nothing of what is wanted")
			}
			if diff := cmp.Diff(string(a.Files[1].Data), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// transcript says what the state makes of each event, and what it knows at the end.
func transcript(t *testing.T, kind StreamKind, choices int, stream string) string {
	t.Helper()
	var s StreamState
	s.Reset(kind, choices)
	var b strings.Builder
	inspect := func(ev sse.Event) {
		v, err := s.Inspect(ev)
		var bad *DataError
		if errors.As(err, &bad) {
			fmt.Fprintf(&b, "bad: %v\n", bad.Err)
			return
		}
		b.WriteString(classes[v.Class])
		if v.OutputBytes != 0 {
			fmt.Fprintf(&b, " +%d", v.OutputBytes)
		}
		if v.Failed != nil {
			fmt.Fprintf(&b, " FAILED type=%q code=%q: %s", v.Failed.Type, v.Failed.Code, v.Failed.Message)
		}
		b.WriteByte('\n')
	}
	sc := sse.NewScanner(strings.NewReader(stream), 1<<20)
	defer sc.Release()
	for {
		for ev, ok := sc.Next(); ok; ev, ok = sc.Next() {
			inspect(ev)
		}
		if sc.Fill() != nil {
			break
		}
	}
	if ev, ok := sc.Finish(); ok {
		inspect(ev)
	}
	b.WriteString("--\n")
	u := s.Usage()
	fmt.Fprintf(&b, "usage: %s input %d (cached %d, written %d), output %d (reasoning %d), suspect %v\n",
		u.Source, u.Input, u.Cached, u.CacheWrite, u.Output, u.Reasoning, s.SuspectUsage())
	fmt.Fprintf(&b, "ended %v, empty %v, finished all choices %v, created %v, sequence %d\n",
		s.Ended(), s.Empty(), s.FinishedAllChoices(), s.Created(), s.Sequence())
	fmt.Fprintf(&b, "id %q, output ids %q\n", s.ResponseID(), s.OutputIDs())
	return b.String()
}

// TestStateIsReusable: nothing of one stream is left in the next.
func TestStateIsReusable(t *testing.T) {
	var s StreamState
	s.Reset(StreamResponses, 1)
	for _, data := range []string{
		`{"type":"response.created","sequence_number":3,"response":{"id":"resp_1"}}`, respDelta,
		`{"type":"response.completed","sequence_number":9,"response":{"id":"resp_1","status":"completed","output":[{"id":"m"}],"usage":{"input_tokens":1,"output_tokens":-1}}}`,
	} {
		if _, err := s.Inspect(sse.Event{Data: []byte(data)}); err != nil {
			t.Fatal(err)
		}
	}
	if !s.Ended() || s.Empty() || !s.Created() || s.ResponseID() != "resp_1" || s.Sequence() != 9 || !s.SuspectUsage() || len(s.OutputIDs()) != 1 {
		t.Fatalf("the first stream was not understood: %+v", s.Point())
	}
	s.Reset(StreamResponses, 1)
	if s.Ended() || !s.Empty() || s.Created() || s.ResponseID() != "" || s.Sequence() != -1 || s.SuspectUsage() || len(s.OutputIDs()) != 0 || s.Usage() != unknownUsage {
		t.Errorf("left from the first stream: %+v", s)
	}
}

func TestHead(t *testing.T) {
	long := strings.Repeat("x", 70<<10)
	tests := []struct {
		name    string
		kind    StreamKind
		pending string
		class   Class
		ok      bool
	}{
		{"delta", StreamResponses, `event: response.output_text.delta` + "\n" + `data: {"type":"response.output_text.delta","delta":"` + long, ClassSubstantive, true},
		{"type without an event line", StreamResponses, `data: { "type" : "response.image_generation_call.partial_image","x":"` + long, ClassSubstantive, true},
		{"type after something else, with an event line", StreamResponses, "event: response.output_item.done\r\ndata: {\"sequence_number\":5,\"item\":\"" + long, ClassSubstantive, true},
		{"data wins over the event line", StreamResponses, "event: response.output_text.delta\ndata: {\"type\":\"response.completed\",\"response\":\"" + long, ClassTerminal, true},
		{"no type in sight", StreamResponses, `data: {"sequence_number":5,"item":"` + long, ClassHeld, false},
		{"created", StreamResponses, `data: {"type":"response.created","response":{"instructions":"` + long, ClassHeld, true},
		{"error", StreamResponses, `data: {"type":"error","message":"` + long, ClassTerminal, true},
		{"unknown", StreamResponses, `data: {"type":"keepalive","x":"` + long, ClassHeld, false},
		{"a comment", StreamResponses, `: ` + long, ClassHeld, false},
		{"chat delta", StreamChat, `data: {"id":"c","choices":[{"delta":{"content":"` + long, ClassSubstantive, true},
		{"chat error", StreamChat, `data: {"error":{"message":"\"delta\":{` + long, ClassHeld, false},
		{"chat without a delta", StreamChat, `data: {"id":"` + long, ClassHeld, false},
		{"completion", StreamCompletions, `data: {"choices":[{"text":"` + long, ClassSubstantive, true},
		{"partial image", StreamImages, `data: {"type":"image_generation.partial_image","b64_json":"` + long, ClassSubstantive, true},
		{"image", StreamImages, `data: {"type":"image_generation.completed","b64_json":"` + long, ClassTerminal, false},
		{"speech", StreamSpeech, `data: {"type":"speech.audio.delta","audio":"` + long, ClassSubstantive, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var s StreamState
			s.Reset(tt.kind, 1)
			class, ok := s.Head([]byte(tt.pending))
			if class != tt.class || ok != tt.ok {
				t.Errorf("Head = %s, %v; want %s, %v", classes[class], ok, classes[tt.class], tt.ok)
			}
			if passed := ok && class == ClassSubstantive; s.Empty() == passed && tt.kind <= StreamCompletions {
				t.Errorf("Empty = %v after Head", s.Empty())
			}
		})
	}
}

func TestPartsCountAsOutput(t *testing.T) {
	var s StreamState
	s.Reset(StreamChat, 1)
	v, err := s.Inspect(sse.Event{Start: 100, End: 350, Part: true})
	if err != nil || v.Class != ClassSubstantive || v.OutputBytes != 250 || s.Empty() {
		t.Errorf("verdict %+v, %v, empty %v", v, err, s.Empty())
	}
}

// FuzzInspect feeds arbitrary data to every kind of stream: nothing panics, and the
// short ways for text deltas (of one choice alone) say what the long one says.
func FuzzInspect(f *testing.F) {
	f.Add(chatDelta, `{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}`)
	f.Add(respDelta, `{"type":"response.completed","response":{"output":[{"id":"x","type":"message","content":[{"text":""}]}]}}`)
	f.Add(`{"choices":[{"delta":{"content":"a"}},{"delta":{"content":"b"},"index":1}]}`, `{"error":{"message":"x"}}`)
	f.Add(`{"choices":[{"delta":{"content":"a\"b","role":null},"finish_reason":null}]}`, `[DONE]`)
	f.Add(`{"choices":[{"finish_reason":null,"index":0,"delta":{"content":"a"},"usage":{"prompt_tokens":1}}]}`, `x`)
	f.Add(`{"choices":[{"delta":{"content":"a"},"finish_reason":null}]}`, `{"choices":[{"delta":{"content":"b\u00e9\\"},"finish_reason":null}]}`)
	f.Add(`{"choices":[{"delta":{"content":"a"},"finish_reason":null}]}`, `{"choices":[{"delta":{"content":"b"},"finish_reason":null}],"error":{"message":"\"},"finish_reason":null}]}`)
	f.Fuzz(func(t *testing.T, first, second string) {
		for kind := StreamResponses; kind <= StreamTranscription; kind++ {
			var s, slow StreamState
			s.Reset(kind, 1)
			slow.Reset(kind, 2)
			for _, data := range []string{first, second} {
				ev := sse.Event{Data: []byte(data)}
				v, err := s.Inspect(ev)
				w, slowErr := slow.Inspect(ev)
				if (err == nil) != (slowErr == nil) || (v.Failed == nil) != (w.Failed == nil) || v.Class != w.Class && kind != StreamImages {
					t.Fatalf("%q then %q: %+v, %v the short way, %+v, %v the long one", first, second, v, err, w, slowErr)
				}
				if v.OutputBytes < 0 || v.OutputBytes > len(data) || kind != StreamImages && v.OutputBytes > w.OutputBytes {
					t.Fatalf("%q: %d bytes of output, %d the long way", data, v.OutputBytes, w.OutputBytes)
				}
				s.Head([]byte("data: " + data))
			}
			if u := s.Usage(); u != unknownUsage && (u.Source != realm.UsageUpstream || u.Input < 0 || u.Output < 0) {
				t.Fatalf("%q, %q: usage %+v", first, second, u)
			}
			if s.Sequence() < -1 {
				t.Fatalf("%q, %q: sequence %d", first, second, s.Sequence())
			}
		}
	})
}

// TestMold: chunks that differ only in their text are judged like the first, and
// whatever else differs is seen.
func TestMold(t *testing.T) {
	chunk := func(text, rest string) string {
		return `{"id":"c","choices":[{"index":0,"delta":{"content":"` + text + `"},"finish_reason":null}]` + rest + `}`
	}
	var s StreamState
	s.Reset(StreamChat, 1)
	tests := []struct {
		data   string
		class  Class
		output int
		failed bool
		bad    bool
	}{
		{chunk("Hello", ""), ClassSubstantive, 5, false, false},
		{chunk("a", ""), ClassSubstantive, 1, false, false},
		{chunk(`q\"\u00e9`, ""), ClassSubstantive, 9, false, false},
		{chunk("é", ""), ClassSubstantive, 2, false, false},
		{chunk("", ""), ClassSubstantive, 0, false, false},
		{chunk("\xff", ""), 0, 0, false, true},
		{chunk("\n", ""), 0, 0, false, true},
		{chunk(`a"`, ""), 0, 0, false, true},
		{chunk(`a"},"finish_reason":"stop"}],"x":[{"index":0,"delta":{"content":"`, ""), ClassSubstantive, 1, false, false},
		{chunk("b", `,"error":{"message":"x"}`), ClassTerminal, 0, true, false},
	}
	for i, tt := range tests {
		v, err := s.Inspect(sse.Event{Data: []byte(tt.data)})
		if (err != nil) != tt.bad || v.Class != tt.class || v.OutputBytes != tt.output || (v.Failed != nil) != tt.failed {
			t.Errorf("chunk %d, %q: %+v, %v", i, tt.data, v, err)
		}
	}
	s.Reset(StreamChat, 1)
	for _, typ := range []string{"", "", "error"} {
		v, err := s.Inspect(sse.Event{Type: []byte(typ), Data: []byte(chunk("x", ""))})
		if err != nil || (v.Failed != nil) != (typ == "error") {
			t.Errorf("event %q: %+v, %v", typ, v, err)
		}
	}
}

// TestMoldFollowsTheSequence: the sequence number is read on the short way too, and
// anything that is no sequence number takes the long one.
func TestMoldFollowsTheSequence(t *testing.T) {
	event := func(sequence, delta, padding string) sse.Event {
		return sse.Event{Data: []byte(`{"type":"response.output_text.delta","sequence_number":` + sequence + `,"item_id":"m","delta":"` + delta + `","obfuscation":"` + padding + `"}`)}
	}
	var s StreamState
	s.Reset(StreamResponses, 1)
	tests := []struct {
		sequence, delta, padding string
		want                     int64
		output                   int
	}{
		{"4", "Hello", "abc", 4, 5},
		{"5", "a", "", 5, 1},
		{"10", "é", "xyzxyz", 10, 2},
		{"999999999999999", "x", "", 999999999999999, 1},
		{"9007199254740993", "x", "", 999999999999999, 1},
		{"-1", "x", "", 999999999999999, 1},
		{"1.5", "x", "", 999999999999999, 1},
		{"null", "x", "", 999999999999999, 1},
		{"7", "x", "", 7, 1},
		{"8", "", "", 7 + 1, 0},
	}
	for i, tt := range tests {
		v, err := s.Inspect(event(tt.sequence, tt.delta, tt.padding))
		if err != nil || v.Class != ClassSubstantive || v.OutputBytes != tt.output || s.Sequence() != tt.want {
			t.Errorf("event %d: %+v, %v, sequence %d, want %d", i, v, err, s.Sequence(), tt.want)
		}
	}
	for _, bad := range []string{"07", "1 2", "", "+1", "1e"} {
		if _, err := s.Inspect(event(bad, "x", "")); err == nil {
			t.Errorf("sequence number %q was taken", bad)
		}
	}
}
