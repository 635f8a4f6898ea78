package relay

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"realms/internal/realm"
	"realms/internal/testkit"
)

// disguises are the ways in which servers show a key that they were sent.
var disguises = map[string]func(key string) string{
	"plain":         func(key string) string { return key },
	"header":        func(key string) string { return "Authorization: Bearer " + key },
	"beginning":     func(key string) string { return key[:len(key)-6] + "******" },
	"end":           func(key string) string { return "******" + key[8:] },
	"lower case":    strings.ToLower,
	"base64":        func(key string) string { return base64.StdEncoding.EncodeToString([]byte("user:" + key)) },
	"base64 in URL": func(key string) string { return base64.RawURLEncoding.EncodeToString([]byte(key)) },
	"hex":           func(key string) string { return hex.EncodeToString([]byte(key)) },
	"query":         func(key string) string { return "?key=" + url.QueryEscape(key) },
	"escapes":       func(key string) string { return fmt.Sprintf("\\u%04x%s", key[0], key[1:]) },
}

// traces are all pieces of sixteen characters of keys, in lower case and in all
// disguises, and whose they are.
type traces map[string]string

const piece = 16

func (tr traces) add(key string) {
	for _, form := range []string{
		key, url.QueryEscape(key), hex.EncodeToString([]byte(key)), base64.StdEncoding.EncodeToString([]byte(key)),
		base64.StdEncoding.EncodeToString([]byte("user:" + key))[8:],
	} {
		form = strings.ToLower(form)
		for i := 0; i+piece <= len(form); i++ {
			tr[form[i:i+piece]] = key
		}
	}
}

// in is the key that a text shows, behind JSON's escapes too; "" if it shows none.
func (tr traces) in(text string) string {
	text = strings.ToLower(text)
	var plain string
	if json.Unmarshal([]byte(`"`+strings.NewReplacer(`"`, " ", "\n", " ", "\r", " ", "\t", " ").Replace(text)+`"`), &plain) == nil {
		text += plain
	}
	for i := 0; i+piece <= len(text); i++ {
		if key, ok := tr[text[i:i+piece]]; ok {
			return key
		}
	}
	return ""
}

// echo is where an upstream shows the key.
type echo struct {
	name  string
	forms []form
	fault func(show func(key string) string) testkit.Fault
}

func status(code int) func(show func(string) string) testkit.Fault {
	return func(show func(string) string) testkit.Fault {
		return func(r *testkit.Request, a *testkit.Answer) {
			body := fmt.Sprintf(`{"error":{"message":"Incorrect key: %s.","type":"invalid_request_error","param":null,"code":"bad"},"debug":{"seen":"%s"}}`, show(r.Key), show(r.Key))
			testkit.Status(code, body)(r, a)
		}
	}
}

func echoes() []echo {
	var list []echo
	for _, code := range []int{400, 401, 402, 403, 404, 422, 429, 500, 503} {
		list = append(list, echo{fmt.Sprint(code), forms, status(code)})
	}
	for _, code := range []int{400, 500} {
		list = append(list, echo{fmt.Sprint("text ", code), forms, func(show func(string) string) testkit.Fault {
			return func(r *testkit.Request, a *testkit.Answer) {
				testkit.Status(code, "bad key "+show(r.Key), "Content-Type", "text/plain")(r, a)
			}
		}})
	}
	return append(list,
		echo{"inside 200", forms, func(show func(string) string) testkit.Fault {
			return func(r *testkit.Request, a *testkit.Answer) {
				inside("invalid_request_error", "invalid_prompt", "No: "+show(r.Key))(r, a)
			}
		}},
		echo{"inside 200, the upstream's own", forms, func(show func(string) string) testkit.Fault {
			return func(r *testkit.Request, a *testkit.Answer) {
				inside("server_error", "server_error", "No: "+show(r.Key))(r, a)
			}
		}},
		echo{"after output", streams, func(show func(string) string) testkit.Fault {
			return func(r *testkit.Request, a *testkit.Answer) {
				good := a.Chunks
				inside("server_error", "server_error", "No: "+show(r.Key))(r, a)
				a.Chunks = append(good[:6:6], a.Chunks[len(a.Chunks)-1])
			}
		}},
		echo{"an error event after output", streams, func(show func(string) string) testkit.Fault {
			return func(r *testkit.Request, a *testkit.Answer) {
				a.Chunks = append(a.Chunks[:6:6], fmt.Appendf(nil, "event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"No: %s\"}\n\n", show(r.Key)))
			}
		}},
		echo{"where a redirect leads", forms, func(show func(string) string) testkit.Fault {
			return func(r *testkit.Request, a *testkit.Answer) {
				testkit.Redirect(302, "http://localhost/?key="+show(r.Key))(r, a)
			}
		}},
		echo{"in a broken header", forms, func(show func(string) string) testkit.Fault {
			return func(r *testkit.Request, a *testkit.Answer) {
				testkit.Raw("HTTP/1.1 200 OK\r\nbroken "+show(r.Key)+"\r\n\r\n")(r, a)
			}
		}},
		echo{"in a broken status line", forms, func(show func(string) string) testkit.Fault {
			return func(r *testkit.Request, a *testkit.Answer) {
				testkit.Raw("HTTP/1.1 "+show(r.Key)+"\r\n\r\n")(r, a)
			}
		}},
	)
}

// D-20: an upstream that shows the key it was sent, wherever and however, shows it
// to nobody: not to the client, not to the rows, not to the log.
func TestKeysThatUpstreamsEchoGoNoFurther(t *testing.T) {
	t.Parallel()
	inLayouts(t, nil, keysThatUpstreamsEchoGoNoFurther)
}

func keysThatUpstreamsEchoGoNoFurther(t *testing.T, w *world) {
	t.Helper()
	type shown struct {
		name, how string
		scene     *scene
		form      form
		a         *answer
	}
	var list []shown
	tr := traces{}
	for _, e := range echoes() {
		for _, f := range e.forms {
			s := w.scene(t, leg{script: func(r *testkit.Request) testkit.Fault { return e.fault(disguises[r.Header.Get("User-Agent")]) }})
			tr.add(s.key("a1"))
			for how := range disguises {
				list = append(list, shown{name: e.name + ", " + how + ", " + f.name, how: how, scene: s, form: f})
			}
		}
	}
	inParallel(len(list), 16, func(i int) { list[i].a = list[i].scene.ask(t, list[i].form, "User-Agent", list[i].how) })
	for _, l := range list {
		if l.a.Response == nil {
			t.Fatalf("%s: %v", l.name, l.a.err)
		}
		var header strings.Builder
		_ = l.a.Header.Write(&header)
		rec := w.Record(t, l.a.Response)
		row := rec.Error
		for _, try := range rec.Tries {
			row += "\n" + try.Error
		}
		for where, text := range map[string]string{"the answer": header.String() + l.a.body, "the row": row} {
			if key := tr.in(text); key != "" {
				t.Errorf("%s: %s shows the key %s:\n%s", l.name, where, key, text)
			}
		}
		if rec.Ended == realm.EndedCompleted || row == "" {
			t.Errorf("%s: row %+v", l.name, rec)
		}
		if strings.HasPrefix(l.name, "400") && !strings.Contains(l.a.body, "Incorrect key") && !strings.Contains(l.name, "escapes") {
			t.Errorf("%s: the rest of the message is lost: %s", l.name, l.a.body)
		}
	}
	if key := tr.in(w.log.String()); key != "" {
		t.Errorf("the log shows the key %s", key)
	}
}
