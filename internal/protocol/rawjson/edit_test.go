package rawjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

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
		{"deep set", `{"a":{"b":{ "c":1 },"x":0}}`, `{"a":{"b":{ "c":2 },"x":0}}`, func(e *Edits) error { return e.Set("a.b.c", []byte("2")) }},
		{"deep set makes its parents", `{"a":{"x":0}}`, `{"a":{"x":0,"b":{"c":{"d":2}}}}`, func(e *Edits) error { return e.Set("a.b.c.d", []byte("2")) }},
		{"deep set makes all of them", `{}`, `{"a":{"b":{"c":2}}}`, func(e *Edits) error { return e.Set("a.b.c", []byte("2")) }},
		{"deep delete", `{"a":{"b":{"c":1,"d":2}}}`, `{"a":{"b":{"d":2}}}`, func(e *Edits) error { e.Delete("a.b.c"); return nil }},
		{"deep rename", `{"a":{"b":{"c": 1,"d":2}}}`, `{"a":{"b":{"e": 1,"d":2}}}`, func(e *Edits) error { e.Rename("a.b.c", "e"); return nil }},
		{"rename onto null", `{"a":5,"b":null}`, `{"b":5}`, func(e *Edits) error { e.Rename("a", "b"); return nil }},
		{"rename onto itself", `{"a":5}`, `{"a":5}`, func(e *Edits) error { e.Rename("a", "a"); return nil }},
		{"rename what is not there", `{"a":5}`, `{"a":5}`, func(e *Edits) error { e.Rename("b", "a"); e.Rename("a.x", "y"); e.Rename("q.x", "y"); return nil }},
		{"set what was renamed", `{"a":5,"c":1}`, `{"b":6,"c":1}`, func(e *Edits) error { e.Rename("a", "b"); return e.Set("b", []byte("6")) }},
		{"delete what was renamed", `{"a":5,"c":1}`, `{"c":1}`, func(e *Edits) error { e.Rename("a", "b"); e.Delete("b"); return nil }},
		{"the old name of what was renamed", `{"a":5}`, `{"b":5,"a":6}`, func(e *Edits) error { e.Rename("a", "b"); return e.Set("a", []byte("6")) }},
		{"rename there and back", `{"a":5,"c":1}`, `{"a":5,"c":1}`, func(e *Edits) error { e.Rename("a", "b"); e.Rename("b", "a"); return nil }},
		{"two change names", `{"a":1,"b":2}`, `{"b":1,"a":2}`, func(e *Edits) error { e.Rename("a", "t"); e.Rename("b", "a"); e.Rename("t", "b"); return nil }},
		{"rename what was added", `{}`, `{"b":1,"c":2}`, func(e *Edits) error {
			_ = e.Set("b", []byte("null"))
			_ = e.Set("a", []byte("1"))
			e.Rename("a", "b")
			return e.Set("c", []byte("2"))
		}},
		{"into what was renamed", `{"a":{"x":1}}`, `{"b":{"x":2}}`, func(e *Edits) error { e.Rename("a", "b"); return e.Set("b.x", []byte("2")) }},
		{"into what was set", `{"a":1}`, `{"a":{"x":2,"y":3}}`, func(e *Edits) error {
			_ = e.Set("a", []byte(`{"x":2}`))
			return e.Set("a.y", []byte("3"))
		}},
		{"into what was added", `{}`, `{"a":{"x":2}}`, func(e *Edits) error {
			_ = e.Set("a", []byte(`{"x":2,"y":1}`))
			e.Delete("a.y")
			return nil
		}},
		{"over what was changed inside", `{"a":{"x":1}}`, `{"a":2}`, func(e *Edits) error {
			_ = e.Set("a.x", []byte("5"))
			return e.Set("a", []byte("2"))
		}},
		{"inside, twice", `{"a":{"x":1,"y":{"z":1}}}`, `{"a":{"x":5,"y":{"z":6}}}`, func(e *Edits) error {
			_ = e.Set("a.x", []byte("5"))
			return e.Set("a.y.z", []byte("6"))
		}},
		{"a repeated key inside", `{"a":{"x":1,"y":2,"x":3}}`, `{"a":{"y":2,"x":4}}`, func(e *Edits) error { return e.Set("a.x", []byte("4")) }},
		{"a repeated key inside, deleted", `{"a":{"x":1,"y":2,"x":3}}`, `{"a":{"y":2}}`, func(e *Edits) error { e.Delete("a.x"); return nil }},
		{"a repeated parent inside", `{"a":{"x":{"k":1},"x":{"k":2}}}`, `{"a":{"x":{}}}`, func(e *Edits) error { e.Delete("a.x.k"); return nil }},
		{"range, then inside", `{"m":{"r":["s"],"q":1}}`, `{"m":{"r":["d"],"q":2}}`, func(e *Edits) error { e.ReplaceRange(11, 14, []byte(`"d"`)); return e.Set("m.q", []byte("2")) }},
		{"range, then over it", `{"m":{"r":["s"]}}`, `{"m":2}`, func(e *Edits) error { e.ReplaceRange(11, 14, []byte(`"d"`)); return e.Set("m", []byte("2")) }},
		{"range in a range", `{"m":["a","b"]}`, `{"m":["a"]}`, func(e *Edits) error {
			e.ReplaceRange(10, 13, []byte(`"d"`))
			e.ReplaceRange(9, 13, nil)
			return nil
		}},
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
	for _, body := range []string{`{"a":"x"}`, `{"a":[1]}`, `{"a":5}`, `{"a":{"b":[{}]}}`, `{"a":{"b":true}}`} {
		d, err := Parse([]byte(body), nil)
		if err != nil {
			t.Fatal(err)
		}
		e := Edits{Doc: &d}
		if err := e.Set("a.b.c", []byte("1")); err == nil || !e.Empty() {
			t.Errorf("%s: Set passed", body)
		}
		e.Delete("a.b.c")
		e.Rename("a.b.c", "d")
		if got := string(e.Apply(nil)); !e.Empty() || got != body {
			t.Errorf("%s became %s", body, got)
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
		if e.Empty() && string(out) != string(body) {
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

// FuzzPaths applies edits at paths of any depth, which may meet in one field, and
// holds what comes out against the same done on maps.
func FuzzPaths(f *testing.F) {
	f.Add([]byte(`{"a":{"b":{"c":1}},"b":{"c":2}}`), "sa.b.c da.b ra>c sc.b.a")
	f.Add([]byte(`{"a":null,"b":[{"a":1}]}`), "sa.a sb.a da.a ra.a>b rb>a")
	f.Add([]byte(`{"a":{"a":1,"a":{"b":2}},"c":{}}`), "sa.a.b da.a ra.a>c sc.a.a.a")
	f.Add([]byte(`{"\u0061":{"\u0062":{}}}`), "ra.b>a ra>b sb.a.c")
	f.Fuzz(func(t *testing.T, body []byte, script string) {
		if len(body) > 4<<10 || len(script) > 128 || !utf8.ValidString(script) {
			return
		}
		d, err := Parse(body, nil)
		if err != nil {
			return
		}
		model, _ := decode(t, body).(map[string]any)
		e := Edits{Doc: &d}
		for n, step := range strings.Fields(script) {
			path, to, _ := strings.Cut(step[1:], ">")
			keys := strings.Split(path, ".")
			switch step[0] {
			case 's':
				raw := fmt.Sprintf(`{"n":%d}`, n)
				if n%2 == 0 {
					raw = "null"
				}
				_ = e.Set(path, []byte(raw))
				setIn(model, keys, decode(t, []byte(raw)))
			case 'd':
				e.Delete(path)
				if parent := parentOf(model, keys); parent != nil {
					delete(parent, keys[len(keys)-1])
				}
			case 'r':
				e.Rename(path, to)
				if parent := parentOf(model, keys); parent != nil {
					renameIn(parent, keys[len(keys)-1], to)
				}
			}
		}
		out := e.Apply(nil)
		if _, err := Parse(out, nil); err != nil {
			t.Fatalf("%q by %q became %q: %v", body, script, out, err)
		}
		if diff := cmp.Diff(any(model), decode(t, out)); diff != "" {
			t.Fatalf("%q by %q became %q (-want +got):\n%s", body, script, out, diff)
		}
	})
}

func decode(t *testing.T, raw []byte) any {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	return v
}

// parentOf is the map that holds a path's last key; nil if the path leads nowhere.
func parentOf(m map[string]any, keys []string) map[string]any {
	for _, key := range keys[:len(keys)-1] {
		inner, ok := m[key].(map[string]any)
		if !ok {
			return nil
		}
		m = inner
	}
	return m
}

func setIn(m map[string]any, keys []string, v any) {
	for i := range keys[:len(keys)-1] { // all the way first: a path that is blocked makes nothing
		parent := parentOf(m, keys[:i+1])
		if parent == nil || parent[keys[i]] == nil {
			break
		}
		if _, ok := parent[keys[i]].(map[string]any); !ok {
			return
		}
	}
	for _, key := range keys[:len(keys)-1] {
		if m[key] == nil {
			m[key] = map[string]any{}
		}
		m, _ = m[key].(map[string]any)
	}
	m[keys[len(keys)-1]] = v
}

func renameIn(m map[string]any, from, to string) {
	v, ok := m[from]
	if !ok || from == to {
		return
	}
	if m[to] == nil {
		m[to] = v
	}
	delete(m, from)
}
