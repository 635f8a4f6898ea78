package clients

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/responses"

	"realms/internal/realm"
	"realms/internal/testkit"
)

// trouble is what the first two credentials of a scene do instead of answering.
type trouble struct {
	name  string
	fault testkit.Fault
	cause realm.Cause // of their attempts
	// refused: on channels of their own they refuse even the connection.
	refused bool
	// timeouts of the scene's channels, which would be too long for a test.
	timeouts func(streamed bool) realm.Timeouts
	// not the layout in which nobody else may be asked.
	not layout
}

// patience is what the scenes' channels have where the relay's default is too long
// for a test: little, but enough for a good answer on a busy machine.
const patience = 1500 * time.Millisecond

var troubles = []trouble{
	{name: "429 with Retry-After", fault: testkit.RateLimited("30"), cause: realm.CauseRateLimited},
	{name: "429 without Retry-After", fault: testkit.RateLimited(""), cause: realm.CauseRateLimited},
	{name: "500", fault: testkit.ServerError(), cause: realm.CauseServerError},
	{name: "cut before the first output", fault: cutEarly, cause: realm.CauseBadAnswer},
	{name: "an HTML page with 200", fault: testkit.Page(http.StatusOK), cause: realm.CauseBadAnswer},
	// Its word is about the address, whatever the key, and is kept for a minute.
	{name: "an HTML page with 403", fault: testkit.Page(http.StatusForbidden), cause: realm.CauseBlocked, not: oneEndpoint},
	{name: "silence", fault: testkit.Hang(), cause: realm.CauseTimeout, timeouts: func(bool) realm.Timeouts {
		return realm.Timeouts{FirstByte: new(patience)}
	}},
	{name: "silence before the first output", fault: stallEarly, cause: realm.CauseTimeout, timeouts: func(streamed bool) realm.Timeouts {
		if streamed {
			return realm.Timeouts{FirstEvent: new(patience)}
		}
		return realm.Timeouts{Idle: new(patience)}
	}},
	{name: "401 invalid key", fault: testkit.Error(http.StatusUnauthorized, "invalid_request_error", "invalid_api_key", "Incorrect API key provided."), cause: realm.CauseAuth},
	{name: "402", fault: testkit.Error(http.StatusPaymentRequired, "billing_error", "", "Insufficient balance."), cause: realm.CauseQuota},
	{name: "429 insufficient_quota", fault: testkit.Error(http.StatusTooManyRequests, "insufficient_quota", "insufficient_quota", "You exceeded your current quota."), cause: realm.CauseQuota},
	// Credentials of one endpoint cannot refuse one by one: there the connection is reset.
	{name: "no connection", fault: testkit.Reset(), cause: realm.CauseConnect, refused: true},
}

// cutEarly ends the answer before it has said anything: a stream after its opening
// events, a whole answer in the middle.
func cutEarly(r *testkit.Request, a *testkit.Answer) { early(r, a, testkit.EndFIN) }

// stallEarly stops there.
func stallEarly(r *testkit.Request, a *testkit.Answer) { early(r, a, testkit.EndStall) }

func early(r *testkit.Request, a *testkit.Answer, end testkit.End) {
	switch {
	case !r.Stream:
		testkit.CutBytes(len(a.Chunks[0])/2, end)(r, a)
	case strings.HasSuffix(r.Path, "/responses"):
		testkit.Cut(2, end)(r, a) // response.created and response.in_progress
	default:
		testkit.Cut(1, end)(r, a) // the delta with the role
	}
}

// form is a way to ask, and what comes of it when the good credential answers.
type form struct {
	name, path    string
	streamed      bool
	text, id      string
	input, output int64 // tokens
}

var forms = []form{
	{name: "chat", path: "/v1/chat/completions", text: saidChat, id: "chatcmpl-1", input: 11, output: 5},
	{name: "chat stream", path: "/v1/chat/completions", streamed: true, text: saidChat, id: "chatcmpl-2", input: 11, output: 5},
	{name: "responses", path: "/v1/responses", text: saidResponses, id: "resp_1", input: 20, output: 7},
	{name: "responses stream", path: "/v1/responses", streamed: true, text: saidResponses, id: "resp_1", input: 20, output: 7},
}

// sight is what a client saw of one turn.
type sight struct {
	Name     string
	Text, ID string // whole; the ids in the answer, each once
	Requests int    // that it made
	Error    string
}

// failoverCase is one turn of an SDK.
type failoverCase struct {
	name  string
	form  form
	scene *scene
}

// failoverCases makes a scene for every trouble, layout and form.
func failoverCases(t *testing.T, w *counted) []failoverCase {
	t.Helper()
	var all []failoverCase
	for _, tr := range troubles {
		for _, at := range []layout{oneEndpoint, threeChannels} {
			if at == tr.not {
				continue
			}
			for _, f := range forms {
				all = append(all, failoverCase{fmt.Sprintf("%s, %s, %s", tr.name, at, f.name), f, w.scene(t, at, tr, f.streamed)})
			}
		}
	}
	return all
}

func (c *failoverCase) judge(t *testing.T, got sight) {
	t.Helper()
	if got.Name == "" {
		t.Fatal("the client's turn came to no end")
	}
	want := sight{Name: c.name, Text: c.form.text, ID: c.form.id, Requests: 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the client's turn (-want +got):\n%s", diff)
	}
	c.scene.judge(t, c.form.path, c.scene.ideal(c.form, 2))
}

// The SDK for Node has its answer from its first request, whatever the first two
// credentials do.
func TestFailoverOpenAINode(t *testing.T) {
	need(t, "openai/package.json")
	w := startCounted(t)
	cases := failoverCases(t, w)
	var list []map[string]string
	for _, c := range cases {
		list = append(list, map[string]string{"name": c.name, "form": c.form.name, "token": c.scene.token})
	}
	text, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	cmd := command(t, ".", []string{"BASE_URL=" + w.base, "MODEL=" + modelGood, "CASES=" + string(text)}, "node", "failover.mjs")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Errorf("node: %v\n%s", err, stderr.Bytes())
	}
	seen := map[string]sight{}
	for line := range bytes.Lines(stdout.Bytes()) {
		var one sight
		if err := json.Unmarshal(line, &one); err != nil {
			t.Fatalf("failover.mjs printed %q: %v", line, err)
		}
		seen[one.Name] = one
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.judge(t, seen[c.name]) })
	}
}

// So has the SDK for Go.
func TestFailoverOpenAIGo(t *testing.T) {
	cases := failoverCases(t, startCounted(t))
	seen := make([]sight, len(cases))
	var wg sync.WaitGroup
	next := make(chan int)
	for range 3 { // some wait for a time-out
		wg.Go(func() {
			for i := range next {
				seen[i] = cases[i].askGo(t)
			}
		})
	}
	for i := range cases {
		next <- i
	}
	close(next)
	wg.Wait()
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.judge(t, seen[i]) })
	}
}

// askGo takes the turn with the SDK for Go.
func (c *failoverCase) askGo(t *testing.T) sight {
	t.Helper()
	client, requests := connectGo(c.scene.gateway())
	got := sight{Name: c.name}
	var ids []string
	var err error
	switch params := chatGo(modelGood); c.form.name {
	case "chat":
		var answer *openai.ChatCompletion
		if answer, err = client.Chat.Completions.New(t.Context(), params); err == nil {
			got.Text, ids = answer.Choices[0].Message.Content, []string{answer.ID}
		}
	case "chat stream":
		stream := client.Chat.Completions.NewStreaming(t.Context(), params)
		for stream.Next() {
			chunk := stream.Current()
			ids = append(ids, chunk.ID)
			for _, choice := range chunk.Choices {
				got.Text += choice.Delta.Content
			}
		}
		err = stream.Err()
	default:
		got.Text, ids, err = c.respondGo(t, &client)
	}
	if err != nil {
		got.Error = err.Error()
	}
	got.ID, got.Requests = strings.Join(slices.Compact(ids), " "), int(requests.Load())
	return got
}

func (c *failoverCase) respondGo(t *testing.T, client *openai.Client) (text string, ids []string, err error) {
	t.Helper()
	params := responses.ResponseNewParams{Model: modelGood, Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("hi")}}
	if !c.form.streamed {
		answer, err := client.Responses.New(t.Context(), params)
		if err != nil {
			return "", nil, err
		}
		return answer.OutputText(), []string{answer.ID}, nil
	}
	stream := client.Responses.NewStreaming(t.Context(), params)
	for stream.Next() {
		e := stream.Current()
		switch e.Type {
		case "response.output_text.delta":
			text += e.Delta
		case "response.created", "response.in_progress", "response.completed":
			ids = append(ids, e.Response.ID)
		}
	}
	return text, ids, stream.Err()
}

// codexForm is how Codex asks.
var codexForm = forms[len(forms)-1]

// So has the Codex CLI, which would repeat a failed request many times.
func TestFailoverCodex(t *testing.T) {
	codexBinary(t)
	w := startCounted(t)
	for _, c := range []struct {
		trouble string
		at      layout
	}{
		{"429 with Retry-After", oneEndpoint},
		{"429 without Retry-After", threeChannels},
		{"500", oneEndpoint},
		{"cut before the first output", oneEndpoint},
		{"an HTML page with 200", oneEndpoint},
		{"silence", oneEndpoint},
		{"silence before the first output", threeChannels},
	} {
		t.Run(c.trouble+", "+string(c.at), func(t *testing.T) {
			s := w.scene(t, c.at, troubleNamed(t, c.trouble), true)
			got := newCodexAt(t, s.gateway()).exec(t, "-s", "danger-full-access", "say hi")
			if !slices.Equal(got.messages, []string{saidResponses}) || !got.usage || got.troubles != nil {
				t.Errorf("the turn was not as expected:\n%s", got.raw)
			}
			s.judge(t, codexForm.path, s.ideal(codexForm, 2))
		})
	}
}

// A turn with a tool is two requests: the first finds the good credential, and the
// session stays with it.
func TestFailoverCodexToolTurn(t *testing.T) {
	codexBinary(t)
	w := startCounted(t)
	for _, at := range []layout{oneEndpoint, threeChannels} {
		t.Run(string(at), func(t *testing.T) {
			s := w.scene(t, at, troubleNamed(t, "500"), true)
			c := newCodexAt(t, s.gateway())
			got := c.exec(t, "-s", "danger-full-access", askForTool+"echo done > made-by-codex.txt")
			text, err := os.ReadFile(filepath.Join(c.work, "made-by-codex.txt"))
			if err != nil || string(text) != "done\n" {
				t.Errorf("the command did not run: %q, %v", text, err)
			}
			if !slices.Equal(got.messages, []string{saidAfterTool}) || got.troubles != nil {
				t.Errorf("the turn was not as expected:\n%s", got.raw)
			}
			s.judge(t, codexForm.path, s.ideal(codexForm, 2), s.ideal(codexForm, 0))
		})
	}
}

func troubleNamed(t *testing.T, name string) trouble {
	t.Helper()
	i := slices.IndexFunc(troubles, func(tr trouble) bool { return tr.name == name })
	if i < 0 {
		t.Fatalf("there is no trouble %q", name)
	}
	return troubles[i]
}
