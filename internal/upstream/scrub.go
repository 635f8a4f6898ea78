package upstream

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"realms/internal/protocol/openai"
)

const (
	// scrubPiece is how many characters of a secret in a row are too many.
	scrubPiece = 12
	// scrubMin is the shortest secret that is looked for: a shorter one is no
	// secret, and its letters are in every text.
	scrubMin = 6
	// maxErrorText bounds an error's text in the log.
	maxErrorText = 1 << 10

	redacted = "[redacted]"
)

// scrubber takes a secret out of texts: whole, in pieces, and in the encodings in
// which servers echo what they were sent.
type scrubber struct {
	next   *scrubber // of another secret
	emails bool      // nothing but addresses is looked for
	window int
	forms  []string // in lower case
	// starts has a bit for every four characters in a row that the forms hold: a
	// text without the secret is passed by with one look a character.
	starts []uint64
	shift  uint // of the hash of such four: what is left finds its bit
}

// How many bits starts has, as a power of two: few of them are to be set by a key, and
// by a token that is fifty times as long.
const (
	startBits     = 15
	startBitsLong = 19
	longSecret    = 256
)

// newScrubber prepares for one secret; nil if there is nothing to look for. It is
// made for failures, never for answers that go well.
func newScrubber(secret string) *scrubber {
	if len(secret) < scrubMin {
		return nil
	}
	bits := uint(startBits)
	if len(secret) > longSecret {
		bits = startBitsLong
	}
	s := &scrubber{
		window: min(scrubPiece, len(secret)), forms: make([]string, 0, 10),
		starts: make([]uint64, 1<<bits/64), shift: 32 - bits,
	}
	s.add(secret)
	s.add(url.QueryEscape(secret))
	s.add(url.PathEscape(secret))
	s.add(hex.EncodeToString([]byte(secret)))
	// In base64 a text looks different by where it stands in its group of three
	// bytes ("Basic" puts a user name before it); the ends that depend on what
	// surrounds it are left out.
	for shift := range 3 {
		part := secret[shift:]
		part = part[:len(part)/3*3]
		s.add(base64.StdEncoding.EncodeToString([]byte(part)))
		s.add(base64.URLEncoding.EncodeToString([]byte(part)))
	}
	return s
}

func (s *scrubber) add(form string) {
	form = asciiLower(form)
	if slices.Contains(s.forms, form) {
		return
	}
	s.forms = append(s.forms, form)
	for i := 0; i+4 <= len(form); i++ {
		h := startHash(form[i:]) >> s.shift
		s.starts[h/64] |= 1 << (h % 64)
	}
}

// startHash is of the first four characters; its upper bits are the good ones.
func startHash(s string) uint32 {
	v := uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
	return v * 2654435761
}

// scrubberOf prepares for all that an exchange sends in secret: the key, the
// proxy's password, the values of the headers that the channel sets, the account.
func scrubberOf(x *Exchange) *scrubber {
	all := newScrubber(x.Attempt.Credential.APIKey.Reveal())
	set := settings(x)
	if set.Proxy != "" {
		secret := set.Proxy.Reveal()
		if u, err := url.Parse(secret); err == nil {
			secret, _ = u.User.Password()
		}
		all = all.with(newScrubber(secret))
	}
	for _, value := range set.SetHeaders {
		all = all.with(newScrubber(value.Reveal()))
	}
	if x.Identity != nil {
		all = all.with(newScrubber(x.Identity.AccessToken.Reveal())).with(newScrubber(x.Identity.AccountID))
		all = all.with(&scrubber{emails: true}) // an account is called by its address too
	}
	return all
}

// with puts another before it; both may be nil.
func (s *scrubber) with(another *scrubber) *scrubber {
	if another == nil {
		return s
	}
	another.next = s
	return another
}

// text is the text without the secrets.
func (s *scrubber) text(text string) string {
	for ; s != nil; s = s.next {
		if s.emails {
			text = withoutEmails(text)
		} else {
			text = s.without(text)
		}
	}
	return text
}

// without is the text without this one secret.
func (s *scrubber) without(text string) string {
	if len(text) < s.window {
		return text
	}
	lower := asciiLower(text)
	var out strings.Builder
	kept := 0
	for i := 0; i+s.window <= len(lower); i++ {
		if !s.hit(lower, i) {
			continue
		}
		start, end := i, i+s.window
		for i++; i < end && i+s.window <= len(lower); i++ {
			if s.hit(lower, i) {
				end = i + s.window
			}
		}
		out.WriteString(text[kept:start])
		out.WriteString(redacted)
		kept, i = end, end-1
	}
	if kept == 0 {
		return text
	}
	out.WriteString(text[kept:])
	return out.String()
}

// hit tells whether a piece of the secret stands at i.
func (s *scrubber) hit(lower string, i int) bool {
	h := startHash(lower[i:]) >> s.shift
	if s.starts[h/64]&(1<<(h%64)) == 0 {
		return false
	}
	piece := lower[i : i+s.window]
	return slices.ContainsFunc(s.forms, func(form string) bool { return strings.Contains(form, piece) })
}

// asciiLower keeps every byte in its place, as strings.ToLower does not.
func asciiLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// upstreamError is the error with every text scrubbed.
func (s *scrubber) upstreamError(e openai.UpstreamError) openai.UpstreamError {
	e.Message = s.text(e.Message)
	e.Type = s.text(e.Type)
	e.Param = s.text(e.Param)
	e.Code = s.text(e.Code)
	e.PlanType = s.text(e.PlanType)
	return e
}

// body is a JSON object without the secret; nil if it is none. One that hides the
// secret behind JSON's escapes is not passed on at all.
func (s *scrubber) body(body []byte) []byte {
	body = bytes.TrimSpace(body)
	if len(body) == 0 || body[0] != '{' || !json.Valid(body) {
		return nil
	}
	if s == nil {
		return body
	}
	text := string(body)
	if plain := unescape(text); plain != text && s.text(plain) != plain {
		return nil
	}
	clean := s.text(text)
	if clean == text {
		return body
	}
	if !json.Valid([]byte(clean)) {
		return nil
	}
	return []byte(clean)
}

// unescape undoes JSON's escapes of ASCII, as far as a key could be hidden so.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			out.WriteByte(s[i])
			continue
		}
		if i+6 <= len(s) && s[i+1] == 'u' {
			if v, err := strconv.ParseUint(s[i+2:i+6], 16, 16); err == nil && v < 0x80 {
				out.WriteByte(byte(v))
				i += 5
				continue
			}
		}
		i++
		out.WriteByte(s[i])
	}
	return out.String()
}

// Shows tells whether an upstream's text shows the credential or another secret
// that it was sent, in any of those forms, behind JSON's escapes too.
func Shows(x *Exchange, text []byte) bool {
	s := scrubberOf(x)
	if s == nil {
		return false
	}
	plain := string(text)
	if s.text(plain) != plain {
		return true
	}
	plain = unescape(plain)
	return s.text(plain) != plain
}

// scrubError is an error of which only a bounded, clean text is left: what it
// wraps could tell more.
func scrubError(err error, x *Exchange) error {
	if err == nil {
		return nil
	}
	return errors.New(scrubberOf(x).logText(err.Error()))
}

// logText is a text fit for a line of the log.
func (s *scrubber) logText(text string) string {
	text = s.text(text)
	if len(text) > maxErrorText {
		text = text[:maxErrorText]
	}
	return strings.ToValidUTF8(text, "")
}
