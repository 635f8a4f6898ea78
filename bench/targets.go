package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// target is one thing to send the load to.
type target struct {
	name  string
	token string
	// launch starts it; nil for the upstream itself, which has no gateway.
	launch func(ctx context.Context) (*process, string, error)

	running *process // nil for the upstream itself
	addr    string   // host:port
	sent    int      // requests, since ever
	store   string   // SQLite file that has a row for each of them; "" for none
}

// rig is what a measurement stands on.
type rig struct {
	dir      string // for configuration and data; removed at the end
	upstream *process
	url      string // the upstream's
	targets  []*target
	missing  []string // what was left out, and why
}

// build starts the upstream and prepares the targets that were asked for.
func build(ctx context.Context, o options) (*rig, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the own binary: %w", err)
	}
	r := new(rig)
	if r.dir, err = os.MkdirTemp("", "realms-bench-"); err != nil {
		return nil, fmt.Errorf("make a directory: %w", err)
	}
	if r.upstream, r.url, err = start(ctx, spec{cpu: loadCPU, argv: []string{self, "upstream"}}); err != nil {
		r.close()
		return nil, err
	}
	addr := strings.TrimPrefix(r.url, "http://")
	if o.named("direct", true) {
		r.targets = append(r.targets, &target{name: "direct", addr: addr})
	}
	for _, name := range []string{"bare", "bare2"} {
		if o.named(name, name == "bare") {
			r.targets = append(r.targets, &target{name: name, launch: r.proxy(self)})
		}
	}
	if err := errors.Join(r.addNginx(o), r.addRealms(ctx, o)); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// proxy starts the bare proxy.
func (r *rig) proxy(self string) func(ctx context.Context) (*process, string, error) {
	return func(ctx context.Context) (*process, string, error) {
		p, url, err := start(ctx, spec{cpu: gatewayCPU, argv: []string{self, "proxy", r.url}})
		return p, strings.TrimPrefix(url, "http://"), err
	}
}

// addNginx joins nginx where it is installed.
func (r *rig) addNginx(o options) error {
	if !o.named("nginx", true) {
		return nil
	}
	nginx, _ := exec.LookPath("nginx") // empty where there is none
	if nginx == "" {
		r.missing = append(r.missing, "nginx: not installed (Debian: apt-get install nginx-light)")
		return nil
	}
	addr, err := freeAddress()
	if err != nil {
		return err
	}
	dir := filepath.Join(r.dir, "nginx")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	file := filepath.Join(dir, "nginx.conf")
	conf := fmt.Sprintf(nginxConf, dir, strings.TrimPrefix(r.url, "http://"), addr)
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return fmt.Errorf("write nginx's configuration: %w", err)
	}
	r.targets = append(r.targets, &target{name: "nginx", launch: func(ctx context.Context) (*process, string, error) {
		p, err := launch(ctx, spec{cpu: gatewayCPU, argv: []string{nginx, "-c", file, "-p", dir, "-e", filepath.Join(dir, "error.log")}})
		return p, addr, err
	}})
	return nil
}

// nginxConf takes the directory, the upstream's and the own address. It relays
// as Realms must: nothing is buffered on the way down, no log, one worker.
const nginxConf = `daemon off; worker_processes 1; pid %[1]s/pid;
events { worker_connections 8192; }
http {
  access_log off; client_max_body_size 64m; client_body_buffer_size 1m; keepalive_requests 1000000;
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  upstream up { server %[2]s; keepalive 4096; keepalive_requests 1000000; }
  server {
    listen %[3]s;
    location / { proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; proxy_read_timeout 600s; }
  }
}
`

// start runs the target, unless it has no process, and waits until it answers;
// it returns how long that took.
func (t *target) start(ctx context.Context) (time.Duration, error) {
	if t.launch == nil {
		return 0, nil
	}
	begin := time.Now()
	p, addr, err := t.launch(ctx)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", t.name, err)
	}
	t.running, t.addr = p, addr
	q := newRequest(modelSmall, t.token, 64, 0)
	for {
		err := once(ctx, addr, q)
		if err == nil {
			t.sent++
			return time.Since(begin), nil
		}
		if ctx.Err() != nil || time.Since(begin) > 20*time.Second {
			t.stop()
			return 0, fmt.Errorf("%s did not answer: %w\n%s", t.name, err, p.log)
		}
		time.Sleep(time.Millisecond)
	}
}

func (t *target) stop() {
	if t.running != nil {
		t.running.stop()
		t.running = nil
	}
}

// once asks one time on a new connection.
func once(ctx context.Context, addr string, q request) error {
	c, err := dial(ctx, addr)
	if err != nil {
		return err
	}
	defer closeAll([]*client{c})
	_, _, err = c.do(q)
	return err
}

func (r *rig) close() {
	for _, t := range r.targets {
		t.stop()
	}
	if r.upstream != nil {
		r.upstream.stop()
	}
	_ = os.RemoveAll(r.dir) // temporary files of ours
}

// freeAddress finds a loopback port that nobody listens on.
func freeAddress() (string, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}
