package relay

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"realms/internal/catalog"
	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/testkit"
	"realms/internal/testkit/testapp"
)

// atMost is how long these tests wait for anything before they call it missing.
const atMost = 10 * time.Second

// oneWith is one with a configuration of its own.
func oneWith(t testing.TB, script testkit.Script, configure func(*config.Config), keys ...string) (*testapp.App, *testkit.Upstream) {
	t.Helper()
	up := testkit.NewUpstream(t, testkit.Options{Script: script})
	if len(keys) == 0 {
		keys = []string{"key-a"}
	}
	return testapp.Start(t, testapp.Options{
		Configure: configure,
		Channels:  []catalog.ChannelSpec{testapp.Channel("main", up.BaseURL, keys...)},
	}), up
}

// http2Client speaks HTTP/2 in the clear, by prior knowledge.
func http2Client(t testing.TB) *http.Client {
	t.Helper()
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: &p, DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// wire is a client that speaks bytes.
type wire struct {
	*net.TCPConn
	t testing.TB
	r *bufio.Reader
}

// dialWire connects to an app. Each option changes the socket before it connects.
func dialWire(t testing.TB, app *testapp.App, options ...func(fd int) error) *wire {
	t.Helper()
	d := net.Dialer{Timeout: atMost, Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) {
			for _, o := range options {
				failed = errors.Join(failed, o(int(fd)))
			}
		})
		return errors.Join(err, failed)
	}}
	c, err := d.DialContext(t.Context(), "tcp", strings.TrimPrefix(app.URL, "http://"))
	if err != nil {
		t.Fatalf("dial the app: %v", err)
	}
	w := &wire{TCPConn: c.(*net.TCPConn), t: t, r: bufio.NewReader(c)}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

// smallWindow lets a socket take little before its owner reads: its buffer is
// tiny, and so are its segments, or the far end's kernel would hold megabytes.
func smallWindow(fd int) error {
	return errors.Join(
		syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096),
		syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 536))
}

func (w *wire) send(text string) {
	w.t.Helper()
	_ = w.SetWriteDeadline(time.Now().Add(atMost))
	if _, err := io.WriteString(w, text); err != nil {
		w.t.Fatalf("send: %v", err)
	}
}

// sendAll is send for what the far end may refuse half way.
func (w *wire) sendAll(text string) error {
	_ = w.SetWriteDeadline(time.Now().Add(atMost))
	_, err := io.WriteString(w, text)
	return err
}

// head reads an answer up to its body.
func (w *wire) head(method string) *http.Response {
	w.t.Helper()
	_ = w.SetReadDeadline(time.Now().Add(atMost))
	res, err := http.ReadResponse(w.r, &http.Request{Method: method})
	if err != nil {
		w.t.Fatalf("read an answer: %v", err)
	}
	return res
}

// answer reads a whole answer.
func (w *wire) answer(method string) *testapp.Answer {
	w.t.Helper()
	res := w.head(method)
	body, err := io.ReadAll(res.Body)
	return &testapp.Answer{Response: res, Body: string(body), Err: err}
}

// until reads up to and including a text of an answer's body.
func until(t testing.TB, r io.Reader, text string) string {
	t.Helper()
	var got []byte
	one := make([]byte, 1)
	for !strings.HasSuffix(string(got), text) {
		if _, err := io.ReadFull(r, one); err != nil {
			t.Fatalf("the answer ended without %q: %v\n%s", text, err, got)
		}
		got = append(got, one[0])
	}
	return string(got)
}

// ended tells whether the far end closes the connection before it says more.
func (w *wire) ended() bool {
	_ = w.SetReadDeadline(time.Now().Add(atMost))
	_, err := w.r.ReadByte()
	var n net.Error
	return err != nil && (!errors.As(err, &n) || !n.Timeout())
}

// reset closes with RST instead of FIN.
func (w *wire) reset() {
	_ = w.SetLinger(0)
	_ = w.Close()
}

// rawRequest is a request as bytes, with the app's token. Header lines end without
// a line break.
func rawRequest(app *testapp.App, method, path, body string, headers ...string) string {
	var b strings.Builder
	b.WriteString(method + " " + path + " HTTP/1.1\r\nHost: relay.test\r\nAuthorization: Bearer " + app.Token + "\r\n")
	if body != "" && !slices.ContainsFunc(headers, func(h string) bool { return strings.HasPrefix(h, "Transfer-Encoding") }) {
		headers = append([]string{"Content-Type: application/json", "Content-Length: " + strconv.Itoa(len(body))}, headers...)
	}
	for _, h := range headers {
		b.WriteString(h + "\r\n")
	}
	return b.String() + "\r\n" + body
}

// chunked is a body in chunks of at most n bytes.
func chunked(body string, n int) string {
	var b strings.Builder
	for len(body) > 0 {
		piece := body[:min(n, len(body))]
		body = body[len(piece):]
		b.WriteString(strconv.FormatInt(int64(len(piece)), 16) + "\r\n" + piece + "\r\n")
	}
	return b.String() + "0\r\n\r\n"
}

// fault is an error in OpenAI's shape.
type fault struct {
	Status            int
	Type, Code, Param string
}

// isFault checks that an answer is the error that is wanted, whole and in shape.
func isFault(t testing.TB, a *testapp.Answer, want fault) {
	t.Helper()
	var got struct {
		Error map[string]any `json:"error"`
	}
	err := json.Unmarshal([]byte(a.Body), &got)
	e := got.Error
	message, _ := e["message"].(string)
	word := func(key string) string { s, _ := e[key].(string); return s }
	_, param := e["param"]
	_, code := e["code"]
	switch {
	case err != nil || len(e) != 4 || !param || !code || a.Err != nil:
		t.Errorf("not an error of OpenAI's shape (%v, %v): %d %s", err, a.Err, a.StatusCode, a.Body)
	case (fault{a.StatusCode, word("type"), word("code"), word("param")}) != want:
		t.Errorf("answer is %d %s, want %+v", a.StatusCode, a.Body, want)
	case a.Header.Get("Content-Type") != "application/json":
		t.Errorf("content type of an error: %q", a.Header.Get("Content-Type"))
	case a.Header.Get("X-Request-Id") == "" || !strings.Contains(message, a.Header.Get("X-Request-Id")):
		t.Errorf("the message %q lacks the request id %q", message, a.Header.Get("X-Request-Id"))
	}
}

// rowsOf waits for the rows of requests by the ids that their client gave them.
func rowsOf(t testing.TB, app *testapp.App, ids ...string) map[string]realm.RequestRecord {
	t.Helper()
	rows := map[string]realm.RequestRecord{}
	testkit.Poll(t, "the rows of "+strconv.Itoa(len(ids))+" requests", func() bool {
		clear(rows)
		var page store.RequestPage
		page.Limit = 1000
		for {
			list, err := app.Store.Read().Requests.List(t.Context(), page)
			if err != nil {
				t.Fatalf("list the requests: %v", err)
			}
			for _, r := range list {
				if slices.Contains(ids, r.ClientRequestID) {
					rows[r.ClientRequestID] = r
				}
			}
			if len(list) < page.Limit {
				return len(rows) == len(ids)
			}
			last := list[len(list)-1]
			page.Before = store.RequestCursor{StartedAt: last.StartedAt, ID: last.ID}
		}
	})
	return rows
}

// ending is how a request ended, as its row tells.
type ending struct {
	Ended    realm.Ended
	Cause    realm.Cause
	Status   int
	Attempts int
}

func endingOf(r realm.RequestRecord) ending { return ending{r.Ended, r.Cause, r.Status, r.Attempts} }
