package relay

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"realms/internal/config"
	"realms/internal/realm"
)

// inLayouts runs a test twice: in a world whose channels speak what their clients
// speak, and in one where each speaks only the other dialect, so that all that goes
// up or comes down is converted.
func inLayouts(t *testing.T, configure func(*config.Config), test func(t *testing.T, w *world)) {
	t.Helper()
	t.Run("native", func(t *testing.T) {
		t.Parallel()
		test(t, newWorld(t, configure))
	})
	t.Run("converted", func(t *testing.T) {
		t.Parallel()
		test(t, newConvertedWorld(t, configure))
	})
}

func newConvertedWorld(t testing.TB, configure func(*config.Config)) *world {
	t.Helper()
	w := newWorld(t, configure)
	w.converted = true
	return w
}

// declare makes the scene's channels, unless that is done. In a converted world they
// wait for the first request, because its dialect is the one that they do not speak:
// a scene there is for one dialect.
func (s *scene) declare(t testing.TB, f form) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.w.converted && len(s.waiting) > 0 {
		s.apis = f.other()
	}
	if s.w.converted && s.apis != f.other() {
		t.Errorf("a scene of a converted world is asked in two dialects")
	}
	for _, ch := range s.waiting {
		if ch.APIs == 0 {
			ch.APIs = s.apis
		}
		s.w.Declare(t, ch)
	}
	s.waiting = nil
}

// heard is the form in which a request reaches the upstreams.
func (w *world) heard(f form) form {
	if !w.converted {
		return f
	}
	for _, other := range forms {
		if other.stream == f.stream && other.responses != f.responses {
			return other
		}
	}
	return f
}

// same fails unless a client got what the upstream sent it: the bytes, or in a
// converted world the text.
func (w *world) same(t *testing.T, what string, f form, chunks [][]byte, got string) {
	t.Helper()
	if !w.converted {
		sameText(t, what, relayed(chunks), got)
		return
	}
	sameText(t, what, said(t, w.heard(f), plainly(bytes.Join(chunks, nil))), said(t, f, got))
}

// beginning fails unless what a client got is the beginning of what the upstream sent.
func (w *world) beginning(t *testing.T, f form, chunks [][]byte, got string) {
	t.Helper()
	sent := relayed(chunks)
	if w.converted {
		sent, got = said(t, w.heard(f), sent), said(t, f, got)
	}
	if !strings.HasPrefix(sent, got) {
		t.Errorf("the client got\n%.2000q\nof\n%.2000q", got, sent)
	}
}

// said is the text of an answer.
func said(t *testing.T, f form, answer string) string {
	t.Helper()
	if f.stream {
		return text(t, f, answer)
	}
	var body struct {
		Choices []struct{ Message struct{ Content string } }
		Output  []struct{ Content []struct{ Text string } }
	}
	if err := json.Unmarshal([]byte(answer), &body); err != nil {
		t.Errorf("an answer is no JSON: %v: %.200s", err, answer)
	}
	var b strings.Builder
	for _, c := range body.Choices {
		b.WriteString(c.Message.Content)
	}
	for _, item := range body.Output {
		for _, part := range item.Content {
			b.WriteString(part.Text)
		}
	}
	return b.String()
}

// plainly undoes gzip.
func plainly(b []byte) string {
	if !bytes.HasPrefix(b, []byte{0x1f, 0x8b}) {
		return string(b)
	}
	zip, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return err.Error()
	}
	plain, err := io.ReadAll(zip)
	if err != nil {
		return err.Error()
	}
	return string(plain)
}

// whole fails unless a good answer is all that its client's dialect wants, whoever
// wrote it.
func (w *world) whole(t *testing.T, f form, answer string) {
	t.Helper()
	if !w.converted {
		return // it is the upstream's own
	}
	switch {
	case f.responses && f.stream:
		wellFormedResponses(t, keepAlive.ReplaceAllString(answer, ""))
	case f.stream:
		wellFormedChat(t, keepAlive.ReplaceAllString(answer, ""))
	default:
		wellFormedWhole(t, f, answer)
	}
}

// put adds a channel to a scene, now or when the dialect is known.
func (s *scene) put(t testing.TB, ch spec) {
	t.Helper()
	if s.w.converted {
		if ch.APIs == realm.AllAPIs {
			ch.APIs = 0
		}
		s.waiting = append(s.waiting, ch)
		return
	}
	s.w.Declare(t, ch)
}
