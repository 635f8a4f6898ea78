package account

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"hash/crc32"

	"realms/internal/realm"
)

// A token of our own: the prefix, random base62 digits (27 of them carry 160
// bits), and the CRC-32 of all before it, which lets a scanner or a typing error
// be told from a real token without asking anybody.
const (
	tokenPrefix    = "rlm_"
	tokenRandom    = 27
	tokenChecksum  = 6
	tokenLength    = len(tokenPrefix) + tokenRandom + tokenChecksum
	minTokenLength = 16
	maxTokenLength = 512
)

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// MintToken makes a new token of 37 characters.
func MintToken() realm.Secret {
	out := make([]byte, 0, tokenLength)
	out = append(out, tokenPrefix...)
	var random [2 * tokenRandom]byte
	for len(out) < len(tokenPrefix)+tokenRandom {
		_, _ = rand.Read(random[:]) // never fails: see realm.NewID
		for _, b := range random {
			// 248 is the largest multiple of 62 in a byte: keeping the bytes
			// above it would make the first eight digits likelier.
			if b < 248 && len(out) < len(tokenPrefix)+tokenRandom {
				out = append(out, base62[b%62])
			}
		}
	}
	sum := checksum(string(out))
	return realm.Secret(append(out, sum[:]...))
}

// ValidChecksum tells whether a text has the exact shape of a token minted here,
// its checksum included.
func ValidChecksum(token string) bool {
	if len(token) != tokenLength || token[:len(tokenPrefix)] != tokenPrefix {
		return false
	}
	body := token[:tokenLength-tokenChecksum]
	for i := len(tokenPrefix); i < len(body); i++ {
		if !isBase62(body[i]) {
			return false
		}
	}
	sum := checksum(body)
	return token[len(body):] == string(sum[:])
}

// HashToken is what the store keeps of a token.
func HashToken(token string) realm.TokenHash {
	if len(token) > maxTokenLength {
		return sha256.Sum256([]byte(token))
	}
	var buf [maxTokenLength]byte // on the stack: this is on every request's way
	return sha256.Sum256(buf[:copy(buf[:], token)])
}

// checksum goes over the text itself: crc32.ChecksumIEEE wants bytes, and makes
// them escape to the heap on every request.
func checksum(body string) (digits [tokenChecksum]byte) {
	sum := ^uint32(0)
	for i := range len(body) {
		sum = crc32.IEEETable[byte(sum)^body[i]] ^ sum>>8
	}
	sum = ^sum
	for i := tokenChecksum - 1; i >= 0; i-- {
		digits[i] = base62[sum%62]
		sum /= 62
	}
	return digits
}

func isBase62(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

func hasTokenPrefix(token string) bool {
	return len(token) >= len(tokenPrefix) && token[:len(tokenPrefix)] == tokenPrefix
}

// hint is what a list shows of a token: enough to tell one from another, at most
// a quarter of it.
func hint(token string) string { return token[:min(8, len(token)/4)] }

// checkImported says what is wrong with a token that was made elsewhere.
func checkImported(token string) error {
	if hasTokenPrefix(token) {
		if !ValidChecksum(token) {
			return realm.Invalid("token", fmt.Sprintf(
				"It begins with %s, but its length or checksum is wrong: copy the whole token again, %d characters.",
				tokenPrefix, tokenLength))
		}
		return nil
	}
	if len(token) < minTokenLength || len(token) > maxTokenLength {
		return realm.Invalid("token", fmt.Sprintf(
			"It has %d bytes; from %d to %d are expected.", len(token), minTokenLength, maxTokenLength))
	}
	for i := range len(token) {
		if token[i] <= ' ' || token[i] > '~' {
			return realm.Invalid("token", fmt.Sprintf(
				"Byte %d is a space or not printable ASCII: remove it.", i+1))
		}
	}
	return nil
}
