package upstream

import (
	"compress/flate"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strings"
)

// encodingError is a body that is not encoded as it says, or inflates too far.
type encodingError struct{ err error }

func (e *encodingError) Error() string { return e.err.Error() }

func (e *encodingError) Unwrap() error { return e.err }

var errInflated = errors.New("decoded body is larger than allowed")

// errEncoding is a Content-Encoding that was not asked for and is not gzip.
var errEncoding = errors.New("unasked content encoding")

// decode wraps a body in what its Content-Encoding asks for. limit bounds the
// decoded size. We ask for identity; gzip comes from those who do not listen.
func decode(h http.Header, raw io.Reader, limit int64) (io.Reader, error) {
	encodings := h["Content-Encoding"]
	if len(encodings) == 0 {
		return raw, nil
	}
	switch strings.ToLower(strings.TrimSpace(strings.Join(encodings, ","))) {
	case "", "identity":
		return raw, nil
	case "gzip", "x-gzip":
		return &inflater{raw: raw, left: limit}, nil
	}
	return nil, errEncoding
}

// inflater decodes gzip as it comes: what the upstream has flushed is given at
// once.
type inflater struct {
	raw  io.Reader
	zip  *gzip.Reader // nil until the first read: its header may be long in coming
	left int64
}

func (z *inflater) Read(p []byte) (int, error) {
	if z.zip == nil {
		zip, err := gzip.NewReader(z.raw)
		if err != nil {
			return 0, wrapEncoding(err)
		}
		z.zip = zip
	}
	n, err := z.zip.Read(p)
	if z.left -= int64(n); z.left < 0 {
		return 0, &encodingError{errInflated}
	}
	if err != nil {
		return n, wrapEncoding(err)
	}
	return n, nil
}

// wrapEncoding marks gzip's own errors; those of the connection pass through.
func wrapEncoding(err error) error {
	var corrupt flate.CorruptInputError
	if errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || errors.As(err, &corrupt) {
		return &encodingError{err}
	}
	return err
}
