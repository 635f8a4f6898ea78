package openai

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
)

func set(path, value string) realm.BodyEdit {
	return realm.BodyEdit{Op: realm.BodySet, Path: path, Value: json.RawMessage(value)}
}

func del(path string) realm.BodyEdit { return realm.BodyEdit{Op: realm.BodyDelete, Path: path} }

func rename(path, to string) realm.BodyEdit {
	return realm.BodyEdit{Op: realm.BodyRename, Path: path, To: to}
}

func edits(list ...realm.BodyEdit) Rewrite { return Rewrite{Edits: list} }

func TestEditPolicies(t *testing.T) {
	only := Rewrite{ServiceTier: realm.ServiceTier{Only: []string{"default", "flex"}}}
	noStore := Rewrite{Store: realm.StoreFalse}
	hash := Rewrite{SafetyIdentifier: realm.SafetyHMAC, SafetyText: "abc"}
	tests := []struct {
		name, op, body string
		rewrite        Rewrite
		want           string // empty: the body itself
		added          []string
	}{
		{"tier passes", "responses", `{"model":"m","service_tier":"priority"}`, Rewrite{}, "", nil},
		{"tier dropped", "responses", `{"service_tier":"priority","model":"m"}`, Rewrite{ServiceTier: realm.ServiceTier{Drop: true}}, `{"model":"m"}`, nil},
		{"null tier dropped", "chat.completions", `{"service_tier":null,"model":"m"}`, Rewrite{ServiceTier: realm.ServiceTier{Drop: true}}, `{"model":"m"}`, nil},
		{"tier on the list", "chat.completions", `{"model":"m","service_tier":"fl\u0065x"}`, only, "", nil},
		{"tier off the list", "chat.completions", `{"model":"m","service_tier":"priority"}`, only, `{"model":"m"}`, nil},
		{"tier of no text", "chat.completions", `{"model":"m","service_tier":7}`, only, `{"model":"m"}`, nil},
		{"null tier beside a list", "chat.completions", `{"model":"m","service_tier":null}`, only, "", nil},
		{"no tier", "chat.completions", `{"model":"m"}`, only, "", nil},

		{"store absent", "responses", `{"model":"m"}`, noStore, `{"model":"m","store":false}`, []string{"store"}},
		{"store null", "responses", `{"model":"m","store":null}`, noStore, `{"model":"m","store":false}`, []string{"store"}},
		{"store true", "responses", `{"model":"m","store": true }`, noStore, `{"model":"m","store": false }`, nil},
		{"store false", "responses", `{"model":"m","store":false}`, noStore, "", nil},
		{"store passes", "responses", `{"model":"m","store":true}`, Rewrite{Store: realm.StorePass}, "", nil},
		{"store taken back", "responses", `{"model":"m"}`, Rewrite{Store: realm.StoreFalse, Drop: []string{"store"}}, "", nil},
		{"store absent on chat", "chat.completions", `{"model":"m"}`, noStore, "", nil},
		{"store null on chat", "chat.completions", `{"model":"m","store":null}`, noStore, "", nil},
		{"store true on chat", "chat.completions", `{"model":"m","store":true}`, noStore, `{"model":"m","store":false}`, nil},
		{"store absent on compact", "responses.compact", `{"model":"m"}`, noStore, "", nil},

		{"safety passes", "responses", `{"model":"m","safety_identifier":"u1"}`, Rewrite{SafetyIdentifier: realm.SafetyPass}, "", nil},
		{"safety dropped", "responses", `{"safety_identifier":"u1","model":"m"}`, Rewrite{SafetyIdentifier: realm.SafetyDrop}, `{"model":"m"}`, nil},
		{"safety replaced", "chat.completions", `{"safety_identifier":"u1","model":"m"}`, hash, `{"safety_identifier":"abc","model":"m"}`, nil},
		{"safety added", "chat.completions", `{"model":"m"}`, hash, `{"model":"m","safety_identifier":"abc"}`, []string{"safety_identifier"}},
		{"safety elsewhere", "embeddings", `{"model":"m"}`, hash, "", nil},
		{"safety replaced elsewhere", "embeddings", `{"model":"m","safety_identifier":7}`, hash, `{"model":"m","safety_identifier":"abc"}`, nil},
		{"safety without a key", "responses", `{"model":"m","safety_identifier":"u1"}`, Rewrite{SafetyIdentifier: realm.SafetyHMAC}, `{"model":"m"}`, nil},
		{"safety taken back", "responses", `{"model":"m"}`, Rewrite{SafetyIdentifier: realm.SafetyHMAC, SafetyText: "abc", Drop: []string{"safety_identifier"}}, "", nil},

		{"set", "responses", `{"model":"m","a":{"b":1}}`, edits(set("a.b", ` 2 `), set("c.d", `[1]`)), `{"model":"m","a":{"b":2},"c":{"d":[1]}}`, nil},
		{"set what is no JSON", "responses", `{"model":"m"}`, edits(set("a", ``), set("b", `{`), set("c", `1 2`)), "", nil},
		{"set through a text", "responses", `{"model":"m","a":"x"}`, edits(set("a.b", `2`), del("a.b"), rename("a.b", "c"), set("model.x", "1")), "", nil},
		{"delete", "responses", `{"model":"m","a":{"b":1,"c":2},"d":3}`, edits(del("a.b"), del("d"), del("e")), `{"model":"m","a":{"c":2}}`, nil},
		{"rename", "responses", `{"model":"m","a":{"b":1},"d":3}`, edits(rename("a.b", "x"), rename("d", "e")), `{"model":"m","a":{"x":1},"e":3}`, nil},
		{"in order", "responses", `{"model":"m"}`, edits(set("a", "1"), rename("a", "b"), set("a", "2"), del("b")), `{"model":"m","a":2}`, nil},
		{"over the model", "responses", `{"model":"m"}`, Rewrite{Model: "up", Edits: []realm.BodyEdit{set("model", `"mine"`)}}, `{"model":"mine"}`, nil},
		{
			"over the usage", "chat.completions", `{"model":"m","stream":true}`,
			Rewrite{ForceUsage: true, Edits: []realm.BodyEdit{del("stream_options.include_usage")}},
			`{"model":"m","stream":true,"stream_options":{}}`,
			[]string{"stream_options.include_usage", "stream_options"},
		},
		{
			"over what compat renamed", "chat.completions", `{"model":"m","max_tokens":5}`,
			Rewrite{Compat: compatWords, Edits: []realm.BodyEdit{set("max_completion_tokens", "9"), set("max_tokens", "8")}},
			`{"model":"m","max_completion_tokens":9,"max_tokens":8}`,
			[]string{"max_completion_tokens"},
		},
		{
			"over what compat edited inside", "chat.completions", `{"messages":[{"role":"system"}],"model":"m"}`,
			Rewrite{Compat: compatWords, Edits: []realm.BodyEdit{set("messages", "[]")}},
			`{"messages":[],"model":"m"}`, nil,
		},
		{
			"renamed after compat edited inside", "chat.completions", `{"messages":[{"role":"system"}],"model":"m"}`,
			Rewrite{Compat: compatWords, Edits: []realm.BodyEdit{rename("messages", "prompt")}},
			`{"prompt":[{"role":"developer"}],"model":"m"}`, nil,
		},
		{"over the policies", "responses", `{"model":"m","service_tier":"priority"}`, Rewrite{ServiceTier: realm.ServiceTier{Drop: true}, Store: realm.StoreFalse, Edits: []realm.BodyEdit{set("service_tier", `"flex"`), set("store", "true")}}, `{"model":"m","store":true,"service_tier":"flex"}`, []string{"store"}},
		{"taken back after all", "responses", `{"model":"m","top_p":1}`, Rewrite{Drop: []string{"top_p"}, Edits: []realm.BodyEdit{set("top_p", "0.5")}}, `{"model":"m"}`, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := ReadJSON(operation(t, tt.op), []byte(tt.body), nil)
			if err != nil {
				t.Fatal(err)
			}
			got := r.Edit(tt.rewrite)
			want := tt.want
			if want == "" {
				want = tt.body
			}
			if string(got) != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if diff := cmp.Diff(tt.added, r.AddedFields(tt.rewrite)); diff != "" {
				t.Errorf("added (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFormsKeepTheirFields(t *testing.T) {
	const text = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"service_tier\"\r\n\r\npriority\r\n--b--\r\n"
	r, err := ReadMultipart(operation(t, "images.edits"), []byte(text), "multipart/form-data; boundary=b")
	if err != nil {
		t.Fatal(err)
	}
	rw := Rewrite{
		ServiceTier: realm.ServiceTier{Drop: true}, Store: realm.StoreFalse, SafetyIdentifier: realm.SafetyHMAC, SafetyText: "abc",
		DropEncrypted: true, Edits: []realm.BodyEdit{set("model", `"x"`)},
	}
	if got := string(r.Edit(rw)); got != text {
		t.Errorf("the form became %s", got)
	}
	if added := r.AddedFields(rw); added != nil || r.HasEncrypted() || r.Droppable(EncryptedContent) {
		t.Errorf("added %v, or encrypted", added)
	}
}

func TestDropEncrypted(t *testing.T) {
	const (
		secret = `{"type":"reasoning","id":"rs_1","encrypted_content":"x"}`
		plain  = `{"type":"reasoning","summary":[],"encrypted_content": null}`
		user   = `{"role":"user","content":[{"type":"reasoning","encrypted_content":"quoted"}]}`
	)
	for input, want := range map[string]string{
		`[` + secret + `]`:                                                          `[]`,
		`[ ` + secret + ` ]`:                                                        `[  ]`,
		`[` + secret + `,` + secret + `]`:                                           `[]`,
		`[` + secret + ` , ` + user + `]`:                                           `[` + user + `]`,
		`[` + secret + `,` + secret + `,` + user + `]`:                              `[` + user + `]`,
		"[\n " + user + ",\n " + secret + "\n]":                                     "[\n " + user + "\n]",
		`[` + user + `,` + secret + `,` + secret + `]`:                              `[` + user + `]`,
		`[` + user + ` , ` + secret + ` , ` + plain + `]`:                           `[` + user + ` , ` + plain + `]`,
		`[` + secret + `,` + user + `,` + secret + `,` + plain + `,` + secret + `]`: `[` + user + `,` + plain + `]`,
		`[` + plain + `,` + user + `]`:                                              ``,
		`["x",` + secret + `]`:                                                      `["x"]`,
		`"text"`:                                                                    ``,
		`{"type":"reasoning","encrypted_content":"x"}`:                              ``,
		`[{"encrypted_content":"x","type":"compaction"}]`:                           ``,
		`[{"encrypted_content":{"a":1},"type":"reasoning"},[]]`:                     `[[]]`,
		`[{"type":"reasoning","type":"message","encrypted_content":"x"}]`:           ``,
		`[{"type":"re\u0061soning","encrypted_\u0063ontent":"x"}]`:                  `[]`,
	} {
		for _, tail := range []string{"", `,"store":true`} {
			body := `{"model":"m","input":` + input + tail + `}`
			r, err := ReadJSON(operation(t, "responses"), []byte(body), nil)
			if err != nil {
				t.Fatal(err)
			}
			if has := r.HasEncrypted(); has != (want != "") || has != r.Droppable(EncryptedContent) {
				t.Errorf("%s: HasEncrypted = %v", input, has)
			}
			wanted := body
			if want != "" {
				wanted = `{"model":"m","input":` + want + tail + `}`
			}
			if got := string(r.Edit(Rewrite{DropEncrypted: true, Drop: []string{EncryptedContent}})); got != wanted {
				t.Errorf("%s\ngot  %s\nwant %s", body, got, wanted)
			}
			if got := string(r.Edit(Rewrite{})); got != body {
				t.Errorf("without being asked: %s", got)
			}
		}
	}
	// What compat changes in an item that goes is gone too.
	r, err := ReadJSON(operation(t, "responses"), []byte(`{"model":"m","input":[{"role":"system","type":"reasoning","encrypted_content":"x"},{"role":"system"}]}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(r.Edit(Rewrite{Compat: compatWords, DropEncrypted: true})), `{"model":"m","input":[{"role":"developer"}]}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestHasCompaction(t *testing.T) {
	for input, want := range map[string]bool{
		`[{"type":"compaction","encrypted_content":"x"}]`:                true,
		`[{"role":"user"},{"type":"compaction_summary"}]`:                true,
		`[{"encrypted_content":"x","type":"context_compaction"}]`:        true,
		`[{"type":"compaction_trigger"}]`:                                false,
		`[{"role":"user","content":[{"type":"compaction"}]}]`:            false,
		`[{"role":"user","content":"compaction"},{"kind":"compaction"}]`: false,
		`"compaction"`:                  false,
		`{"type":"compaction"}`:         false,
		`[{"type":"reasoning"}]`:        false,
		`[["compaction"],"compaction"]`: false,
	} {
		r, err := ReadJSON(operation(t, "responses"), []byte(`{"model":"m","input":`+input+`}`), nil)
		if err != nil {
			t.Fatal(err)
		}
		if r.HasCompaction != want {
			t.Errorf("%s: HasCompaction = %v", input, r.HasCompaction)
		}
	}
}

// FuzzRewrite holds all that a channel may change, at once, against the same done
// on maps.
func FuzzRewrite(f *testing.F) {
	f.Add([]byte(`{"model":"m","service_tier":"priority","store":true,"input":[{"type":"reasoning","encrypted_content":"x"},{"role":"user"}]}`), "store", "a.b", uint8(255))
	f.Add([]byte(`{"model":"m","safety_identifier":"u","a":{"b":{"c":1}},"d":null}`), "a.b.c", "safety_identifier", uint8(85))
	f.Add([]byte(`{"model":"m","input":[],"temperature":1}`), "input", "input.x", uint8(170))
	f.Fuzz(func(t *testing.T, body []byte, one, two string, flags uint8) {
		if !utf8.ValidString(one) || !utf8.ValidString(two) || len(one)+len(two) > 64 || len(body) > 4<<10 {
			return
		}
		r, err := ReadJSON(operation(t, "responses"), body, nil)
		if err != nil {
			return
		}
		rw := Rewrite{
			Model: "up", ServiceTier: realm.ServiceTier{Drop: flags&1 != 0, Only: []string{"flex"}}, SafetyText: "abc", DropEncrypted: flags&2 != 0,
			SafetyIdentifier: []realm.SafetyIdentifier{"", realm.SafetyDrop, realm.SafetyHMAC, realm.SafetyPass}[flags>>2&3],
			Edits: slices.DeleteFunc([]realm.BodyEdit{
				set(one, `{"n":1}`), rename(two, "n"), del(two), set(two, `2`), rename(one, two),
			}, func(e realm.BodyEdit) bool {
				return flags>>4&1 != 0 && e.Op == realm.BodySet || flags>>5&1 != 0 && e.Op == realm.BodyDelete
			}),
		}
		if flags&64 != 0 {
			rw.Store = realm.StoreFalse
		}
		model, _ := decodeAny(t, body).(map[string]any)
		naive(t, model, &rw)
		out := r.Edit(rw)
		if diff := cmp.Diff(any(model), decodeAny(t, out)); diff != "" {
			t.Fatalf("%q became %q (-want +got):\n%s", body, out, diff)
		}
	})
}

func decodeAny(t *testing.T, raw []byte) any {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	return v
}

// naive is Edit of a Responses body without thought for bytes.
func naive(t *testing.T, m map[string]any, rw *Rewrite) {
	t.Helper()
	m["model"] = rw.Model
	if tier, ok := m["service_tier"]; ok && (rw.ServiceTier.Drop || tier != nil && tier != "flex") {
		delete(m, "service_tier")
	}
	if rw.Store == realm.StoreFalse {
		m["store"] = false
	}
	switch rw.SafetyIdentifier {
	case realm.SafetyDrop:
		delete(m, "safety_identifier")
	case realm.SafetyHMAC:
		m["safety_identifier"] = rw.SafetyText
	case realm.SafetyPass:
	}
	if list, ok := m["input"].([]any); ok && rw.DropEncrypted {
		m["input"] = slices.DeleteFunc(list, func(v any) bool {
			item, _ := v.(map[string]any)
			return item["type"] == "reasoning" && item["encrypted_content"] != nil
		})
	}
	for _, e := range rw.Edits {
		keys := strings.Split(e.Path, ".")
		switch e.Op {
		case realm.BodySet:
			naiveSet(m, keys, decodeAny(t, e.Value))
		case realm.BodyDelete:
			if parent := naiveParent(m, keys); parent != nil {
				delete(parent, keys[len(keys)-1])
			}
		case realm.BodyRename:
			naiveRename(naiveParent(m, keys), keys[len(keys)-1], e.To)
		}
	}
}

func naiveParent(m map[string]any, keys []string) map[string]any {
	for _, key := range keys[:len(keys)-1] {
		m, _ = m[key].(map[string]any)
	}
	return m
}

func naiveSet(m map[string]any, keys []string, v any) {
	if len(keys) == 1 {
		m[keys[0]] = v
		return
	}
	switch inner := m[keys[0]].(type) {
	case nil:
		made := map[string]any{}
		naiveSet(made, keys[1:], v)
		m[keys[0]] = made
	case map[string]any:
		naiveSet(inner, keys[1:], v)
	}
}

func naiveRename(m map[string]any, from, to string) {
	v, ok := m[from]
	if !ok || from == to {
		return
	}
	if m[to] == nil {
		m[to] = v
	}
	delete(m, from)
}
