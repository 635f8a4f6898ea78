package server

import (
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// A body that does not come ends its connection in time, whether a handler reads
// it, gives up, or never looks at it.
func TestFrontWaitsForNoBody(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/unread", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	mux.HandleFunc("/read", func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: front(mux, http.NotFound, 50*time.Millisecond)}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ln) }()
	defer func() { _ = srv.Close(); <-done }()
	for _, request := range []string{
		"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab",
		"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
		"POST /unread HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
		"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab",
		"POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
		"POST /not//clean HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab",
	} {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
		if answer, err := io.ReadAll(c); err != nil {
			t.Errorf("%q: %v behind %q", request, err, answer)
		}
		_ = c.Close()
	}
	// One that came whole says nothing about the next.
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	for _, path := range []string{"/unread", "/read", "/unread", "/read"} {
		_, _ = io.WriteString(c, "POST "+path+" HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde")
		if n, err := c.Read(make([]byte, 1<<10)); n == 0 {
			t.Fatalf("%s: %v", path, err)
		}
		<-time.After(100 * time.Millisecond)
	}
}

func TestOnlyCleanPathsAreServed(t *testing.T) {
	for path, want := range map[string]bool{
		"/": true, "/v1": true, "/v1/": true, "/v1/models": true, "/v1/models/a.b": true, "/v1/...": true, "/v1/%2e%2e": true,
		"": false, "*": false, "//": false, "/v1//models": false, "//v1": false, "/v1/models//": false, "/v1/../ui": false,
		"/..": false, "/.": false, "/v1/./models": false, "/v1/..": false, "relay.test:443": false,
	} {
		if got := clean(path); got != want {
			t.Errorf("clean(%q) = %v", path, got)
		}
	}
}
