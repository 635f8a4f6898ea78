// Package redistest gives tests a Redis: one that all share, or one of their own
// that they may stop, kill and starve.
//
// It owns throw-away servers and prefixes. It never touches a key of a server that
// it did not start, but for those under a prefix that it made up.
//
// REALMS_TEST_REDIS_ADDR names a server (127.0.0.1:6379). Without it a server on
// that very address is tried, and then redis-server from the path is started. With
// CI=true nothing is skipped.
package redistest

import (
	"bufio"
	"context"
	cryptorand "crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// URL is a server that many use at a time: a test has a Prefix of its own and
// leaves no key without an end.
func URL(t testing.TB) string {
	t.Helper()
	address, err := findShared()
	if err != nil {
		missing(t, "no Redis: "+err.Error())
	}
	return "redis://" + address
}

// Prefix is one that nobody else uses.
func Prefix() string { return "realms-test-" + strings.ToLower(cryptorand.Text()[:12]) }

var findShared = sync.OnceValues(func() (string, error) {
	if address := os.Getenv("REALMS_TEST_REDIS_ADDR"); address != "" {
		return address, ping(address)
	}
	const usual = "127.0.0.1:6379"
	if ping(usual) == nil {
		return usual, nil
	}
	s, err := newServer()
	if err != nil {
		return "", err
	}
	return s.Addr, s.start() // it ends with this process
})

// Server is a Redis of a test's own.
type Server struct {
	Addr string // stays the same when it is started again
	t    testing.TB
	path string
	end  func() // the server's, and waits for it
	pid  int
}

// Start runs a server that keeps nothing on disk, until the test ends. Without the
// program the test is skipped; under CI=true it fails.
func Start(t testing.TB) *Server {
	t.Helper()
	s, err := newServer()
	if err != nil {
		missing(t, err.Error())
	}
	s.t = t
	s.Restart()
	t.Cleanup(func() { s.end() })
	return s
}

// URL of the server.
func (s *Server) URL() string { return "redis://" + s.Addr }

// Stop freezes it: connections stay, and nothing answers.
func (s *Server) Stop() { s.t.Helper(); s.signal(syscall.SIGSTOP) }

// Continue wakes it.
func (s *Server) Continue() { s.t.Helper(); s.signal(syscall.SIGCONT) }

// Kill ends it at once; what it knew is lost.
func (s *Server) Kill() { s.t.Helper(); s.signal(syscall.SIGKILL) }

// Restart starts it, empty, after a Kill. It returns once it answers.
func (s *Server) Restart() {
	s.t.Helper()
	if s.end != nil {
		s.end()
	}
	if err := s.start(); err != nil {
		s.t.Fatal(err)
	}
}

// Do runs a command.
func (s *Server) Do(args ...any) any {
	s.t.Helper()
	got, err := Do(s.URL(), args...)
	if err != nil {
		s.t.Fatalf("redis: %v: %v", args, err)
	}
	return got
}

// Do runs a command on any server; no such key is nil.
func Do(url string, args ...any) (any, error) {
	o, err := redis.ParseURL(url)
	if err != nil {
		return nil, fmt.Errorf("read the URL: %w", err)
	}
	client := redis.NewClient(o)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	got, err := client.Do(ctx, args...).Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil //nolint:nilnil // that is what Redis says
	}
	return got, err
}

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := syscall.Kill(s.pid, sig); err != nil {
		s.t.Fatalf("redis: %v: %v", sig, err)
	}
}

func newServer() (*Server, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("redis-server is not in the path (Debian: apt-get install redis-server): %w", err)
	}
	address, err := freeAddress()
	return &Server{Addr: address, path: path}, err
}

// freeAddress keeps out of the ports that the system gives to clients: while the
// server is down, one of those that try to reach it would get its own port.
func freeAddress() (string, error) {
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 20000+rand.N(10000))
		if l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address); err == nil {
			return address, l.Close()
		}
	}
	return "", errors.New("no port is free")
}

// keeper runs a server until its own standard input ends, which is when this
// process does, however it does. It reaps the server last, so that its id stays
// its own.
const keeper = `"$@" </dev/null >/dev/null 2>&1 & server=$!
echo $server
cat >/dev/null
kill -KILL $server; wait $server`

func (s *Server) start() error {
	_, port, _ := net.SplitHostPort(s.Addr)
	cmd := exec.Command("sh", "-c", keeper, "sh", s.path, "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", os.TempDir())
	life, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("prepare redis-server: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("prepare redis-server: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start redis-server: %w", err)
	}
	s.end = sync.OnceFunc(func() {
		life.Close()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return fmt.Errorf("start redis-server: %w", err)
	}
	if s.pid, err = strconv.Atoi(strings.TrimSpace(line)); err != nil {
		return fmt.Errorf("start redis-server: %w", err)
	}
	return s.await()
}

func (s *Server) await() error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for {
		err := ping(s.Addr)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline:
			return fmt.Errorf("the started redis-server does not answer: %w", err)
		}
	}
}

// ping speaks by itself: the library would go on trying for a while.
func ping(address string) error {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := io.WriteString(conn, "PING\r\n"); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && line != "+PONG\r\n" {
		err = fmt.Errorf("it says %q", line)
	}
	return err
}

// missing skips a test, or fails it where nothing may be skipped.
func missing(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s (CI=true: nothing is skipped)", why)
	}
	t.Skip(why)
}
