package store

import (
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"

	"realms/internal/realm"
)

// What a record's texts are cut to, in characters. With escapes a detail stays
// below MySQL's 64 KiB of TEXT whatever they hold.
const (
	maxRequestText = 190
	maxErrorText   = 1000
)

// requestDetail is the reading form of a request's detail column: everything that
// has no column of its own. appendRequestDetail is the writing form, by hand,
// because it is written once for each request. Zero values are left out.
type requestDetail struct {
	Operation       string            `json:"operation"`
	Stream          bool              `json:"stream"`
	Cause           realm.Cause       `json:"cause"`
	Group           realm.ID          `json:"group_id"`
	Endpoint        realm.ID          `json:"endpoint_id"`
	UpstreamModel   string            `json:"upstream_model"`
	Cached          int64             `json:"cached_tokens"`
	CacheWrite      int64             `json:"cache_write_tokens"`
	Reasoning       int64             `json:"reasoning_tokens"`
	UsageSource     realm.UsageSource `json:"usage_source"`
	FirstByte       int64             `json:"first_byte_ms"`
	Attempts        int               `json:"attempts"`
	ClientRequestID string            `json:"client_request_id"`
	Error           string            `json:"error"`
}

func appendRequestDetail(b []byte, r *realm.RequestRecord) []byte {
	d := detail{b: append(b, '{')}
	d.text("operation", r.Operation, maxRequestText)
	if r.Stream {
		d.key("stream")
		d.b = append(d.b, "true"...)
	}
	d.text("cause", string(r.Cause), maxRequestText)
	d.id("group_id", r.Group)
	d.id("endpoint_id", r.Endpoint)
	d.text("upstream_model", r.UpstreamModel, maxRequestText)
	d.number("cached_tokens", r.Usage.Cached)
	d.number("cache_write_tokens", r.Usage.CacheWrite)
	d.number("reasoning_tokens", r.Usage.Reasoning)
	d.text("usage_source", string(r.Usage.Source), maxRequestText)
	d.number("first_byte_ms", durationMillis(r.FirstByte))
	d.number("attempts", int64(r.Attempts))
	d.text("client_request_id", r.ClientRequestID, maxRequestText)
	d.text("error", r.Error, maxErrorText)
	return append(d.b, '}')
}

func readRequestDetail(text string, r *realm.RequestRecord) error {
	var d requestDetail
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		return fmt.Errorf("decode the detail of request %s: %w", r.ID, err)
	}
	r.Operation, r.Stream, r.Cause = d.Operation, d.Stream, d.Cause
	r.Group, r.Endpoint, r.UpstreamModel = d.Group, d.Endpoint, d.UpstreamModel
	r.Usage.Cached, r.Usage.CacheWrite, r.Usage.Reasoning, r.Usage.Source = d.Cached, d.CacheWrite, d.Reasoning, d.UsageSource
	r.FirstByte, r.Attempts = fromDurationMillis(d.FirstByte), d.Attempts
	r.ClientRequestID, r.Error = d.ClientRequestID, d.Error
	return nil
}

// attemptDetail is to attempts what requestDetail is to requests.
type attemptDetail struct {
	Endpoint  realm.ID `json:"endpoint_id"`
	FirstByte int64    `json:"first_byte_ms"`
	Error     string   `json:"error"`
}

func appendAttemptDetail(b []byte, a *realm.AttemptRecord) []byte {
	d := detail{b: append(b, '{')}
	d.id("endpoint_id", a.Endpoint)
	d.number("first_byte_ms", durationMillis(a.FirstByte))
	d.text("error", a.Error, maxErrorText)
	return append(d.b, '}')
}

func readAttemptDetail(text string, a *realm.AttemptRecord) error {
	var d attemptDetail
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		return fmt.Errorf("decode the detail of an attempt: %w", err)
	}
	a.Endpoint, a.FirstByte, a.Error = d.Endpoint, fromDurationMillis(d.FirstByte), d.Error
	return nil
}

// detail appends the members of a JSON object.
type detail struct {
	b    []byte
	some bool
}

func (d *detail) key(name string) {
	if d.some {
		d.b = append(d.b, ',')
	}
	d.some = true
	d.b = append(append(append(d.b, '"'), name...), '"', ':')
}

func (d *detail) number(name string, n int64) {
	if n != 0 {
		d.key(name)
		d.b = strconv.AppendInt(d.b, n, 10)
	}
}

// id is a string, as everywhere in JSON.
func (d *detail) id(name string, id realm.ID) {
	if id != 0 {
		d.key(name)
		d.b = append(strconv.AppendInt(append(d.b, '"'), int64(id), 10), '"')
	}
}

func (d *detail) text(name, s string, characters int) {
	if s != "" {
		d.key(name)
		d.b = appendJSONString(d.b, clip(s, characters))
	}
}

// appendJSONString quotes valid UTF-8.
func appendJSONString(b []byte, s string) []byte {
	const hexDigits = "0123456789abcdef"
	b = append(b, '"')
	start := 0
	for i := range len(s) {
		c := s[i]
		if c >= utf8.RuneSelf || (c >= ' ' && c != '"' && c != '\\') {
			continue
		}
		b = append(b, s[start:i]...)
		if c == '"' || c == '\\' {
			b = append(b, '\\', c)
		} else {
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		start = i + 1
	}
	return append(append(b, s[start:]...), '"')
}
