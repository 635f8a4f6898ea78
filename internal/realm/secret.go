package realm

import "log/slog"

// Secret is a text that must not be seen: an API key, a proxy's password. Every
// way in which Go prints or encodes a value shows "[redacted]"; only Reveal
// gives the text.
type Secret string

const redacted = "[redacted]"

// Reveal is the text itself. Each call is a place where a secret leaves safety.
func (s Secret) Reveal() string { return string(s) }

func (s Secret) String() string { return redacted }

// GoString keeps %#v from printing the text.
func (s Secret) GoString() string { return redacted }

// LogValue keeps slog from printing the text.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText keeps JSON and YAML from carrying the text.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
