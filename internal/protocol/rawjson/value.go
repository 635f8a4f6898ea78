package rawjson

import (
	"bytes"
	"iter"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// The helpers here read raw values that Parse, Scan or Valid have accepted, without
// white space around them.

// IsNull tells whether the raw value is null or absent.
func IsNull(raw []byte) bool { return len(raw) == 0 || raw[0] == 'n' }

// IsString tells whether the raw value is a string.
func IsString(raw []byte) bool { return len(raw) != 0 && raw[0] == '"' }

// IsObject tells whether the raw value is an object.
func IsObject(raw []byte) bool { return len(raw) != 0 && raw[0] == '{' }

// IsArray tells whether the raw value is an array.
func IsArray(raw []byte) bool { return len(raw) != 0 && raw[0] == '[' }

// String is the text of a raw string.
func String(raw []byte) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return "", false
	}
	inner := raw[1 : len(raw)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return string(inner), true
	}
	return string(unescape(inner)), true
}

// Equal tells whether the raw value is the string s, however it is written.
func Equal(raw []byte, s string) bool {
	if len(raw) < 2 || raw[0] != '"' {
		return false
	}
	inner := raw[1 : len(raw)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return string(inner) == s
	}
	return string(unescape(inner)) == s
}

// IsEmpty tells whether the raw value says nothing: absent, null, "", [] or {}.
func IsEmpty(raw []byte) bool {
	if IsNull(raw) {
		return true
	}
	switch raw[0] {
	case '"':
		return len(raw) == 2
	case '[', '{':
		s := scanner{b: raw}
		i := s.space(1)
		return i < len(raw) && (raw[i] == ']' || raw[i] == '}')
	default:
		return false
	}
}

// Bool is the value of a raw true or false.
func Bool(raw []byte) (value, ok bool) {
	switch string(raw) {
	case "true":
		return true, true
	case "false":
		return false, true
	default:
		return false, false
	}
}

// Int is the value of a raw integer: digits alone, no fraction, no exponent,
// within int64.
func Int(raw []byte) (int64, bool) {
	digits := raw
	if len(raw) != 0 && raw[0] == '-' {
		digits = raw[1:]
	}
	if len(digits) == 0 {
		return 0, false
	}
	if len(raw) > 18 {
		n, err := strconv.ParseInt(string(raw), 10, 64)
		return n, err == nil
	}
	var n int64
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	if len(digits) != len(raw) {
		n = -n
	}
	return n, true
}

// AppendString appends s as a JSON string. Bytes that are not UTF-8 become U+FFFD.
func AppendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c >= utf8.RuneSelf:
			r, n := utf8.DecodeRuneInString(s[i:])
			dst = utf8.AppendRune(dst, r)
			i += n
			continue
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c < ' ' || c == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
		i++
	}
	return append(dst, '"')
}

// Elements yields each element of a raw array with its offset in raw; nothing if
// raw is no array.
func Elements(raw []byte) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		if !IsArray(raw) {
			return
		}
		s := scanner{b: raw}
		i := s.space(1)
		if i < len(raw) && raw[i] == ']' {
			return
		}
		for i < len(raw) {
			end := s.value(i)
			if end == failed || !yield(i, raw[i:end]) {
				return
			}
			if i = s.space(end); i >= len(raw) || raw[i] != ',' {
				return
			}
			i = s.space(i + 1)
		}
	}
}

// unescape is the text of a string's inside, whose escapes are known to be well
// formed. A surrogate without its other half becomes U+FFFD.
func unescape(inner []byte) []byte {
	dst := make([]byte, 0, len(inner))
	for {
		i := bytes.IndexByte(inner, '\\')
		if i < 0 {
			return append(dst, inner...)
		}
		dst = append(dst, inner[:i]...)
		c := inner[i+1]
		inner = inner[i+2:]
		switch c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r := hex4(inner)
			inner = inner[4:]
			if utf16.IsSurrogate(r) {
				low := rune(-1)
				if len(inner) >= 6 && inner[0] == '\\' && inner[1] == 'u' {
					low = hex4(inner[2:])
				}
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					inner = inner[6:]
				}
			}
			dst = utf8.AppendRune(dst, r)
		default:
			dst = append(dst, c)
		}
	}
}

func hex4(b []byte) rune {
	return unhex(b[0])<<12 | unhex(b[1])<<8 | unhex(b[2])<<4 | unhex(b[3])
}
