package config

import (
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"realms/internal/yamldoc"
)

// Validate reports every problem with the values, one a line, each with its
// field and what to do.
func (c Config) Validate() error { return c.problems().Err() }

func (c Config) problems() yamldoc.Problems {
	var v validator
	v.address("server.addr", c.Server.Addr)
	v.origins("server.cors_origins", c.Server.CORSOrigins)
	v.check(c.DataDir != "", "data_dir", "is empty: name a folder that Realms may write, such as ./data")
	if c.DB.DSN != "" {
		if err := c.DB.DSN.check(); err != nil {
			v.Add("", 0, "db.dsn", "%s", err)
		}
	}
	v.check(c.Limits.BodyBytes >= 64*KiB, "limits.body_bytes", "must be 64KiB or more")
	v.check(c.Limits.BodyMemory >= c.Limits.BodyBytes, "limits.body_memory", "must be no less than limits.body_bytes (%s)", c.Limits.BodyBytes)
	v.check(c.Limits.EventBytes >= 64*KiB, "limits.event_bytes", "must be 64KiB or more")
	v.check(c.Relay.Attempts >= 1 && c.Relay.Attempts <= 100, "relay.attempts", "must be 1 to 100")
	v.check(c.Relay.RetryShare >= 0 && c.Relay.RetryShare <= 100, "relay.retry_share", "must be 0 to 100, in percent")
	v.check(c.Relay.Queue.Waiting >= 0 && c.Relay.Queue.Waiting <= 100_000, "relay.queue.waiting", "must be 0 to 100000")
	if err := c.Redis.URL.check(); err != nil {
		v.Add("", 0, "redis.url", "%s", err)
	}
	v.check(keyPrefix.MatchString(c.Redis.Prefix), "redis.prefix", "must be 1 to 64 letters, digits, or any of . _ : -")
	v.loopback("codex.test_issuer", c.Codex.TestIssuer)
	v.loopback("codex.test_backend", c.Codex.TestBackend)
	v.durations(c)
	v.word("log.level", c.Log.Level, "debug", "info", "warn", "error")
	v.word("log.format", c.Log.Format, "text", "json")
	return v.Problems
}

// keyPrefix is what may begin the names of keys in Redis.
var keyPrefix = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,64}$`)

type validator struct{ yamldoc.Problems }

func (v *validator) check(ok bool, field, format string, args ...any) {
	if !ok {
		v.Add("", 0, field, format, args...)
	}
}

// loopback refuses to show accounts to any other server than a test's.
func (v *validator) loopback(field, address string) {
	if address == "" {
		return
	}
	u, err := url.Parse(address)
	ok := err == nil && u.Scheme == "http" && u.User == nil
	if ok {
		ip, err := netip.ParseAddr(u.Hostname())
		ok = err == nil && ip.IsLoopback()
	}
	v.check(ok, field, "is for tests: it must be http:// at a literal loopback address, such as http://127.0.0.1:9000; leave it out to use ChatGPT")
}

func (v *validator) address(field, addr string) {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	v.check(err == nil, field, "%q is not an address: write host:port, such as 127.0.0.1:8080, or :8080 for every address of the machine", addr)
}

func (v *validator) origins(field string, origins []string) {
	for i, o := range origins {
		u, err := url.Parse(o)
		ok := err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && o == u.Scheme+"://"+u.Host
		v.check(ok, yamldoc.Index(field, i), "%q is not an origin: write scheme and host alone, such as https://chat.example.com", o)
	}
}

func (v *validator) durations(c Config) {
	for _, d := range []struct {
		field string
		value time.Duration
		zero  bool // zero has a meaning
	}{
		{"server.drain", c.Server.Drain, true},
		{"relay.failover_time", c.Relay.FailoverTime, true},
		{"relay.max_wait", c.Relay.MaxWait, true},
		{"relay.queue.time", c.Relay.Queue.Time, false},
		{"relay.silent_commit", c.Relay.SilentCommit, true},
		{"relay.keep_alive", c.Relay.KeepAlive, false},
		{"relay.write_stall", c.Relay.WriteStall, false},
		{"relay.timeouts.connect", c.Relay.Timeouts.Connect, false},
		{"relay.timeouts.first_byte", c.Relay.Timeouts.FirstByte, false},
		{"relay.timeouts.first_byte_whole", c.Relay.Timeouts.FirstByteWhole, false},
		{"relay.timeouts.first_event", c.Relay.Timeouts.FirstEvent, true},
		{"relay.timeouts.idle", c.Relay.Timeouts.Idle, true},
		{"usage.retention", c.Usage.Retention, true},
	} {
		if d.zero {
			v.check(d.value >= 0, d.field, "must not be negative")
		} else {
			v.check(d.value > 0, d.field, "must be more than 0")
		}
	}
}

func (v *validator) word(field, got string, known ...string) {
	v.check(slices.Contains(known, got), field, "%q is not one of %s", got, strings.Join(known, ", "))
}
