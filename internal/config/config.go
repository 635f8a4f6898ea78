// Package config owns what an operator decides before Realms starts: one struct,
// its defaults, and how a YAML file and the environment change them. It never
// holds what can change while Realms runs (that is a setting, in the store),
// opens nothing it names, and never shows a secret.
//
//	Default() → the file (strict) → REALMS_SECTION_FIELD → every problem at once
package config

import (
	"net/netip"
	"path/filepath"
	"strings"
	"time"
)

// Config is the whole configuration. A field's name in the file is its path of
// yaml tags ("server.addr"), in the environment that path in capitals
// (REALMS_SERVER_ADDR). Durations are written 60s, sizes 32MiB.
type Config struct {
	Server struct {
		// Addr is where the relay listens, as host:port. An empty host means
		// every address of the machine.
		Addr string `yaml:"addr"`
		// Drain is how long open answers may go on after a signal to stop.
		Drain time.Duration `yaml:"drain"`
		// TrustedProxies are the networks whose X-Forwarded-For is believed.
		TrustedProxies []netip.Prefix `yaml:"trusted_proxies"`
		// CORSOrigins narrows which web pages may call the relay; empty: all may,
		// never with credentials.
		CORSOrigins []string `yaml:"cors_origins"`
	} `yaml:"server"`

	// DataDir holds the SQLite file and the control socket.
	DataDir string `yaml:"data_dir"`

	DB struct {
		// DSN names the store: sqlite:PATH or mysql://user:pass@host:port/db.
		// Empty: realms.db in DataDir. Read it through Config.StoreDSN.
		DSN DSN `yaml:"dsn"`
	} `yaml:"db"`

	Redis struct {
		// URL names the Redis by which several processes tell each other what they
		// have learned of upstreams: redis://, rediss:// (TLS) or unix://. Empty:
		// each knows for itself.
		URL RedisURL `yaml:"url"`
		// Prefix begins every key, so that installations can share one Redis.
		Prefix string `yaml:"prefix"`
	} `yaml:"redis"`

	Security struct {
		// MasterKey seals the secrets in the store: 32 bytes as base64 or hex.
		// Empty: they are stored in the clear.
		MasterKey Key `yaml:"master_key"`
		// PreviousKeys are master keys from before, which still open what they
		// sealed.
		PreviousKeys []Key `yaml:"previous_keys"`
	} `yaml:"security"`

	SelfMode struct {
		// Enable is the form for one owner: nothing is sold, private networks
		// may be upstreams.
		Enable bool `yaml:"enable"`
	} `yaml:"self_mode"`

	Limits struct {
		// BodyBytes is the largest request body, after decompression.
		BodyBytes Size `yaml:"body_bytes"`
		// BodyMemory is how many bytes of bodies may be held at once, as they came
		// and as attempts send them; past it a request is asked to come again.
		BodyMemory Size `yaml:"body_memory"`
		// EventBytes is the longest event of a stream.
		EventBytes Size `yaml:"event_bytes"`
	} `yaml:"limits"`

	Relay Relay `yaml:"relay"`

	Upstream struct {
		// AllowPrivateNetworks lets base URLs lead to private addresses; unset:
		// as SelfMode.Enable. Read it through Config.PrivateNetworks.
		AllowPrivateNetworks *bool `yaml:"allow_private_networks"`
		// AllowNetworks are private networks that are allowed in any case.
		AllowNetworks []netip.Prefix `yaml:"allow_networks"`
	} `yaml:"upstream"`

	Codex struct {
		// TestIssuer and TestBackend stand in for the provider of ChatGPT accounts in
		// tests: loopback addresses alone, since accounts are shown to them.
		TestIssuer  string `yaml:"test_issuer"`
		TestBackend string `yaml:"test_backend"`
	} `yaml:"codex"`

	Usage struct {
		// Rows: a row is written for each request. Without them Realms relays
		// and remembers nothing of it.
		Rows bool `yaml:"rows"`
		// Retention is how long a request's row is kept; 0: for ever.
		Retention time.Duration `yaml:"retention"`
	} `yaml:"usage"`

	Log struct {
		// Level is debug, info, warn or error.
		Level string `yaml:"level"`
		// Format is text or json.
		Format string `yaml:"format"`
	} `yaml:"log"`
}

// Relay says how patiently one request is carried.
type Relay struct {
	// Attempts is how many exchanges one request may take.
	Attempts int `yaml:"attempts"`
	// FailoverTime is how long after its start a request may begin a new attempt.
	FailoverTime time.Duration `yaml:"failover_time"`
	// RetryShare is how many of a hundred requests in flight may be retries, so
	// that a storm of failures does not multiply; a few are always allowed.
	RetryShare int `yaml:"retry_share"`
	// MaxWait is how long a request waits for an upstream that has said when it
	// may be asked again; 0: not at all.
	MaxWait time.Duration `yaml:"max_wait"`
	// Queue is where requests over a limit of concurrency wait, fairly by user.
	Queue struct {
		// Waiting is how many of one user may wait; 0: none.
		Waiting int `yaml:"waiting"`
		// Time is how long each may wait.
		Time time.Duration `yaml:"time"`
	} `yaml:"queue"`
	// SilentCommit is when a stream that has produced nothing yet is begun all
	// the same, because proxies in between give up at 60 s; 0: never.
	SilentCommit time.Duration `yaml:"silent_commit"`
	// KeepAlive is the silence after which a begun stream gets a sign of life.
	KeepAlive time.Duration `yaml:"keep_alive"`
	// WriteStall is how long a client may refuse to read before it is let go.
	WriteStall time.Duration `yaml:"write_stall"`
	Timeouts   struct {
		// Connect bounds dialling an upstream.
		Connect time.Duration `yaml:"connect"`
		// FirstByte bounds the wait for a stream's header.
		FirstByte time.Duration `yaml:"first_byte"`
		// FirstByteWhole bounds the wait for the header of an answer that is not
		// streamed: it comes when the answer is ready.
		FirstByteWhole time.Duration `yaml:"first_byte_whole"`
		// FirstEvent bounds the wait for a stream's first substantive event; 0: none.
		FirstEvent time.Duration `yaml:"first_event"`
		// Idle bounds the silence between an answer's bytes; 0: none.
		Idle time.Duration `yaml:"idle"`
	} `yaml:"timeouts"`
}

// Default is the configuration of a machine where nobody decided anything:
// SQLite in ./data, this machine only, for one owner.
func Default() Config {
	var c Config
	c.Server.Addr = "127.0.0.1:8080"
	c.Server.Drain = 60 * time.Second
	c.DataDir = "./data"
	c.Redis.Prefix = "realms"
	c.SelfMode.Enable = true
	c.Limits.BodyBytes = 32 * MiB
	c.Limits.BodyMemory = 512 * MiB
	c.Limits.EventBytes = 16 * MiB
	c.Relay.Attempts = 6
	c.Relay.FailoverTime = 30 * time.Second
	c.Relay.RetryShare = 20
	c.Relay.MaxWait = 5 * time.Second
	c.Relay.Queue.Waiting = 20
	c.Relay.Queue.Time = 10 * time.Second
	c.Relay.SilentCommit = 45 * time.Second
	c.Relay.KeepAlive = 15 * time.Second
	c.Relay.WriteStall = 30 * time.Second
	c.Relay.Timeouts.Connect = 3 * time.Second
	c.Relay.Timeouts.FirstByte = 20 * time.Second
	c.Relay.Timeouts.FirstByteWhole = 10 * time.Minute
	c.Relay.Timeouts.FirstEvent = 5 * time.Minute
	c.Relay.Timeouts.Idle = 5 * time.Minute
	c.Usage.Rows = true
	c.Usage.Retention = 90 * 24 * time.Hour
	c.Log.Level = "info"
	c.Log.Format = "text"
	return c
}

// StoreDSN is DB.DSN's text with its default, for store.Open alone: it may hold
// a password.
func (c Config) StoreDSN() string {
	if c.DB.DSN == "" {
		return "sqlite:" + filepath.Join(c.DataDir, "realms.db")
	}
	return c.DB.DSN.Reveal()
}

// PrivateNetworks is Upstream.AllowPrivateNetworks with its default.
func (c Config) PrivateNetworks() bool {
	if c.Upstream.AllowPrivateNetworks == nil {
		return c.SelfMode.Enable
	}
	return *c.Upstream.AllowPrivateNetworks
}

// SQLiteFile is the path of the store's file; empty when the store is a server.
func (c Config) SQLiteFile() string {
	path, ok := strings.CutPrefix(c.StoreDSN(), "sqlite:")
	if !ok {
		return ""
	}
	return strings.TrimPrefix(path, "//")
}

// ControlSocket is where a running server answers the commands of its machine.
func (c Config) ControlSocket() string { return filepath.Join(c.DataDir, "control.sock") }
