package config

import (
	"errors"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
)

// RedisURL names a Redis and may hold a password: every way of printing it shows
// the password as ***, only Reveal gives the text.
type RedisURL string

// Reveal is the text itself, for whoever connects.
func (u RedisURL) Reveal() string { return string(u) }

func (u RedisURL) String() string { return hidePassword(string(u)) }

// GoString keeps %#v from printing the password.
func (u RedisURL) GoString() string { return u.String() }

// LogValue keeps slog from printing the password.
func (u RedisURL) LogValue() slog.Value { return slog.StringValue(u.String()) }

// MarshalText keeps JSON from carrying the password.
func (u RedisURL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

var errRedisURL = errors.New("is not a Redis's address: write redis://user:password@host:6379/0, rediss:// for TLS, or unix:///path/to.sock?db=0 (a special character in the password as %XX)")

// check says what is wrong with a URL, without quoting it; nothing with none.
func (u RedisURL) check() error {
	if u == "" {
		return nil
	}
	parsed, err := url.Parse(string(u))
	if err != nil {
		return errRedisURL
	}
	switch parsed.Scheme {
	case "unix":
		if parsed.Host != "" || len(parsed.Path) < 2 || !isDatabase(parsed.Query().Get("db")) {
			return errRedisURL
		}
		return nil
	case "redis", "rediss":
		if parsed.Hostname() != "" && isDatabase(strings.Trim(parsed.Path, "/")) && isDatabase(parsed.Query().Get("db")) {
			return nil
		}
	}
	return errRedisURL
}

// isDatabase tells whether a text is the number of a database, or none.
func isDatabase(text string) bool {
	n, err := strconv.Atoi(text)
	return text == "" || err == nil && n >= 0
}
