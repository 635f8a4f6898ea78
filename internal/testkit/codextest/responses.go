package codextest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"realms/internal/testkit"
)

// TurnState is what the backend gives a turn in x-codex-turn-state, to be sent with
// its further requests.
const TurnState = "turn-state-of-the-fake"

// admit lets a request of a model in; nil if a holds the refusal. The caller holds
// the lock.
func (f *Fake) admit(r *testkit.Request, a *testkit.Answer) *Account {
	me := f.enter(r, a)
	if me == nil {
		return nil
	}
	if broken := breaksHeader(r); broken.status != 0 {
		answer(a, broken.status, broken.body)
		return nil
	}
	if me.NotIncluded {
		UsageNotIncluded()(r, a)
		return nil
	}
	if w := me.exhausted(f.options.Now()); w != nil {
		UsageLimit(me.Plan, w.ResetsAt, f.options.Now())(r, a)
		limitHeader(a.Header, me, f.options.Now())
		return nil
	}
	return me
}

func (f *Fake) responses(r *testkit.Request, a *testkit.Answer) {
	me, script, number := f.goodTurn(r, a)
	if me == nil {
		return
	}
	asked := asModelRequest(r)
	asked.Number = number
	*a = *testkit.Compose(asked, testkit.Reply{})
	if trigger(r.Body) {
		testkit.Events(compactionEvents()...)(asked, a)
	}
	if script != nil {
		if fault := script(asked); fault != nil {
			fault(asked, a)
		}
	}
	if f.options.EmptyOutput {
		for i, chunk := range a.Chunks {
			a.Chunks[i] = withoutOutput(chunk)
		}
	}
	for name, values := range f.turnHeader(me) {
		if a.Status == http.StatusOK || strings.HasPrefix(name, "X-Codex-") && a.Header[name] == nil {
			a.Header[name] = values
		}
	}
}

// goodTurn is whose request it is, the script for it, and the how many-th good one
// it is, unless a holds the refusal. The account is a copy.
func (f *Fake) goodTurn(r *testkit.Request, a *testkit.Answer) (*Account, testkit.Script, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	me := f.admit(r, a)
	if me == nil {
		return nil, nil, 0
	}
	if broken := breaks(r, me); broken.status != 0 {
		answer(a, broken.status, broken.body)
		limitHeader(a.Header, me, f.options.Now())
		return nil, nil, 0
	}
	f.turns++
	person := *me
	return &person, f.script, f.turns
}

// turnHeader is what every answer of a turn brings.
func (f *Fake) turnHeader(me *Account) http.Header {
	_, etag := catalogue(me)
	h := http.Header{"X-Codex-Turn-State": {TurnState}, "X-Models-Etag": {etag}, "X-Reasoning-Included": {"true"}}
	limitHeader(h, me, f.options.Now())
	return h
}

// compact is the compaction of older CLIs: one whole answer.
func (f *Fake) compact(r *testkit.Request, a *testkit.Answer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	me := f.admit(r, a)
	if me == nil {
		return
	}
	var body struct {
		Input json.RawMessage `json:"input"`
	}
	broken := offered(me, r.Model)
	if json.Unmarshal(r.Body, &body) != nil {
		broken = detail("Invalid JSON")
	} else if unfit := breaksInput(body.Input); unfit.status != 0 {
		broken = unfit
	}
	if broken.status != 0 {
		answer(a, broken.status, broken.body)
		return
	}
	answer(a, http.StatusOK, `{"output":[`+compactionItem+`]}`)
	limitHeader(a.Header, me, f.options.Now())
}

const compactionItem = `{"type":"compaction","id":"cmp_fake","encrypted_content":"sealed-by-the-fake"}`

// trigger tells whether a request's last item asks for a compaction.
func trigger(body []byte) bool {
	var q struct {
		Input []struct{ Type string } `json:"input"`
	}
	return json.Unmarshal(body, &q) == nil && len(q.Input) > 0 && q.Input[len(q.Input)-1].Type == "compaction_trigger"
}

// compactionEvents are a stream with exactly one compaction item.
func compactionEvents() []string {
	return []string{
		event("response.created", `{"type":"response.created","sequence_number":0,"response":{"id":"resp_fake","object":"response","status":"in_progress","output":[]}}`),
		event("response.output_item.done", `{"type":"response.output_item.done","sequence_number":1,"output_index":0,"item":`+compactionItem+`}`),
		event("response.completed", `{"type":"response.completed","sequence_number":2,"response":{"id":"resp_fake","object":"response","status":"completed","output":[`+compactionItem+`],"usage":{"input_tokens":20,"input_tokens_details":{"cached_tokens":4},"output_tokens":7,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":27}}}`),
	}
}

func event(kind, data string) string { return "event: " + kind + "\ndata: " + data + "\n\n" }

// withoutOutput empties the output of a response.completed event; another event
// stays as it is.
func withoutOutput(chunk []byte) []byte {
	_, data, ok := bytes.Cut(chunk, []byte("event: response.completed\ndata: "))
	if !ok {
		return chunk
	}
	var e, response map[string]json.RawMessage
	if json.Unmarshal(data, &e) != nil || json.Unmarshal(e["response"], &response) != nil {
		return chunk
	}
	response["output"] = json.RawMessage(`[]`)
	inner, err := json.Marshal(response)
	if err != nil {
		return chunk
	}
	e["response"] = inner
	outer, err := json.Marshal(e)
	if err != nil {
		return chunk
	}
	return []byte(event("response.completed", string(outer)))
}

// AskForTool is what makes ToolTurn call the shell tool, anywhere in the input: what
// follows it, up to a quotation mark, is the command.
const AskForTool = "RUN THIS COMMAND: "

// ToolTurn plays an agent for the real Codex CLI: a request that asks for a tool
// gets the call of one, the request with its result a text. It is a Script's fault
// for any number of turns.
func ToolTurn(afterwards ...string) testkit.Fault {
	return func(r *testkit.Request, a *testkit.Answer) {
		_, rest, asked := bytes.Cut(r.Body, []byte(AskForTool))
		if !asked {
			return
		}
		testkit.Say(afterwards...)(r, a)
		command, _, _ := bytes.Cut(rest, []byte(`"`))
		testkit.RunCommand(string(command))(r, a)
	}
}

// RateLimitsEvent is the codex.rate_limits event with an account's windows, for
// testkit.Insert.
func RateLimitsEvent(me Account) string {
	slots := map[string]any{}
	for i, w := range me.Windows {
		if i < 2 && w.Limit == "" {
			slots[[...]string{"primary", "secondary"}[i]] = map[string]any{
				"used_percent": w.UsedPercent, "window_minutes": int(w.Length.Minutes()), "reset_at": w.ResetsAt.Unix(),
			}
		}
	}
	data, err := json.Marshal(map[string]any{
		"type": "codex.rate_limits", "plan_type": me.Plan, "rate_limits": slots,
		"credits": map[string]any{"has_credits": false, "unlimited": false, "balance": nil},
	})
	if err != nil {
		panic(fmt.Sprintf("codextest: limits that are no JSON: %v", err))
	}
	return event("codex.rate_limits", string(data))
}
