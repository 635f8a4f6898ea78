package openai

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"realms/internal/protocol/rawjson"
	"realms/internal/realm"
)

const (
	codexTail    = `,"store":false,"stream":true`
	codexAsked   = `,"include":["reasoning.encrypted_content"]`
	codexForeign = codexTail + `,"instructions":""` + codexAsked
)

// cliBody is what Codex CLI 0.169 sends, of every kind of item that it knows.
var cliBody = `{"model":"gpt-6.1-sol","stream":true,"input":[` +
	`{"type":"additional_tools","role":"developer","tools":[{"type":"namespace","name":"functions","tools":[{"type":"custom","name":"exec","format":{"type":"grammar","syntax":"lark","definition":"start: \"system\""}}]}]},` +
	`{"type":"message","role":"developer","content":[{"type":"input_text","text":"You are \u0043odex, the system."}]},` +
	`{"type":"message","role":"user","content":[{"type":"input_text","text":"{\"role\":\"system\"}"},{"type":"input_image","image_url":"data:image/png;base64,AAAA"}]},` +
	`{"type":"reasoning","id":"rs_1","summary":[],"content":null,"encrypted_content":"gAAAA"},` +
	`{"type":"custom_tool_call","id":"ctc_1","call_id":"call_1","namespace":"functions","name":"exec","input":"ls"},` +
	`{"type":"custom_tool_call_output","call_id":"call_1","output":[{"type":"input_text","text":"a"}]},` +
	`{"type":"compaction","encrypted_content":"gAAAB"},{"type":"compaction_trigger"}` +
	`],"tool_choice":"auto","parallel_tool_calls":false,"reasoning":{"effort":"medium","context":"x"},"store":false,"include":[],` +
	`"prompt_cache_key":"018f","text":{"verbosity":"low"},"client_metadata":{"n":9007199254740993},"internal_chat_message_metadata_passthrough":{"a":1e2}}`

func TestCodexRules(t *testing.T) {
	long := strings.Repeat("i", 65)
	item := func(text string) string { return `{"type":"message","role":"user","content":"` + text + `"}` }
	sdk, cli := &CodexRules{}, &CodexRules{Client: true}
	for name, tc := range map[string]struct {
		op, body, want string // want empty: the body itself, not a copy
		rewrite        Rewrite
		added          []string
	}{
		"codex cli":                  {"responses", cliBody, "", Rewrite{Codex: cli}, nil},
		"codex cli, a list asked of": {"responses", `{"model":"m","input":[],"store":false,"stream":true,"include":["reasoning.encrypted_content"],"service_tier":"priority"}`, "", Rewrite{Codex: cli}, nil},
		"codex cli compacts":         {"responses.compact", `{"model":"m","input":[` + item("x") + `],"instructions":"You are Codex","tools":[],"parallel_tool_calls":true,"reasoning":{},"text":{}}`, "", Rewrite{Codex: cli}, nil},
		"codex cli without a stream": {"responses", `{"model":"m","input":[],"stream":false,"store":true}`, `{"model":"m","input":[],"stream":true,"store":false}`, Rewrite{Codex: cli}, nil},
		"nothing but a model":        {"responses", `{"model":"m"}`, `{"model":"m"` + codexForeign + `}`, Rewrite{Codex: sdk}, []string{"include"}},
		"nulls":                      {"responses", `{"store":null,"model":"m","stream":null,"instructions":null,"include":null}`, `{"store":false,"model":"m","stream":true,"instructions":"","include":["reasoning.encrypted_content"]}`, Rewrite{Codex: sdk}, []string{"include"}},
		"as the backend wants it":    {"responses", `{"model":"m","input":[],"instructions":"x","store":false,"stream":true,"include":["a","reasoning.encrypted_content"]}`, "", Rewrite{Codex: sdk}, nil},
		"a text": {
			"responses", `{"model":"m","input" : "say \u0068i\n" ,"instructions":"x"}`,
			`{"model":"m","input" : [{"type":"message","role":"user","content":[{"type":"input_text","text":"say \u0068i\n"}]}] ,"instructions":"x"` + codexTail + codexAsked + `}`,
			Rewrite{Codex: sdk},
			[]string{"include"},
		},
		"what is unsupported": {
			"responses", `{"max_output_tokens":5,"model":"m","temperature":0,"top_p":1,"user":"u","metadata":{"a":"b"},"truncation":"auto","prompt_cache_retention":"24h","x":1,"safety_identifier":"s","stream_options":{},"context_management":[],"instructions":"","presence_penalty":0,"frequency_penalty":0,"store":false,"stream":true,"include":["reasoning.encrypted_content"]}`,
			`{"model":"m","x":1,"instructions":"","store":false,"stream":true,"include":["reasoning.encrypted_content"]}`,
			Rewrite{Codex: sdk},
			nil,
		},
		"tiers":              {"responses", `{"model":"m","service_tier":"flex","input":[],"store":false,"stream":true}`, `{"model":"m","input":[],"store":false,"stream":true}`, Rewrite{Codex: cli}, nil},
		"a tier of null":     {"responses", `{"service_tier":null,"model":"m","store":false,"stream":true}`, `{"model":"m","store":false,"stream":true}`, Rewrite{Codex: cli}, nil},
		"included already":   {"responses", `{"model":"m","instructions":"","store":false,"stream":true,"include":[ "file_search_call.results" ]}`, `{"model":"m","instructions":"","store":false,"stream":true,"include":[ "file_search_call.results","reasoning.encrypted_content" ]}`, Rewrite{Codex: sdk}, nil},
		"an empty list":      {"responses", `{"model":"m","instructions":"","store":false,"stream":true,"include":[ ]}`, `{"model":"m","instructions":"","store":false,"stream":true,"include":["reasoning.encrypted_content" ]}`, Rewrite{Codex: sdk}, nil},
		"include is no list": {"responses", `{"model":"m","instructions":"","store":false,"stream":true,"include":"x"}`, "", Rewrite{Codex: sdk}, nil},
		"include refused":    {"responses", `{"model":"m","instructions":"","store":false,"stream":true}`, "", Rewrite{Codex: sdk, Drop: []string{"include"}}, nil},
		"system messages": {
			"responses", `{"model":"m","input":[{"role":"system","content":"a"},{"content":[{"role":"system"}],"type":"message","role": "system" }],"store":false,"stream":true}`,
			`{"model":"m","input":[{"role":"developer","content":"a"},{"content":[{"role":"system"}],"type":"message","role": "developer" }],"store":false,"stream":true}`,
			Rewrite{Codex: cli},
			nil,
		},
		"references": {
			"responses", `{"model":"m","input":[ {"type":"item_reference","id":"a"} , ` + item("x") + `, {"id":"b"},{"type":null,"id":"c"}, {"id":"d","role":"user","content":""} ],"store":false,"stream":true}`,
			`{"model":"m","input":[ ` + item("x") + `, {"id":"d","role":"user","content":""} ],"store":false,"stream":true}`,
			Rewrite{Codex: cli},
			nil,
		},
		"nothing but references": {"responses", `{"model":"m","input":[{"type":"item_reference","id":"a"},{"id":"b"}],"store":false,"stream":true}`, `{"model":"m","input":[],"store":false,"stream":true}`, Rewrite{Codex: cli}, nil},
		"references and what another account has encrypted": {
			"responses", `{"model":"m","input":[{"type":"reasoning","encrypted_content":"x"},{"type":"item_reference","id":"a"},` + item("x") + `,{"id":"b"},{"type":"reasoning","encrypted_content":"x"}],"store":false,"stream":true}`,
			`{"model":"m","input":[` + item("x") + `],"store":false,"stream":true}`,
			Rewrite{Codex: cli, DropEncrypted: true},
			nil,
		},
		"encrypted alone": {
			"responses", `{"model":"m","input":[` + item("x") + `,{"type":"reasoning","encrypted_content":"x"}],"store":false,"stream":true}`,
			`{"model":"m","input":[` + item("x") + `],"store":false,"stream":true}`,
			Rewrite{Codex: cli, DropEncrypted: true},
			nil,
		},
		"long ids": {
			"responses", `{"model":"m","input":[{"id":"` + long + `","type":"message","role":"system"},{"type":"message" , "id":"` + long + `" },{"type":"message","id":"` + long[1:] + `"},{"type":"x","id":"` + strings.Repeat("é", 64) + `"}],"store":false,"stream":true}`,
			`{"model":"m","input":[{"type":"message","role":"developer"},{"type":"message" },{"type":"message","id":"` + long[1:] + `"},{"type":"x","id":"` + strings.Repeat("é", 64) + `"}],"store":false,"stream":true}`,
			Rewrite{Codex: cli},
			nil,
		},
		"an sdk compacts": {
			"responses.compact", `{"model":"m","input":"x","max_output_tokens":1}`,
			`{"model":"m","input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"x"}]}],"instructions":""}`,
			Rewrite{Codex: sdk},
			nil,
		},
		"the channel's policies and a model": {
			"responses", `{"model":"m-low","safety_identifier":"x","service_tier":"priority","input":[]}`,
			`{"model":"up","service_tier":"priority","input":[],"reasoning":{"effort":"low"}` + codexForeign + `}`,
			Rewrite{Codex: sdk, Model: "up", Effort: "low", Store: realm.StoreFalse, SafetyIdentifier: realm.SafetyHMAC, SafetyText: "hash", Compat: compatWords},
			[]string{"reasoning.effort", "reasoning", "include"},
		},
		"an operator's edits do not undo the rules": {
			"responses", `{"model":"m","prompt":"hi","old":{"role":"x"},"stream":true}`,
			`{"model":"m","input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"hi"}]}],"old":{"role":"x","new":1},"stream":true,"store":false}`,
			Rewrite{Codex: cli, Edits: []realm.BodyEdit{
				{Op: realm.BodyRename, Path: "prompt", To: "input"},
				{Op: realm.BodySet, Path: "store", Value: json.RawMessage("true")},
				{Op: realm.BodySet, Path: "old.new", Value: json.RawMessage("1")},
				{Op: realm.BodySet, Path: "temperature", Value: json.RawMessage("1")},
			}},
			nil,
		},
		"an operator's edits that change nothing": {"responses", cliBody, "", Rewrite{Codex: cli, Edits: []realm.BodyEdit{{Op: realm.BodyDelete, Path: "nothing"}}}, nil},
		"another api":     {"chat.completions", `{"model":"m","messages":[],"temperature":1}`, "", Rewrite{Codex: sdk}, nil},
		"counting tokens": {"responses.input_tokens", `{"model":"m","input":"x"}`, "", Rewrite{Codex: sdk}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := ReadJSON(operation(t, tc.op), []byte(tc.body), nil)
			if err != nil {
				t.Fatal(err)
			}
			got := r.Edit(tc.rewrite)
			if tc.want == "" && !sameSlice(got, r.Doc.Body) {
				t.Errorf("the body was copied: %s", got)
			}
			if want := tc.want; want != "" && string(got) != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if diff := cmp.Diff(tc.added, r.AddedFields(tc.rewrite)); diff != "" {
				t.Errorf("added (-want +got):\n%s", diff)
			}
			const before = "before"
			if behind := r.AppendEdit([]byte(before), tc.rewrite); tc.want != "" && string(behind) != before+string(got) {
				t.Errorf("behind another: %s", behind)
			}
		})
	}
}

func sameSlice(a, b []byte) bool { return len(a) == len(b) && &a[0] == &b[0] }

// TestCodexRulesProperty: whatever a client writes, what goes up is JSON that keeps
// the rules, a second application changes nothing, and every field that no rule names
// is there as it was written, in its place.
func TestCodexRulesProperty(t *testing.T) {
	op := operation(t, "responses")
	rapid.Check(t, func(t *rapid.T) {
		body := drawBody(t)
		rules := Rewrite{Codex: &CodexRules{Client: rapid.Bool().Draw(t, "client")}, DropEncrypted: rapid.Bool().Draw(t, "leaves")}
		r := &Request{Op: op, Doc: scan(t, []byte(body))}
		got := r.Edit(rules)
		edited := scan(t, got)
		again := &Request{Op: op, Doc: edited}
		if twice := again.Edit(rules); !sameSlice(twice, got) {
			t.Fatalf("not settled:\nbody  %s\nonce  %s\ntwice %s", body, got, twice)
		}
		if want, has := kept(&r.Doc), kept(&edited); !slices.Equal(want, has) {
			t.Fatalf("other fields changed:\nbody %s\ngot  %s", body, got)
		}
		checkRules(t, &edited, rules.Codex)
	})
}

func scan(t rapid.TB, body []byte) rawjson.Doc {
	doc, err := rawjson.Parse(body, nil)
	if err != nil || !json.Valid(body) {
		t.Fatalf("%v: %s", err, body)
	}
	return doc
}

// ruled are the fields that some rule may change.
var ruled = append([]string{"store", "stream", "instructions", "service_tier", "include", "input"}, codexUnsupported[:]...)

// kept is every field that no rule names, as it is written.
func kept(doc *rawjson.Doc) (fields []string) {
	for _, f := range doc.Fields {
		if !slices.Contains(ruled, string(f.Key)) {
			fields = append(fields, string(doc.Body[f.KeyStart:f.ValEnd]))
		}
	}
	return fields
}

// checkRules reads the body as the backend would.
func checkRules(t *rapid.T, doc *rawjson.Doc, c *CodexRules) {
	var body struct {
		Store        *bool
		Stream       *bool
		Instructions any
		Include      any
		Input        any
		ServiceTier  *string `json:"service_tier"`
	}
	if err := json.Unmarshal(doc.Body, &body); err != nil {
		t.Fatalf("%v: %s", err, doc.Body)
	}
	if body.Store == nil || *body.Store || body.Stream == nil || !*body.Stream {
		t.Fatalf("store or stream: %s", doc.Body)
	}
	if !c.Client && body.Instructions == nil {
		t.Fatalf("no instructions: %s", doc.Body)
	}
	if list, ok := body.Include.([]any); !c.Client && ok && !slices.Contains(list, any("reasoning.encrypted_content")) {
		t.Fatalf("include: %s", doc.Body)
	}
	for _, field := range codexUnsupported {
		if doc.Field(field) != nil {
			t.Fatalf("%s: %s", field, doc.Body)
		}
	}
	if f := doc.Field("service_tier"); f != nil && (body.ServiceTier == nil || *body.ServiceTier != "priority") {
		t.Fatalf("service tier: %s", doc.Body)
	}
	if _, ok := body.Input.(string); ok {
		t.Fatalf("a text: %s", doc.Body)
	}
	items, _ := body.Input.([]any)
	for _, it := range items {
		item, _ := it.(map[string]any)
		id, named := item["id"].(string)
		_, hasRole := item["role"]
		if named && (item["type"] == "item_reference" || item["type"] == nil && !hasRole) || item["role"] == "system" || len([]rune(id)) > maxItemID {
			t.Fatalf("item %v: %s", item, doc.Body)
		}
	}
}

// drawBody writes a body with some of the fields that the rules are about, some
// others, and spaces anywhere.
func drawBody(t *rapid.T) string {
	values := map[string][]string{
		"store":        {"true", "false", "null"},
		"stream":       {"true", "false", "null"},
		"instructions": {`""`, `"x"`, "null"},
		"service_tier": {`"auto"`, `"priority"`, "null", `"prior\u0069ty"`},
		"include":      {"[]", "[ ]", `["a" ]`, "null", `["reasoning.encrypted_content"]`, `["b","reasoning.encrypted_\u0063ontent"]`},
		"input":        {`"text"`, `""`, "null"},
		"model":        {`"m"`},
		"tools":        {`[{"type":"namespace"}]`, `[ ]`},
		"future":       {"12345678901234567890", `{"input" : [{"role":"system"}]}`, "1e2"},
		"x\\u0079":     {"0.0"},
	}
	for _, field := range codexUnsupported {
		values[field] = []string{"1", "null", `{"a":1}`}
	}
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	var parts []string
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 10, rapid.ID[string]).Draw(t, "fields") {
		value := rapid.SampledFrom(values[name]).Draw(t, name)
		if name == "input" && rapid.Bool().Draw(t, "list") {
			value = drawItems(t)
		}
		parts = append(parts, drawSpace(t)+`"`+name+`"`+drawSpace(t)+":"+drawSpace(t)+value)
	}
	return "{" + strings.Join(parts, drawSpace(t)+",") + drawSpace(t) + "}"
}

func drawSpace(t *rapid.T) string {
	return rapid.SampledFrom([]string{"", "", " ", "\n\t"}).Draw(t, "space")
}

// drawItems writes items of every kind, fields in any order and some twice.
func drawItems(t *rapid.T) string {
	fields := []string{
		`"type":"message"`, `"type":"item_reference"`, `"type":"reasoning"`, `"type":null`, `"t\u0079pe":"item_reference"`, `"role":"system"`, `"role":"user"`,
		`"r\u006fle":"s\u0079stem"`, `"id":"msg_1"`, `"id":null`, `"id":"` + strings.Repeat("i", 65) + `"`, `"id":"` + strings.Repeat("é", 64) + `"`,
		`"id":"` + strings.Repeat(`\u0069`, 65) + `"`, `"content":[{"role":"system","id":"` + strings.Repeat("c", 70) + `"}]`, `"encrypted_content":"e"`, `"n":1e40`,
	}
	var items []string
	for i := range rapid.IntRange(0, 5).Draw(t, "items") {
		if rapid.IntRange(0, 9).Draw(t, "odd") == 0 {
			items = append(items, rapid.SampledFrom([]string{"1", `"id"`, "[]", `[{"id":"x"}]`, "{}"}).Draw(t, "item"))
			continue
		}
		picked := rapid.SliceOfN(rapid.SampledFrom(fields), 1, 5).Draw(t, fmt.Sprint("item ", i))
		items = append(items, "{"+drawSpace(t)+strings.Join(picked, drawSpace(t)+","+drawSpace(t))+drawSpace(t)+"}")
	}
	return "[" + drawSpace(t) + strings.Join(items, drawSpace(t)+","+drawSpace(t)) + drawSpace(t) + "]"
}
