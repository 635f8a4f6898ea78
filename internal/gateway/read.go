package gateway

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"realms/internal/limit"
	"realms/internal/realm"
)

// bodyStep is how much of the memory budget a body of unknown size takes at a
// time.
const bodyStep = 64 << 10

// zstdWindow bounds what a zstd frame may make its decoder allocate. Codex's
// frames use at most 2 MiB.
const zstdWindow = 8 << 20

// readBody reads the whole body, decoded, within the limits. The caller releases
// what it gets. The error is a *realm.Error.
func readBody(call *Call, maxBytes int64, budget *limit.Bytes) (*body, error) {
	if call.Length > maxBytes {
		return nil, tooLarge(maxBytes)
	}
	encoding := strings.ToLower(strings.TrimSpace(call.ContentEncoding))
	src, done, err := decoder(encoding, call.Body)
	if err != nil {
		return nil, err
	}
	defer done()
	known := int64(0) // the decoded size is not
	if plain(encoding) && call.Length > 0 {
		known = call.Length
	}
	if known > 0 && !budget.Take(known) {
		return nil, bodyMemoryFull() // before memory is made for it
	}
	b := newBody(int(known)+1, budget) // one more, so that EOF is found without growing
	b.taken = known
	if err := b.fill(src, known, maxBytes); err != nil {
		b.release()
		return nil, err
	}
	return b, nil
}

// fill reads src to its end. The budget of a body whose size is not known is taken
// before the bytes are read.
func (b *body) fill(src io.Reader, known, maxBytes int64) error {
	for {
		if known == 0 && int64(len(b.buf)) >= b.taken && !b.take(bodyStep) {
			return bodyMemoryFull()
		}
		if len(b.buf) == cap(b.buf) {
			b.grow()
		}
		room := cap(b.buf)
		if known == 0 {
			room = min(room, int(b.taken))
		}
		n, err := src.Read(b.buf[len(b.buf):room])
		b.buf = b.buf[:len(b.buf)+n]
		if int64(len(b.buf)) > maxBytes {
			return tooLarge(maxBytes)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return unreadable(err)
		}
	}
}

// grow moves the bytes to a buffer of twice the size, which is the collector's.
func (b *body) grow() {
	grown := append(make([]byte, 0, 2*cap(b.buf)), b.buf...)
	if b.pooled != nil {
		pool := &largeBodies
		if cap(*b.pooled) == smallBody {
			pool = &smallBodies
		}
		pool.Put(b.pooled)
		b.pooled = nil
	}
	b.buf = grown
}

var gzipReaders = sync.Pool{New: func() any { return new(gzip.Reader) }}

var zstdReaders = sync.Pool{New: func() any {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindow))
	if err != nil {
		panic("zstd options: " + err.Error()) // constants: it cannot happen
	}
	return d
}}

func plain(encoding string) bool { return encoding == "" || encoding == "identity" }

// decoder undoes a Content-Encoding; done gives back what it borrowed.
func decoder(encoding string, src io.Reader) (r io.Reader, done func(), err error) {
	if plain(encoding) {
		return src, func() {}, nil
	}
	switch encoding {
	case "gzip", "x-gzip":
		z := gzipReaders.Get().(*gzip.Reader)
		if err := z.Reset(src); err != nil {
			gzipReaders.Put(z)
			return nil, nil, unreadable(err)
		}
		return z, func() { gzipReaders.Put(z) }, nil
	case "zstd":
		z := zstdReaders.Get().(*zstd.Decoder)
		if err := z.Reset(src); err != nil {
			zstdReaders.Put(z)
			return nil, nil, unreadable(err)
		}
		return z, func() {
			_ = z.Reset(nil) // lets go of src
			zstdReaders.Put(z)
		}, nil
	case "br":
		return brotli.NewReader(src), func() {}, nil
	default:
		return nil, nil, realm.Invalid("", fmt.Sprintf("Content-Encoding %.40q is not supported: send the body as it is, or with gzip, zstd or br.", encoding))
	}
}

func tooLarge(maxBytes int64) error {
	return &realm.Error{Code: realm.CodeTooLarge, Message: fmt.Sprintf("The request body is larger than %d bytes (limits.body_bytes).", maxBytes)}
}

func bodyMemoryFull() error {
	return &realm.Error{
		Code: realm.CodeUnavailable, RetryAfter: time.Second,
		Message: "The relay holds as many request bodies as it may (limits.body_memory); try again.",
	}
}

// unreadable tells a body that came too slowly from one that is broken.
func unreadable(err error) error {
	e := &realm.Error{Code: realm.CodeInvalid, Message: "The request body could not be read: it is incomplete, or not what its headers say.", Err: err}
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		e.Message = "The request body did not arrive in time."
	}
	return e
}
