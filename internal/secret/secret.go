// Package secret owns how a secret is kept in the store so that whoever has the
// store alone cannot read it: the master key, the form of a sealed text, and what
// it is bound to. It never reads or writes a store, never decides what is sealed
// or when a key changes, and never shows a key.
//
//	sealed:1:KEYID:BASE64URL(24 bytes of nonce | XChaCha20-Poly1305 of the text)
//
// A sealed text opens at its own place alone: table, column and row are part of
// what is authenticated, with the format's version and the key's id.
package secret

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"

	"realms/internal/realm"
)

// Place is where a sealed text stands. The same text at another place does not
// open.
type Place struct {
	Table  string
	Column string // or a part of it: "settings.proxy"
	Row    string // the primary key: a decimal id, or a name
}

func (p Place) String() string { return p.Table + "." + p.Column + " of " + p.Row }

const (
	prefix  = "sealed:"
	version = "1"
	// overhead is what sealing adds to a text before base64.
	overhead = chacha20poly1305.NonceSizeX + chacha20poly1305.Overhead
)

// Why a text does not open, for errors.Is. Each is fatal to the value: nothing of
// it was read.
var (
	// ErrNoKey: it was sealed with a key that this keyring lacks.
	ErrNoKey = errors.New("sealed with a key that is not configured")
	// ErrDamaged: it is no whole sealed text, was changed, or was sealed elsewhere.
	ErrDamaged = errors.New("damaged, or sealed for another place")
	// ErrVersion: it has a format that this program does not know.
	ErrVersion = errors.New("sealed in a format that this Realms does not know")
)

// Sealed tells whether a stored text says of itself that it is sealed. What a
// keyring leaves in the clear never does.
func Sealed(stored string) bool { return strings.HasPrefix(stored, prefix) }

// KeyOf is the id of the key that a text says it was sealed with; "" for one in
// the clear and for one that is no sealed text.
func KeyOf(stored string) string {
	id, _, err := split(stored)
	if err != nil {
		return ""
	}
	return id
}

// Seal makes a text unreadable at its place. "" stays "", and without a master
// key a text stays as it is, unless it looks like a sealed one.
func (k *Keyring) Seal(p Place, plain string) (string, error) {
	switch {
	case plain == "":
		return "", nil
	case k.Master() == "" && Sealed(plain):
		return "", realm.Invalid("", fmt.Sprintf("A text that begins with %q cannot be stored.", prefix))
	case k.Master() == "":
		return plain, nil
	}
	box := make([]byte, chacha20poly1305.NonceSizeX, overhead+len(plain))
	_, _ = rand.Read(box) // crypto/rand.Read never fails since Go 1.24: it ends the process instead
	box = k.boxes[k.master].Seal(box, box, []byte(plain), associated(k.master, p))
	return prefix + version + ":" + k.master + ":" + base64.RawURLEncoding.EncodeToString(box), nil
}

// SealedSize is how long a sealed text of n bytes is; of "" none. Key ids are of one
// length.
func SealedSize(n int) int {
	if n == 0 {
		return 0
	}
	return len(prefix+version+"::") + idDigits + base64.RawURLEncoding.EncodedLen(overhead+n)
}

// Open reads what Seal wrote at the same place, and a text in the clear as it is.
// Whether a text may still be in the clear is the caller's to know. The error
// names the place, never the text.
func (k *Keyring) Open(p Place, stored string) (string, error) {
	if !Sealed(stored) {
		return stored, nil
	}
	plain, err := k.open(p, stored)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", p, err)
	}
	return plain, nil
}

func (k *Keyring) open(p Place, stored string) (string, error) {
	id, text, err := split(stored)
	if err != nil {
		return "", err
	}
	box := k.box(id)
	if box == nil {
		return "", ErrNoKey
	}
	// The decoder passes over line ends and knows two endings for some texts.
	// One text only may stand for one box.
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(sealed) <= overhead || strings.ContainsAny(text, "\r\n") {
		return "", ErrDamaged
	}
	nonce, sealed := sealed[:chacha20poly1305.NonceSizeX], sealed[chacha20poly1305.NonceSizeX:]
	plain, err := box.Open(nil, nonce, sealed, associated(id, p))
	if err != nil {
		return "", ErrDamaged
	}
	return string(plain), nil
}

// split takes a sealed text apart.
func split(stored string) (id, text string, err error) {
	rest, ok := strings.CutPrefix(stored, prefix)
	if !ok {
		return "", "", ErrDamaged
	}
	v, rest, ok := strings.Cut(rest, ":")
	if ok && v != version {
		return "", "", ErrVersion
	}
	id, text, found := strings.Cut(rest, ":")
	if !ok || !found || id == "" || text == "" {
		return "", "", ErrDamaged
	}
	return id, text, nil
}

// associated is what a sealed text is bound to. Each part is led by its length,
// so no two places make the same bytes.
func associated(key string, p Place) []byte {
	var b []byte
	for _, part := range []string{prefix, version, key, p.Table, p.Column, p.Row} {
		b = binary.BigEndian.AppendUint64(b, uint64(len(part)))
		b = append(b, part...)
	}
	return b
}

// box is the cipher of a key, nil when the keyring lacks it.
func (k *Keyring) box(id string) cipher.AEAD {
	if k == nil {
		return nil
	}
	return k.boxes[id]
}
