package rawjson

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEdits(t *testing.T) {
	tests := []struct {
		name, body, want string
		edit             func(*Edits) error
	}{
		{
			"set keeps all else", "{ \"a\" : 1,\n  \"model\":\t\"x\" , \"big\":9007199254740993, \"z\":0.0 }", "{ \"a\" : 1,\n  \"model\":\t\"y\" , \"big\":9007199254740993, \"z\":0.0 }",
			func(e *Edits) error { return e.Set("model", []byte(`"y"`)) },
		},
		{"set twice", `{"a":1}`, `{"a":3}`, func(e *Edits) error { _ = e.Set("a", []byte("2")); return e.Set("a", []byte("3")) }},
		{"set new", `{"a":1 }`, `{"a":1,"b":2 }`, func(e *Edits) error { return e.Set("b", []byte("2")) }},
		{"set new in an empty object", `{ }`, `{"b":2 }`, func(e *Edits) error { return e.Set("b", []byte("2")) }},
		{"set two new", `{}`, `{"b":2,"c":3}`, func(e *Edits) error { _ = e.Set("b", []byte("2")); return e.Set("c", []byte("3")) }},
		{"delete first", `{"a":1, "b":2, "c":3}`, `{"b":2, "c":3}`, func(e *Edits) error { e.Delete("a"); return nil }},
		{"delete middle", `{"a":1, "b":2, "c":3}`, `{"a":1, "c":3}`, func(e *Edits) error { e.Delete("b"); return nil }},
		{"delete last", `{"a":1, "b":2, "c":3 }`, `{"a":1, "b":2 }`, func(e *Edits) error { e.Delete("c"); return nil }},
		{"delete only", `{ "a":1 }`, `{  }`, func(e *Edits) error { e.Delete("a"); return nil }},
		{"delete first two", `{"a":1,"b":2,"c":3}`, `{"c":3}`, func(e *Edits) error { e.Delete("a"); e.Delete("b"); return nil }},
		{"delete last two", `{"a":1,"b":2,"c":3}`, `{"a":1}`, func(e *Edits) error { e.Delete("c"); e.Delete("b"); return nil }},
		{"delete all and add", `{"a":1,"b":2}`, `{"c":3}`, func(e *Edits) error { e.Delete("a"); e.Delete("b"); return e.Set("c", []byte("3")) }},
		{"delete after set", `{"a":1,"b":2}`, `{"b":2}`, func(e *Edits) error { err := e.Set("a", []byte("9")); e.Delete("a"); return err }},
		{"set after delete", `{"a":1,"b":2}`, `{"b":2,"a":9}`, func(e *Edits) error { e.Delete("a"); return e.Set("a", []byte("9")) }},
		{"delete what was added", `{"a":1}`, `{"a":1}`, func(e *Edits) error { err := e.Set("b", []byte("9")); e.Delete("b"); return err }},
		{"delete nothing", `{"a":1}`, `{"a":1}`, func(e *Edits) error { e.Delete("x"); e.Delete("a.b"); e.Delete("x.y"); return nil }},
		{"nested set", `{"so":{"x": 1, "u":false},"b":2}`, `{"so":{"x": 1, "u":true},"b":2}`, func(e *Edits) error { return e.Set("so.u", []byte("true")) }},
		{"nested add", `{"so":{ "x":1 }}`, `{"so":{ "x":1,"u":true }}`, func(e *Edits) error { return e.Set("so.u", []byte("true")) }},
		{"nested in an empty parent", `{"so":{}}`, `{"so":{"u":true}}`, func(e *Edits) error { return e.Set("so.u", []byte("true")) }},
		{"nested with the parent missing", `{"a":1}`, `{"a":1,"so":{"u":true}}`, func(e *Edits) error { return e.Set("so.u", []byte("true")) }},
		{"nested with a null parent", `{"so": null ,"a":1}`, `{"so": {"u":true} ,"a":1}`, func(e *Edits) error { return e.Set("so.u", []byte("true")) }},
		{"two nested in a new parent", `{}`, `{"r":{"e":"low","s":"auto"}}`, func(e *Edits) error {
			_ = e.Set("r.e", []byte(`"low"`))
			return e.Set("r.s", []byte(`"auto"`))
		}},
		{"nested delete", `{"so":{"x":1,"u":true}}`, `{"so":{"x":1}}`, func(e *Edits) error { e.Delete("so.u"); return nil }},
		{"nested delete of the only one", `{"so":{"u":true}}`, `{"so":{}}`, func(e *Edits) error { e.Delete("so.u"); return nil }},
		{"rename", `{"max_tokens" : 5,"b":1}`, `{"max_completion_tokens" : 5,"b":1}`, func(e *Edits) error { e.Rename("max_tokens", "max_completion_tokens"); return nil }},
		{"rename onto another", `{"a":5,"b":1}`, `{"b":1}`, func(e *Edits) error { e.Rename("a", "b"); return nil }},
		{"rename and set", `{"a":5,"c":1}`, `{"b":5,"c":2}`, func(e *Edits) error { e.Rename("a", "b"); return e.Set("c", []byte("2")) }},
		{"escaped key", `{"m\u006fdel":"x"}`, `{"m\u006fdel":"y"}`, func(e *Edits) error { return e.Set("model", []byte(`"y"`)) }},
		{"range", `{"m":[{"role":"system"}],"n":1}`, `{"m":[{"role":"developer"}],"n":1}`, func(e *Edits) error { e.ReplaceRange(14, 22, []byte(`"developer"`)); return nil }},
		{"range in what is deleted", `{"m":["x"],"n":1}`, `{"n":1}`, func(e *Edits) error { e.ReplaceRange(6, 9, []byte(`"y"`)); e.Delete("m"); return nil }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := Parse([]byte(tt.body), nil)
			if err != nil {
				t.Fatal(err)
			}
			e := Edits{Doc: &d}
			if err := tt.edit(&e); err != nil {
				t.Fatal(err)
			}
			if got := string(e.Apply(nil)); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if got := string(e.Apply([]byte("before"))); got != "before"+tt.want {
				t.Errorf("appended: %s", got)
			}
		})
	}
}

func TestEditsRefuseAParentThatIsNoObject(t *testing.T) {
	for _, body := range []string{`{"a":"x"}`, `{"a":[1]}`, `{"a":5}`, `{"a":{"b":1,"b":2}}`} {
		d, err := Parse([]byte(body), nil)
		if err != nil {
			t.Fatal(err)
		}
		e := Edits{Doc: &d}
		if err := e.Set("a.b", []byte("1")); err == nil || !e.Empty() {
			t.Errorf("%s: Set passed", body)
		}
	}
}

// FuzzEdits applies a random list of edits and holds the result against the same
// done with maps; what no edit named must be there byte for byte.
func FuzzEdits(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":{"c":2},"d":[3]}`), []byte{0, 1, 2, 3})
	f.Add([]byte(` { "a" : null , "b":{} } `), []byte{9, 17, 8, 1, 0})
	f.Add([]byte(`{}`), []byte{16, 17, 24, 8})
	f.Add([]byte(`{"\u0061":1e400,"zz":18446744073709551617}`), []byte{8, 0, 16})
	f.Fuzz(func(t *testing.T, body, script []byte) {
		d, err := Parse(body, nil)
		if err != nil || len(script) > 32 {
			return
		}
		var model map[string]json.RawMessage
		if err := json.Unmarshal(body, &model); err != nil {
			t.Fatal(err)
		}
		e := Edits{Doc: &d}
		for n, op := range script {
			apply(t, &e, model, op, n)
		}
		out := e.Apply(nil)
		if len(e.spans)+len(e.gone)+len(e.added) == 0 && string(out) != string(body) {
			t.Fatalf("no edit, yet %q became %q", body, out)
		}
		got, err := Parse(out, nil)
		if err != nil {
			t.Fatalf("%q became %q: %v", body, out, err)
		}
		gotMap := map[string]json.RawMessage{}
		for _, f := range got.Fields {
			gotMap[string(f.Key)] = out[f.ValStart:f.ValEnd]
		}
		if diff := cmp.Diff(model, gotMap); diff != "" {
			t.Fatalf("%q became %q (-want +got):\n%s", body, out, diff)
		}
	})
}

// apply does one edit both ways. op chooses what (upper bits) and where (lower).
func apply(t *testing.T, e *Edits, model map[string]json.RawMessage, op byte, n int) {
	t.Helper()
	key := string(rune('a' + op%8))
	raw := json.RawMessage(fmt.Sprintf(`{"new": %d}`, n))
	switch op / 8 % 4 {
	case 0:
		e.Delete(key)
		delete(model, key)
	case 1:
		if err := e.Set(key, raw); err != nil {
			t.Fatal(err)
		}
		model[key] = raw
	case 2: // nested: only where the outcome is plain
		old := model[key]
		if len(old) != 0 && string(old) != "null" && string(old) != "{}" {
			return
		}
		if err := e.Set(key+".in", []byte("true")); err != nil {
			t.Fatal(err)
		}
		model[key] = json.RawMessage(`{"in":true}`)
	case 3:
		if string(model[key]) == `{"in":true}` {
			e.Delete(key + ".in")
			model[key] = json.RawMessage(`{}`)
		}
	}
}
