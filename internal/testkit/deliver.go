package testkit

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"
)

// deliverHTTP1 writes an answer to a connection and tells whether it lives on.
// raw is the TCP connection below c. ctx ends when the client goes away.
func deliverHTTP1(ctx context.Context, c, raw net.Conn, r *Request, a *Answer) bool {
	if !pause(ctx, a.Wait) {
		return false
	}
	if a.Raw != nil {
		_ = a.Raw(c)
		return false
	}
	if !a.NoHeader {
		attachExtra(a)
		if _, err := c.Write(append(bytes.Clone(a.Preface), headBytes(a)...)); err != nil {
			r.cancel()
			return false
		}
		if !writeChunks(ctx, c, r, a) {
			return false
		}
	}
	switch a.End {
	case EndClean:
		return endClean(c, r, a)
	case EndStall:
		<-ctx.Done()
	case EndReset:
		reset(raw)
	case EndFIN:
	}
	return false
}

// attachExtra sends what follows the declared end together with it, so that it is
// there as soon as the client has the end.
func attachExtra(a *Answer) {
	if a.Framing != FrameLength || len(a.Extra) == 0 || len(a.Chunks) == 0 || a.End != EndClean {
		return
	}
	last := len(a.Chunks) - 1
	a.Declared = 0
	for _, c := range a.Chunks {
		a.Declared += int64(len(c))
	}
	a.Chunks[last] = append(bytes.Clone(a.Chunks[last]), a.Extra...)
	a.Extra = nil
}

// reset closes a connection with RST instead of FIN.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

func endClean(c net.Conn, r *Request, a *Answer) bool {
	// Complete from here on, whatever the client does: it may have read the end
	// before this goroutine runs again.
	r.finish()
	var end bytes.Buffer
	if a.Framing == FrameChunked {
		end.WriteString("0\r\n")
		_ = a.Trailer.Write(&end)
		end.WriteString("\r\n")
	}
	end.Write(a.Extra)
	_, err := c.Write(end.Bytes())
	return err == nil && a.Framing != FrameClose
}

// headBytes is the status line and the header.
func headBytes(a *Answer) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", a.Status, http.StatusText(a.Status))
	h := a.Header.Clone()
	switch a.Framing {
	case FrameChunked:
		h.Set("Transfer-Encoding", "chunked")
	case FrameLength:
		n := a.Declared
		if n == 0 {
			for _, c := range a.Chunks {
				n += int64(len(c))
			}
		}
		if a.Status != http.StatusNoContent || n > 0 {
			h.Set("Content-Length", strconv.FormatInt(n, 10))
		}
	case FrameClose:
		h.Set("Connection", "close")
	}
	_ = h.Write(&b)
	b.WriteString("\r\n")
	return b.Bytes()
}

func writeChunks(ctx context.Context, c net.Conn, r *Request, a *Answer) bool {
	for i, chunk := range a.Chunks {
		if !pause(ctx, gap(a, i)) {
			return false
		}
		if a.Before != nil {
			a.Before(i)
		}
		if a.Framing == FrameChunked {
			if len(chunk) == 0 {
				continue // an empty chunk would end the body
			}
			chunk = append(append(fmt.Appendf(nil, "%x\r\n", len(chunk)), chunk...), "\r\n"...)
		}
		if _, err := c.Write(chunk); err != nil {
			r.cancel()
			return false
		}
	}
	return true
}

func gap(a *Answer, i int) time.Duration {
	if i == 0 {
		return a.First
	}
	return a.Gap
}

// pause waits, unless the client goes away meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	if d == 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
