package secret

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"realms/internal/realm"
)

// ring is a keyring of fresh keys, the first of which seals.
func ring(t testing.TB, master realm.Secret, previous ...realm.Secret) *Keyring {
	t.Helper()
	k, err := New(master, previous)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func seal(t testing.TB, k *Keyring, p Place, plain string) string {
	t.Helper()
	s, err := k.Seal(p, plain)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func place() Place { return Place{Table: "credentials", Column: "api_key", Row: "42"} }

func TestWhatIsSealedOpens(t *testing.T) {
	k := ring(t, NewKey())
	rapid.Check(t, func(t *rapid.T) {
		p := Place{rapid.String().Draw(t, "table"), rapid.String().Draw(t, "column"), rapid.String().Draw(t, "row")}
		plain := rapid.String().Draw(t, "plain")
		sealed, err := k.Seal(p, plain)
		if err != nil {
			t.Fatal(err)
		}
		if plain != "" && (!Sealed(sealed) || !k.Current(sealed) || KeyOf(sealed) != k.Master()) {
			t.Errorf("%q does not say that it is sealed", sealed)
		}
		if len(plain) > 3 && strings.Contains(sealed, plain) {
			t.Errorf("%q shows %q", sealed, plain)
		}
		for _, r := range sealed {
			if r <= ' ' || r > '~' {
				t.Errorf("%q in a sealed text", r)
			}
		}
		if got, err := k.Open(p, sealed); err != nil || got != plain {
			t.Errorf("opened: %q, %v", got, err)
		}
	})
}

// No change of a sealed text opens: not of a byte into any other that could stand
// there, nor a part left out or added at either end.
func TestChangedTextsDoNotOpen(t *testing.T) {
	k := ring(t, NewKey())
	sealed := seal(t, k, place(), "test-"+strings.Repeat("k", 20))
	tried := 0
	refuse := func(text string) {
		t.Helper()
		if text == sealed || !Sealed(text) {
			return
		}
		tried++
		got, err := k.Open(place(), text)
		if got != "" || !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNoKey) && !errors.Is(err, ErrVersion) {
			t.Errorf("%q opens as %q: %v", text, got, err)
		}
	}
	for i := range len(sealed) {
		for b := range 256 {
			refuse(sealed[:i] + string([]byte{byte(b)}) + sealed[i+1:])
		}
		refuse(sealed[:i])
		refuse(prefix + sealed[i:])
		for _, more := range []string{"A", "=", "\n", "\r\n", ":", " "} {
			refuse(sealed[:i] + more + sealed[i:])
		}
	}
	for _, more := range []string{"A", "=", "==", "\n", "\r", ":", " ", sealed} {
		refuse(sealed + more)
	}
	if tried < 20_000 {
		t.Errorf("only %d changes were tried", tried)
	}
}

// The beginning of a sealed text is no secret: one that is changed there is a text
// in the clear, which whoever knows the store to be sealed refuses.
func TestTextsThatAreNotSealed(t *testing.T) {
	k := ring(t, NewKey())
	for _, text := range []string{"", "key", "sealed", "Sealed:1:", " sealed:1:"} {
		if got, err := k.Open(place(), text); err != nil || got != text || Sealed(text) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

// A sealed text opens at its place alone.
func TestPlacesDoNotMix(t *testing.T) {
	k := ring(t, NewKey())
	sealed := seal(t, k, Place{"ab", "cd", "ef"}, "test")
	for _, p := range []Place{
		{"ab", "cd", "eg"},
		{"ab", "ce", "ef"},
		{"ac", "cd", "ef"},
		{"ab", "ef", "cd"},
		{"cd", "ab", "ef"},
		{"abc", "d", "ef"},
		{"a", "bcd", "ef"},
		{"ab", "cde", "f"},
		{"ab", "cdef", ""},
		{"", "abcd", "ef"},
		{},
	} {
		if got, err := k.Open(p, sealed); !errors.Is(err, ErrDamaged) || got != "" {
			t.Errorf("%+v: %q, %v", p, got, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[ab.:]{0,3}`)
		draw := func(of string) Place { return Place{word.Draw(t, of), word.Draw(t, of), word.Draw(t, of)} }
		here, there := draw("here"), draw("there")
		sealed, err := k.Seal(here, "test")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Open(there, sealed); (err == nil) != (here == there) {
			t.Errorf("sealed at %+v, opened at %+v: %v", here, there, err)
		}
	})
}

func TestOtherVersionsAndKeys(t *testing.T) {
	old, now := NewKey(), NewKey()
	k, before := ring(t, now, old), ring(t, old)
	sealed := seal(t, before, place(), "test")
	if got, err := k.Open(place(), sealed); err != nil || got != "test" || k.Current(sealed) {
		t.Errorf("with a previous key: %q, %v", got, err)
	}
	for text, want := range map[string]error{
		strings.Replace(sealed, ":1:", ":2:", 1):                   ErrVersion,
		strings.Replace(sealed, ":1:", ":01:", 1):                  ErrVersion,
		strings.Replace(sealed, before.Master(), k.Master(), 1):    ErrDamaged,
		strings.Replace(sealed, before.Master(), "0123456789", 1):  ErrNoKey,
		strings.Replace(sealed, before.Master(), "", 1):            ErrDamaged,
		seal(t, ring(t, NewKey()), place(), "test"):                ErrNoKey,
		prefix + "1:" + k.Master() + ":" + strings.Repeat("A", 53): ErrDamaged, // a nonce and a tag of nothing
		prefix: ErrDamaged,
	} {
		if got, err := k.Open(place(), text); !errors.Is(err, want) || got != "" {
			t.Errorf("%q: %q, %v, want %v", text, got, err, want)
		}
	}
	for name, k := range map[string]*Keyring{"nil": nil, "empty": {}} {
		if got, err := k.Open(place(), sealed); !errors.Is(err, ErrNoKey) || got != "" {
			t.Errorf("%s keyring: %q, %v", name, got, err)
		}
	}
}

func TestWithoutKeysTextsStay(t *testing.T) {
	var k *Keyring
	for _, text := range []string{"", "test"} {
		if got := seal(t, k, place(), text); got != text || !k.Current(got) {
			t.Errorf("%q became %q", text, got)
		}
	}
	if _, err := k.Seal(place(), prefix+"x"); realm.AsError(err).Code != realm.CodeInvalid {
		t.Errorf("a text that looks sealed: %v", err)
	}
	sealed := seal(t, ring(t, NewKey()), place(), "test")
	if k.Current(sealed) || ring(t, NewKey()).Current(sealed) || ring(t, NewKey()).Current("test") {
		t.Error("a foreign text counts as current")
	}
}

func TestWith(t *testing.T) {
	old, now := NewKey(), NewKey()
	k, before := ring(t, now, old), ring(t, old)
	with, err := k.With(before.Master())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := before.Open(place(), seal(t, with, place(), "test")); err != nil || got != "test" {
		t.Errorf("sealed with a previous key: %q, %v", got, err)
	}
	if _, err := before.With(k.Master()); !errors.Is(err, ErrNoKey) {
		t.Errorf("with an unknown key: %v", err)
	}
}

func TestKeys(t *testing.T) {
	raw := make([]byte, keyBytes)
	for i := range raw {
		raw[i] = byte(0xf8 + i) // its base64 has + and /
	}
	id := ring(t, realm.Secret(hex.EncodeToString(raw))).Master()
	for _, text := range []string{
		base64.StdEncoding.EncodeToString(raw), base64.RawStdEncoding.EncodeToString(raw), base64.URLEncoding.EncodeToString(raw),
		base64.RawURLEncoding.EncodeToString(raw), strings.ToUpper(hex.EncodeToString(raw)), " " + hex.EncodeToString(raw) + "\n",
	} {
		if got := ring(t, realm.Secret(text)).Master(); got != id {
			t.Errorf("a form of the key has id %q, want %q", got, id)
		}
	}
	for _, text := range []string{
		"x", "change me", hex.EncodeToString(raw[1:]), base64.StdEncoding.EncodeToString(raw[1:]),
		base64.StdEncoding.EncodeToString(make([]byte, keyBytes+1)), strings.Repeat("g", 64), strings.Repeat("ä", 32),
	} {
		for field, keys := range map[string][2]realm.Secret{
			"security.master_key":       {realm.Secret(text), NewKey()},
			"security.previous_keys[0]": {NewKey(), realm.Secret(text)},
		} {
			_, err := New(keys[0], keys[1:])
			e := realm.AsError(err)
			if e.Code != realm.CodeInvalid || e.Field != field || !strings.Contains(e.Message, "realms secrets key") || len(text) > 1 && strings.Contains(err.Error(), text) {
				t.Errorf("%s %q: %v", field, text, err)
			}
		}
	}
	if k, err := New("", nil); k != nil || err != nil {
		t.Errorf("no key: %v, %v", k, err)
	}
	if _, err := New("", []realm.Secret{NewKey()}); realm.AsError(err).Field != "security.previous_keys" {
		t.Errorf("a previous key alone: %v", err)
	}
}

// A keyring and its errors show neither a key nor what was sealed.
func TestNothingIsShown(t *testing.T) {
	key, plain := NewKey(), "test-"+strings.Repeat("p", 20)
	k := ring(t, key)
	raw, err := base64.StdEncoding.DecodeString(key.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := json.Marshal(map[string]any{"k": k})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("test", "k", k)
	_, failed := k.Open(Place{"a", "b", "c"}, seal(t, k, place(), plain))
	shown := string(encoded) + log.String() + fmt.Sprintf("%v %+v %#v %s %x %d", k, k, k, k, k, k) + failed.Error()
	for _, secret := range []string{key.Reveal(), hex.EncodeToString(raw), string(raw), plain} {
		if strings.Contains(shown, secret) {
			t.Errorf("a secret is shown in %q", shown)
		}
	}
	if !strings.Contains(failed.Error(), "a.b of c") {
		t.Errorf("the error does not say where: %v", failed)
	}
}

// One key, a million texts, no nonce twice.
func TestHeavyNonces(t *testing.T) {
	k := ring(t, NewKey())
	seen := make(map[[24]byte]struct{}, 1_000_000)
	for range 1_000_000 {
		_, text, err := split(seal(t, k, place(), "x"))
		if err != nil {
			t.Fatal(err)
		}
		box, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		seen[[24]byte(box)] = struct{}{}
	}
	if len(seen) != 1_000_000 {
		t.Errorf("%d different nonces of a million", len(seen))
	}
}

// Whatever is stored, Open neither panics nor gives anything that was not sealed.
func FuzzOpen(f *testing.F) {
	k, err := New(NewKey(), nil)
	if err != nil {
		f.Fatal(err)
	}
	sealed, err := k.Seal(place(), "test")
	if err != nil {
		f.Fatal(err)
	}
	for _, text := range []string{"", "x", prefix, sealed, sealed + "A", sealed[:40], prefix + "1:" + k.Master() + ":" + strings.Repeat("A", 80)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := k.Open(place(), text)
		switch {
		case text == sealed && (err != nil || got != "test"):
			t.Errorf("the sealed text: %q, %v", got, err)
		case text != sealed && Sealed(text) && (err == nil || got != ""):
			t.Errorf("%q opens as %q", text, got)
		case !Sealed(text) && (err != nil || got != text):
			t.Errorf("%q in the clear: %q, %v", text, got, err)
		}
	})
}
