package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// request is a whole HTTP/1.1 request, ready to be written.
type request struct {
	bytes []byte
	end   []byte // what the answer must have at its end; nil: nothing
}

// The ends of a stream.
var (
	chatEnd      = []byte("data: [DONE]\n\n")
	responsesEnd = []byte("event: response.completed\n")
)

// newRequest builds a chat completion, or what its model says. pad is the prompt's
// size in bytes, tools how many are offered.
func newRequest(model, token string, pad, tools int) request {
	stream := model != modelSmall
	options := ""
	if stream {
		options = `"stream":true,"stream_options":{"include_usage":true},`
	}
	// The prompt is plain text with a line break escaped now and then, as text has.
	prompt := strings.Repeat(`The quick brown fox jumps over the lazy dog; 0123456789 and so on.\n`, pad/67+1)
	if model == modelResponses || model == modelOverChat {
		return newPost("/v1/responses", token, responsesEnd, fmt.Sprintf(
			`{"model":%q,"stream":true,"instructions":"You are helpful.","input":[{"role":"user","content":"%s"}],%s"temperature":0.2}`, model, prompt, offer(tools, true)))
	}
	body := fmt.Sprintf(`{"model":%q,%s"messages":[{"role":"system","content":"You are helpful."},{"role":"user","content":"%s"}],%s"temperature":0.2}`,
		model, options, prompt, offer(tools, false))
	if !stream {
		return newPost("/v1/chat/completions", token, nil, body)
	}
	return newPost("/v1/chat/completions", token, chatEnd, body)
}

// offer is the field of so many tools, in either dialect, each of the size and shape
// that agents' have.
func offer(n int, responses bool) string {
	if n == 0 {
		return ""
	}
	form := `{"type":"function","function":{%s}}`
	if responses {
		form = `{"type":"function",%s}`
	}
	about := strings.Repeat(`Reads what is asked for.\nPaths are \"absolute\", lines count from 1. `, 5)
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(form, fmt.Sprintf(`"name":"tool_%d","description":"%s","strict":false,"parameters":{"type":"object","properties":{`+
			`"path":{"type":"string","description":"Where it is, as an absolute path."},"first":{"type":"integer","description":"The first line."},`+
			`"kinds":{"type":"array","items":{"type":"string","enum":["file","directory","link"]}}},"required":["path"],"additionalProperties":false}`, i, about))
	}
	return `"tools":[` + strings.Join(list, ",") + `],`
}

func newPost(path, token string, end []byte, body string) request {
	head := "POST " + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: realms-bench\r\nAccept: application/json\r\n" +
		"Content-Type: application/json\r\nAuthorization: Bearer " + token + "\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n"
	return request{bytes: []byte(head + body), end: end}
}

// client is one keep-alive connection. It reads just enough HTTP/1.1 to be
// cheaper than what it measures.
type client struct {
	conn net.Conn
	r    *bufio.Reader
	tail []byte // the last bytes of the body
	end  []byte // that is looked for
	seen bool   // it was there
}

func dial(ctx context.Context, addr string) (*client, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connect to the gateway: %w", err)
	}
	return &client{conn: c, r: bufio.NewReaderSize(c, 16<<10)}, nil
}

// do sends a request and reads the answer to its end. first is the time to the
// body's first byte.
func (c *client) do(q request) (first, whole time.Duration, err error) {
	start := time.Now()
	if err := c.conn.SetDeadline(start.Add(30 * time.Second)); err != nil {
		return 0, 0, fmt.Errorf("set the deadline: %w", err)
	}
	length, err := c.begin(q)
	if err != nil {
		return 0, 0, err
	}
	first = time.Since(start)
	if length >= 0 {
		_, err = c.r.Discard(length)
	} else {
		c.end, c.seen = q.end, false
		err = c.chunks()
	}
	if err != nil {
		return 0, 0, fmt.Errorf("read the body: %w", err)
	}
	whole = time.Since(start)
	if q.end != nil && !c.seen {
		return 0, 0, fmt.Errorf("the stream ended without %q: %q", q.end, c.tail)
	}
	return first, whole, nil
}

// begin sends a request and reads to the first byte of the body. The length is
// -1 for a chunked body.
func (c *client) begin(q request) (length int, err error) {
	if _, err := c.conn.Write(q.bytes); err != nil {
		return 0, fmt.Errorf("send: %w", err)
	}
	if length, err = c.head(); err != nil {
		return 0, err
	}
	if _, err := c.r.Peek(1); err != nil {
		return 0, fmt.Errorf("wait for the body: %w", err)
	}
	return length, nil
}

// head reads the status line and the header; any status but 200 is an error.
func (c *client) head() (length int, err error) {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return 0, fmt.Errorf("read the status: %w", err)
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
		status := string(bytes.TrimSpace(line))
		rest, _ := c.r.Peek(min(c.r.Buffered(), 2048))
		return 0, fmt.Errorf("status %s: %s", status, rest)
	}
	length = -1
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return 0, fmt.Errorf("read the header: %w", err)
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			return length, nil
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte("content-length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, fmt.Errorf("read the length: %w", err)
			}
		}
	}
}

// chunks reads a chunked body to its end and keeps its last bytes.
func (c *client) chunks() error {
	c.tail = c.tail[:0]
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("read a chunk's size: %w", err)
		}
		size, err := strconv.ParseInt(string(bytes.TrimRight(line, "\r\n")), 16, 32)
		if err != nil {
			return fmt.Errorf("read a chunk's size: %w", err)
		}
		for rest := int(size); rest > 0; {
			part, err := c.r.Peek(min(rest, c.r.Size()))
			if len(part) == 0 {
				return fmt.Errorf("read a chunk: %w", errors.Join(err, io.ErrUnexpectedEOF))
			}
			c.keep(part)
			rest -= len(part)
			_, _ = c.r.Discard(len(part)) // it was peeked
		}
		if _, err := c.r.Discard(2); err != nil {
			return fmt.Errorf("read a chunk's end: %w", err)
		}
		if size == 0 {
			return nil
		}
	}
}

// keep remembers the last 32 bytes of the body, and whether its end was there.
func (c *client) keep(part []byte) {
	const n = 32 // no end is longer
	if c.end != nil && !c.seen {
		c.seen = bytes.Contains(part, c.end) || bytes.Contains(append(c.tail, part[:min(len(part), n)]...), c.end)
	}
	c.tail = append(c.tail, part[max(0, len(part)-n):]...)
	if len(c.tail) > n {
		c.tail = append(c.tail[:0], c.tail[len(c.tail)-n:]...)
	}
}
