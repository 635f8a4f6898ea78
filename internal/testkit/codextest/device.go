package codextest

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"realms/internal/testkit"
)

// device is a sign-in by device code.
type device struct {
	userCode  string
	account   string // empty: nobody has confirmed it
	denied    bool
	spent     bool
	expires   time.Time
	asked     int
	code      string
	challenge string
	verifier  string
}

func (f *Fake) userCode(r *testkit.Request, a *testkit.Answer) {
	if f.options.NoDevice || parameters(r)["client_id"] != ClientID {
		answer(a, http.StatusNotFound, `{"detail":"Not Found"}`)
		return
	}
	id := "deviceauth_" + random(16)
	text := strings.ToUpper(random(4))
	d := &device{userCode: text[:4] + "-" + text[4:], expires: f.options.Now().Add(15 * time.Minute)}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.devices[id] = d
	answer(a, http.StatusOK, `{"device_auth_id":"`+id+`","user_code":"`+d.userCode+`","interval":`+f.options.Interval+`}`)
}

// deviceToken says in turns 403 and 404 as long as nobody has confirmed: both mean
// that.
func (f *Fake) deviceToken(r *testkit.Request, a *testkit.Answer) {
	p := parameters(r)
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.devices[p["device_auth_id"]]
	switch {
	case d == nil || d.userCode != p["user_code"]:
		answer(a, http.StatusNotFound, deviceError("deviceauth_unknown"))
	case d.denied:
		answer(a, http.StatusBadRequest, deviceError("access_denied"))
	case d.spent:
		answer(a, http.StatusBadRequest, deviceError("deviceauth_spent"))
	case f.options.Now().After(d.expires):
		answer(a, http.StatusBadRequest, deviceError("expired_token"))
	case d.account == "":
		d.asked++
		answer(a, http.StatusForbidden+(d.asked+1)%2, deviceError("deviceauth_authorization_unknown"))
	default:
		d.spent = true
		answerJSON(a, http.StatusOK, map[string]string{
			"authorization_code": d.code, "code_challenge": d.challenge, "code_verifier": d.verifier,
		})
	}
}

func deviceError(code string) string {
	return testkit.ErrorBody("invalid_request_error", code, "", "The device authorization is not ready.")
}

func (f *Fake) devicePage(_ *testkit.Request, a *testkit.Answer) {
	testkit.Page(http.StatusOK)(nil, a)
}

// Confirm is the visitor typing a device's code into the page.
func (f *Fake) Confirm(t testing.TB, userCode string) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.device(t, userCode)
	d.account, d.verifier = f.visitor, random(32)
	d.challenge = challengeOf(d.verifier)
	d.code = f.newCode(d.challenge, f.Issuer()+"/deviceauth/callback", d.account)
}

// Deny is the visitor refusing a device's code.
func (f *Fake) Deny(t testing.TB, userCode string) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.device(t, userCode).denied = true
}

func (f *Fake) device(t testing.TB, userCode string) *device {
	t.Helper()
	for _, d := range f.devices {
		if d.userCode == userCode {
			return d
		}
	}
	t.Fatalf("no device has the code %q", userCode)
	return nil
}
