package relay

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"realms/internal/realm"
	"realms/internal/testkit"
	"realms/internal/testkit/testapp"
)

// process is the real program, serving in a process of its own.
type process struct {
	*testapp.App // its URL and Token alone
	cmd          *exec.Cmd
	log          *journal
	control      *http.Client
}

// serve runs the program before an upstream, with at most so many open files.
func serve(t *testing.T, program, upstream string, files int) *process {
	t.Helper()
	dir := t.TempDir()
	declared := fmt.Sprintf("channels:\n  - name: main\n    endpoints:\n      - base_url: %s\n        credentials: [{name: main, api_key: key-a}]\n    models: ['*']\nusers: [{name: owner, role: root}]\n", upstream)
	file := filepath.Join(dir, "channels.yaml")
	if err := os.WriteFile(file, []byte(declared), 0o600); err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), "REALMS_DATA_DIR="+dir, "REALMS_SERVER_ADDR=127.0.0.1:0", "REALMS_LOG_LEVEL=debug")
	run := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Env = env
		var complaint bytes.Buffer
		cmd.Stderr = &complaint
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("realms %s: %v\n%s", strings.Join(args, " "), err, complaint.Bytes())
		}
		return strings.TrimSpace(string(out))
	}
	run("apply", "-f", file)
	p := &process{App: &testapp.App{Token: run("token", "create", "--user", "owner", "--name", "test")}, log: new(journal)}
	p.cmd = exec.Command("sh", "-c", "ulimit -n "+strconv.Itoa(files)+` && exec "$0" serve`, program)
	p.cmd.Env, p.cmd.Dir, p.cmd.Stderr, p.cmd.Stdout = env, dir, p.log, p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.stop(t) })
	p.control = controlOf(filepath.Join(dir, "control.sock"))
	testkit.Poll(t, "the program to serve", func() bool {
		var health struct{ Addr string }
		if json.Unmarshal([]byte(p.asked(t, "/health")), &health) != nil || health.Addr == "" {
			return false
		}
		p.URL = "http://" + health.Addr
		return true
	})
	return p
}

// controlOf speaks to a control socket.
func controlOf(socket string) *http.Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
}

func (p *process) stop(t *testing.T) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(atMost, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	if err := p.cmd.Wait(); err != nil || t.Failed() {
		t.Errorf("the program ended with %v\n%s", err, p.log)
	}
}

// asked is what the program answers on its control socket; empty if it does not.
func (p *process) asked(t *testing.T, path string) string {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://realms"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := p.control.Do(req)
	if err != nil {
		return ""
	}
	defer func() { _ = res.Body.Close() }()
	body, _ := io.ReadAll(res.Body)
	return string(body)
}

// metric is one of its metrics.
func (p *process) metric(t *testing.T, name string) float64 {
	t.Helper()
	for line := range strings.Lines(p.asked(t, "/metrics")) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			f, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// proc reads a file of its folder in /proc.
func (p *process) proc(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// memory is the bytes that it has in memory.
func (p *process) memory(t *testing.T) int64 {
	t.Helper()
	_, rest, _ := strings.Cut(p.proc(t, "status"), "VmRSS:")
	kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// cpu is the time that it has computed.
func (p *process) cpu(t *testing.T) time.Duration {
	t.Helper()
	_, rest, _ := strings.Cut(p.proc(t, "stat"), ") ")
	fields := strings.Fields(rest) // from the third on: utime is the 14th, stime the 15th
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100
}

// files is how many it has open.
func (p *process) files(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), "fd"))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// row waits for the row of a request.
func (p *process) row(t *testing.T, id string) realm.RequestRecord {
	t.Helper()
	var rec realm.RequestRecord
	testkit.Poll(t, "the row of "+id, func() bool {
		return json.Unmarshal([]byte(p.asked(t, "/requests/"+id)), &rec) == nil && rec.Ended != ""
	})
	return rec
}

// openStreams opens streams that have begun and then say nothing.
func openStreams(t *testing.T, app *testapp.App, n int) (streams []*wire, ids []string) {
	t.Helper()
	request := rawRequest(app, http.MethodPost, "/v1/responses", responsesStream)
	for range n {
		w := dialWire(t, app)
		w.send(request)
		res := w.head(http.MethodPost)
		if res.StatusCode != http.StatusOK {
			t.Fatalf("stream %d: %d", len(streams), res.StatusCode)
		}
		until(t, res.Body, "Hello")
		streams, ids = append(streams, w), append(ids, res.Header.Get("X-Request-Id"))
	}
	return streams, ids
}
