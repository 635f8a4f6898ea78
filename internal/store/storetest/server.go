package storetest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver
)

// mysqlAddress is a server that tests may make databases on.
type mysqlAddress struct{ url url.URL }

// dsn is one of its databases as the store names it.
func (a *mysqlAddress) dsn(database string) string {
	u := a.url
	u.Path = "/" + database
	return u.String()
}

// driverDSN is the server as its driver names it.
func (a *mysqlAddress) driverDSN() string {
	password, _ := a.url.User.Password()
	return fmt.Sprintf("%s:%s@tcp(%s)/?timeout=2s", a.url.User.Username(), password, a.url.Host)
}

func (a *mysqlAddress) ping() error {
	db, err := sql.Open("mysql", a.driverDSN())
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer func() { _ = db.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return db.PingContext(ctx)
}

// mysqlServer finds or starts the server, once a process.
func mysqlServer(t testing.TB) *mysqlAddress {
	t.Helper()
	address, err := findServer()
	if err != nil {
		missing(t, "no MySQL: "+err.Error())
	}
	return address
}

var findServer = sync.OnceValues(func() (*mysqlAddress, error) {
	if dsn := os.Getenv("REALMS_TEST_MYSQL_DSN"); dsn != "" {
		u, err := url.Parse(dsn)
		if err != nil || u.Host == "" {
			return nil, errors.New("REALMS_TEST_MYSQL_DSN is not of the form mysql://user:password@host:port")
		}
		a := &mysqlAddress{url: *u}
		return a, a.ping()
	}
	a := local("127.0.0.1:3306")
	if err := a.ping(); err == nil {
		return a, nil
	}
	return startServer()
})

func local(address string) *mysqlAddress {
	return &mysqlAddress{url: url.URL{Scheme: "mysql", User: url.User("root"), Host: address}}
}

// keeper runs a server until its own standard input ends, which is when this
// process does, however it does.
const keeper = `dir=$1; shift
"$@" & server=$!
cat >/dev/null
kill $server; wait $server
rm -rf "$dir"`

func startServer() (*mysqlAddress, error) {
	daemon, err := findProgram("mariadbd")
	if err != nil {
		return nil, err
	}
	install, err := findProgram("mariadb-install-db")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "realms-mariadb-")
	if err != nil {
		return nil, fmt.Errorf("make a directory: %w", err)
	}
	data := filepath.Join(dir, "data")
	ctx := context.Background()
	out, err := exec.CommandContext(ctx, install, "--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", "--datadir="+data).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", install, err, out)
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(address)
	args := []string{"-c", keeper, "sh", dir, daemon, "--no-defaults", "--datadir=" + data, "--socket=" + filepath.Join(dir, "sock"), "--bind-address=127.0.0.1", "--port=" + port}
	if os.Geteuid() == 0 {
		args = append(args, "--user=root")
	}
	cmd := exec.CommandContext(ctx, "sh", args...)
	if _, err := cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("prepare the server: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the server: %w", err)
	}
	return awaitServer(local(address))
}

func awaitServer(a *mysqlAddress) (*mysqlAddress, error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for {
		err := a.ping()
		if err == nil {
			return a, nil
		}
		select {
		case <-tick.C:
		case <-deadline:
			return nil, fmt.Errorf("the started server does not answer: %w", err)
		}
	}
}

func findProgram(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"} {
		if path := filepath.Join(dir, name); executable(path) {
			return path, nil
		}
	}
	return "", fmt.Errorf("there is neither a server on 127.0.0.1:3306 nor %s in the path, and REALMS_TEST_MYSQL_DSN is not set", name)
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Perm()&0o111 != 0
}

func freeAddress() (string, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}
