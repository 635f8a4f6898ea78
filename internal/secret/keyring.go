package secret

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"

	"realms/internal/realm"
)

// Keyring is the key that seals and those that still open. It never changes, and
// is safe for concurrent use. A nil one has no keys: it seals nothing and opens
// nothing that is sealed.
type Keyring struct {
	master string // its id; "": nothing is sealed
	boxes  map[string]cipher.AEAD
}

// keyBytes is the length of a key.
const keyBytes = 32

// idDigits is the length of a key's id in hex.
const idDigits = 16

// What a key is used for. Each use has a key of its own, derived by its label, so
// that nothing made for one is good for another.
const (
	labelSeal = "realms/secret/1/seal"
	labelID   = "realms/secret/1/id"
)

// How a key is made, for who must make one.
const makeOne = "`realms secrets key` prints a new one"

// New makes a keyring of security.master_key, which seals, and
// security.previous_keys, which only open. Each is 32 bytes as base64 or as hex.
// Without any the keyring is nil. The errors are *realm.Error and quote no key.
func New(master realm.Secret, previous []realm.Secret) (*Keyring, error) {
	if master == "" {
		if len(previous) > 0 {
			return nil, realm.Invalid("security.previous_keys", "Previous keys are of use beside a master key only: set security.master_key too.")
		}
		return nil, nil
	}
	k := &Keyring{boxes: make(map[string]cipher.AEAD)}
	id, err := k.add("security.master_key", master)
	if err != nil {
		return nil, err
	}
	k.master = id
	for i, key := range previous {
		if _, err := k.add(fmt.Sprintf("security.previous_keys[%d]", i), key); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// add takes up a key and gives its id: 16 hex digits that do not tell the key.
func (k *Keyring) add(field string, text realm.Secret) (string, error) {
	key, ok := parseKey(strings.TrimSpace(text.Reveal()))
	if !ok {
		return "", realm.Invalid(field, fmt.Sprintf("A key is %d random bytes as base64 or hex; %s.", keyBytes, makeOne))
	}
	id, err := hkdf.Key(sha256.New, key, nil, labelID, idDigits/2)
	if err != nil {
		return "", fmt.Errorf("derive a key's id: %w", err)
	}
	sealing, err := hkdf.Key(sha256.New, key, nil, labelSeal, chacha20poly1305.KeySize)
	if err != nil {
		return "", fmt.Errorf("derive a sealing key: %w", err)
	}
	box, err := chacha20poly1305.NewX(sealing)
	if err != nil {
		return "", fmt.Errorf("make a cipher: %w", err)
	}
	name := hex.EncodeToString(id)
	k.boxes[name] = box
	return name, nil
}

// parseKey reads a key in either form of base64, or in hex. The lengths tell the
// forms apart.
func parseKey(text string) ([]byte, bool) {
	var key []byte
	var err error
	switch trimmed := strings.TrimRight(text, "="); {
	case len(text) == hex.EncodedLen(keyBytes):
		key, err = hex.DecodeString(text)
	case strings.ContainsAny(trimmed, "-_"):
		key, err = base64.RawURLEncoding.DecodeString(trimmed)
	default:
		key, err = base64.RawStdEncoding.DecodeString(trimmed)
	}
	return key, err == nil && len(key) == keyBytes
}

// NewKey is a fresh key as security.master_key takes it.
func NewKey() realm.Secret {
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key) // never fails
	return realm.Secret(base64.StdEncoding.EncodeToString(key))
}

// Master is the id of the key that seals; "" when nothing is sealed.
func (k *Keyring) Master() string {
	if k == nil {
		return ""
	}
	return k.master
}

// Has tells whether the keyring has the key of that id.
func (k *Keyring) Has(id string) bool { return k.box(id) != nil }

// With is the keyring with another of its keys as the one that seals, for who
// writes beside others that still seal with it. An unknown id is ErrNoKey.
func (k *Keyring) With(id string) (*Keyring, error) {
	if !k.Has(id) {
		return nil, ErrNoKey
	}
	return &Keyring{master: id, boxes: k.boxes}, nil
}

// Current tells whether a stored text is as Seal would leave it now: sealed with
// the master key, or in the clear when there is none. "" always is.
func (k *Keyring) Current(stored string) bool {
	if stored == "" {
		return true
	}
	if k.Master() == "" {
		return !Sealed(stored)
	}
	return KeyOf(stored) == k.master
}

// Format keeps every verb of fmt from printing a key.
func (k *Keyring) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[keyring]") }

// LogValue keeps slog from printing a key.
func (k *Keyring) LogValue() slog.Value { return slog.StringValue("[keyring]") }

// MarshalText keeps JSON and YAML from carrying a key.
func (k *Keyring) MarshalText() ([]byte, error) { return []byte("[keyring]"), nil }
