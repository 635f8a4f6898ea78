package testapp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"realms/internal/cluster"
	"realms/internal/config"
	"realms/internal/server"
	"realms/internal/store"
	"realms/internal/testkit"
)

// program is `realms serve` in a process of its own. The App beside it is not
// running: it is the hand of an operator on the same store.
type program struct {
	path   string
	env    []string
	socket *http.Client
	said   tail
	// The program is told of many declarations at once, when something is asked:
	// told is how many of those that were declared it knows, knows the last change of
	// theirs.
	declared, told atomic.Int64
	telling        sync.Mutex
	knows          int64
	kill           func()
}

// programDir is a data directory whose control socket has a path short enough for
// the system, whatever the test is called.
func programDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "realms-") //nolint:usetesting // its path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove the data directory: %v", err)
		}
	})
	return dir
}

// keeper runs a program until its own standard input ends, which is when the test
// says so, or its process is no more. Its exit code is the program's.
const keeper = `"$0" serve </dev/null & program=$!
cat >/dev/null
kill -TERM $program
wait $program`

// serve runs the program and waits until it listens.
func (a *App) serve(t testing.TB, o Options, cfg config.Config) {
	t.Helper()
	cfg.Log.Level, cfg.Log.Format = "debug", "json"
	a.program = &program{path: o.Program, env: environment(cfg), socket: controlClient(cfg.ControlSocket())}
	cmd := exec.Command("sh", "-c", keeper, o.Program)
	cmd.Dir, cmd.Env = cfg.DataDir, a.program.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stderr = &a.program.said
	if o.Log != nil {
		cmd.Stderr = io.MultiWriter(o.Log, &a.program.said)
	}
	life, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatalf("start the program: %v", errors.Join(err, a.App.Close()))
	}
	a.stop = sync.OnceValue(func() error {
		a.Client.CloseIdleConnections()
		_ = life.Close()
		kill := time.AfterFunc(10*time.Second, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
		defer kill.Stop()
		err := cmd.Wait()
		if err != nil {
			err = fmt.Errorf("%w; its last words:\n%s", err, a.program.said.text)
		}
		return errors.Join(err, a.App.Close())
	})
	a.program.kill = func() {
		a.stop = func() error { return nil }
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait() // it says that it was killed
		_ = life.Close()
	}
	a.cleanup(t)
	testkit.Poll(t, "the program to listen", func() bool {
		health, err := a.program.health(t.Context())
		a.URL = "http://" + health.Addr
		return err == nil && health.Addr != ""
	})
}

// Command is a command of the program's, on the configuration of the one that serves.
func (a *App) Command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), a.program.path, args...)
	cmd.Dir, cmd.Env = a.Config.DataDir, a.program.env
	return cmd
}

// Control is what the program answers on its control socket.
func (a *App) Control(t testing.TB, path string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://realms"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := a.program.socket.Do(req)
	if err != nil {
		t.Fatalf("ask the program: %v", err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v: %s", path, res.Status, err, text)
	}
	return string(text)
}

// Kill ends a program without a word, as a machine that loses its power does, and
// waits until it is gone.
func (a *App) Kill(t testing.TB) {
	t.Helper()
	a.Client.CloseIdleConnections()
	a.program.kill()
	if err := a.App.Close(); err != nil {
		t.Errorf("let go of the store: %v", err)
	}
}

// environment says everything that a configuration does, and nothing else of ours.
// What is empty in it keeps its default.
func environment(cfg config.Config) []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "REALMS_") })
	return append(env, variables(reflect.ValueOf(cfg), "REALMS")...)
}

func variables(section reflect.Value, prefix string) []string {
	var list []string
	for i := range section.NumField() {
		name := prefix + "_" + strings.ToUpper(section.Type().Field(i).Tag.Get("yaml"))
		if field := section.Field(i); field.Kind() == reflect.Struct {
			list = append(list, variables(field, name)...)
		} else {
			list = append(list, name+"="+text(field))
		}
	}
	return list
}

func text(v reflect.Value) string {
	if secret, ok := v.Interface().(interface{ Reveal() string }); ok {
		return secret.Reveal()
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return ""
		}
		return text(v.Elem())
	case reflect.Slice:
		var items []string
		for i := range v.Len() {
			items = append(items, text(v.Index(i)))
		}
		return strings.Join(items, ",")
	default:
		return fmt.Sprint(v.Interface())
	}
}

// tail keeps the end of what is written to it.
type tail struct{ text []byte }

func (w *tail) Write(p []byte) (int, error) {
	const most = 4 << 10
	w.text = append(w.text, p...)
	w.text = bytes.Clone(w.text[max(0, len(w.text)-most):])
	return len(p), nil
}

// controlClient speaks to a control socket, and keeps no connection.
func controlClient(socket string) *http.Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}, Timeout: 10 * time.Second}
}

// ask has the program answer on its control socket; nil: the answer is not read.
func (p *program) ask(ctx context.Context, method, path string, answer any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://realms"+path, nil)
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	res, err := p.socket.Do(req)
	if err != nil {
		return fmt.Errorf("ask the program: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode >= 300 {
		body, _ := io.ReadAll(res.Body)
		return fmt.Errorf("%s %s: %s: %s", method, path, res.Status, body)
	}
	if answer == nil {
		return nil
	}
	return json.NewDecoder(res.Body).Decode(answer)
}

// health is what the program says of itself.
type health struct {
	Addr      string        `json:"addr"`
	Catalogue int64         `json:"catalogue_version"`
	Cluster   cluster.State `json:"cluster"`
}

func (p *program) health(ctx context.Context) (h health, err error) {
	return h, p.ask(ctx, http.MethodGet, "/health", &h)
}

// known returns once the program knows all that was declared. A program that does
// not answer fails the test and does not end it, since requests are made from any
// goroutine.
func (a *App) known(t testing.TB) {
	t.Helper()
	p := a.program
	if p == nil || p.told.Load() == p.declared.Load() {
		return
	}
	p.telling.Lock()
	defer p.telling.Unlock()
	declared := p.declared.Load()
	if p.told.Load() == declared { // somebody else has just told it
		return
	}
	defer p.told.Store(declared)
	var err error
	if p.knows, err = a.newestOfCatalogue(t.Context(), p.knows); err != nil {
		t.Errorf("read the changes: %v", err)
		return
	}
	err = p.ask(t.Context(), http.MethodPost, "/changes", nil)
	testkit.Poll(t, "the program to know the catalogue", func() bool {
		if err != nil {
			return true
		}
		var h health
		h, err = p.health(t.Context())
		return h.Catalogue >= p.knows
	})
	if err != nil {
		t.Errorf("the program does not hear of changes: %v", err)
	}
}

// newestOfCatalogue is the newest change of the catalogue after another.
func (a *App) newestOfCatalogue(ctx context.Context, after int64) (int64, error) {
	newest := after
	for {
		changes, err := a.Store.Read().Changes.Since(ctx, after, 1000)
		if err != nil || len(changes) == 0 {
			return newest, err
		}
		for _, c := range changes {
			switch c.Kind {
			case store.KindGroup, store.KindModel, store.KindChannel, store.KindEndpoint, store.KindCredential:
				newest = c.Version
			}
			after = c.Version
		}
	}
}

// Channels is what the app knows of all channels now.
func (a *App) Channels(t testing.TB) []server.ChannelState {
	t.Helper()
	if a.program == nil {
		return a.Scheduler.State(a.Catalog.Snapshot(), time.Now())
	}
	a.known(t)
	var list server.Channels
	if err := a.program.ask(t.Context(), http.MethodGet, "/channels", &list); err != nil {
		t.Fatal(err)
	}
	return list.Channels
}

// ClusterState is how the app stands with Redis.
func (a *App) ClusterState(t testing.TB) cluster.State {
	t.Helper()
	if a.program == nil {
		return a.Cluster.State()
	}
	h, err := a.program.health(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return h.Cluster
}
