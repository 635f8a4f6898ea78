package gateway

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"realms/internal/limit"
	"realms/internal/protocol/openai"
	"realms/internal/realm"
	"realms/internal/scheduler"
	"realms/internal/upstream"
)

// rewriting is an exchange as it is when an attempt begins, and the attempt.
func rewriting(t testing.TB, operation, body string, s realm.ChannelSettings) (*exchange, *realm.Attempt) {
	t.Helper()
	x := &exchange{
		g: &Gateway{o: Options{PseudonymKey: []byte(rand.Text())}}, principal: &realm.Principal{UserID: 42},
		snap: &realm.Snapshot{Version: 1},
	}
	for _, op := range openai.Operations() {
		if op.Name == operation {
			x.op = op
		}
	}
	req, err := openai.ReadJSON(x.op, []byte(body), nil)
	if err != nil {
		t.Fatal(err)
	}
	x.req, x.need = req, scheduler.Need{Model: req.Model}
	x.native = form{op: x.op, req: req}
	x.form = &x.native
	return x, &realm.Attempt{Number: 1, Channel: &realm.Channel{ID: 7, Settings: s}, Model: req.Model}
}

func TestRewriteBySettings(t *testing.T) {
	const body = `{"model":"gpt-m","service_tier":"priority","input":[{"type":"reasoning","encrypted_content":"x"},{"role":"user"}],"safety_identifier":"mine"}`
	x, a := rewriting(t, "responses", body, realm.ChannelSettings{
		ServiceTier: realm.ServiceTier{Only: []string{"flex"}}, Store: realm.StoreFalse, SafetyIdentifier: realm.SafetyHMAC,
		BodyEdits: []realm.BodyEdit{
			{Op: realm.BodySet, Path: "a.b", Value: json.RawMessage(`1`), Models: []string{"other", "gpt-*"}},
			{Op: realm.BodySet, Path: "c", Value: json.RawMessage(`2`), Models: []string{"up-*", "gpt"}},
		},
	})
	a.Model = "up-m"
	mac := hmac.New(sha256.New, x.g.o.PseudonymKey)
	mac.Write([]byte("42"))
	name := hex.EncodeToString(mac.Sum(nil))
	if len(name) != 64 {
		t.Fatalf("a pseudonym of %d characters", len(name))
	}
	want := `{"model":"up-m","input":[{"type":"reasoning","encrypted_content":"x"},{"role":"user"}],"safety_identifier":"` + name + `","store":false,"a":{"b":1}}`
	if got := string(x.req.Edit(x.rewrite(a))); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	a.Leaves = true
	a.Channel.Settings = realm.ChannelSettings{SafetyIdentifier: realm.SafetyDrop}
	want = `{"model":"up-m","service_tier":"priority","input":[{"role":"user"}]}`
	if got := string(x.req.Edit(x.rewrite(a))); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	// Without a key no hash can hide the user: the field is left out.
	x.g.o.PseudonymKey, a.Channel.Settings.SafetyIdentifier = nil, realm.SafetyHMAC
	if got := string(x.req.Edit(x.rewrite(a))); got != want {
		t.Errorf("without a key: %s", got)
	}
}

func TestEditsFor(t *testing.T) {
	all := []realm.BodyEdit{{Path: "every"}, {Path: "exact", Models: []string{"m"}}, {Path: "pattern", Models: []string{"x", "m-*"}}, {Path: "any", Models: []string{"*"}}}
	for model, want := range map[string][]string{
		"m":   {"every", "exact", "any"},
		"m-1": {"every", "pattern", "any"},
		"m-":  {"every", "pattern", "any"},
		"x":   {"every", "pattern", "any"},
		"xm":  {"every", "any"},
		"":    {"every", "any"},
	} {
		var got []string
		for _, e := range editsFor(all, model) {
			got = append(got, e.Path)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", model, diff)
		}
	}
	if all[2].Path != "pattern" {
		t.Error("the channel's list was changed")
	}
}

// TestLearnEncrypted: what an upstream cannot decrypt is left out of one more try
// with the same credential, and of no second one.
func TestLearnEncrypted(t *testing.T) {
	refusal := func() *upstream.Failure {
		return &upstream.Failure{Outcome: realm.Outcome{Cause: realm.CauseField, Next: realm.NextWithoutField, Field: openai.EncryptedContent}}
	}
	x, a := rewriting(t, "responses", `{"model":"m","input":[{"type":"reasoning","encrypted_content":"x"}]}`, realm.ChannelSettings{})
	f := refusal()
	x.learn(&upstream.Exchange{Attempt: *a}, f)
	if f.Outcome.Next != realm.NextWithoutField {
		t.Fatalf("outcome = %+v", f.Outcome)
	}
	if got, want := string(x.req.Edit(x.rewrite(a))), `{"model":"m","input":[]}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	f = refusal()
	if x.learn(&upstream.Exchange{Attempt: *a}, f); f.Outcome.Next != realm.NextStop || f.Outcome.Cause != realm.CauseClientError {
		t.Errorf("refused again: %+v", f.Outcome)
	}
	x, a = rewriting(t, "responses", `{"model":"m","input":[{"type":"compaction","encrypted_content":"x"}]}`, realm.ChannelSettings{})
	f = refusal()
	if x.learn(&upstream.Exchange{Attempt: *a}, f); f.Outcome.Next != realm.NextStop {
		t.Errorf("nothing to leave out: %+v", f.Outcome)
	}
}

// TestRewriteCostsNothing: a channel without settings of its own.
func TestRewriteCostsNothing(t *testing.T) {
	x, a := rewriting(t, "chat.completions", `{"model":"m","messages":[{"role":"user","content":"x"}],"stream":true,"stream_options":{"include_usage":true}}`, realm.ChannelSettings{})
	var size int
	allocs := testing.AllocsPerRun(100, func() {
		rw := x.rewrite(a)
		size = len(x.req.Edit(rw)) + len(x.req.AddedFields(rw))
	})
	if allocs != 0 || size != len(x.req.Doc.Body) {
		t.Errorf("%v allocations, %d bytes", allocs, size)
	}
}

// A copy that an attempt's edits make counts for as long as the transport has it, even
// past the budget: who comes next finds less room.
func TestEditedCopiesCount(t *testing.T) {
	for _, size := range []int{100, smallBody, largeBody} {
		body := `{"model":"m","messages":[],"user":"` + strings.Repeat("a", size) + `"}`
		x, _ := rewriting(t, "chat.completions", body, realm.ChannelSettings{})
		budget := limit.NewBytes(10)
		x.g.o.Limits.BodyMemory = budget
		x.form.body = ownBody([]byte(body))
		var err error
		if x.form.req, err = openai.ReadJSON(x.op, x.form.body.buf, nil); err != nil {
			t.Fatal(err)
		}
		same := x.edited(openai.Rewrite{})
		if budget.Held() != 0 {
			t.Errorf("%d bytes: %d are held without a copy", size, budget.Held())
		}
		copied := x.edited(openai.Rewrite{Model: "n"})
		if n := int64(copied.Len()); n < int64(size) || budget.Held() != n {
			t.Errorf("%d bytes: %d are held for a copy of %d", size, budget.Held(), n)
		}
		for _, r := range []*bodyReader{same, copied} {
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if budget.Held() != 0 {
			t.Errorf("%d bytes: %d are held after the end", size, budget.Held())
		}
	}
}
