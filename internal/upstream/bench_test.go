package upstream_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"testing"
	"time"

	"realms/internal/netguard"
	"realms/internal/realm"
	"realms/internal/upstream"
)

// cannedServer answers every request with the same bytes and allocates nothing,
// so that a benchmark counts the executor's work alone.
func cannedServer(b *testing.B, answer string, bodySize int) string {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go canned(c, []byte(answer), bodySize)
		}
	}()
	return "http://" + ln.Addr().String() + "/v1"
}

func canned(c net.Conn, answer []byte, bodySize int) {
	defer func() { _ = c.Close() }()
	buf := make([]byte, 256<<10)
	have := 0
	for {
		n, err := c.Read(buf[have:])
		if err != nil {
			return
		}
		have += n
		end := bytes.Index(buf[:have], []byte("\r\n\r\n"))
		if end < 0 || have < end+4+bodySize {
			continue
		}
		have = 0
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}

const smallAnswer = `{"id":"chatcmpl-1","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}`

func cannedAnswer() string {
	return "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nOpenai-Processing-Ms: 5\r\nX-Request-Id: r\r\nServer: x\r\nContent-Length: " +
		strconv.Itoa(len(smallAnswer)) + "\r\n\r\n" + smallAnswer
}

func benchExchange(base string) *upstream.Exchange {
	endpoint := &realm.Endpoint{BaseURL: base}
	return &upstream.Exchange{
		Attempt: realm.Attempt{Endpoint: endpoint, Credential: &realm.Credential{APIKey: "test-key-of-the-bench"}, Model: "m"},
		API:     realm.APIChat, Method: http.MethodPost, Path: "/chat/completions",
		Header:      http.Header{"User-Agent": {"bench/1"}, "Accept": {"application/json"}, "Authorization": {"Bearer client"}, "X-Stainless-Lang": {"go"}},
		ContentType: "application/json",
		Timeouts:    upstream.Timeouts{Connect: 3 * time.Second, FirstByte: 10 * time.Minute, FirstEvent: time.Minute, Idle: 5 * time.Minute},
	}
}

type body struct{ bytes.Reader } // with Len and WriteTo

func (*body) Close() error { return nil }

func benchmarkDo(b *testing.B, size int) {
	prompt := bytes.Repeat([]byte("p"), size)
	base := cannedServer(b, cannedAnswer(), size)
	e := upstream.New(upstream.Options{Guard: netguard.New(netguard.Options{AllowPrivate: true})})
	defer e.Close()
	ctx, cancel := context.WithCancel(context.Background()) // as a server's request context is
	defer cancel()
	buf := make([]byte, 4<<10)
	b.ReportAllocs()
	for b.Loop() {
		x := benchExchange(base)
		r := &body{}
		r.Reset(prompt)
		x.Body, x.Length = r, int64(size)
		res, failure := e.Do(ctx, x)
		if failure != nil {
			b.Fatal(failure.Outcome.Err)
		}
		drain(b, res.Body, buf)
	}
}

// benchmarkBare is the same exchange through a bare transport: the floor.
func benchmarkBare(b *testing.B, size int) {
	prompt := bytes.Repeat([]byte("p"), size)
	base := cannedServer(b, cannedAnswer(), size)
	u, _ := url.Parse(base + "/chat/completions")
	tr := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 512}
	defer tr.CloseIdleConnections()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	buf := make([]byte, 4<<10)
	b.ReportAllocs()
	for b.Loop() {
		x := benchExchange(base)
		r := &body{}
		r.Reset(prompt)
		req := &http.Request{Method: x.Method, URL: u, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: x.Header, Body: r, ContentLength: int64(size)}
		res, err := tr.RoundTrip(req.WithContext(ctx))
		if err != nil {
			b.Fatal(err)
		}
		drain(b, res.Body, buf)
	}
}

func drain(b *testing.B, r io.ReadCloser, buf []byte) {
	for {
		_, err := r.Read(buf)
		if err == io.EOF {
			break
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	_ = r.Close()
}

func BenchmarkDoSmall(b *testing.B)    { benchmarkDo(b, 200) }
func BenchmarkBareSmall(b *testing.B)  { benchmarkBare(b, 200) }
func BenchmarkDo200KiB(b *testing.B)   { benchmarkDo(b, 200<<10) }
func BenchmarkBare200KiB(b *testing.B) { benchmarkBare(b, 200<<10) }
