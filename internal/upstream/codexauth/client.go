package codexauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"realms/internal/realm"
)

// Where the provider is.
const (
	DefaultIssuer  = "https://auth.openai.com"
	DefaultBackend = "https://chatgpt.com/backend-api"

	// clientID is the public client of Codex. It has no secret.
	clientID = "app_EMoamEEZ73f0CkXaXp7hrann"
)

// The longest answers that are read.
const (
	maxAnswer = 64 << 10
	maxReport = 1 << 20 // of the backend: lists grow
	maxToken  = 32 << 10
	maxTokens = 45 << 10 // all of a sign-in's: sealed they fit in a column of 64 KiB
)

// Client makes the exchanges. Its fields do not change once it is in use. Time
// limits are those of the context and of HTTP.
type Client struct {
	Issuer  string // empty: DefaultIssuer
	Backend string // empty: DefaultBackend
	// HTTP sends the requests; nil: http.DefaultClient. Its redirects are not followed.
	HTTP      *http.Client
	Now       func() time.Time // nil: time.Now
	UserAgent string           // empty: "realms"
}

func (c *Client) issuer() string {
	if c.Issuer == "" {
		return DefaultIssuer
	}
	return strings.TrimRight(c.Issuer, "/")
}

func (c *Client) backend() string {
	if c.Backend == "" {
		return DefaultBackend
	}
	return strings.TrimRight(c.Backend, "/")
}

func (c *Client) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}

// call is one request.
type call struct {
	op          string // as Error names it
	method, url string
	contentType string // of the body
	body        []byte
	header      http.Header
	limit       int64
	// secrets must not come back in an error.
	secrets []realm.Secret
}

// answer is what came.
type answer struct {
	call   *call
	status int
	header http.Header
	body   []byte
}

func (a *answer) good() bool { return a.status >= 200 && a.status < 300 }

// post is a call with a JSON body.
func post(op, url string, body any, secrets ...realm.Secret) (*call, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, &Error{Op: op, Code: CodeBadAnswer, Message: "the request could not be written"}
	}
	return &call{
		op: op, method: http.MethodPost, url: url, contentType: "application/json", body: raw,
		limit: maxAnswer, secrets: secrets,
	}, nil
}

// do sends a call and reads its answer, whatever the status.
func (c *Client) do(ctx context.Context, q *call) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, q.method, q.url, bytes.NewReader(q.body))
	if err != nil {
		return nil, &Error{Op: q.op, Code: CodeNetwork, Message: "the address is not one that can be asked"}
	}
	for name, values := range q.header {
		req.Header[name] = values
	}
	req.Header.Set("Accept", "application/json")
	if q.contentType != "" {
		req.Header.Set("Content-Type", q.contentType)
	}
	agent := c.UserAgent
	if agent == "" {
		agent = "realms"
	}
	req.Header.Set("User-Agent", agent)
	res, err := c.http().Do(req)
	if err != nil {
		return nil, networkError(ctx, q.op, err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, q.limit+1))
	if err != nil {
		return nil, networkError(ctx, q.op, err)
	}
	if int64(len(body)) > q.limit {
		return nil, &Error{Op: q.op, Code: CodeBadAnswer, Status: res.StatusCode, Message: "the answer is too long"}
	}
	return &answer{call: q, status: res.StatusCode, header: res.Header, body: body}, nil
}

// http is the client, with redirects left alone.
func (c *Client) http() *http.Client {
	h := http.DefaultClient
	if c.HTTP != nil {
		h = c.HTTP
	}
	own := *h
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &own
}

// networkError is about a request without an answer. What the transport says is
// not repeated, for it may quote what the server sent.
func networkError(ctx context.Context, op string, err error) error {
	e := &Error{Op: op, Code: CodeNetwork, Message: "the connection ended before an answer was there"}
	var dns *net.DNSError
	var dial *net.OpError
	var timeout net.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		e.Message, e.cause = "the request was given up", context.Canceled
	case ctx.Err() != nil, errors.As(err, &timeout) && timeout.Timeout():
		e.Message, e.cause = "no answer came in time", context.DeadlineExceeded
	case errors.As(err, &dns):
		e.Message = "the host's name could not be looked up"
	case errors.As(err, &dial) && dial.Op == "dial":
		e.Message = "no connection could be made"
	}
	return e
}

// object reads a JSON object of a good answer.
func (a *answer) object(into any) error {
	body := bytes.TrimSpace(a.body)
	if len(body) == 0 || body[0] != '{' || json.Unmarshal(body, into) != nil {
		return a.bad("the answer is not what was expected")
	}
	return nil
}

// bad is a good status with an answer that cannot be used.
func (a *answer) bad(message string) *Error {
	return &Error{Op: a.call.op, Code: CodeBadAnswer, Status: a.status, Message: message}
}
