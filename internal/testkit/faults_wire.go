package testkit

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Reset cuts the connection with RST before anything is answered.
func Reset() Fault {
	return func(_ *Request, a *Answer) { a.NoHeader, a.End = true, EndReset }
}

// Hangup closes the connection before anything is answered.
func Hangup() Fault {
	return func(_ *Request, a *Answer) { a.NoHeader, a.End = true, EndFIN }
}

// Raw writes bytes instead of an answer, and closes.
func Raw(answer string) Fault {
	return func(_ *Request, a *Answer) {
		a.Raw = func(w io.Writer) error {
			_, err := io.WriteString(w, answer)
			return err
		}
	}
}

// Flood writes head, then line for ever, until the client hangs up.
func Flood(head, line string) Fault {
	return func(_ *Request, a *Answer) {
		a.Raw = func(w io.Writer) error {
			block := bytes.Repeat([]byte(line), 1+(16<<10)/len(line))
			_, err := io.WriteString(w, head)
			for err == nil {
				_, err = w.Write(block)
			}
			return err
		}
	}
}

// Interim sends n interim answers before the real one.
func Interim(status, n int) Fault {
	return func(_ *Request, a *Answer) {
		a.Preface = []byte(strings.Repeat(interim(status), n))
	}
}

// InterimFlood sends interim answers for ever.
func InterimFlood() Fault { return Flood("", interim(http.StatusEarlyHints)) }

func interim(status int) string {
	return fmt.Sprintf("HTTP/1.1 %d %s\r\n\r\n", status, http.StatusText(status))
}

// SwitchingProtocols is a 101 that nobody asked for.
func SwitchingProtocols() Fault {
	return Raw("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
}

// HeaderBytes adds one header of n bytes.
func HeaderBytes(n int) Fault {
	return func(_ *Request, a *Answer) { a.Header.Set("X-Padding", strings.Repeat("p", n)) }
}

// HeaderLines adds n headers.
func HeaderLines(n int) Fault {
	return func(_ *Request, a *Answer) {
		for i := range n {
			a.Header.Set(fmt.Sprintf("X-%d", i), "v")
		}
	}
}

// HeaderFlood sends headers for ever.
func HeaderFlood() Fault { return Flood("HTTP/1.1 200 OK\r\n", "X-More: and more\r\n") }

// HeaderCR has a bare carriage return in a header's value.
func HeaderCR() Fault {
	return Raw("HTTP/1.1 200 OK\r\nContent-Type: application/json\rSet-Cookie: a=b\r\nContent-Length: 2\r\n\r\n{}")
}

// TrailerFlood sends n bytes of trailers after a good body.
func TrailerFlood(n int) Fault {
	return func(_ *Request, a *Answer) {
		a.Framing = FrameChunked
		a.Trailer = http.Header{}
		for i := 0; i*1024 < n; i++ {
			a.Trailer.Set(fmt.Sprintf("X-Trailer-%d", i), strings.Repeat("t", 1024))
		}
	}
}

// ExtraBytes follow after the answer's declared end, in the same write: a whole
// forged answer.
func ExtraBytes() Fault {
	return func(_ *Request, a *Answer) { a.Extra = []byte("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged") }
}

// ShortBody declares more than it sends, and closes.
func ShortBody() Fault {
	return func(r *Request, a *Answer) {
		all := bytes.Join(a.Chunks, nil)
		a.Framing, a.Declared, a.End = FrameLength, int64(len(all)+100), EndFIN
	}
}

// TwoLengths declares two lengths that contradict each other.
func TwoLengths() Fault {
	return Raw("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nContent-Length: 40\r\n\r\n{}")
}

// HTTP09 answers without any header.
func HTTP09() Fault { return Raw("{\"object\":\"chat.completion\"}\n") }

// StrangeStatus is one that HTTP does not know.
func StrangeStatus(status int) Fault { return Status(status, "{}") }

// NoContentWithBody is a 204 that has a body all the same.
func NoContentWithBody() Fault {
	return Raw("HTTP/1.1 204 No Content\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
}
