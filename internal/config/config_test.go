package config

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// prefixes compares networks by value.
var prefixes = cmpopts.EquateComparable(netip.Prefix{})

func load(t *testing.T, file string, env ...string) (Config, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	if file != "" {
		if err := os.WriteFile(DefaultFile, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Load("", env)
}

func TestLoadNothing(t *testing.T) {
	got, err := load(t, "", "HOME=/x", "REALMS_SERVER_ADDR=")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), got, prefixes); diff != "" {
		t.Error(diff)
	}
	if got.StoreDSN() != "sqlite:data/realms.db" || got.ControlSocket() != "data/control.sock" || !got.PrivateNetworks() {
		t.Errorf("derived values: %s, %s, %v", got.StoreDSN(), got.ControlSocket(), got.PrivateNetworks())
	}
}

func TestLoadOrder(t *testing.T) {
	got, err := load(t, `
server: {addr: ":9000", trusted_proxies: [10.0.0.0/8, 192.0.2.1]}
data_dir: /srv/realms
self_mode: {enable: false}
limits: {body_bytes: 1MiB}
relay:
  timeouts: {idle: 0s, connect: 1500ms}
  retry_share: 5
  queue: {waiting: 0}
redis: {url: "redis://127.0.0.1:6379/2"}
log:
  level: debug
`, "REALMS_SERVER_ADDR=127.0.0.1:7000", "REALMS_SERVER_CORS_ORIGINS=https://a.example, https://b.example:8443",
		"REALMS_UPSTREAM_ALLOW_PRIVATE_NETWORKS=true", "REALMS_LIMITS_BODY_MEMORY=2GiB", "REALMS_USAGE_RETENTION=720h",
		"REALMS_RELAY_MAX_WAIT=0s", "REALMS_RELAY_QUEUE_TIME=1s", "REALMS_REDIS_PREFIX=ours:2")
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Server.Addr = "127.0.0.1:7000"
	want.Server.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.1/32")}
	want.Server.CORSOrigins = []string{"https://a.example", "https://b.example:8443"}
	want.DataDir = "/srv/realms"
	want.SelfMode.Enable = false
	want.Limits.BodyBytes = MiB
	want.Limits.BodyMemory = 2 * GiB
	want.Usage.Retention = 30 * 24 * time.Hour
	want.Relay.Timeouts.Idle = 0
	want.Relay.RetryShare, want.Relay.MaxWait, want.Relay.Queue.Waiting, want.Relay.Queue.Time = 5, 0, 0, time.Second
	want.Redis.URL, want.Redis.Prefix = "redis://127.0.0.1:6379/2", "ours:2"
	want.Relay.Timeouts.Connect = 1500 * time.Millisecond
	want.Log.Level = "debug"
	yes := true
	want.Upstream.AllowPrivateNetworks = &yes
	if diff := cmp.Diff(want, got, prefixes); diff != "" {
		t.Error(diff)
	}
	if got.StoreDSN() != "sqlite:/srv/realms/realms.db" || got.SQLiteFile() != "/srv/realms/realms.db" {
		t.Errorf("StoreDSN() = %s, SQLiteFile() = %s", got.StoreDSN(), got.SQLiteFile())
	}
}

func TestLoadSecretFile(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "dsn")
	const dsn = "mysql://u:hush@db.example:3306/realms"
	if err := os.WriteFile(secret, []byte(dsn+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := load(t, "", "REALMS_DB_DSN_FILE="+secret)
	if err != nil {
		t.Fatal(err)
	}
	if got.StoreDSN() != dsn {
		t.Errorf("StoreDSN() = %s", got.StoreDSN())
	}
	_, err = load(t, "", "REALMS_DB_DSN_FILE="+secret, "REALMS_DB_DSN="+dsn)
	if err == nil || !strings.Contains(err.Error(), "REALMS_DB_DSN: is set, and so is REALMS_DB_DSN_FILE") {
		t.Errorf("both set: %v", err)
	}
	_, err = load(t, "", "REALMS_DB_DSN_FILE="+secret+".missing")
	if err == nil || !strings.Contains(err.Error(), "REALMS_DB_DSN_FILE: the file cannot be read: no such file") {
		t.Errorf("no file: %v", err)
	}
}

func TestLoadKeys(t *testing.T) {
	dir := t.TempDir()
	master, previous, empty := filepath.Join(dir, "master"), filepath.Join(dir, "previous"), filepath.Join(dir, "empty")
	for file, text := range map[string]string{master: "key-one\n", previous: "key-two\r\n key-three\n\n", empty: "\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		yaml string
		env  []string
	}{
		"file":        {"security: {master_key: key-one, previous_keys: [key-two, key-three]}\n", nil},
		"environment": {"", []string{"REALMS_SECURITY_MASTER_KEY=key-one", "REALMS_SECURITY_PREVIOUS_KEYS=key-two,key-three"}},
		"files":       {"", []string{"REALMS_SECURITY_MASTER_KEY_FILE=" + master, "REALMS_SECURITY_PREVIOUS_KEYS_FILE=" + previous}},
	} {
		got, err := load(t, tc.yaml, tc.env...)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]Key{"key-one", "key-two", "key-three"}, append([]Key{got.Security.MasterKey}, got.Security.PreviousKeys...)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		encoded, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		shown := fmt.Sprintf("%v %+v %#v %s %s", got, got, got.Security, encoded, got.Security.MasterKey.LogValue())
		for _, f := range got.fields() {
			shown += f.text()
		}
		for _, key := range []string{"key-one", "key-two", "key-three"} {
			if strings.Contains(shown, key) {
				t.Errorf("%s: a key is shown: %s", name, shown)
			}
		}
	}
	if _, err := load(t, "", "REALMS_SECURITY_MASTER_KEY_FILE="+empty); err == nil || err.Error() != "REALMS_SECURITY_MASTER_KEY_FILE: the file is empty" {
		t.Errorf("an empty file: %v", err)
	}
	if _, err := load(t, "", "REALMS_SECURITY_PREVIOUS_KEYS_FILE="+empty); err != nil {
		t.Errorf("no previous keys: %v", err)
	}
}

func TestLoadReportsEverything(t *testing.T) {
	_, err := load(t, `server:
  adr: 127.0.0.1:1
  addr: "8080"
  cors_origins: [https://fine.example, chat.example/x]
  trusted_proxies: [10.0.0.1/8]
relay: {attempts: many, keep_alive: 0s, retry_share: 101, max_wait: -1s, queue: {waiting: -1, time: 0s}}
limits:
  body_bytes: 1GiB
log: verbose
colour: red
db: {dsn: "postgres://u:hush@h/db"}
redis: {url: "http://u:hush@h:6379", prefix: "a b"}
`, "REALMS_LOG_FORMAT=xml", "REALMS_USAGE_RETENTION=-1h", "REALMS_SELF_MODE_ENABLE=yes")
	want := strings.TrimSpace(`
REALMS_SELF_MODE_ENABLE: "yes" is neither true nor false
REALMS_USAGE_RETENTION: must not be negative
REALMS_LOG_FORMAT: "xml" is not one of text, json
realms.yaml:2: server.adr: there is no such key; did you mean "addr"?
realms.yaml:3: server.addr: "8080" is not an address: write host:port, such as 127.0.0.1:8080, or :8080 for every address of the machine
realms.yaml:4: server.cors_origins[1]: "chat.example/x" is not an origin: write scheme and host alone, such as https://chat.example.com
realms.yaml:5: server.trusted_proxies: "10.0.0.1/8" has bits beyond its length: write 10.0.0.0/8 for the network
realms.yaml:6: relay.attempts: "many" is not a whole number
realms.yaml:6: relay.retry_share: must be 0 to 100, in percent
realms.yaml:6: relay.queue.waiting: must be 0 to 100000
realms.yaml:6: relay.max_wait: must not be negative
realms.yaml:6: relay.queue.time: must be more than 0
realms.yaml:6: relay.keep_alive: must be more than 0
realms.yaml:9: log: a mapping is expected here, not a single value
realms.yaml:10: colour: there is no such key; known here: server, data_dir, db, redis, security, self_mode, limits, relay, upstream, codex, usage, log
realms.yaml:11: db.dsn: is not a store's address: write sqlite:PATH or mysql://user:pass@host:port/db (a special character in the password as %XX)
realms.yaml:12: redis.url: is not a Redis's address: write redis://user:password@host:6379/0, rediss:// for TLS, or unix:///path/to.sock?db=0 (a special character in the password as %XX)
realms.yaml:12: redis.prefix: must be 1 to 64 letters, digits, or any of . _ : -
`)
	if err == nil {
		t.Fatal("no error")
	}
	// The memory limit was never written: its problem has no place of its own.
	got := strings.ReplaceAll(err.Error(), "limits.body_memory: must be no less than limits.body_bytes (1GiB)\n", "")
	if got == err.Error() {
		t.Error("the limit that another value makes too small is missing")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if strings.Contains(got, "hush") {
		t.Error("the password stands in the error")
	}
}

func TestLoadFileProblems(t *testing.T) {
	dir := t.TempDir()
	_, err := Load(filepath.Join(dir, "none.yaml"), nil)
	if err == nil || !strings.HasSuffix(err.Error(), "none.yaml: the configuration cannot be read: no such file or directory") {
		t.Errorf("a named file that is missing: %v", err)
	}
	_, err = load(t, "server: [\n")
	if err == nil || !strings.HasPrefix(err.Error(), "realms.yaml:1: not valid YAML: ") {
		t.Errorf("broken YAML: %v", err)
	}
	_, err = load(t, "- a\n")
	if err == nil || err.Error() != "realms.yaml:1: a mapping is expected here, not a list" {
		t.Errorf("a list: %v", err)
	}
}

func TestUnknownEnv(t *testing.T) {
	got := UnknownEnv([]string{
		"REALMS_SERVER_ADDR=x", "REALMS_DB_DSN_FILE=x", "REALMS_REDIS_URL_FILE=x", "REALMS_API_KEY=x", "PATH=x",
		"REALMS_SERVER_ADR=x", "REALMS_COMPLETELY_DIFFERENT=x",
	})
	want := []string{
		"REALMS_COMPLETELY_DIFFERENT is set and means nothing to Realms",
		"REALMS_SERVER_ADR is set and means nothing to Realms: did you mean REALMS_SERVER_ADDR?",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDSNHidesPassword(t *testing.T) {
	for in, want := range map[DSN]string{
		"":                                    "",
		"sqlite:./x.db":                       "sqlite:./x.db",
		"sqlite:///srv/a@b/x.db":              "sqlite:///srv/a@b/x.db",
		"mysql://u:hush@h:3306/db":            "mysql://u:***@h:3306/db",
		"mysql://u:hu@sh@h:3306/db":           "mysql://u:***@h:3306/db",
		"mysql://u@h:3306/db":                 "mysql://u@h:3306/db",
		"mysql://h:3306/db?password=hush&x=1": "mysql://h:3306/db?…",
		"u:hush@tcp(h:3306)/db":               "[redacted]",
	} {
		for _, got := range []string{in.String(), fmt.Sprintf("%v", in), fmt.Sprintf("%#v", in), in.LogValue().String(), text(in)} {
			if got != want {
				t.Errorf("%q shows as %q, want %q", in.Reveal(), got, want)
			}
		}
	}
}

func TestDSNCheck(t *testing.T) {
	for _, good := range []DSN{"sqlite:x.db", "mysql://root@127.0.0.1:3306/realms", "mysql://u:p%40ss@h/db"} {
		if err := good.check(); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []DSN{"sqlite:", "x.db", "postgres://h/db", "mysql://h:3306", "mysql://h:3306/", "mysql:///db", "mysql://u:%zz@h/db"} {
		if bad.check() == nil {
			t.Errorf("%s passes", bad)
		}
	}
}

func TestSizesAndDurationsRoundTrip(t *testing.T) {
	for _, s := range []Size{0, 1, 1023, KiB, 1536, 32 * MiB, 3 * GiB} {
		if got, err := parseSize(s.String()); err != nil || got != s {
			t.Errorf("%s reads as %d, %v", s, got, err)
		}
	}
	for _, bad := range []string{"", "-1", "1.5MiB", "32MB", "9999999999GiB", "MiB"} {
		if _, err := parseSize(bad); err == nil {
			t.Errorf("size %q passes", bad)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0s", 500 * time.Millisecond: "500ms", 60 * time.Second: "60s", 90 * time.Second: "90s",
		10 * time.Minute: "10m", time.Hour: "1h", 90 * time.Minute: "1h30m", 125 * time.Second: "2m5s",
	} {
		if got := formatDuration(d); got != want {
			t.Errorf("%d shows as %s, want %s", d, got, want)
		}
		if back, err := time.ParseDuration(want); err != nil || back != d {
			t.Errorf("%s reads as %s, %v", want, back, err)
		}
	}
}

func TestRedisURL(t *testing.T) {
	for in, want := range map[RedisURL]string{
		"":                              "",
		"redis://h":                     "redis://h",
		"redis://:hush@h:6379/0":        "redis://:***@h:6379/0",
		"rediss://u:hush@[::1]:6379":    "rediss://u:***@[::1]:6379",
		"unix:///run/redis.sock?db=1":   "unix:///run/redis.sock?…",
		"unix://u:hush@/run/redis.sock": "unix://u:***@/run/redis.sock",
	} {
		if err := in.check(); err != nil {
			t.Errorf("%s: %v", in, err)
		}
		for _, got := range []string{in.String(), fmt.Sprintf("%v", in), fmt.Sprintf("%#v", in), in.LogValue().String(), text(in)} {
			if got != want {
				t.Errorf("%q shows as %q, want %q", in.Reveal(), got, want)
			}
		}
		if got, err := json.Marshal(in); err != nil || strings.Contains(string(got), "hush") {
			t.Errorf("as JSON: %s, %v", got, err)
		}
	}
	for _, bad := range []RedisURL{"h:6379", "http://h", "redis://", "redis:///0", "redis://h/db", "redis://h?db=-1", "unix://run/redis.sock", "unix:///", "redis://u:%zz@h"} {
		if bad.check() == nil {
			t.Errorf("%s passes", bad.Reveal())
		}
	}
}
