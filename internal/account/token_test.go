package account

import (
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"

	"realms/internal/realm"
)

func TestMintTokenHasTheDocumentedShape(t *testing.T) {
	for range 200 {
		token := MintToken().Reveal()
		if len(token) != 37 || !strings.HasPrefix(token, "rlm_") {
			t.Fatalf("a token of %d characters", len(token))
		}
		if rest := strings.Trim(token[4:], base62); rest != "" {
			t.Fatalf("digits outside base62: %q", rest)
		}
		// The checksum by its definition, independently of the code under test.
		var want int64
		for _, c := range token[31:] {
			want = want*62 + int64(strings.IndexRune(base62, c))
		}
		if got := int64(crc32.ChecksumIEEE([]byte(token[:31]))); got != want {
			t.Fatalf("checksum digits say %d, CRC-32 is %d", want, got)
		}
		if !ValidChecksum(token) {
			t.Fatal("a minted token is not valid")
		}
	}
}

func TestChecksumIsPaddedWithZeros(t *testing.T) {
	// The CRC-32 of nothing is 0.
	if got := checksum(""); string(got[:]) != "000000" {
		t.Errorf("got %s", got)
	}
	if got := checksum("123456789"); string(got[:]) != encode62(0xCBF43926) {
		t.Errorf("got %s, want %s", got, encode62(0xCBF43926))
	}
}

func encode62(n uint64) string {
	s := ""
	for ; n > 0; n /= 62 {
		s = string(base62[n%62]) + s
	}
	return strings.Repeat("0", 6-len(s)) + s
}

func TestValidChecksumRefuses(t *testing.T) {
	good := MintToken().Reveal()
	flipped := func(i int) string {
		c := byte('a')
		if good[i] == c {
			c = 'b'
		}
		return good[:i] + string(c) + good[i+1:]
	}
	cases := map[string]string{
		"empty":            "",
		"prefix alone":     "rlm_",
		"cut":              good[:36],
		"longer":           good + "0",
		"another prefix":   "rlx_" + good[4:],
		"upper prefix":     "RLM_" + good[4:],
		"leading space":    " " + good[:36],
		"not base62":       good[:10] + "-" + good[11:],
		"digit changed":    flipped(7),
		"checksum changed": flipped(36),
	}
	for name, token := range cases {
		if ValidChecksum(token) {
			t.Errorf("%s: %q is taken for valid", name, token)
		}
	}
	for i := 4; i < 37; i++ {
		if ValidChecksum(flipped(i)) {
			t.Errorf("a changed digit %d goes unnoticed", i)
		}
	}
}

func TestMintedTokensNeverCollideAndUseAllDigitsAlike(t *testing.T) {
	rounds := 1_000_000
	if raceEnabled || testing.Short() {
		rounds = 200_000
	}
	seen := make(map[string]struct{}, rounds)
	var counts [256]int
	for range rounds {
		token := MintToken().Reveal()
		seen[token] = struct{}{}
		for i := 4; i < 31; i++ {
			counts[token[i]]++
		}
	}
	if len(seen) != rounds {
		t.Fatalf("%d of %d tokens are distinct", len(seen), rounds)
	}
	// A modulo without rejection would make the first 8 digits 25 % likelier.
	mean := float64(rounds*27) / 62
	for _, c := range []byte(base62) {
		if d := float64(counts[c])/mean - 1; d < -0.03 || d > 0.03 {
			t.Errorf("digit %c is off by %.1f %%", c, d*100)
		}
	}
}

func TestHashTokenIsTheSHA256OfTheText(t *testing.T) {
	// FIPS 180-2, appendix B.1.
	if got := fmt.Sprintf("%x", HashToken("abc")); got != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" {
		t.Errorf("got %s", got)
	}
	long := strings.Repeat("x", 513)
	if HashToken(long) == HashToken(long[:512]) {
		t.Error("a long text is cut before it is hashed")
	}
}

func TestCheckImported(t *testing.T) {
	cases := []struct {
		name, token, want string
	}{
		{"another gateway's key", "sk-" + strings.Repeat("a", 45), ""},
		{"shortest", strings.Repeat("a", 16), ""},
		{"longest", strings.Repeat("a", 512), ""},
		{"punctuation", "a!#~:/?[]@$&'()*+,;=", ""},
		{"our own", MintToken().Reveal(), ""},
		{"too short", strings.Repeat("a", 15), "15 bytes"},
		{"too long", strings.Repeat("a", 513), "513 bytes"},
		{"space", "aaaaaaaa aaaaaaaaaa", "Byte 9"},
		{"trailing newline", strings.Repeat("a", 20) + "\n", "Byte 21"},
		{"beyond ascii", strings.Repeat("a", 20) + "é", "Byte 21"},
		{"our own, cut", MintToken().Reveal()[:30], "checksum"},
		{"our own, too short to be any", "rlm_", "checksum"},
	}
	for _, c := range cases {
		err := checkImported(c.token)
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		var e *realm.Error
		if !errors.As(err, &e) || e.Code != realm.CodeInvalid || e.Field != "token" || !strings.Contains(e.Message, c.want) {
			t.Errorf("%s: got %v, want a message with %q", c.name, err, c.want)
		}
		if err != nil && len(c.token) > 4 && strings.Contains(err.Error(), c.token) {
			t.Errorf("%s: the token is in the message", c.name)
		}
	}
}
