package codextest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"realms/internal/realm"
	"realms/internal/testkit"
)

// enter finds whose request it is; nil if a holds the refusal. The caller holds the
// lock.
func (f *Fake) enter(r *testkit.Request, a *testkit.Answer) *Account {
	known := f.tokens.access[r.Key]
	switch {
	case r.Key == "":
		answer(a, http.StatusUnauthorized, `{"detail":"Unauthorized"}`)
	case known == nil:
		refuseAccess(a, "token_invalidated")
	case known.invalid != "":
		refuseAccess(a, known.invalid)
	case !f.options.Now().Before(known.expires):
		refuseAccess(a, "token_expired")
	case r.Header.Get("Chatgpt-Account-Id") != known.family.account:
		answer(a, http.StatusForbidden, `{"detail":{"code":"account_mismatch"}}`)
	default:
		person := f.person(known.family.account)
		if person.Deactivated {
			DeactivatedWorkspace()(r, a)
			return nil
		}
		return person
	}
	return nil
}

func (f *Fake) check(r *testkit.Request, a *testkit.Answer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	me := f.enter(r, a)
	if me == nil {
		return
	}
	unconstrained := func(s string) string {
		if s == "" {
			return "NO_CONSTRAINT"
		}
		return s
	}
	list := []any{}
	for _, p := range f.people {
		if p.UserID != me.UserID || p.Unlisted {
			continue
		}
		list = append(list, map[string]any{
			"id": p.ID, "plan_type": p.Plan, "name": nil, "structure": "personal",
			"workspace_backend_origin": unconstrained(p.Origin), "account_routing_override": unconstrained(p.Override),
		})
	}
	answerJSON(a, http.StatusOK, map[string]any{"accounts": list, "account_ordering": []string{}, "default_account_id": ""})
}

func (f *Fake) usage(r *testkit.Request, a *testkit.Answer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	me := f.enter(r, a)
	if me == nil {
		return
	}
	now := f.options.Now()
	additional := []any{}
	names, windows := me.families()
	for _, name := range names {
		if name != "" {
			additional = append(additional, map[string]any{
				"limit_name": name, "metered_feature": "codex_" + name, "rate_limit": rateLimit(windows[name], now),
			})
		}
	}
	answerJSON(a, http.StatusOK, map[string]any{
		"plan_type": me.Plan, "rate_limit": rateLimit(windows[""], now),
		"credits":                map[string]any{"has_credits": false, "unlimited": false, "balance": "0"},
		"additional_rate_limits": additional, "code_review_rate_limit": nil, "rate_limit_reached_type": nil,
	})
}

func rateLimit(windows []realm.CodexWindow, now time.Time) map[string]any {
	limit := map[string]any{"allowed": true, "limit_reached": false, "primary_window": nil, "secondary_window": nil}
	for i, w := range windows {
		if w.Exhausted(now) {
			limit["allowed"], limit["limit_reached"] = false, true
		}
		if i > 1 {
			break
		}
		limit[[...]string{"primary_window", "secondary_window"}[i]] = map[string]any{
			"used_percent": w.UsedPercent, "limit_window_seconds": int(w.Length.Seconds()),
			"reset_after_seconds": int(w.ResetsAt.Sub(now).Seconds()), "reset_at": w.ResetsAt.Unix(),
		}
	}
	return limit
}

// models is the catalogue, which has an ETag and wants to know the client.
func (f *Fake) models(r *testkit.Request, a *testkit.Answer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	me := f.enter(r, a)
	if me == nil {
		return
	}
	if q, err := url.ParseQuery(r.Query); err != nil || q.Get("client_version") == "" {
		answer(a, http.StatusBadRequest, `{"detail":[{"type":"missing","loc":["query","client_version"],"msg":"Field required"}]}`)
		return
	}
	body, etag := catalogue(me)
	if r.Header.Get("If-None-Match") == etag {
		answer(a, http.StatusNotModified, "", "Etag", etag)
		return
	}
	answer(a, http.StatusOK, body, "Etag", etag)
}

// catalogue is what the account's plan offers. The id beyond 2^53 shows who
// decodes and encodes it on the way.
func catalogue(a *Account) (body, etag string) {
	names := a.Models
	if names == nil {
		names = []string{"gpt-5.5"}
	}
	list := []any{}
	for i, name := range names {
		list = append(list, map[string]any{
			"slug": name, "display_name": name, "description": "a model", "default_reasoning_level": "medium",
			"supported_reasoning_levels": []any{map[string]any{"effort": "medium", "description": "in between"}},
			"visibility":                 "list", "supported_in_api": true, "priority": i, "revision": json.Number("9007199254740993"),
		})
	}
	text, err := json.Marshal(map[string]any{"models": list})
	if err != nil {
		panic("codextest: the catalogue is no JSON: " + err.Error())
	}
	sum := sha256.Sum256(text)
	return string(text), `W/"` + hex.EncodeToString(sum[:8]) + `"`
}
