package relay

import (
	"net/http"
	"testing"

	"realms/internal/config"
	"realms/internal/testkit"
)

// K-09: what is on the lists passes, in both directions; X-Realms-Hops counts the
// relays; the upstream's limits are shown where they are the owner's to see.
func TestListedHeadersPass(t *testing.T) {
	turn := testkit.Header("X-Codex-Turn-State", "turn-2", "X-Ratelimit-Limit-Tokens", "1000")
	for name, self := range map[string]bool{"self mode": true, "for several users": false} {
		t.Run(name, func(t *testing.T) {
			app, up := oneWith(t, testkit.Always(turn), func(c *config.Config) {
				private := true
				c.SelfMode.Enable, c.Upstream.AllowPrivateNetworks = self, &private
			})
			for _, body := range []string{responsesBody, responsesStream} {
				a := app.Post(t, "/v1/responses", body, "Accept", "text/event-stream", "User-Agent", "codex_cli_rs/0.169.0",
					"Openai-Beta", "responses=v1", "X-Codex-Turn-State", "turn-1")
				r := up.Requests()[up.Count()-1]
				for h, want := range map[string]string{
					"Accept": "text/event-stream", "User-Agent": "codex_cli_rs/0.169.0", "Openai-Beta": "responses=v1", "X-Codex-Turn-State": "turn-1",
					"X-Realms-Hops": "1", "Accept-Encoding": "identity", "Authorization": "Bearer key-a", "Content-Type": "application/json",
				} {
					if got := r.Header.Get(h); got != want {
						t.Errorf("up: %s is %q, want %q", h, got, want)
					}
				}
				limit := map[bool]string{true: "1000"}[self]
				for h, want := range map[string]string{"Openai-Processing-Ms": "42", "X-Codex-Turn-State": "turn-2", "X-Ratelimit-Limit-Tokens": limit} {
					if got := a.Header.Get(h); got != want {
						t.Errorf("down: %s is %q, want %q", h, got, want)
					}
				}
				if stream := body == responsesStream; (a.Header.Get("X-Accel-Buffering") == "no") != stream {
					t.Errorf("X-Accel-Buffering is %q, stream %v", a.Header.Get("X-Accel-Buffering"), stream)
				}
			}
		})
	}
}

// L-10: a loop of relays ends.
func TestHopsAreCounted(t *testing.T) {
	app, up := one(t, nil)
	for hops, want := range map[string]string{"": "1", "0": "1", "2": "3", "3": "4"} {
		req := app.Request(t, http.MethodPost, "/v1/chat/completions", chatBody)
		if hops != "" {
			req.Header.Set("X-Realms-Hops", hops)
		}
		if a := app.Ask(t, req); a.StatusCode != http.StatusOK || up.Requests()[up.Count()-1].Header.Get("X-Realms-Hops") != want {
			t.Errorf("%q hops: %d, the upstream sees %q", hops, a.StatusCode, up.Requests()[up.Count()-1].Header.Get("X-Realms-Hops"))
		}
	}
	before := up.Count()
	for hops, want := range map[string]fault{
		"4": {508, "invalid_request_error", "loop_detected", ""}, "1000000": {508, "invalid_request_error", "loop_detected", ""},
		"-1": {400, "invalid_request_error", "", ""}, "one": {400, "invalid_request_error", "", ""}, "99999999999999999999": {400, "invalid_request_error", "", ""},
	} {
		isFault(t, app.Post(t, "/v1/chat/completions", chatBody, "X-Realms-Hops", hops), want)
	}
	if up.Count() != before {
		t.Errorf("%d requests reached the upstream", up.Count()-before)
	}
}

// K-09: a client without an agent gets none of net/http's.
func TestUserAgentIsNeverTheLibrarys(t *testing.T) {
	app, up := one(t, nil)
	w := dialWire(t, app)
	w.send(rawRequest(app, http.MethodPost, "/v1/chat/completions", chatBody))
	if a := w.answer(http.MethodPost); a.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", a.StatusCode, a.Body)
	}
	if got := up.Requests()[0].Header.Get("User-Agent"); got != "realms" {
		t.Errorf("the upstream sees the agent %q", got)
	}
}
