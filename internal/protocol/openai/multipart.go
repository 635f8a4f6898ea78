package openai

import (
	"bytes"
	"mime"
	"slices"
	"strings"
	"unicode/utf8"

	"realms/internal/realm"
)

// Bounds of a form. Our reading is stricter than most: what another reader might
// take for different parts than we do is refused, not guessed at.
const (
	maxParts      = 1000
	maxPartHeader = 8 << 10
	maxBoundary   = 70 // RFC 2046
)

// Form is a multipart body with the places of what may be edited.
type Form struct {
	Body        []byte
	ContentType string // as the client sent it, boundary and all

	modelStart, modelEnd int
}

// part is one part of a form, as offsets into the body.
type part struct {
	name       string
	file       bool
	start, end int // of the content
}

// ReadMultipart reads a multipart/form-data body in place, without copying its
// files. contentType is the request's header. Errors are *FieldError.
func ReadMultipart(op *Operation, body []byte, contentType string) (*Request, error) {
	media, params, err := mime.ParseMediaType(contentType)
	boundary := params["boundary"]
	if err != nil || media != "multipart/form-data" || boundary == "" || len(boundary) > maxBoundary {
		return nil, realm.Invalid("", "The content type must be multipart/form-data with a boundary.")
	}
	r := &Request{Op: op, Form: &Form{Body: body, ContentType: contentType}, Model: op.DefaultModel, Choices: 1}
	var seen []string
	p := formParser{body: body, delimiter: []byte("\r\n--" + boundary)}
	for p.next() {
		if !slices.Contains(formFields, p.part.name) {
			continue
		}
		if p.part.file {
			return nil, realm.Invalid(p.part.name, "The field `"+p.part.name+"` must not be a file.")
		}
		if slices.Contains(seen, p.part.name) {
			return nil, realm.Invalid(p.part.name, "The field `"+p.part.name+"` is there twice.")
		}
		seen = append(seen, p.part.name)
		if err := r.readPart(p.part); err != nil {
			return nil, err
		}
	}
	if p.problem != "" {
		return nil, realm.Invalid("", "The form is malformed: "+p.problem+".")
	}
	if r.Model == "" {
		return nil, realm.Invalid("model", "The field `model` is missing: name the model to use.")
	}
	return r, nil
}

// formFields are the ones that readPart knows.
var formFields = []string{"model", "stream", "n"}

func (r *Request) readPart(p part) error {
	value := r.Form.Body[p.start:p.end]
	switch p.name {
	case "model":
		if len(value) == 0 || !utf8.Valid(value) || bytes.ContainsAny(value, "\r\n\x00") {
			return realm.Invalid("model", "The field `model` must be the name of a model.")
		}
		r.Form.modelStart, r.Form.modelEnd = p.start, p.end
		return r.setModel(string(value))
	case "stream":
		switch string(value) {
		case "true", "True", "1":
			r.Stream = r.Op.Stream != StreamNone
		case "false", "False", "0", "":
		default:
			return realm.Invalid("stream", "The field `stream` must be true or false.")
		}
		return nil
	default: // n
		return r.readChoices(p.name, value)
	}
}

// edit is the form with another model: one copy, or the original.
func (f *Form) edit(dst []byte, model string) []byte {
	if model == "" || f.modelEnd == 0 || string(f.Body[f.modelStart:f.modelEnd]) == model {
		return f.Body
	}
	dst = slices.Grow(dst, len(f.Body)-(f.modelEnd-f.modelStart)+len(model))
	dst = append(dst, f.Body[:f.modelStart]...)
	dst = append(dst, model...)
	return append(dst, f.Body[f.modelEnd:]...)
}

// formParser walks the parts of a form.
type formParser struct {
	body      []byte
	delimiter []byte // with the line break before it
	at        int    // after the last delimiter
	parts     int
	part      part
	problem   string
}

func (p *formParser) fail(problem string) bool {
	p.problem = problem
	return false
}

// next goes to the next part; false at the end or with a problem.
func (p *formParser) next() bool {
	if p.at == 0 {
		if !bytes.HasPrefix(p.body, p.delimiter[2:]) {
			return p.fail("it does not begin with its boundary")
		}
		p.at = len(p.delimiter) - 2
	}
	rest := p.body[p.at:]
	if bytes.HasPrefix(rest, []byte("--")) {
		if len(bytes.TrimSpace(rest[2:])) != 0 {
			return p.fail("there is something after its end")
		}
		return false
	}
	if !bytes.HasPrefix(rest, []byte("\r\n")) {
		return p.fail("a boundary is not followed by a line break")
	}
	if p.parts++; p.parts > maxParts {
		return p.fail("it has too many parts")
	}
	// The search begins before the line break, so that a part without any header
	// is found to have none.
	header := bytes.Index(rest[:min(len(rest), maxPartHeader)], []byte("\r\n\r\n"))
	if header < 0 {
		return p.fail("a part's header has no end or is too long")
	}
	start := header + 4
	length := bytes.Index(rest[start:], p.delimiter)
	if length < 0 {
		return p.fail("it ends before its last boundary")
	}
	if bytes.HasPrefix(rest[start:], p.delimiter[2:]) {
		return p.fail("a part has no content")
	}
	p.part = part{start: p.at + start, end: p.at + start + length}
	if !p.readHeader(string(rest[2:max(header, 2)])) {
		return false
	}
	p.at += start + length + len(p.delimiter)
	return true
}

// readHeader reads a part's header lines.
func (p *formParser) readHeader(header string) bool {
	found := false
	for line := range strings.SplitSeq(header, "\r\n") {
		name, value, ok := strings.Cut(line, ":")
		switch {
		case !ok || !isHeaderName(name) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
			return p.fail("a part's header has a line that is no field")
		case strings.EqualFold(name, "Content-Transfer-Encoding"):
			if e := strings.ToLower(strings.TrimSpace(value)); e != "binary" && e != "8bit" && e != "7bit" {
				return p.fail("a part has a transfer encoding")
			}
		case strings.EqualFold(name, "Content-Disposition"):
			kind, params, err := mime.ParseMediaType(value)
			if err != nil || kind != "form-data" || found {
				return p.fail("a part has no good content disposition")
			}
			found = true
			p.part.name = params["name"]
			_, p.part.file = params["filename"]
		}
	}
	if !found {
		return p.fail("a part has no content disposition")
	}
	return true
}

func isHeaderName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r != '-' && r != '_' && (r < '0' || r > '9') && (r|0x20 < 'a' || r|0x20 > 'z')
	})
}
