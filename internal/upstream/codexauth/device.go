package codexauth

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"realms/internal/realm"
)

const (
	deviceLife      = 15 * time.Minute
	defaultInterval = 5 * time.Second
	maxInterval     = time.Minute
)

// Device is a sign-in that somebody confirms in a browser of their own: they open
// VerifyURL and type UserCode.
type Device struct {
	ID        realm.Secret
	UserCode  string
	VerifyURL string
	// Interval is how long to wait between two calls of PollDevice; 1 s to 1 min.
	Interval  time.Duration
	ExpiresAt time.Time
}

// StartDevice begins a sign-in by device code.
func (c *Client) StartDevice(ctx context.Context) (*Device, error) {
	q, err := post("device code", c.issuer()+"/api/accounts/deviceauth/usercode", map[string]string{"client_id": clientID})
	if err != nil {
		return nil, err
	}
	a, err := c.do(ctx, q)
	if err != nil {
		return nil, err
	}
	if !a.good() {
		return nil, c.deviceRefused(a)
	}
	var got struct {
		ID       string          `json:"device_auth_id"`
		UserCode string          `json:"user_code"`
		Alias    string          `json:"usercode"`
		Interval json.RawMessage `json:"interval"`
	}
	if err := a.object(&got); err != nil {
		return nil, err
	}
	code := first(got.UserCode, got.Alias)
	if got.ID == "" || code == "" || !visible(got.ID, maxToken) || !visible(code, 64) {
		return nil, a.bad("the answer holds no code")
	}
	return &Device{
		ID: realm.Secret(got.ID), UserCode: code, VerifyURL: c.issuer() + "/codex/device",
		Interval: interval(got.Interval), ExpiresAt: c.now().Add(deviceLife),
	}, nil
}

func (c *Client) deviceRefused(a *answer) error {
	e := a.failure(c.now())
	if a.status == http.StatusNotFound && !e.Blocked {
		e.Code, e.Permanent = CodeDeviceDisabled, true
		e.Message = "sign-in by device code is not enabled for this account or workspace; enable it in ChatGPT's security settings, or sign in with a browser"
	}
	return e
}

// interval reads seconds, as a number or as a text.
func interval(raw json.RawMessage) time.Duration {
	n, err := strconv.ParseFloat(string(bytes.Trim(raw, `" `)), 64)
	if err != nil || !(n > 0) { // not n <= 0: NaN is no number of seconds either
		return defaultInterval
	}
	return time.Duration(min(max(n, 1), maxInterval.Seconds()) * float64(time.Second))
}

// PollDevice asks whether a sign-in by device code has been confirmed. The error is
// ErrPending as long as it has not.
func (c *Client) PollDevice(ctx context.Context, id realm.Secret, userCode string) (*Code, error) {
	q, err := post("device poll", c.issuer()+"/api/accounts/deviceauth/token",
		map[string]string{"device_auth_id": id.Reveal(), "user_code": userCode}, id)
	if err != nil {
		return nil, err
	}
	a, err := c.do(ctx, q)
	if err != nil {
		return nil, err
	}
	if !a.good() {
		return nil, c.pollRefused(a)
	}
	var got struct {
		Code     string `json:"authorization_code"`
		Verifier string `json:"code_verifier"`
	}
	if err := a.object(&got); err != nil {
		return nil, err
	}
	if got.Code == "" || got.Verifier == "" {
		return nil, a.bad("the answer holds no authorization code")
	}
	return &Code{
		Code: realm.Secret(got.Code), Verifier: realm.Secret(got.Verifier),
		RedirectURI: c.issuer() + "/deviceauth/callback",
	}, nil
}

func (c *Client) pollRefused(a *answer) error {
	e := a.failure(c.now())
	switch {
	case e.Blocked:
	case a.status == http.StatusForbidden, a.status == http.StatusNotFound:
		return ErrPending
	case a.status == http.StatusRequestTimeout, a.status == http.StatusTooManyRequests:
	default:
		e.Permanent = a.status >= 400 && a.status < 500
	}
	return e
}
