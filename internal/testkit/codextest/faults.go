package codextest

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"realms/internal/testkit"
)

// Challenge is the firewall's page.
func Challenge() testkit.Fault { return testkit.Cloudflare() }

// Overloaded is the backend without room.
func Overloaded() testkit.Fault {
	return testkit.Error(http.StatusServiceUnavailable, "service_unavailable_error", "server_is_overloaded", "Our servers are currently overloaded. Please try again later.")
}

// TokenInvalidated refuses an access token as the backend does with one that was
// taken back.
func TokenInvalidated() testkit.Fault {
	return func(_ *testkit.Request, a *testkit.Answer) { refuseAccess(a, "token_invalidated") }
}

func refuseAccess(a *testkit.Answer, code string) {
	answer(a, http.StatusUnauthorized, fmt.Sprintf(
		`{"error":{"message":"Your authentication token has been invalidated. Please try signing in again.","type":"invalid_request_error","code":%q,"param":null},"status":401}`, code))
}

// RefreshRefused refuses a refresh with a code.
func RefreshRefused(code string) testkit.Fault {
	return func(_ *testkit.Request, a *testkit.Answer) { refuseRefresh(a, code) }
}

func refuseRefresh(a *testkit.Answer, code string) {
	message := map[string]string{
		"refresh_token_reused":  "Your refresh token has already been used to generate a new access token. Please try signing in again.",
		"refresh_token_expired": "Your refresh token has expired. Please try signing in again.",
	}[code]
	if message == "" {
		message = "Your session has ended. Please log in again."
	}
	answer(a, http.StatusUnauthorized, testkit.ErrorBody("invalid_request_error", code, "", message))
}

// DeactivatedWorkspace is a workspace that was closed.
func DeactivatedWorkspace() testkit.Fault {
	return testkit.Status(http.StatusPaymentRequired, `{"detail":{"code":"deactivated_workspace"}}`)
}

// UsageNotIncluded is a plan without Codex.
func UsageNotIncluded() testkit.Fault {
	return testkit.Status(http.StatusTooManyRequests, `{"error":{"type":"usage_not_included","message":"To use Codex with your ChatGPT plan, upgrade to Plus.","plan_type":"free"}}`)
}

// UsageLimit is a plan that is used up until a time.
func UsageLimit(plan string, resetsAt, now time.Time) testkit.Fault {
	return testkit.Status(http.StatusTooManyRequests, fmt.Sprintf(
		`{"error":{"type":"usage_limit_reached","message":"The usage limit has been reached","plan_type":%q,"resets_at":%d,"eligible_promo":null,"resets_in_seconds":%d}}`,
		plan, resetsAt.Unix(), int(resetsAt.Sub(now).Seconds())))
}

// limitHeader writes an account's windows as the backend does: two slots for each
// limit, and texts for booleans.
func limitHeader(h http.Header, me *Account, now time.Time) {
	h.Set("X-Codex-Plan-Type", me.Plan)
	h.Set("X-Codex-Active-Limit", "premium")
	h.Set("X-Codex-Credits-Has-Credits", "False")
	h.Set("X-Codex-Credits-Unlimited", "False")
	h.Set("X-Codex-Credits-Balance", "")
	names, windows := me.families()
	for _, name := range names {
		prefix := "X-Codex-"
		if name != "" {
			prefix += name + "-"
			h.Set(prefix+"Limit-Name", name)
		}
		for i, w := range windows[name] {
			if i > 1 {
				break
			}
			slot := prefix + [...]string{"Primary-", "Secondary-"}[i]
			h.Set(slot+"Used-Percent", strconv.FormatFloat(w.UsedPercent, 'f', -1, 64))
			h.Set(slot+"Window-Minutes", strconv.Itoa(int(w.Length.Minutes())))
			h.Set(slot+"Reset-After-Seconds", strconv.Itoa(max(int(w.ResetsAt.Sub(now).Seconds()), 0)))
			h.Set(slot+"Reset-At", strconv.FormatInt(w.ResetsAt.Unix(), 10))
		}
	}
}
