package relay

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/testkit/testapp"
)

// quick is how soon a body that is wrong must be refused.
const quick = 100 * time.Millisecond

// manyKeys is an object with n keys.
func manyKeys(n int) string {
	var b strings.Builder
	b.WriteString(`{"model":"gpt-5.5"`)
	for i := range n {
		fmt.Fprintf(&b, `,"%d":0`, i)
	}
	return b.String() + "}"
}

// E-08: JSON that is wrong, or could be read in two ways, is refused before any
// upstream is asked, however much of it there is.
func TestAbusedJSONIsRefused(t *testing.T) {
	plain := fault{http.StatusBadRequest, "invalid_request_error", "", ""}
	about := func(field string) fault { f := plain; f.Param = field; return f }
	tests := []struct {
		name, body string
		want       fault
	}{
		{"8 MB of [", strings.Repeat("[", 8<<20), plain},
		{"8 MB of { in a field", `{"model":"gpt-5.5","a":` + strings.Repeat(`{"a":`, 8<<20/5), plain},
		{"8 MB of [ in a field", `{"model":"gpt-5.5","a":` + strings.Repeat("[", 8<<20), plain},
		{"depth 1e5, closed", `{"model":"gpt-5.5","a":` + strings.Repeat("[", 1e5) + strings.Repeat("]", 1e5) + `}`, plain},
		{"depth 513", `{"model":"gpt-5.5","a":` + strings.Repeat("[", 512) + strings.Repeat("]", 512) + `}`, plain},
		{"1e6 keys", manyKeys(1e6), plain},
		{"model twice", `{"model":"gpt-5.5","model":"gpt-5.5-mini","input":"x"}`, plain},
		{"model twice, once escaped", `{"model":"gpt-5.5","input":"x","\u006dodel":"gpt-5.5-mini"}`, plain},
		{"model twice, both escaped", `{"\u006dodel":"gpt-5.5","mode\u006C":"gpt-5.5-mini","input":"x"}`, plain},
		{"stream twice", `{"model":"gpt-5.5","stream":true,"stream":false,"input":"x"}`, plain},
		{"include_usage twice", `{"model":"gpt-5.5","stream":true,"stream_options":{"include_usage":true,"include_usage":false}}`, about("stream_options")},
		{"invalid UTF-8 in a string", "{\"model\":\"gpt-5.5\",\"input\":\"\xff\xfe\"}", plain},
		{"invalid UTF-8 in a key", "{\"model\":\"gpt-5.5\",\"a\xc3\":\"\"}", plain},
		{"an overlong slash", "{\"model\":\"gpt-5.5\",\"input\":\"\xc0\xaf\"}", plain},
		{"a surrogate's bytes", "{\"model\":\"gpt-5.5\",\"input\":\"\xed\xa0\x80\"}", plain},
		{"trailing data", chatBody + `{}`, plain},
		{"trailing comma", chatBody + `,`, plain},
		{"trailing NUL", chatBody + "\x00", plain},
		{"a byte order mark", "\xef\xbb\xbf" + chatBody, plain},
		{"UTF-16", "\xff\xfe{\x00}\x00", plain},
		{"an array", `[` + chatBody + `]`, plain},
		{"a text", `"` + `gpt-5.5` + `"`, plain},
		{"null", `null`, plain},
		{"nothing", ``, plain},
		{"white space", " \t\r\n ", plain},
		{"not closed", `{"model":"gpt-5.5","input":"x"`, plain},
		{"a string not closed", `{"model":"gpt-5.5","input":"` + strings.Repeat("x", 1<<20), plain},
		{"a line break in a string", "{\"model\":\"gpt-5.5\",\"input\":\"a\nb\"}", plain},
		{"a control character", "{\"model\":\"gpt-5.5\",\"input\":\"a\x01b\"}", plain},
		{"a bad escape", `{"model":"gpt-5.5","input":"\x41"}`, plain},
		{"a short escape", `{"model":"gpt-5.5","input":"\u12"}`, plain},
		{"a comment", `{"model":"gpt-5.5"/*,*/,"input":"x"}`, plain},
		{"single quotes", `{'model':'gpt-5.5'}`, plain},
		{"a bare key", `{model:"gpt-5.5"}`, plain},
		{"a trailing comma inside", `{"model":"gpt-5.5",}`, plain},
		{"NaN", `{"model":"gpt-5.5","a":NaN}`, plain},
		{"a number with a leading zero", `{"model":"gpt-5.5","a":01}`, plain},
		{"a hexadecimal number", `{"model":"gpt-5.5","a":0x1}`, plain},
		{"a number without digits", `{"model":"gpt-5.5","a":-}`, plain},
		{"no model", `{"input":"x"}`, about("model")},
		{"a model that is null", `{"model":null,"input":"x"}`, about("model")},
		{"a model that is a number", `{"model":5,"input":"x"}`, about("model")},
		{"a model that is empty", `{"model":"","input":"x"}`, about("model")},
		{"a model of 1 MB", `{"model":"` + strings.Repeat("m", 1<<20) + `","input":"x"}`, about("model")},
		{"a stream that is a text", `{"model":"gpt-5.5","stream":"true"}`, about("stream")},
		{"n below one", `{"model":"gpt-5.5","n":0}`, about("n")},
		{"n beyond all", `{"model":"gpt-5.5","n":18446744073686646784}`, about("n")},
		{"background", `{"model":"gpt-5.5","background":true,"input":"x"}`, about("background")},
	}
	app, up := one(t, nil)
	var answers []*testapp.Answer
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := "/v1/chat/completions"
			if i%2 == 1 || strings.HasPrefix(tt.name, "background") {
				path = "/v1/responses"
			}
			fastest := time.Hour
			for try := 0; try < 5 && fastest > quick; try++ { // the machine may be busy
				begun := time.Now()
				a := app.Ask(t, app.Request(t, http.MethodPost, path, tt.body, "Content-Type", "application/json", "X-Request-Id", strconv.Itoa(i)))
				fastest = min(fastest, time.Since(begun))
				isFault(t, a, tt.want)
				answers = append(answers, a)
			}
			if fastest > quick && !raceEnabled {
				t.Errorf("refused after %v, %v are allowed", fastest, quick)
			}
		})
	}
	for _, a := range answers {
		if got := endingOf(app.Record(t, a.Response)); got != (ending{realm.EndedRefused, realm.CauseRefused, http.StatusBadRequest, 0}) {
			t.Errorf("row: %+v", got)
		}
	}
	if up.Count() != 0 {
		t.Errorf("%d requests reached the upstream", up.Count())
	}
	if a := app.Post(t, "/v1/chat/completions", chatBody); a.StatusCode != http.StatusOK {
		t.Errorf("after all that: %d %s", a.StatusCode, a.Body)
	}
}

// E-08: what is unusual and right reaches the upstream byte for byte, under the
// content type that it was read as.
func TestUnusualJSONIsForwardedAsItIs(t *testing.T) {
	tests := []struct{ name, body, contentType, encoding string }{
		{"depth 512", `{"model":"gpt-5.5","a":` + strings.Repeat("[", 511) + strings.Repeat("]", 511) + `}`, "application/json", ""},
		{"1024 keys", manyKeys(1023), "application/json", ""},
		{"1e6 keys below", `{"model":"gpt-5.5","metadata":` + manyKeys(1e6) + `}`, "application/json", ""},
		{"keys twice below", `{"model":"gpt-5.5","metadata":{"a":1,"a":2}}`, "application/json", ""},
		{"large numbers", `{"model":"gpt-5.5","a":1e308,"b":1e400,"c":9007199254740993,"d":-0.0,"e":123456789012345678901234567890,"f":1E+2}`, "application/json", ""},
		{"order, zeros and white space", "\r\n\t {\"z\" : 0,\"input\":\"\",\n\"model\"  :\"gpt-5.5\" ,\"a\":null, \"seed\":0.0} \n", "application/json", ""},
		{"escapes", `{"model":"gpt-5.5","input":"\u00e9\ud83d\ude00\u0000\/\b","\u0061":1,"":2}`, "application/json", ""},
		{"a lone surrogate's escape", `{"model":"gpt-5.5","input":"\ud800"}`, "application/json", ""},
		{"a model in escapes", `{"model":"\u0067pt-5.5","input":"x"}`, "application/json", ""},
		{"line separators", "{\"model\":\"gpt-5.5\",\"input\":\"\u2028\u2029\u0085\"}", "application/json", ""},
		{"no content type", responsesBody, "", ""},
		{"a form's content type", responsesBody, "application/x-www-form-urlencoded", ""},
		{"a multipart content type", responsesBody, "multipart/form-data; boundary=x", ""},
		{"another charset", responsesBody, "application/json; charset=utf-16", ""},
		{"gzip", responsesBody, "application/json", "gzip"},
		{"GZip", responsesBody, "application/json", " GZip "},
		{"zstd", responsesBody, "application/json", "zstd"},
		{"br", responsesBody, "application/json", "br"},
	}
	app, up := one(t, nil)
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body := tt.body
			if tt.encoding != "" {
				body = string(encoded(t, strings.ToLower(strings.TrimSpace(tt.encoding)), body))
			}
			req := app.Request(t, http.MethodPost, "/v1/responses", body, "X-Request-Id", "unusual-"+strconv.Itoa(i))
			req.Header.Del("Content-Type")
			for name, value := range map[string]string{"Content-Type": tt.contentType, "Content-Encoding": tt.encoding} {
				if value != "" {
					req.Header.Set(name, value)
				}
			}
			a := app.Ask(t, req)
			if a.StatusCode != http.StatusOK {
				t.Fatalf("%d %s", a.StatusCode, a.Body)
			}
			r := up.Requests()[up.Count()-1]
			if string(r.Body) != tt.body {
				t.Errorf("the upstream got\n%.300q\nwant\n%.300q", r.Body, tt.body)
			}
			if got := r.Header["Content-Type"]; len(got) != 1 || got[0] != "application/json" || r.Header.Get("Content-Encoding") != "" {
				t.Errorf("the upstream was told %q %q", got, r.Header.Get("Content-Encoding"))
			}
		})
	}
	for id, row := range rowsOf(t, app, "unusual-0", "unusual-17") {
		if endingOf(row) != (ending{realm.EndedCompleted, realm.CauseOK, http.StatusOK, 1}) || row.Model != "gpt-5.5" {
			t.Errorf("row of %s: %q %+v", id, row.Model, endingOf(row))
		}
	}
}

// E-08: a body that is not what its encoding says is refused as bad JSON is.
func TestAbusedEncodingIsRefused(t *testing.T) {
	app, up := oneWith(t, nil, func(c *config.Config) { c.Limits.BodyBytes = 1 << 20 })
	zipped := func(encoding string) string { return string(encoded(t, encoding, responsesBody)) }
	for name, tt := range map[string]struct{ encoding, body string }{
		"gzip that is none":     {"gzip", responsesBody},
		"gzip cut short":        {"gzip", zipped("gzip")[:20]},
		"gzip without its sum":  {"gzip", zipped("gzip")[:len(zipped("gzip"))-8]},
		"gzip and more":         {"gzip", zipped("gzip") + "more"},
		"two gzips":             {"gzip", zipped("gzip") + zipped("gzip")},
		"gzip twice":            {"gzip, gzip", zipped("gzip")},
		"gzip of nothing":       {"gzip", ""},
		"zstd that is none":     {"zstd", responsesBody},
		"zstd cut short":        {"zstd", zipped("zstd")[:20]},
		"zstd and more":         {"zstd", zipped("zstd") + "more"},
		"two zstds":             {"zstd", zipped("zstd") + zipped("zstd")},
		"zstd of a huge window": {"zstd", "\x28\xb5\x2f\xfd\x00\xf8\x01\x00\x00"},
		"br that is none":       {"br", responsesBody},
		"br cut short":          {"br", zipped("br")[:10]},
		"br and more":           {"br", zipped("br") + "more"},
		"deflate":               {"deflate", responsesBody},
		"an unknown one":        {"rot13", responsesBody},
	} {
		t.Run(name, func(t *testing.T) {
			a := app.Post(t, "/v1/responses", tt.body, "Content-Encoding", tt.encoding, "Content-Type", "application/json")
			isFault(t, a, fault{http.StatusBadRequest, "invalid_request_error", "", ""})
		})
	}
	if up.Count() != 0 {
		t.Errorf("%d requests reached the upstream", up.Count())
	}
}
