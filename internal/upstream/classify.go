package upstream

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"realms/internal/protocol/openai"
	"realms/internal/realm"
)

// passingWait is the longest wait after which it is worth coming back to the same
// credential within one request.
const passingWait = 5 * time.Second

// pageWait is for how long a page in place of an API is taken at its word.
const pageWait = 10 * time.Minute

// seen is all that an answer shows which is no success.
type seen struct {
	x      *Exchange
	status int // as the channel takes it
	real   int // as it came
	header http.Header
	limits realm.CodexLimits // what the header says of them, on a Codex channel
	err    openai.UpstreamError
	page   bool // the body is HTML, of which nothing may go on
	// inside: the error was found in a 2xx; the status is what it would have deserved.
	inside bool
	// field is what the request may be tried without.
	field string
}

// row is one line of the table: the first that matches decides.
type row struct {
	matches func(*seen) bool
	cause   realm.Cause
	scope   realm.Scope
	next    realm.Next
	passing bool
}

// rows is what a failure means. What the upstream says comes before its status,
// because relays put true words under wrong statuses; an operator's trouble comes
// before a client's fault, because only the latter is shown.
var rows = []row{
	{(*seen).firewallPage, realm.CauseBlocked, realm.ScopeEndpoint, realm.NextOther, false},
	{(*seen).accountGone, realm.CauseAuth, realm.ScopeCredential, realm.NextOther, false}, // finally
	{(*seen).modelUsedUp, realm.CauseRateLimited, realm.ScopeCredentialModel, realm.NextOther, false},
	{(*seen).planUsedUp, realm.CauseRateLimited, realm.ScopeCredential, realm.NextOther, false},
	{(*seen).quotaGone, realm.CauseQuota, realm.ScopeCredential, realm.NextOther, false},
	{(*seen).rateLimited, realm.CauseRateLimited, realm.ScopeCredentialModel, realm.NextOther, false}, // passing if told a short wait
	{(*seen).modelMissing, realm.CauseModelMissing, realm.ScopeChannelModel, realm.NextOther, false},
	{(*seen).keyRefused, realm.CauseAuth, realm.ScopeCredential, realm.NextOther, false},
	{(*seen).forbidden, realm.CauseForbidden, realm.ScopeCredentialModel, realm.NextOther, false},
	{(*seen).serverFault, realm.CauseServerError, realm.ScopeEndpointModel, realm.NextOther, true},
	{(*seen).apiMissing, realm.CauseAPIMissing, realm.ScopeChannelAPI, realm.NextOther, false},
	{(*seen).dispensable, realm.CauseField, realm.ScopeNone, realm.NextWithoutField, false},
	{(*seen).clientFault, realm.CauseClientError, realm.ScopeNone, realm.NextStop, false},
	// Anything else is no answer of this protocol.
	{(*seen).anything, realm.CauseBadAnswer, realm.ScopeEndpointModel, realm.NextOther, false},
}

// outcome asks the table.
func (s *seen) outcome(now time.Time) realm.Outcome {
	o := realm.Outcome{Status: s.real, Err: s.logError()}
	if s.codex() && s.saysPlan() {
		o.Wait, o.Told = s.planWait(now)
	} else {
		o.Wait, o.Told = toldWait(s.status, s.header, &s.err, now)
	}
	for _, r := range rows {
		if !r.matches(s) {
			continue
		}
		o.Cause, o.Scope, o.Next, o.Passing = r.cause, r.scope, r.next, r.passing
		break
	}
	if o.Cause == realm.CauseAPIMissing && (s.page || onCodex(s.x)) {
		o.Wait, o.Told = pageWait, true // it may be a proxy's in between, or an outage, and pass
	}
	if o.Cause == realm.CauseRateLimited {
		o.Passing = o.Told && o.Wait <= passingWait
	}
	if o.Next == realm.NextWithoutField {
		o.Field = s.field
	}
	o.Final = o.Cause == realm.CauseAuth && s.accountGone() && !s.renewable()
	return o
}

// classify is the failure of an answer that is no success; body is its error
// body, decoded.
func (e *Executor) classify(x *Exchange, res *http.Response, body []byte) *Failure {
	clean := scrubberOf(x)
	// Parsed first: in the raw text the secret may stand behind escapes.
	parsed := clean.upstreamError(openai.ParseError(body))
	s := &seen{
		x: x, status: treatedAs(x, res.StatusCode), real: res.StatusCode, header: res.Header, err: parsed,
		page: parsed.HTML || mediaType(get(res.Header, "Content-Type")) == "text/html",
	}
	f := s.failure(e.now())
	f.Header = headersDown(res.Header, x)
	if !s.page {
		f.Body = clean.body(body)
	}
	return f
}

// ClassifyError says what an error means that was found inside a 2xx answer: a
// JSON error object, or an event of failure before the first substantive one.
// Outcome.Status is the status the error would have deserved; Body and Header are
// not set. The texts are scrubbed.
func (e *Executor) ClassifyError(x *Exchange, h http.Header, err openai.UpstreamError) *Failure {
	clean := scrubberOf(x)
	status := deservedStatus(&err)
	s := &seen{x: x, status: status, real: status, header: h, err: clean.upstreamError(err), inside: true, page: err.HTML}
	return s.failure(e.now())
}

func (s *seen) failure(now time.Time) *Failure {
	if s.codex() {
		s.limits, _ = ReadCodexLimits(s.header, now)
	}
	f := &Failure{Outcome: s.outcome(now), Error: s.err, Status: s.status, Limits: s.limits}
	if s.page || f.Error.Message == "" {
		f.Error.Message = "The upstream refused the request: " + statusText(s.status) + "."
	}
	if f.Error.Type == "" {
		f.Error.Type = "invalid_request_error"
	}
	return f
}

// logError is the upstream's word for the log, scrubbed already.
func (s *seen) logError() error {
	text := statusText(s.real)
	if s.status != s.real {
		text += ", treated as " + strconv.Itoa(s.status)
	}
	if s.page {
		if s.codex() && s.firewallPage() {
			return errors.New(text + ": the provider's firewall blocks requests from this network")
		}
		return errors.New(text + ": a web page")
	}
	for _, part := range [...]string{s.err.Code, s.err.Message} {
		if part != "" {
			text += ": " + part
		}
	}
	return errors.New((*scrubber)(nil).logText(text))
}

// BadAnswer is the outcome of a 2xx that is not what it says: HTML, empty, broken
// JSON, another protocol. why goes to the log and must not quote the answer.
func BadAnswer(status int, why error) realm.Outcome {
	return realm.Outcome{
		Cause: realm.CauseBadAnswer, Scope: realm.ScopeEndpointModel, Next: realm.NextOther,
		Status: status, Err: why,
	}
}

// EmptyAnswer is the outcome of an answer that completed without any output.
func EmptyAnswer(status int) realm.Outcome {
	return realm.Outcome{
		Cause: realm.CauseEmpty, Scope: realm.ScopeEndpointModel, Next: realm.NextOther,
		Status: status, Light: true,
	}
}

// readErrorBody reads what an upstream says of its failure, as far as it is worth
// reading, and closes it. What comes out may be cut short.
func readErrorBody(res *http.Response) []byte {
	defer func() { _ = res.Body.Close() }()
	if res.ContentLength == 0 {
		return nil
	}
	r, err := decode(res.Header, res.Body, maxErrorBody)
	if err != nil {
		return nil
	}
	body, _ := io.ReadAll(io.LimitReader(r, maxErrorBody)) // part of it is better than none
	return body
}
