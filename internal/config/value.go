package config

import (
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes.
type Size int64

// Units of a Size.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
)

func (s Size) String() string {
	for _, u := range sizeUnits {
		if s != 0 && s%u.size == 0 {
			return strconv.FormatInt(int64(s/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

var sizeUnits = []struct {
	name string
	size Size
}{{"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB}}

func parseSize(text string) (Size, error) {
	number, unit := text, Size(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(text, u.name); ok {
			number, unit = strings.TrimSpace(rest), u.size
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/int64(unit) {
		return 0, fmt.Errorf("%q is not a size: write bytes, or a whole number with KiB, MiB or GiB, such as 32MiB", text)
	}
	return Size(n) * unit, nil
}

// DSN names a store and may hold a password: every way of printing it shows the
// password as ***, only Reveal gives the text.
type DSN string

// Reveal is the text itself, for store.Open.
func (d DSN) Reveal() string { return string(d) }

func (d DSN) String() string {
	if strings.HasPrefix(string(d), "sqlite:") {
		return string(d)
	}
	return hidePassword(string(d))
}

// hidePassword shows a URL with *** for its password and … for its query.
func hidePassword(text string) string {
	if text == "" {
		return ""
	}
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		return "[redacted]"
	}
	at := strings.LastIndexByte(rest, '@')
	user, _, hasPassword := strings.Cut(rest[:max(at, 0)], ":")
	address, _, hasQuery := strings.Cut(rest[at+1:], "?")
	if hasPassword {
		user += ":***"
	}
	if at >= 0 {
		user += "@"
	}
	if hasQuery {
		address += "?…"
	}
	return scheme + "://" + user + address
}

// GoString keeps %#v from printing the password.
func (d DSN) GoString() string { return d.String() }

// LogValue keeps slog from printing the password.
func (d DSN) LogValue() slog.Value { return slog.StringValue(d.String()) }

// MarshalText keeps JSON from carrying the password.
func (d DSN) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Key is a master key: no way of printing it shows anything of it, only Reveal
// gives the text.
type Key string

// Reveal is the text itself, for who makes a keyring.
func (k Key) Reveal() string { return string(k) }

func (k Key) String() string {
	if k == "" {
		return ""
	}
	return "[redacted]"
}

// GoString keeps %#v from printing the key.
func (k Key) GoString() string { return k.String() }

// LogValue keeps slog from printing the key.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText keeps JSON from carrying the key.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// check says what is wrong with a DSN, without quoting it.
func (d DSN) check() error {
	text := string(d)
	if path, ok := strings.CutPrefix(text, "sqlite:"); ok {
		if path == "" {
			return fmt.Errorf("names no file: write sqlite:PATH, such as sqlite:./data/realms.db")
		}
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "mysql" || u.Hostname() == "" || strings.Trim(u.Path, "/") == "" {
		return fmt.Errorf("is not a store's address: write sqlite:PATH or mysql://user:pass@host:port/db (a special character in the password as %%XX)")
	}
	return nil
}

// set reads a field's text into it.
func set(target any, text string) error {
	switch t := target.(type) {
	case *string:
		*t = strings.TrimSpace(text)
	case *DSN:
		*t = DSN(strings.TrimSpace(text))
	case *RedisURL:
		*t = RedisURL(strings.TrimSpace(text))
	case *Key:
		*t = Key(strings.TrimSpace(text))
	case *bool:
		return setBool(t, text)
	case **bool:
		var b bool
		if err := setBool(&b, text); err != nil {
			return err
		}
		*t = &b
	case *int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		*t = n
	case *time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is not a duration: write it with its unit, such as 500ms, 60s or 5m", text)
		}
		*t = d
	case *Size:
		size, err := parseSize(text)
		if err != nil {
			return err
		}
		*t = size
	default:
		panic("config: no way to read a " + reflect.TypeOf(target).String())
	}
	return nil
}

func setBool(b *bool, text string) error {
	switch text {
	case "true":
		*b = true
	case "false":
		*b = false
	default:
		return fmt.Errorf("%q is neither true nor false", text)
	}
	return nil
}

// setList reads the items of a list field.
func setList(target any, items []string) error {
	switch t := target.(type) {
	case *[]string:
		*t = items
	case *[]Key:
		*t = make([]Key, len(items))
		for i, item := range items {
			(*t)[i] = Key(strings.TrimSpace(item))
		}
	case *[]netip.Prefix:
		list := make([]netip.Prefix, 0, len(items))
		for _, item := range items {
			p, err := parsePrefix(item)
			if err != nil {
				return err
			}
			list = append(list, p)
		}
		*t = list
	default:
		panic("config: no way to read a list into a " + reflect.TypeOf(target).String())
	}
	return nil
}

// parsePrefix reads a network, or one address as the network of it alone.
func parsePrefix(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fmt.Errorf("%q is not a network: write a CIDR such as 10.0.0.0/8, or one address", text)
	}
	if p != p.Masked() {
		return p, fmt.Errorf("%q has bits beyond its length: write %s for the network", text, p.Masked())
	}
	return p, nil
}

// text shows a field's value as set would read it; secrets without their
// password.
func text(value any) string {
	switch v := value.(type) {
	case time.Duration:
		return formatDuration(v)
	case *bool:
		if v == nil {
			return ""
		}
		return strconv.FormatBool(*v)
	case []string:
		return strings.Join(v, ",")
	case []Key:
		items := make([]string, len(v))
		for i := range v {
			items[i] = v[i].String()
		}
		return strings.Join(items, ",")
	case []netip.Prefix:
		items := make([]string, len(v))
		for i := range v {
			items[i] = v[i].String()
		}
		return strings.Join(items, ",")
	default:
		return fmt.Sprint(v)
	}
}

// formatDuration is Duration.String without units that are zero: 10m, not 10m0s;
// whole minutes below two stay in seconds, as people write them.
func formatDuration(d time.Duration) string {
	if d%time.Second == 0 && d < 2*time.Minute {
		return strconv.FormatInt(int64(d/time.Second), 10) + "s"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
