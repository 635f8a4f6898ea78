package declare

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"

	"realms/internal/yamldoc"
)

// jsonNumber is a number as JSON writes it; all that YAML calls a number besides
// (0x1F, .5, 1_000) is a text here, as it is in many a YAML reader.
var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)

// json is a value as JSON, keys in their order and numbers digit by digit. A text
// in quotes, or from a reference, is a text whatever it looks like.
func (d *decoder) json(n yamldoc.Node, field string) json.RawMessage {
	d.lines[field] = n.Line
	switch n.Kind {
	case yamldoc.Scalar:
		text, _ := d.expanded(n, field)
		if word := strings.ToLower(text); n.Plain() && text == n.Text && (jsonNumber.MatchString(text) || word == "true" || word == "false") {
			if word == "true" || word == "false" {
				return json.RawMessage(word)
			}
			return json.RawMessage(text)
		}
		return jsonText(text)
	case yamldoc.List:
		items := make([][]byte, len(n.Items))
		for i, item := range n.Items {
			items[i] = d.json(item, yamldoc.Index(field, i))
		}
		return wrap('[', items, ']')
	case yamldoc.Map:
		items := make([][]byte, len(n.Entries))
		for i, e := range n.Entries {
			items[i] = append(append(jsonText(e.Key), ':'), d.json(e.Value, yamldoc.Key(field, e.Key))...)
		}
		return wrap('{', items, '}')
	case yamldoc.Null:
	}
	return json.RawMessage("null")
}

func wrap(open byte, items [][]byte, end byte) []byte {
	return append(append([]byte{open}, bytes.Join(items, []byte{','})...), end)
}

func jsonText(text string) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(text) // a text into a Buffer never fails
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// yamlValue is the inverse of decoder.json, on one line. It takes JSON that was
// checked.
func yamlValue(value json.RawMessage) string {
	decoder := json.NewDecoder(bytes.NewReader(value))
	decoder.UseNumber()
	var b strings.Builder
	writeValue(&b, decoder)
	return b.String()
}

func writeValue(b *strings.Builder, decoder *json.Decoder) {
	token, err := decoder.Token()
	if err != nil {
		b.WriteString("null")
		return
	}
	switch v := token.(type) {
	case json.Delim:
		b.WriteByte(byte(v))
		for i := 0; decoder.More(); i++ {
			if i > 0 {
				b.WriteString(", ")
			}
			if v == '{' {
				key, _ := decoder.Token() // More has seen it
				name, _ := key.(string)
				b.WriteString(literal(name) + ": ")
			}
			writeValue(b, decoder)
		}
		_, _ = decoder.Token()   // the end
		b.WriteByte(byte(v) + 2) // in ASCII ] and } stand two after [ and {
	case string:
		b.WriteString(quote(v))
	case json.Number:
		b.WriteString(v.String())
	case bool:
		if v {
			b.WriteString("true")
		} else {
			b.WriteString("false")
		}
	default:
		b.WriteString("null")
	}
}
