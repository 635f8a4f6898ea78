package gateway

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"realms/internal/limit"
	"realms/internal/realm"
)

func compressed(t *testing.T, encoding, text string) []byte {
	t.Helper()
	var buf bytes.Buffer
	var w io.WriteCloser
	switch encoding {
	case "gzip":
		w = gzip.NewWriter(&buf)
	case "br":
		w = brotli.NewWriter(&buf)
	case "zstd":
		z, err := zstd.NewWriter(&buf)
		if err != nil {
			t.Fatal(err)
		}
		w = z
	default:
		return []byte(text)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestReadBody(t *testing.T) {
	const most = 1 << 20
	long := strings.Repeat("0123456789abcdef", most/16)
	tests := []struct {
		name, encoding, text string
		chunked              bool
		want                 realm.Code // empty: it is read
	}{
		{name: "empty"},
		{name: "small", text: `{"a":1}`},
		{name: "small, chunked", text: `{"a":1}`, chunked: true},
		{name: "past the small buffer", text: long[:smallBody+1], chunked: true},
		{name: "as large as allowed", text: long},
		{name: "as large as allowed, chunked", text: long, chunked: true},
		{name: "one byte more", text: long + "x", want: realm.CodeTooLarge},
		{name: "one byte more, chunked", text: long + "x", chunked: true, want: realm.CodeTooLarge},
		{name: "gzip", encoding: "gzip", text: long},
		{name: "zstd", encoding: "zstd", text: long},
		{name: "br", encoding: "br", text: long},
		{name: "gzip bomb", encoding: "gzip", text: long + "x", want: realm.CodeTooLarge},
		{name: "zstd bomb", encoding: "zstd", text: long + "x", want: realm.CodeTooLarge},
		{name: "br bomb", encoding: "br", text: long + "x", want: realm.CodeTooLarge},
		{name: "unknown encoding", encoding: "compress", text: "x", want: realm.CodeInvalid},
		{name: "two encodings", encoding: "gzip, zstd", text: "x", want: realm.CodeInvalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			budget := limit.NewBytes(4 << 20)
			wire := compressed(t, tt.encoding, tt.text)
			call := &Call{ContentEncoding: tt.encoding, Length: int64(len(wire)), Body: iotest.HalfReader(bytes.NewReader(wire))}
			if tt.chunked {
				call.Length = -1
			}
			b, err := readBody(call, most, budget)
			if tt.want != "" {
				if got := realm.AsError(err).Code; err == nil || got != tt.want {
					t.Fatalf("error %v (%s), want %s", err, got, tt.want)
				}
			} else {
				if err != nil {
					t.Fatal(err)
				}
				if string(b.buf) != tt.text {
					t.Fatalf("%d bytes were read, not the %d that were sent", len(b.buf), len(tt.text))
				}
				if held := budget.Held(); held < int64(len(tt.text)) {
					t.Errorf("%d bytes of the budget are held for %d", held, len(tt.text))
				}
				b.release()
			}
			if held := budget.Held(); held != 0 {
				t.Errorf("%d bytes of the budget stay held", held)
			}
		})
	}
}

func TestReadBodyStopsAtTheSharedBudget(t *testing.T) {
	budget := limit.NewBytes(200 << 10)
	for _, length := range []int64{300 << 10, -1} {
		read := 0
		src := readerFunc(func(p []byte) (int, error) {
			if read += len(p); read > 300<<10 {
				return 0, io.EOF
			}
			return len(p), nil
		})
		_, err := readBody(&Call{Length: length, Body: src}, 1<<20, budget)
		e := realm.AsError(err)
		if e.Code != realm.CodeUnavailable || e.RetryAfter == 0 {
			t.Fatalf("length %d: %v, want unavailable with a time to come again", length, err)
		}
		if length > 0 && read != 0 {
			t.Errorf("%d bytes were read of a body that there is no room for", read)
		}
		if held := budget.Held(); held != 0 {
			t.Errorf("%d bytes of the budget stay held", held)
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestReadBodyReportsABrokenBody(t *testing.T) {
	for name, call := range map[string]*Call{
		"cut":          {Length: 10, Body: iotest.ErrReader(io.ErrUnexpectedEOF)},
		"not gzip":     {Length: 5, ContentEncoding: "gzip", Body: strings.NewReader("plain")},
		"not zstd":     {Length: 5, ContentEncoding: "zstd", Body: strings.NewReader("plain")},
		"gzip cut off": {Length: -1, ContentEncoding: "gzip", Body: bytes.NewReader(compressed(t, "gzip", strings.Repeat("a", 1000))[:20])},
	} {
		_, err := readBody(call, 1<<20, limit.NewBytes(1<<20))
		if err == nil || realm.AsError(err).Code != realm.CodeInvalid {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
}

// A body's buffer must not serve another request while a transport may read it:
// the race detector watches.
func TestBodyOutlivesItsReaders(t *testing.T) {
	budget := limit.NewBytes(1 << 20)
	var wg sync.WaitGroup
	for range 200 {
		b := newBody(10, budget)
		b.take(10)
		b.buf = append(b.buf, "0123456789"...)
		for range 3 {
			r := b.reader()
			wg.Go(func() {
				got, err := io.ReadAll(r)
				if err != nil || (len(got) != 0 && !strings.HasPrefix("0123456789", string(got))) {
					t.Errorf("read %q, %v", got, err)
				}
				_ = r.Close()
			})
			wg.Go(func() { _ = r.Close() })
			w := b.reader()
			wg.Go(func() {
				var out bytes.Buffer
				if n, err := w.WriteTo(&out); err != nil || int(n) != out.Len() || !strings.HasPrefix("0123456789", out.String()) {
					t.Errorf("wrote %q, %v", out.String(), err)
				}
			})
			wg.Go(func() { _ = w.Close() })
		}
		b.release()
	}
	wg.Wait()
	if held := budget.Held(); held != 0 {
		t.Errorf("%d bytes stay held", held)
	}
}

func TestWritingABodyKeepsNoReference(t *testing.T) {
	b := newBody(3, limit.NewBytes(10))
	b.buf = append(b.buf, "abc"...)
	r := b.reader()
	for range 3 { // net/http writes it, and then looks whether there is more
		if _, err := r.WriteTo(io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	_ = r.Close()
	if refs := b.refs.Load(); refs != 1 {
		t.Errorf("%d references are left, want the handler's own", refs)
	}
}

func TestClosedBodyReaderReadsNothing(t *testing.T) {
	b := newBody(3, limit.NewBytes(10))
	b.buf = append(b.buf, "abc"...)
	r := b.reader()
	_ = r.Close()
	_ = r.Close()
	if n, err := r.Read(make([]byte, 3)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("read %d bytes, %v after Close", n, err)
	}
	if refs := b.refs.Load(); refs != 1 {
		t.Errorf("%d references are left, want the handler's own", refs)
	}
}
