package openai

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const formType = "multipart/form-data; boundary=XX"

func form(parts ...string) []byte {
	return []byte("--XX\r\n" + strings.Join(parts, "\r\n--XX\r\n") + "\r\n--XX--\r\n")
}

func field(name, value string) string {
	return "Content-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value
}

func TestReadMultipart(t *testing.T) {
	file := "Content-Disposition: form-data; name=\"file\"; filename=\"model\"\r\nContent-Type: audio/mpeg\r\n\r\n\x00\xff\r\n--XY\r\n--X"
	tests := []struct {
		name     string
		body     []byte
		model    string
		stream   bool
		choices  int
		asMapped []byte
	}{
		{"model first", form(field("model", "whisper-1"), file), "whisper-1", false, 1, form(field("model", "up"), file)},
		{"file first", form(file, field("stream", "true"), field("model", "m")), "m", true, 1, form(file, field("stream", "true"), field("model", "up"))},
		{
			"other fields", form(field("prompt", "x"), field("model", "m"), field("n", "2"), field("image[]", ""), field("image[]", "")), "m", false, 2,
			form(field("prompt", "x"), field("model", "up"), field("n", "2"), field("image[]", ""), field("image[]", "")),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := ReadMultipart(operation(t, "audio.transcriptions"), tt.body, formType)
			if err != nil {
				t.Fatal(err)
			}
			if r.Model != tt.model || r.Stream != tt.stream || r.Choices != tt.choices {
				t.Errorf("model %q, stream %v, choices %d", r.Model, r.Stream, r.Choices)
			}
			if got := r.Edit(Rewrite{Model: "up", ForceUsage: true}); !bytes.Equal(got, tt.asMapped) {
				t.Errorf("mapped: %q\nwant    %q", got, tt.asMapped)
			}
			if got := r.Edit(Rewrite{Model: tt.model}); &got[0] != &tt.body[0] {
				t.Error("the form was copied for nothing")
			}
			if r.AddedFields(Rewrite{ForceUsage: true}) != nil || r.Droppable("temperature") {
				t.Error("a form is never edited but for its model")
			}
		})
	}
}

func TestReadMultipartRefuses(t *testing.T) {
	good := field("model", "m")
	tests := []struct {
		name, contentType string
		body              []byte
		field, message    string
	}{
		{"no boundary", "multipart/form-data", form(good), "", "boundary"},
		{"another type", "multipart/mixed; boundary=XX", form(good), "", "content type"},
		{"another boundary", "multipart/form-data; boundary=YY", form(good), "", "begin with its boundary"},
		{"nothing", formType, nil, "", "begin with its boundary"},
		{"a preamble", formType, append([]byte("hello\r\n"), form(good)...), "", "begin with its boundary"},
		{"an epilogue", formType, append(form(good), "hello"...), "", "after its end"},
		{"cut", formType, form(good)[:40], "", "no end"},
		{"cut in the content", formType, form(good)[:60], "", "last boundary"},
		{"line feeds", formType, bytes.ReplaceAll(form(good), []byte("\r\n"), []byte("\n")), "", "line break"},
		{"no header", formType, form("\r\nx", good), "", "no field"},
		{"a long header", formType, form("X: " + strings.Repeat("x", 9000) + "\r\n" + good), "", "too long"},
		{"a folded header", formType, form("Content-Disposition: form-data;\r\n name=\"model\"\r\n\r\nm"), "", "no field"},
		{"no disposition", formType, form("Content-Type: text/plain\r\n\r\nm"), "", "no content disposition"},
		{"two dispositions", formType, form("Content-Disposition: form-data; name=a\r\n" + good), "", "good content disposition"},
		{"a transfer encoding", formType, form("Content-Transfer-Encoding: quoted-printable\r\n" + good), "", "transfer encoding"},
		{"too many parts", formType, form(strings.Split(strings.Repeat(field("a", "b")+"|", 1001)+good, "|")...), "", "too many parts"},
		{"model twice", formType, form(good, field("model", "other")), "model", "twice"},
		{"no model", formType, form(field("prompt", "x")), "model", "missing"},
		{"empty model", formType, form(field("model", "")), "model", "name of a model"},
		{"model in two lines", formType, form(field("model", "a\r\nb")), "model", "name of a model"},
		{"long model", formType, form(field("model", strings.Repeat("x", 257))), "model", "too long"},
		{"stream", formType, form(good, field("stream", "yes")), "stream", "true or false"},
		{"n", formType, form(good, field("n", "1000")), "n", "1 to 128"},
		{"model as a file", formType, form("Content-Disposition: form-data; name=\"model\"; filename=\"x\"\r\n\r\nm"), "model", "not be a file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ReadMultipart(operation(t, "audio.transcriptions"), tt.body, tt.contentType)
			var fe *FieldError
			if !errors.As(err, &fe) {
				t.Fatalf("error = %v, want a *FieldError", err)
			}
			if fe.Field != tt.field || !strings.Contains(fe.Message, tt.message) {
				t.Errorf("%q: %s; want %q: …%s…", fe.Field, fe.Message, tt.field, tt.message)
			}
		})
	}
}

// FuzzMultipart: what we accept, the standard library reads as the same fields,
// before and after an edit.
func FuzzMultipart(f *testing.F) {
	f.Add(form(field("model", "m"), field("stream", "1")), formType)
	f.Add(form("Content-Disposition: form-data; name=\"file\"; filename=a\r\nContent-Transfer-Encoding: binary\r\n\r\n\r\n--X\r\n", field("model", "m")), formType)
	f.Add([]byte("--X\r\ncontent-disposition:form-data;name*=utf-8''model\r\n\r\nm\r\n--X--"), "multipart/form-data;boundary=\"X\"")
	f.Fuzz(func(t *testing.T, body []byte, contentType string) {
		op := operation(t, "audio.transcriptions")
		r, err := ReadMultipart(op, body, contentType)
		if err != nil {
			return
		}
		want := standardFields(t, body, contentType)
		if want["model"] != r.Model {
			t.Fatalf("%q: model %q, the standard library reads %q", body, r.Model, want["model"])
		}
		want["model"] = "mapped"
		if diff := cmp.Diff(want, standardFields(t, r.Edit(Rewrite{Model: "mapped"}), contentType)); diff != "" {
			t.Fatalf("%q, mapped (-want +got):\n%s", body, diff)
		}
	})
}

func standardFields(t *testing.T, body []byte, contentType string) map[string]string {
	t.Helper()
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]string{}
	r := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	for {
		part, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			return fields
		}
		if err != nil {
			t.Fatalf("%q: the standard library refuses it: %v", body, err)
		}
		value, err := io.ReadAll(part)
		if err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		name := part.FormName()
		if part.FileName() != "" {
			name += " file " + part.FileName()
		}
		fields[name] += string(value)
	}
}
