package realm

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// ID identifies a stored object: 41 bits of milliseconds since Epoch, then 22
// random bits, so ids sort by creation and fit a signed BIGINT. In JSON it is a
// string, because JavaScript's numbers end at 2^53.
type ID int64

// Epoch is the instant from which an ID counts its milliseconds.
var Epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const idRandomBits = 22

// NewID mints an identifier. Two in the same millisecond collide once in four
// million; whoever inserts mints again when it meets its own primary key.
func NewID(now time.Time) ID {
	var b [4]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails since Go 1.24: it ends the process instead
	ms := max(now.Sub(Epoch).Milliseconds(), 0)
	return ID(ms<<idRandomBits | int64(binary.LittleEndian.Uint32(b[:])>>(32-idRandomBits)))
}

// Time is the instant the identifier was minted, to the millisecond.
func (id ID) Time() time.Time {
	return Epoch.Add(time.Duration(int64(id)>>idRandomBits) * time.Millisecond)
}

func (id ID) String() string { return strconv.FormatInt(int64(id), 10) }

// ParseID reads the decimal form that String writes.
func ParseID(s string) (ID, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("%q is not an id", s)
	}
	return ID(n), nil
}

// MarshalText makes an ID a string in JSON, also as a map key.
func (id ID) MarshalText() ([]byte, error) { return strconv.AppendInt(nil, int64(id), 10), nil }

// UnmarshalText reads what MarshalText wrote.
func (id *ID) UnmarshalText(b []byte) error {
	n, err := ParseID(string(b))
	if err != nil {
		return err
	}
	*id = n
	return nil
}

// RequestID is a ULID: 48 bits of milliseconds since 1970, then 80 random bits.
// It finds a request's row, attempts, trace and ledger entries.
type RequestID [16]byte

const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// NewRequestID composes a ULID from an instant and 80 bits of the caller's
// randomness (the upper 16 of hi are ignored).
func NewRequestID(now time.Time, hi uint16, lo uint64) RequestID {
	var id RequestID
	ms := uint64(now.UnixMilli())
	id[0], id[1], id[2] = byte(ms>>40), byte(ms>>32), byte(ms>>24)
	id[3], id[4], id[5] = byte(ms>>16), byte(ms>>8), byte(ms)
	binary.BigEndian.PutUint16(id[6:], hi)
	binary.BigEndian.PutUint64(id[8:], lo)
	return id
}

// String is the 26-character Crockford form.
func (id RequestID) String() string {
	var out [26]byte
	hi, lo := binary.BigEndian.Uint64(id[:8]), binary.BigEndian.Uint64(id[8:])
	for i := 25; i >= 0; i-- {
		out[i] = crockford[lo&31]
		lo = lo>>5 | hi<<59
		hi >>= 5
	}
	return string(out[:])
}

// MarshalText makes a RequestID its 26 characters in JSON.
func (id RequestID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (id *RequestID) UnmarshalText(b []byte) error {
	parsed, err := ParseRequestID(string(b))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

// IsZero tells whether no identifier was made.
func (id RequestID) IsZero() bool { return id == RequestID{} }

// Time is the instant the request arrived, to the millisecond.
func (id RequestID) Time() time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(id[:8]) >> 16))
}

// ParseRequestID reads a ULID's 26 characters, in either case.
func ParseRequestID(s string) (RequestID, error) {
	var id RequestID
	if len(s) != 26 || s[0] > '7' {
		return id, errors.New("not a request id: 26 characters of 0-9A-Z are expected")
	}
	var hi, lo uint64
	for i := range len(s) {
		v := decodeCrockford(s[i])
		if v < 0 {
			return RequestID{}, errors.New("not a request id: 26 characters of 0-9A-Z are expected")
		}
		hi = hi<<5 | lo>>59
		lo = lo<<5 | uint64(v)
	}
	binary.BigEndian.PutUint64(id[:8], hi)
	binary.BigEndian.PutUint64(id[8:], lo)
	return id, nil
}

func decodeCrockford(c byte) int {
	if c >= 'a' && c <= 'z' {
		c -= 'a' - 'A'
	}
	for i := range len(crockford) {
		if crockford[i] == c {
			return i
		}
	}
	return -1
}
