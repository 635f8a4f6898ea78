package relay

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"realms/internal/realm"
	"realms/internal/testkit/testapp"
)

// framed is one way to write a request, with a second one right behind it.
type framed struct {
	name   string
	line   string   // of the request; "" is a POST of a chat
	host   []string // header lines; nil: a good Host
	header []string // beside Authorization, Content-Type and X-Request-Id
	body   string   // as it is on the wire
	status int
	first  bool // the first request reached the upstream
	second bool // the second did: the connection lived on
	half   bool // the client closes its half behind the body, and sends no second
	silent bool // the request has no row, because no handler saw it
}

const (
	good200 = http.StatusOK
	bad400  = http.StatusBadRequest
	not501  = http.StatusNotImplemented
)

var (
	bodyLength = "Content-Length: " + strconv.Itoa(len(chatBody))
	inChunks   = "Transfer-Encoding: chunked"
)

// one chunk of the body, its size line and its end given.
func oneChunk(sizeLine string) string { return sizeLine + chatBody + "\r\n0\r\n\r\n" }

func framings() []framed {
	size := strconv.FormatInt(int64(len(chatBody)), 16)
	smuggled := "GET /smuggled HTTP/1.1\r\nHost: relay.test\r\n\r\n"
	list := []framed{
		{name: "a length", header: []string{bodyLength}, body: chatBody, status: good200, first: true, second: true},
		{name: "two equal lengths", header: []string{bodyLength, bodyLength}, body: chatBody, status: good200, first: true, second: true},
		{name: "a folded line", header: []string{"X-Folded: a\r\n b", bodyLength}, body: chatBody, status: good200, first: true, second: true},
		{name: "an absolute form", line: "POST http://evil.test/v1/chat/completions HTTP/1.1", header: []string{bodyLength}, body: chatBody, status: good200, first: true, second: true},
		{name: "names with underscores", header: []string{bodyLength, "X_Forwarded_For: 192.0.2.1", "Content_Length: 1", "Transfer_Encoding: chunked"}, body: chatBody, status: good200, first: true, second: true},

		{name: "chunks", header: []string{inChunks}, body: chunked(chatBody, 7), status: good200, first: true},
		{name: "chunks and trailers", header: []string{inChunks, "Trailer: Authorization"}, body: strings.TrimSuffix(chunked(chatBody, 7), "\r\n") + "Authorization: Bearer x\r\n\r\n", status: good200, first: true},
		{name: "length and chunks", header: []string{bodyLength, inChunks}, body: chunked(chatBody, 7), status: good200, first: true},
		{name: "chunks and length", header: []string{inChunks, bodyLength}, body: chunked(chatBody, 7), status: good200, first: true},
		{name: "a length that reaches into the next", header: []string{"Content-Length: " + strconv.Itoa(len(chunked(chatBody, 7))+len(smuggled)), inChunks}, body: chunked(chatBody, 7) + smuggled, status: good200, first: true},
		{name: "a length that ends before the chunks", header: []string{"Content-Length: 4", inChunks}, body: chunked(chatBody, 7), status: good200, first: true},

		{name: "a chunk's line that ends in LF", header: []string{inChunks}, body: oneChunk(size + "\n"), status: bad400},
		{name: "a chunk of 0x", header: []string{inChunks}, body: oneChunk("0x" + size + "\r\n"), status: bad400},
		{name: "a chunk of plus", header: []string{inChunks}, body: oneChunk("+" + size + "\r\n"), status: bad400},
		{name: "a chunk that overflows", header: []string{inChunks}, body: oneChunk("10000000000000000" + size + "\r\n"), status: bad400},
		{name: "a chunk's extension with LF", header: []string{inChunks}, body: oneChunk(size + ";a\nb\r\n"), status: bad400},
		{name: "a chunk that is longer than it says", header: []string{inChunks}, body: oneChunk("1\r\n"), status: bad400},
		{name: "chunks without end", header: []string{inChunks}, body: size + "\r\n" + chatBody + "\r\n", half: true, status: bad400},
		{name: "a body shorter than its length", header: []string{"Content-Length: " + strconv.Itoa(len(chatBody)+1)}, body: chatBody, half: true, status: bad400},
	}
	for name, header := range map[string][]string{
		"two lengths": {bodyLength, "Content-Length: 5"}, "a length with plus": {"Content-Length: +" + strconv.Itoa(len(chatBody))},
		"a length below nothing": {"Content-Length: -1"}, "a list of lengths": {"Content-Length: 5, 5"},
		"space before the colon": {"Content-Length : " + strconv.Itoa(len(chatBody))},
		"a vertical tab":         {"Transfer-Encoding: \x0bchunked"}, "a bare CR": {bodyLength, "X-Bare: a\rb"}, "a NUL": {bodyLength, "X-Nul: a\x00b"},
		"a line without colon": {bodyLength, "X-Nothing"},
	} {
		list = append(list, framed{name: name, header: header, body: chatBody, status: bad400, silent: true})
	}
	for name, host := range map[string][]string{
		"no host": {}, "two hosts": {"Host: relay.test", "Host: evil.test"}, "a host with a path": {"Host: a/b@c"}, "a host with a query": {"Host: a?/admin"},
	} {
		list = append(list, framed{name: name, host: host, header: []string{bodyLength}, body: chatBody, status: bad400, silent: true})
	}
	for name, header := range map[string][]string{
		"identity": {"Transfer-Encoding: identity"}, "an unknown encoding": {"Transfer-Encoding: xchunked"},
		"two encodings": {"Transfer-Encoding: gzip, chunked"}, "an encoding twice": {inChunks, inChunks},
	} {
		list = append(list, framed{name: name, header: header, body: chunked(chatBody, 7), status: not501, silent: true})
	}
	return append(list,
		framed{name: "lines that end in LF", line: "LF", header: []string{bodyLength}, body: chatBody, status: good200, first: true, second: true},
		framed{name: "64 KiB of headers", header: []string{bodyLength, "X-Long: " + strings.Repeat("x", 64<<10)}, body: chatBody, status: http.StatusRequestHeaderFieldsTooLarge, silent: true},
		framed{name: "CONNECT", line: "CONNECT relay.test:443 HTTP/1.1", header: []string{}, status: http.StatusNotFound, second: true, silent: true},
		framed{name: "TRACE", line: "TRACE /v1/chat/completions HTTP/1.1", status: http.StatusMethodNotAllowed, second: true, silent: true},
		framed{name: "an encoded slash", line: "POST /v1%2fchat/completions HTTP/1.1", header: []string{bodyLength}, body: chatBody, status: http.StatusNotFound, second: true, silent: true},
		framed{name: "dots in an id", line: "GET /v1/responses/..%2f..%2fadmin HTTP/1.1", status: http.StatusNotFound, second: true},
		framed{name: "HEAD of a list", line: "HEAD /v1/models HTTP/1.1", status: good200, second: true, silent: true},
		framed{name: "HTTP/1.0", line: "POST /v1/chat/completions HTTP/1.0", header: []string{bodyLength}, body: chatBody, status: good200, first: true},
		framed{name: "HTTP/3.7", line: "POST /v1/chat/completions HTTP/3.7", header: []string{bodyLength}, body: chatBody, status: http.StatusHTTPVersionNotSupported, silent: true},
		framed{name: "chunks where no body belongs", line: "GET /healthz HTTP/1.1", header: []string{bodyLength, inChunks}, body: "0\r\n\r\n", status: good200, silent: true},
		framed{name: "chunks with a preflight", line: "OPTIONS /v1/chat/completions HTTP/1.1", header: []string{bodyLength, inChunks}, body: "0\r\n\r\n", status: http.StatusNoContent, silent: true},
		framed{name: "chunks to nowhere", line: "POST /nowhere HTTP/1.1", header: []string{bodyLength, inChunks}, body: "0\r\n\r\n", status: http.StatusNotFound, silent: true},
		framed{name: "chunks to the front page", line: "GET / HTTP/1.1", header: []string{inChunks}, body: "0\r\n\r\n", status: good200, silent: true},
		framed{name: "chunks to a path that is not clean", line: "POST /v1//models HTTP/1.1", header: []string{inChunks}, body: "0\r\n\r\n", status: http.StatusNotFound, silent: true},
	)
}

func (f *framed) text(app *testapp.App, id string) string {
	line := f.line
	if line == "" || line == "LF" {
		line = "POST /v1/chat/completions HTTP/1.1"
	}
	lines := []string{line}
	if f.host == nil {
		lines = append(lines, "Host: relay.test")
	}
	lines = append(lines, f.host...)
	lines = append(lines, "Authorization: Bearer "+app.Token, "Content-Type: application/json", "X-Request-Id: "+id)
	end := "\r\n"
	if f.line == "LF" {
		end = "\n"
	}
	return strings.Join(append(lines, f.header...), end) + end + end + f.body
}

// E-06: every request is framed as its bytes say, or refused before anything of it
// is executed; and where two readers might disagree on its end, nothing behind it
// is read as a request.
func TestRequestIsFramedOneWayOnly(t *testing.T) {
	app, up := one(t, nil)
	rows := map[string]framed{}
	for i, f := range framings() {
		t.Run(f.name, func(t *testing.T) {
			id := "framed-" + strconv.Itoa(i)
			if !f.silent {
				rows[id] = f
			}
			before := up.Count()
			w := dialWire(t, app)
			text := f.text(app, id)
			if f.half {
				w.send(text)
				_ = w.CloseWrite()
			} else {
				text += rawRequest(app, http.MethodPost, "/v1/embeddings", `{"model":"second","input":"x"}`)
				if err := w.sendAll(text); err != nil && f.second {
					t.Fatal(err)
				}
			}
			method, _, _ := strings.Cut(text, " ")
			a := w.answer(method)
			if a.StatusCode != f.status || a.Err != nil && f.status != http.StatusRequestHeaderFieldsTooLarge { // what is not read of that one resets the connection
				t.Errorf("status %d, want %d: %v %s", a.StatusCode, f.status, a.Err, a.Body)
			}
			if strings.Contains(a.Body, app.Token) {
				t.Errorf("the answer repeats the token: %s", a.Body)
			}
			want := 0
			if f.first {
				want++
			}
			if f.second {
				want++
				if second := w.answer(http.MethodPost); second.StatusCode != http.StatusOK || !strings.Contains(second.Body, `"model":"second"`) {
					t.Errorf("the second request: %d %s", second.StatusCode, second.Body)
				}
			} else if !w.ended() {
				t.Error("the connection was not closed behind the answer")
			}
			if n := up.Count() - before; n != want {
				t.Errorf("%d requests reached the upstream, want %d", n, want)
			}
			if f.first && string(up.Requests()[before].Body) != chatBody {
				t.Errorf("the upstream got %q", up.Requests()[before].Body)
			}
		})
	}
	for id, row := range rowsOf(t, app, slices.Collect(maps.Keys(rows))...) {
		f := rows[id]
		want := ending{realm.EndedRefused, realm.CauseRefused, f.status, 0}
		if f.first {
			want = ending{realm.EndedCompleted, realm.CauseOK, f.status, 1}
		}
		if endingOf(row) != want {
			t.Errorf("row of %s: %+v, want %+v", f.name, endingOf(row), want)
		}
	}
}
