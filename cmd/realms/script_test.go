package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"realms/internal/catalog"
	"realms/internal/config"
	"realms/internal/server"
	"realms/internal/store"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"realms": main})
}

// TestScripts runs the real program, one scenario a file of testdata. Beside
// testscript's own, the scenarios have the commands below.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("REALMS_SERVER_ADDR", "127.0.0.1:0")
			e.Setenv("HOME", e.WorkDir)
			e.Values[providerKey{}] = &provider{TB: t}
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"occupy": occupy,
			"hold":   hold,
			"keep":   keep,
			"await":  await,
			"ask":    ask,
			"replay": replay,

			"upstream":   upstream,
			"eventually": eventually,
			"outofuse":   outOfUseUntilMended,
			"signedin":   signedIn,
			"chatgpt":    chatgpt,

			"awaitline": awaitLine,
			"emptydir":  emptyDir,
			"find":      findText,
		},
		RequireUniqueNames: true,
	})
}

// occupy NAME: listens on a free port for the rest of the scenario and puts its
// address into the variable.
func occupy(ts *testscript.TestScript, _ bool, args []string) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { _ = l.Close() }) // the scenario is over
	ts.Setenv(args[0], l.Addr().String())
}

// hold DIR: has the data directory's lock for the rest of the scenario.
func hold(ts *testscript.TestScript, _ bool, args []string) {
	unlock, err := server.Lock(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Defer(unlock)
}

// keep NAME: puts what the last command printed into the variable.
func keep(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
}

// await DIR: waits until a server runs on the data directory, and puts its
// address into ADDR. With !, until none does.
func await(ts *testscript.TestScript, neg bool, args []string) {
	c := newControl(config.Config{DataDir: filepath.Join(ts.Getenv("WORK"), args[0])})
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for tick := time.NewTicker(10 * time.Millisecond); ; <-tick.C {
		h, err := c.health(ctx)
		switch {
		case ctx.Err() != nil:
			ts.Fatalf("waited in vain: %v", err)
		case neg && err != nil:
			return
		case !neg && err == nil && h.Addr != "":
			ts.Setenv("ADDR", h.Addr)
			return
		}
	}
}

// upstream NAME STATUS [CODE]: is a provider for the rest of the scenario, whose
// base URL is put into the variable. It answers chats with a greeting (200) or an
// error of the code, and limits for ten minutes (429).
func upstream(ts *testscript.TestScript, _ bool, args []string) {
	status, err := strconv.Atoi(args[1])
	ts.Check(err)
	answer := `{"id": "1", "object": "chat.completion", "created": 1, "model": "upstream", "choices": [{"index": 0, "finish_reason": "stop",
		"message": {"role": "assistant", "content": "Hello!"}}], "usage": {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}}`
	if status != http.StatusOK {
		answer = `{"error": {"message": "It says ` + args[2] + `", "type": "error", "code": "` + args[2] + `"}}`
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if status == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "600")
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer) // the relay may be gone
	}))
	ts.Defer(s.Close)
	ts.Setenv(args[0], s.URL+"/v1")
}

// eventually PATTERN PROGRAM [ARGS]: runs the program until what it prints holds
// the pattern: rows are written, and states stored, a moment after an answer.
func eventually(ts *testscript.TestScript, _ bool, args []string) {
	pattern, end := regexp.MustCompile("(?m)"+args[0]), time.Now().Add(10*time.Second)
	for tick := time.NewTicker(50 * time.Millisecond); ; <-tick.C {
		err := ts.Exec(args[1], args[2:]...)
		if err == nil && pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("waited in vain for %q in:\n%s", args[0], ts.ReadFile("stdout"))
		}
	}
}

// outofuse DIR CHANNEL REASON: does to the channel's credentials what the server
// does to one that its upstream refuses for good.
func outOfUseUntilMended(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cfg := context.Background(), config.Config{DataDir: filepath.Join(ts.Getenv("WORK"), args[0])}
	s, err := store.Open(ctx, store.Options{DSN: cfg.StoreDSN()})
	ts.Check(err)
	defer func() { ts.Check(s.Close()) }()
	service := catalog.New(catalog.Options{Store: s})
	state, err := service.State(ctx)
	ts.Check(err)
	for _, ep := range state.Channel(args[1]).Endpoints {
		for _, cr := range ep.Credentials {
			ts.Check(service.CredentialOutOfUse(ctx, cr, args[2]))
		}
	}
	newControl(cfg).poke(ctx)
}

// signedin DIR CHANNEL: does to the channel's credentials what a sign-in of their
// ChatGPT accounts does.
func signedIn(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cfg := context.Background(), config.Config{DataDir: filepath.Join(ts.Getenv("WORK"), args[0])}
	s, err := store.Open(ctx, store.Options{DSN: cfg.StoreDSN()})
	ts.Check(err)
	defer func() { ts.Check(s.Close()) }()
	ts.Check(s.Tx(ctx, func(r store.Repos) error {
		if err := r.Changes.Lock(ctx); err != nil {
			return err
		}
		state, err := catalog.Read(ctx, r)
		if err != nil {
			return err
		}
		x := catalog.Inner{Repos: r, Actor: "test", Now: time.Now()}
		for _, ep := range state.Channel(args[1]).Endpoints {
			for _, cr := range ep.Credentials {
				if _, err := x.CredentialSignedIn(ctx, cr.ID); err != nil {
					return err
				}
			}
		}
		return nil
	}))
}

// ask METHOD PATH [BODY]: asks the server at ADDR with TOKEN; stdout is the
// status and the body, REQUEST_ID the request's. It asks again for up to a second while STATUS is set and
// the status is another, because changes take so long to be seen.
func ask(ts *testscript.TestScript, _ bool, args []string) {
	want := ts.Getenv("STATUS")
	for end := time.Now().Add(time.Second); ; {
		status, body := askOnce(ts, args)
		if want == "" || strings.HasPrefix(status, want) || time.Now().After(end) {
			_, _ = io.WriteString(ts.Stdout(), status+"\n"+body+"\n") // into memory
			return
		}
	}
}

func askOnce(ts *testscript.TestScript, args []string) (status, body string) {
	sent := strings.Join(args[2:], " ")
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, args[0], "http://"+ts.Getenv("ADDR")+args[1], strings.NewReader(sent))
	ts.Check(err)
	req.Header.Set("Content-Type", "application/json")
	if token := ts.Getenv("TOKEN"); token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer func() { _ = resp.Body.Close() }() // read to its end
	data, err := io.ReadAll(resp.Body)
	ts.Check(err)
	ts.Setenv("REQUEST_ID", resp.Header.Get("X-Request-Id"))
	return resp.Status, string(data)
}

// replay FILE: runs the curl line that stands in the file, without curl: its
// words are a URL, headers and a body, as the shell would split them.
func replay(ts *testscript.TestScript, _ bool, args []string) {
	var line string
	for l := range strings.Lines(ts.ReadFile(args[0])) {
		if strings.HasPrefix(strings.TrimSpace(l), "curl ") {
			line = strings.TrimSpace(l)
		}
	}
	words := shellWords(line)
	if len(words) < 2 {
		ts.Fatalf("no curl line in %s", args[0])
	}
	header, body := http.Header{}, ""
	for i := 2; i+1 < len(words); i += 2 {
		switch words[i] {
		case "-H":
			k, v, _ := strings.Cut(words[i+1], ": ")
			header.Set(k, v)
		case "-d":
			body = words[i+1]
		default:
			ts.Fatalf("%q is not known here", words[i])
		}
	}
	if !json.Valid([]byte(body)) {
		ts.Fatalf("%s is no JSON", body)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, words[1], strings.NewReader(body))
	ts.Check(err)
	req.Header = header
	resp, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer func() { _ = resp.Body.Close() }() // read to its end
	_, err = io.Copy(ts.Stdout(), resp.Body)
	ts.Check(err)
}

// awaitline FILE TEXT: waits until a line of the file holds the text.
func awaitLine(ts *testscript.TestScript, _ bool, args []string) {
	end := time.Now().Add(30 * time.Second)
	for tick := time.NewTicker(10 * time.Millisecond); ; <-tick.C {
		data, _ := os.ReadFile(ts.MkAbs(args[0])) // it may not be there yet
		if before, _, found := bytes.Cut(data, []byte(args[1])); found && bytes.ContainsRune(data[len(before):], '\n') {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("waited in vain for %q in:\n%s", args[1], data)
		}
	}
}

// find FILE PATTERN NAME: puts what the pattern finds first into the variable.
func findText(ts *testscript.TestScript, _ bool, args []string) {
	found := regexp.MustCompile(args[1]).FindString(ts.ReadFile(args[0]))
	if found == "" {
		ts.Fatalf("%s holds nothing like %s", args[0], args[1])
	}
	ts.Setenv(args[2], found)
}

// emptydir DIR: holds that nothing is in the folder.
func emptyDir(ts *testscript.TestScript, neg bool, args []string) {
	entries, err := os.ReadDir(ts.MkAbs(args[0]))
	ts.Check(err)
	if empty := len(entries) == 0; empty == neg {
		ts.Fatalf("%s holds %v", args[0], entries)
	}
}

// shellWords splits a line at blanks outside single quotes.
func shellWords(line string) []string {
	var words []string
	var word bytes.Buffer
	quoted, begun := false, false
	for _, r := range line {
		switch {
		case r == '\'':
			quoted, begun = !quoted, true
		case r == ' ' && !quoted:
			if begun {
				words = append(words, word.String())
			}
			word.Reset()
			begun = false
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	if begun {
		words = append(words, word.String())
	}
	return words
}

// TestShellQuote holds that what is printed to be typed is typed right.
func TestShellQuote(t *testing.T) {
	for in, want := range map[string]string{"owner": "owner", "a b": "'a b'", "it's": `'it'\''s'`, "": "''", "模型": "'模型'", "$(x)": "'$(x)'"} {
		if got := shellQuote(in); got != want {
			t.Errorf("shellQuote(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestProgramName(t *testing.T) {
	temp := os.TempDir()
	for in, want := range map[string]string{
		"realms": "realms", "bin/realms": "bin/realms", "/usr/bin/realms": "/usr/bin/realms",
		filepath.Join(temp, "go-build1/b001/exe/realms"): "go run ./cmd/realms",
	} {
		if got := programName(in, temp); got != want {
			t.Errorf("programName(%q) = %q, want %q", in, got, want)
		}
	}
}
