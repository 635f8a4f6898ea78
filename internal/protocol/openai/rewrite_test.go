package openai

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"realms/internal/protocol/rawjson"
)

func TestEdit(t *testing.T) {
	all := []string{CompatMaxCompletionTokens, CompatNoSampling, CompatDeveloperRole}
	usage := []string{"stream_options.include_usage", "stream_options"}
	tests := []struct {
		name, op, body string
		rewrite        Rewrite
		want           string // empty: the body itself, not a copy
		added          []string
	}{
		{"nothing", "chat.completions", `{"model":"m"}`, Rewrite{}, "", nil},
		{"same model", "chat.completions", `{"model":"m"}`, Rewrite{Model: "m"}, "", nil},
		{"model", "chat.completions", "{ \"x\" : 1e2,\"model\" :\"m\",\"seed\":9007199254740993 }", Rewrite{Model: "up/m"}, "{ \"x\" : 1e2,\"model\" :\"up/m\",\"seed\":9007199254740993 }", nil},
		{"model to be quoted", "chat.completions", `{"model":"m"}`, Rewrite{Model: `a"b`}, `{"model":"a\"b"}`, nil},
		{"default model stays out", "moderations", `{"input":"x"}`, Rewrite{Model: "omni-moderation-latest"}, "", nil},
		{"mapped default model", "moderations", `{"input":"x"}`, Rewrite{Model: "mod"}, `{"input":"x","model":"mod"}`, nil},
		{"usage", "chat.completions", `{"model":"m","stream":true}`, Rewrite{ForceUsage: true}, `{"model":"m","stream":true,"stream_options":{"include_usage":true}}`, usage},
		{
			"usage beside another option", "completions", `{"model":"m","stream":true,"stream_options":{"include_obfuscation":false}}`,
			Rewrite{ForceUsage: true},
			`{"model":"m","stream":true,"stream_options":{"include_obfuscation":false,"include_usage":true}}`, usage[:1],
		},
		{
			"usage refused by the client", "chat.completions", `{"model":"m","stream":true,"stream_options":{"include_usage":false}}`,
			Rewrite{ForceUsage: true},
			`{"model":"m","stream":true,"stream_options":{"include_usage":true}}`, usage[:1],
		},
		{"usage asked for", "chat.completions", `{"model":"m","stream":true,"stream_options":{"include_usage":true}}`, Rewrite{ForceUsage: true}, "", nil},
		{"usage without a stream", "chat.completions", `{"model":"m"}`, Rewrite{ForceUsage: true}, "", nil},
		{"usage on responses", "responses", `{"model":"m","stream":true}`, Rewrite{ForceUsage: true}, "", nil},
		{"usage taken back", "chat.completions", `{"model":"m","stream":true}`, Rewrite{ForceUsage: true, Drop: usage[1:]}, "", nil},
		{"usage taken back by its path", "chat.completions", `{"model":"m","stream":true}`, Rewrite{ForceUsage: true, Drop: usage[:1]}, "", nil},
		{"effort on chat", "chat.completions", `{"model":"m-high"}`, Rewrite{Model: "m", Effort: "high"}, `{"model":"m","reasoning_effort":"high"}`, []string{"reasoning_effort"}},
		{"effort on responses", "responses", `{"model":"m"}`, Rewrite{Effort: "low"}, `{"model":"m","reasoning":{"effort":"low"}}`, []string{"reasoning.effort", "reasoning"}},
		{"effort beside a summary", "responses", `{"reasoning":{"summary":"auto"},"model":"m"}`, Rewrite{Effort: "low"}, `{"reasoning":{"summary":"auto","effort":"low"},"model":"m"}`, []string{"reasoning.effort"}},
		{"effort of the body wins", "responses", `{"reasoning":{"effort":"xhigh"},"model":"m"}`, Rewrite{Effort: "low"}, "", nil},
		{"effort of the body wins on chat", "chat.completions", `{"reasoning_effort":"none","model":"m"}`, Rewrite{Effort: "low"}, "", nil},
		{"null effort", "chat.completions", `{"reasoning_effort":null,"model":"m"}`, Rewrite{Effort: "low"}, `{"reasoning_effort":"low","model":"m"}`, []string{"reasoning_effort"}},
		{"effort elsewhere", "embeddings", `{"model":"m"}`, Rewrite{Effort: "low"}, "", nil},
		{"reasoning is no object", "responses", `{"reasoning":"x","model":"m"}`, Rewrite{Effort: "low"}, "", []string{"reasoning.effort"}},
		{"compat with nothing to do", "chat.completions", `{"model":"m","messages":[{"role":"user","content":"system"}]}`, Rewrite{Compat: all}, "", nil},
		{"max tokens", "chat.completions", `{"max_tokens" : 5,"model":"m"}`, Rewrite{Compat: all}, `{"max_completion_tokens" : 5,"model":"m"}`, []string{"max_completion_tokens"}},
		{"both limits", "chat.completions", `{"max_tokens":5,"max_completion_tokens":6,"model":"m"}`, Rewrite{Compat: all}, `{"max_completion_tokens":6,"model":"m"}`, nil},
		{"max tokens elsewhere", "completions", `{"max_tokens":5,"model":"m","temperature":1}`, Rewrite{Compat: all}, "", nil},
		{"sampling", "chat.completions", `{"temperature":0,"model":"m","top_p":1,"presence_penalty":0,"frequency_penalty":0,"logprobs":false,"top_logprobs":0,"logit_bias":{}}`, Rewrite{Compat: all}, `{"model":"m"}`, nil},
		{"sampling on responses", "responses", `{"temperature":0,"model":"m","max_output_tokens":1}`, Rewrite{Compat: all}, `{"model":"m","max_output_tokens":1}`, nil},
		{
			"roles", "chat.completions", `{"model":"m","messages":[ {"role": "system" ,"content":"system"},{"content":[{"role":"system"}],"role":"user"},{"role":"system","content":""}]}`,
			Rewrite{Compat: all},
			`{"model":"m","messages":[ {"role": "developer" ,"content":"system"},{"content":[{"role":"system"}],"role":"user"},{"role":"developer","content":""}]}`, nil,
		},
		{
			"roles in input", "responses", `{"model":"m","input":[{"type":"message","role":"system","content":"x"}]}`,
			Rewrite{Compat: all},
			`{"model":"m","input":[{"type":"message","role":"developer","content":"x"}]}`, nil,
		},
		{
			"all at once", "chat.completions", `{"model":"o3-high","messages":[{"role":"system","content":"x"}],"stream":true,"temperature":1,"max_tokens":9}`,
			Rewrite{Model: "o3", Effort: "high", ForceUsage: true, Compat: all},
			`{"model":"o3","messages":[{"role":"developer","content":"x"}],"stream":true,"max_completion_tokens":9,"reasoning_effort":"high","stream_options":{"include_usage":true}}`,
			append(append([]string{}, usage...), "reasoning_effort", "max_completion_tokens"),
		},
		{"drop", "responses", `{"model":"m","temperature":1,"x":2}`, Rewrite{Drop: []string{"temperature", "y"}}, `{"model":"m","x":2}`, nil},
		{"drop inside", "responses", `{"model":"m","reasoning":{"summary":"auto","effort":"low"}}`, Rewrite{Drop: []string{"reasoning.summary"}}, `{"model":"m","reasoning":{"effort":"low"}}`, nil},
		{"drop a limit's old name", "chat.completions", `{"model":"m","max_tokens":5}`, Rewrite{Drop: []string{"max_tokens"}}, `{"model":"m","max_completion_tokens":5}`, nil},
		{"drop a limit's new name", "chat.completions", `{"model":"m","max_completion_tokens":5}`, Rewrite{Drop: []string{"max_completion_tokens"}}, `{"model":"m","max_tokens":5}`, nil},
		{"drop the name that compat gave", "chat.completions", `{"model":"m","max_tokens":5}`, Rewrite{Compat: all, Drop: []string{"max_completion_tokens"}}, "", nil},
		{"drop the effort we added", "chat.completions", `{"model":"m"}`, Rewrite{Effort: "low", Drop: []string{"reasoning_effort"}}, "", nil},
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
				if &got[0] != &r.Doc.Body[0] {
					t.Error("the body was copied")
				}
			}
			if string(got) != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if added := r.AddedFields(tt.rewrite); tt.want != "" || tt.added != nil {
				if diff := cmp.Diff(tt.added, added); diff != "" {
					t.Errorf("added (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestDroppable(t *testing.T) {
	r, err := ReadJSON(operation(t, "chat.completions"), []byte(`{"model":"m","temperature":1,"max_tokens":5,"messages":[],"tools":[]}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]bool{
		"temperature": true, "max_tokens": true, "top_p": false, "model": false, "messages": false, "tools": false, "max_completion_tokens": false, "": false,
	} {
		if r.Droppable(field) != want {
			t.Errorf("Droppable(%s) is not %v", field, want)
		}
	}
}

func TestEditWithoutABody(t *testing.T) {
	r := &Request{Op: operation(t, "responses.get")}
	if got := r.Edit(Rewrite{Model: "m", ForceUsage: true}); got != nil {
		t.Errorf("Edit = %q", got)
	}
}

func TestSplitEffort(t *testing.T) {
	for name, want := range map[string][2]string{
		"o3-high": {"o3", "high"}, "gpt-5.5-none": {"gpt-5.5", "none"}, "a-b-xhigh": {"a-b", "xhigh"}, "m-minimal": {"m", "minimal"},
		"m-low": {"m", "low"}, "m-medium": {"m", "medium"},
		"o3": {}, "o3-mini": {}, "-high": {}, "high": {}, "m-HIGH": {}, "m-": {}, "": {},
	} {
		base, effort, ok := SplitEffort(name)
		if ok != (want[1] != "") || ok && (base != want[0] || effort != want[1]) || !ok && base != name {
			t.Errorf("SplitEffort(%q) = %q, %q, %v", name, base, effort, ok)
		}
	}
}

func TestPreset(t *testing.T) {
	for _, name := range []string{"o1", "o1-mini", "o3", "o3-pro", "o4-mini", "gpt-5", "gpt-5.5", "gpt-5-mini", "gpt-6", "gpt-6.1-sol", "openai/gpt-5.5", "GPT-5"} {
		if diff := cmp.Diff(compatWords, Preset(name)); diff != "" {
			t.Errorf("Preset(%s) (-want +got):\n%s", name, diff)
		}
	}
	for _, name := range []string{"gpt-4o", "gpt-5-chat", "gpt-5.2-chat-latest", "o100", "gpt-50", "qwen-o3", "", "omni-moderation-latest"} {
		if got := Preset(name); got != nil {
			t.Errorf("Preset(%s) = %v", name, got)
		}
	}
	if !ValidCompat("no_sampling") || ValidCompat("no-sampling") {
		t.Error("ValidCompat does not know the words")
	}
}

// FuzzEdit: whatever a client sends, an edited body parses and carries the model.
func FuzzEdit(f *testing.F) {
	f.Add([]byte(`{"model":"m-low","stream":true,"messages":[{"role":"system"}],"max_tokens":1}`), "up")
	f.Add([]byte(`{"temperature":1,"model":"m","stream_options":{"a":[]},"stream":true,"input":[{"id":"x"}]}`), `a"b\`)
	f.Add([]byte(`{"reasoning":null,"prompt":{"id":"p"},"model":"\u006d","tools":[{"container":"c"}]}`), "é")
	f.Fuzz(func(t *testing.T, body []byte, model string) {
		for _, name := range []string{"responses", "chat.completions"} {
			r, err := ReadJSON(operation(t, name), body, nil)
			if err != nil || model == "" || strings.ToValidUTF8(model, "") != model {
				return
			}
			out := r.Edit(Rewrite{Model: model, Effort: "low", ForceUsage: true, Compat: compatWords, Drop: []string{"x", "max_tokens", "metadata.y"}})
			again, err := ReadJSON(operation(t, name), out, nil)
			if err != nil && !strings.Contains(err.Error(), "too long") {
				t.Fatalf("%q became %q: %v", body, out, err)
			}
			if err == nil && (again.Model != model || again.Stream != r.Stream || len(again.Objects) != len(r.Objects)) {
				t.Fatalf("%q became %q", body, out)
			}
		}
	})
}

func BenchmarkReadAndEdit(b *testing.B) {
	for name, line := range map[string]string{
		"200KiB_prose": `The quick brown fox jumps over the lazy dog; nothing else happens here.\n`,
		"200KiB_code":  `\tif err != nil {\n\t\treturn fmt.Errorf(\"read %q: %w\", file_name, err)\n\t}\n`,
	} {
		body := []byte(`{"model":"gpt-5.5","stream":true,"messages":[{"role":"user","content":"` + strings.Repeat(line, 200<<10/len(line)) + `"}]}`)
		op := operation(b, "chat.completions")
		fields := make([]rawjson.Field, 0, 16)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				r, err := ReadJSON(op, body, fields)
				if err != nil {
					b.Fatal(err)
				}
				r.Edit(Rewrite{Model: "up", ForceUsage: true, Compat: Preset("up")})
			}
		})
	}
}
