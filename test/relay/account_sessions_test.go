package relay

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"realms/internal/realm"
	"realms/internal/testkit"
	"realms/internal/testkit/codextest"
)

// newPair is two accounts of one person's, alike to the scheduler.
func newPair(t testing.TB, o accountOptions) *accounts {
	t.Helper()
	o.fake.Accounts, o.credentials = twoAccounts(), []string{"main", "spare"}
	o.channel = func(ch *spec) {
		for i := range ch.Endpoints[0].Credentials {
			ch.Endpoints[0].Credentials[i].Priority = 0
		}
	}
	w := newAccounts(t, o)
	w.fake.Visit(spareID)
	w.SignIn(t, w.fake, "mine", "spare")
	w.signedIn = w.fake.Calls(codextest.PathToken)
	return w
}

// servedBy is whose account each request went to.
func (a *accounts) servedBy() (list []string) {
	for _, r := range a.fake.Requests(codextest.PathResponses) {
		list = append(list, r.Header.Get("Chatgpt-Account-Id"))
	}
	return list
}

// A session stays on its account, however its client names it, and the backend hears
// of it under its own name for it.
func TestAccountSessionsStay(t *testing.T) {
	t.Parallel()
	named := map[string]func(session string) []string{
		"session-id":      func(s string) []string { return []string{"Session-Id", s} },
		"session_id":      func(s string) []string { return []string{"session_id", s} },
		"conversation_id": func(s string) []string { return []string{"conversation_id", s} },
		"the CLI's":       cliHeader,
		"in the body":     func(string) []string { return nil },
	}
	for name, header := range named {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newPair(t, accountOptions{})
			used := map[string]bool{}
			for n := range 6 {
				session := fmt.Sprintf("session-%d", n)
				before := w.asked()
				for _, f := range forms {
					if name == "in the body" {
						f.body = strings.Replace(f.body, `"model"`, `"prompt_cache_key":"`+session+`","model"`, 1)
					}
					w.good(t, w.ask(t, f, header(session)...))
				}
				served := w.servedBy()[before:]
				if used[served[0]] = true; len(slices.Compact(slices.Clone(served))) != 1 {
					t.Errorf("%s was served by %q", session, served)
				}
				for _, r := range w.fake.Requests(codextest.PathResponses)[before:] {
					if got := r.Header.Get("Session-Id"); got != session {
						t.Errorf("the backend heard of the session %q, not %q", got, session)
					}
				}
			}
			if len(used) != 2 {
				t.Errorf("six sessions are on %d accounts", len(used))
			}
		})
	}
}

// reasoned is a turn that brings back what a model has encrypted.
func reasoned(session string) form {
	return form{
		path: "/v1/responses", responses: true, stream: true,
		body: `{"model":"%s","stream":true,"prompt_cache_key":"` + session + `","input":[{"type":"message","role":"user","content":"a"},` +
			`{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"` + sealedReasoning + `"},{"type":"message","role":"user","content":"b"}]}`,
	}
}

var sealedReasoning = strings.Repeat("gAAAA", 8)

// What an account has encrypted goes back to it, and never to another.
func TestAccountReasoningStaysWithItsAccount(t *testing.T) {
	t.Parallel()
	w := newPair(t, accountOptions{paid: true})
	first := reasoned("one")
	first.body = strings.Replace(first.body, `{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"`+sealedReasoning+`"},`, "", 1)
	w.good(t, w.ask(t, first))
	for range 3 {
		w.good(t, w.ask(t, reasoned("one")))
	}
	served := w.servedBy()
	if len(slices.Compact(slices.Clone(served))) != 1 {
		t.Errorf("served by %q", served)
	}
	for i, r := range w.fake.Requests(codextest.PathResponses) {
		if has := strings.Contains(string(r.Body), sealedReasoning); has != (i > 0) {
			t.Errorf("request %d: what was encrypted is in it: %v", i, has)
		}
		if !strings.Contains(string(r.Body), `"reasoning.encrypted_content"`) {
			t.Errorf("request %d does not ask for what it needs in the next turn: %s", i, r.Body)
		}
	}

	// The account is away: whoever takes over must not be shown it.
	gone := served[0]
	w.fake.SetScript(func(r *testkit.Request) testkit.Fault { return nil })
	w.fake.Always(codextest.PathResponses, testkit.Error(http.StatusServiceUnavailable, "server_error", "", "away"))
	w.good(t, w.ask(t, reasoned("one")))
	last := w.paid.Requests()
	if len(last) != 1 || strings.Contains(string(last[0].Body), sealedReasoning) {
		t.Errorf("the other channel was shown what %s has encrypted: %d requests", gone, len(last))
	}
	if len(last) == 1 && last[0].Header.Get("X-Codex-Turn-State") != "" {
		t.Error("the other channel was shown the turn's state")
	}
}

// A turn's state is the account's that gave it.
func TestAccountTurnState(t *testing.T) {
	t.Parallel()
	w := newAccounts(t, accountOptions{paid: true})
	got := w.ask(t, respEvents, cliHeader("s")...)
	w.good(t, got)
	if v := got.Header.Get("X-Codex-Turn-State"); v != codextest.TurnState {
		t.Fatalf("the turn's state is %q", v)
	}
	w.good(t, w.ask(t, respEvents, append(cliHeader("s"), "X-Codex-Turn-State", codextest.TurnState)...))
	if v := w.fake.Requests(codextest.PathResponses)[1].Header.Get("X-Codex-Turn-State"); v != codextest.TurnState {
		t.Errorf("the backend got the state %q", v)
	}
	w.fake.Always(codextest.PathResponses, codextest.Overloaded())
	w.good(t, w.ask(t, respEvents, append(cliHeader("s"), "X-Codex-Turn-State", codextest.TurnState)...))
	if v := w.paid.Requests()[0].Header.Get("X-Codex-Turn-State"); v != "" {
		t.Errorf("the other channel got the state %q", v)
	}
}

// What a chat client asks for reaches the backend in its own words.
func TestAccountChatIsConverted(t *testing.T) {
	t.Parallel()
	w := newAccounts(t, accountOptions{})
	f := chatWhole
	f.body = `{"model":"%s","reasoning_effort":"low","verbosity":"low","temperature":0.1,"max_tokens":5,"user":"u","parallel_tool_calls":false,` +
		`"messages":[{"role":"system","content":"be short"},{"role":"user","content":"hi"},{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c1","content":"r"}],` +
		`"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{}}}}],` +
		`"response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"type":"object"}}}}`
	got := w.ask(t, f)
	w.good(t, got)
	sent := w.fake.Requests(codextest.PathResponses)[0].JSON()
	if e, _ := sent["reasoning"].(map[string]any); e["effort"] != "low" {
		t.Errorf("reasoning: %v", sent["reasoning"])
	}
	text, _ := sent["text"].(map[string]any)
	if format, _ := text["format"].(map[string]any); format["type"] != "json_schema" || format["name"] != "n" || text["verbosity"] != "low" {
		t.Errorf("text: %v", text)
	}
	input, _ := sent["input"].([]any)
	var kinds []string
	for _, item := range input {
		one, _ := item.(map[string]any)
		kinds = append(kinds, fmt.Sprint(one["type"], "/", one["role"]))
	}
	t.Logf("input: %q, instructions %q", kinds, sent["instructions"])
	if rec := w.row(t, got); rec.Attempts != 1 || rec.Cause != realm.CauseOK {
		t.Errorf("row: %d attempts, %s", rec.Attempts, rec.Cause)
	}
	tools, _ := sent["tools"].([]any)
	if len(tools) != 1 {
		t.Errorf("tools: %v", sent["tools"])
	}

	f.body = strings.Replace(chatWhole.body, "%s", accountModel+"-high", 1)
	w.good(t, w.ask(t, f))
	sent = w.fake.Requests(codextest.PathResponses)[1].JSON()
	if e, _ := sent["reasoning"].(map[string]any); e["effort"] != "high" || sent["model"] != accountModel {
		t.Errorf("%v with %v", sent["model"], sent["reasoning"])
	}
}
