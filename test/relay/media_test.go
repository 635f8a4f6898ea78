package relay

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"realms/internal/realm"
	"realms/internal/testkit"
	"realms/internal/testkit/testapp"
)

// TestEveryEndpointIsRelayed: with the model's name for the upstream in the body,
// and not a byte of the answer changed.
func TestEveryEndpointIsRelayed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	tests := []struct {
		operation, path, body string
		stream                bool
		usage                 realm.UsageSource
	}{
		{"completions", "/completions", `{"model":"%s","prompt":"x"}`, false, realm.UsageUpstream},
		{"completions", "/completions", `{"model":"%s","prompt":"x","stream":true}`, true, realm.UsageUpstream},
		{"embeddings", "/embeddings", `{"model":"%s","input":["a","b"],"encoding_format":"base64"}`, false, realm.UsageUpstream},
		{"moderations", "/moderations", `{"model":"%s","input":"x"}`, false, realm.UsageNone},
		{"rerank", "/rerank", `{"model":"%s","query":"q","documents":["a","b"]}`, false, realm.UsageUpstream},
		{"images.generations", "/images/generations", `{"model":"%s","prompt":"x"}`, false, realm.UsageUpstream},
		{"images.generations", "/images/generations", `{"model":"%s","prompt":"x","stream":true}`, true, realm.UsageUpstream},
		{"images.edits", "/images/edits", `{"model":"%s","prompt":"x","images":[]}`, false, realm.UsageUpstream},
		{"images.edits", "/images/edits", `{"model":"%s","prompt":"x","images":[],"stream":true}`, true, realm.UsageUpstream},
		{"audio.speech", "/audio/speech", `{"model":"%s","input":"x","voice":"alloy"}`, false, realm.UsageNone},
		{"audio.speech", "/audio/speech", `{"model":"%s","input":"x","voice":"alloy","stream_format":"sse"}`, true, realm.UsageUpstream},
		{"responses.compact", "/responses/compact", `{"model":"%s","input":[]}`, false, realm.UsageUpstream},
		{"responses.input_tokens", "/responses/input_tokens", `{"model":"%s","input":"x"}`, false, realm.UsageNone},
	}
	var trials []trial
	for _, tt := range tests {
		s := w.scene(t, leg{as: "first-name", script: testkit.Always(testkit.ServerError())}, leg{as: "second-name"})
		f := form{name: tt.operation, path: "/v1" + tt.path, body: tt.body, stream: tt.stream}
		want := ok("a1 b1", "server_error ok")
		want.usage, want.free = tt.usage, tt.operation == "responses.input_tokens"
		trials = append(trials, trial{
			name: fmt.Sprintf("%s, stream %v", tt.operation, tt.stream), form: f, scene: s, want: want,
			more: func(t *testing.T, _ *answer, rec realm.RequestRecord) {
				for i, name := range []string{"first-name", "second-name"} {
					got := strings.Replace(s.bodies()[i], `,"stream_options":{"include_usage":true}`, "", 1)
					sameText(t, "upstream's body", strings.ReplaceAll(tt.body, "%s", name), got)
				}
				if r := s.requests()[1]; r.Path != "/v1"+tt.path || rec.Operation != tt.operation || rec.UpstreamModel != "second-name" {
					t.Errorf("path %s, row %+v", r.Path, rec)
				}
			},
		})
	}
	w.run(t, trials)
	// A model that is not named is the one OpenAI means.
	ch := testapp.Channel("hidden-moderation", trials[3].scene.ups[1].BaseURL, trials[3].scene.mint(1, 1)...)
	ch.Bindings = []realm.Binding{{Model: "omni-moderation-latest", Upstream: "mapped"}}
	w.Declare(t, ch)
	a := w.do(w.Request(t, http.MethodPost, "/v1/moderations", `{"input":"x"}`))
	if list := trials[3].scene.bodies(); a.StatusCode != http.StatusOK || !strings.Contains(list[len(list)-1], `"model":"mapped"`) {
		t.Errorf("%d %s; upstream got %q", a.StatusCode, a.body, list)
	}
}

// upload is a form with a file of arbitrary bytes in the middle, and the model.
func upload(t *testing.T, model string, fields ...string) (body, contentType string) {
	t.Helper()
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	for i := 0; i < len(fields); i += 2 {
		if err := m.WriteField(fields[i], fields[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	file, err := m.CreateFormFile("file", "model") // a name that is no field's
	if err != nil {
		t.Fatal(err)
	}
	_, _ = file.Write([]byte("\x00\xff--" + m.Boundary() + "\r\n\r\nname=\"model\"\r\n\r\nwrong"))
	_, _ = file.Write(bytes.Repeat([]byte{0xde, 0xad, '\r', '\n'}, 80_000))
	if err := m.WriteField("model", model); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String(), m.FormDataContentType()
}

// A form goes to each upstream as it came, but for the model's name in it.
func TestFormsAreRelayed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	tests := []struct {
		operation, path string
		fields          []string
		fault           testkit.Fault // of the upstream that serves
		stream          bool
		usage           realm.UsageSource
	}{
		{"audio.transcriptions", "/audio/transcriptions", []string{"language", "en"}, nil, false, realm.UsageUpstream},
		{"audio.transcriptions", "/audio/transcriptions", []string{"stream", "true"}, nil, true, realm.UsageUpstream},
		{"audio.transcriptions", "/audio/transcriptions", []string{"response_format", "text"}, testkit.Body("text/plain; charset=utf-8", "Hello.\n"), false, realm.UsageNone},
		{"audio.transcriptions", "/audio/transcriptions", []string{"response_format", "srt", "stream", "true"}, testkit.Body("text/plain", "1\n00:00 --> 00:01\nHello.\n"), true, realm.UsageNone},
		{"audio.translations", "/audio/translations", nil, nil, false, realm.UsageUpstream},
		{"images.edits", "/images/edits", []string{"prompt", "a cat"}, nil, false, realm.UsageUpstream},
		{"images.variations", "/images/variations", []string{"n", "2"}, nil, false, realm.UsageUpstream},
	}
	type relayed struct {
		scene       *scene
		body, media string
		answer      *answer
	}
	all := make([]relayed, len(tests))
	for i, tt := range tests {
		s := w.scene(t, leg{as: "a-much-longer-name-than-the-model", script: testkit.Always(testkit.ServerError())}, leg{as: "m", script: testkit.Always(tt.fault)})
		body, media := upload(t, s.model, tt.fields...)
		all[i] = relayed{s, body, media, w.do(w.Request(t, http.MethodPost, "/v1"+tt.path, body, "Content-Type", media))}
	}
	for i, tt := range tests {
		t.Run(fmt.Sprint(tt.operation, tt.fields), func(t *testing.T) {
			s, a := all[i].scene, all[i].answer
			if a.StatusCode != http.StatusOK || a.err != nil || s.asked() != "a1 b1" {
				t.Fatalf("%d %s, %v; asked %q", a.StatusCode, a.body, a.err, s.asked())
			}
			sameText(t, "answer", string(bytes.Join(s.sent(), nil)), a.body)
			for n, name := range []string{"a-much-longer-name-than-the-model", "m"} {
				want := strings.Replace(all[i].body, "name=\"model\"\r\n\r\n"+s.model+"\r\n", "name=\"model\"\r\n\r\n"+name+"\r\n", 1)
				sameText(t, "upstream's body", want, s.bodies()[n])
				if got := s.requests()[n].Header.Get("Content-Type"); got != all[i].media {
					t.Errorf("content type %q, want %q", got, all[i].media)
				}
			}
			rec := w.Record(t, a.Response)
			if rec.Operation != tt.operation || rec.Ended != realm.EndedCompleted || rec.Attempts != 2 || rec.Usage.Source != tt.usage || rec.Stream != tt.stream {
				t.Errorf("row: %+v", rec)
			}
		})
	}
}

// audio is n bytes of sound, in a length that nobody announced.
func audio(n int) testkit.Fault {
	return func(_ *testkit.Request, a *testkit.Answer) {
		a.Chunks = nil
		for i := 0; i < n; i += 32 << 10 {
			a.Chunks = append(a.Chunks, bytes.Repeat([]byte{byte(i >> 15), 0xff}, min(32<<10, n-i)/2))
		}
	}
}

var speech = form{name: "speech", path: "/v1/audio/speech", body: `{"model":"%s","input":"x","voice":"alloy"}`}

// Sound comes through byte for byte, small and large; what is none fails over.
func TestSpeech(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	var trials []trial
	for _, size := range []int{0, 2, 64 << 10, 200 << 10, 3 * mib} {
		fault := audio(size)
		if size == 0 {
			fault = nil // the fake's own
		}
		trials = append(trials, trial{
			name: fmt.Sprint(size), form: speech, scene: w.scene(t, failing(fault), good), want: want{usage: realm.UsageNone},
			more: func(t *testing.T, a *answer, _ realm.RequestRecord) {
				if a.Header.Get("Content-Type") != "audio/mpeg" {
					t.Errorf("content type %q", a.Header.Get("Content-Type"))
				}
			},
		})
	}
	for name, fault := range map[string]testkit.Fault{
		"a page": testkit.Page(200), "a page that does not say so": testkit.Body("text/plain", "<html>no</html>"), "nothing": testkit.EmptyBody(),
		"cut early": testkit.All(audio(32<<10), testkit.CutBytes(20<<10, testkit.EndFIN)),
	} {
		bad := ok("a1 b1", "bad_answer ok")
		bad.usage = realm.UsageNone
		trials = append(trials, trial{name: name, form: speech, scene: w.scene(t, failing(fault), good), want: bad})
	}
	trouble := ok("a1 b1", "server_error ok")
	trouble.usage = realm.UsageNone
	trials = append(trials, trial{name: "an error", form: speech, scene: w.scene(t, failing(testkit.ErrorInside("server_error", "server_error", "No.")), good), want: trouble})
	w.run(t, trials)
	// Cut after a part of it went out: the client must see that it is not whole.
	s := w.scene(t, failing(testkit.All(audio(2*mib), testkit.CutBytes(mib, testkit.EndFIN))), good)
	a := s.ask(t, speech)
	if a.err == nil || s.asked() != "a1" || !strings.HasPrefix(string(bytes.Join(s.sent(), nil)), a.body) || a.body == "" {
		t.Errorf("%v after %d bytes; asked %q", a.err, len(a.body), s.asked())
	}
	if rec := w.Record(t, a.Response); rec.Ended != realm.EndedUpstreamCut || rec.Attempts != 1 {
		t.Errorf("row: %+v", rec)
	}
}

// Sound is passed on while it is made, but for its last 64 KiB.
func TestSpeechIsPassedOnAsItComes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	p := newTap()
	defer p.end()
	s := w.scene(t, failing(p.as("audio/mpeg")))
	begin := strings.Repeat("s", 200<<10)
	go p.send(begin)
	r := s.open(t, speech)
	got := make([]byte, len(begin)-64<<10)
	if _, err := io.ReadFull(r.Body, got); err != nil || string(got) != begin[:len(got)] {
		t.Fatalf("while the upstream goes on: %v", err)
	}
	p.send("the end")
	p.end()
	sameText(t, "the rest", begin[len(got):]+"the end", r.rest(t))
}
