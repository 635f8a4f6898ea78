package relay

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"realms/internal/testkit"
)

// tap is an upstream's stream that the test itself writes, piece by piece.
type tap struct {
	pieces chan string
	done   chan struct{}
	end    func() // ends the stream cleanly; the test must defer it
}

func newTap() *tap {
	p := &tap{pieces: make(chan string), done: make(chan struct{})}
	p.end = sync.OnceFunc(func() { close(p.done) })
	return p
}

// fault lets the upstream answer from the tap.
func (p *tap) fault() testkit.Fault { return p.as("text/event-stream") }

// as lets the upstream answer with another type.
func (p *tap) as(contentType string) testkit.Fault {
	return writing(func(w io.Writer) error {
		_, err := io.WriteString(w, "HTTP/1.1 200 OK\r\nContent-Type: "+contentType+"\r\nTransfer-Encoding: chunked\r\n\r\n")
		for err == nil {
			select {
			case piece := <-p.pieces:
				_, err = w.Write(framedChunk([]byte(piece)))
			case <-p.done:
				_, err = io.WriteString(w, "0\r\n\r\n")
				return err
			}
		}
		return err
	})
}

// send gives the upstream its next pieces, and returns when it has taken them.
func (p *tap) send(pieces ...string) {
	for _, piece := range pieces {
		select {
		case p.pieces <- piece:
		case <-p.done:
		}
	}
}

// reader is a client that reads its answer bit by bit.
type reader struct {
	*http.Response
	got    strings.Builder
	cancel context.CancelFunc
}

// open asks and waits for the header.
func (s *scene) open(t *testing.T, f form) *reader {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	res, err := s.w.Client.Do(s.request(t, f).WithContext(ctx))
	if err != nil {
		cancel()
		t.Fatalf("%s: %v", f.name, err)
	}
	r := &reader{Response: res, cancel: cancel}
	t.Cleanup(r.close)
	return r
}

func (r *reader) close() {
	_ = r.Body.Close()
	r.cancel()
}

// until reads until ok likes what came so far.
func (r *reader) until(t *testing.T, what string, ok func(got string) bool) string {
	t.Helper()
	var buf [4096]byte
	for !ok(r.got.String()) {
		n, err := r.Body.Read(buf[:])
		r.got.Write(buf[:n])
		if err != nil && !ok(r.got.String()) {
			t.Fatalf("waited in vain for %s: %v after %q", what, err, r.got.String())
		}
	}
	return r.got.String()
}

// exactly reads until just these bytes have come.
func (r *reader) exactly(t *testing.T, want string) {
	t.Helper()
	got := r.until(t, "all that was sent", func(got string) bool { return len(got) >= len(want) })
	sameText(t, "what came so far", want, got)
}

// rest reads to the end.
func (r *reader) rest(t *testing.T) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Errorf("read to the end: %v", err)
	}
	r.got.Write(b)
	return r.got.String()
}

// strings are chunks as text.
func texts(chunks [][]byte) []string {
	var list []string
	for _, c := range chunks {
		list = append(list, string(c))
	}
	return list
}
