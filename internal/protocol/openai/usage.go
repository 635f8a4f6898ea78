package openai

import (
	"realms/internal/protocol/rawjson"
	"realms/internal/realm"
)

// maxCount is more than any count of tokens can be; the greatest integer that all
// JSON readers agree on.
const maxCount = 1 << 53

// unknownUsage is what is known when nothing is.
var unknownUsage = realm.Usage{Input: -1, Output: -1, Source: realm.UsageNone}

// usageState keeps the last valid usage of an answer.
type usageState struct {
	usage   realm.Usage
	suspect bool
	outer   []rawjson.Field // reused
	inner   []rawjson.Field
}

func (u *usageState) reset() {
	u.usage, u.suspect = unknownUsage, false
}

// take reads a raw usage value. One that says nothing changes nothing; one whose
// numbers cannot be true is not taken, and marks the answer.
func (u *usageState) take(raw []byte) {
	if !rawjson.IsObject(raw) || rawjson.IsEmpty(raw) {
		return
	}
	got, verdict := u.read(raw)
	switch verdict {
	case usageGood:
		u.usage = got
	case usageSuspect:
		u.suspect = true
	case usageSilent:
	}
}

type usageVerdict uint8

const (
	usageSilent usageVerdict = iota // counts no tokens (seconds of audio, say)
	usageGood
	usageSuspect
)

// counts is a usage object while it is read; bad is set by the first number that
// cannot be a count.
type counts struct {
	doc rawjson.Doc
	bad bool
}

// get is the first of the keys that is there; ok is false if none is.
func (c *counts) get(keys ...string) (n int64, ok bool) {
	for _, key := range keys {
		raw, _ := c.doc.Get(key)
		if rawjson.IsNull(raw) {
			continue
		}
		n, whole := rawjson.Int(raw)
		if !whole || n < 0 || n > maxCount {
			c.bad = true
			return 0, false
		}
		return n, true
	}
	return 0, false
}

// detail is a count in an inner object, or under a name of its own beside it.
func (u *usageState) detail(c *counts, objects []string, key string, beside ...string) int64 {
	for _, object := range objects {
		raw, _ := c.doc.Get(object)
		if !rawjson.IsObject(raw) {
			continue
		}
		doc, err := rawjson.Scan(raw, u.inner)
		if err != nil {
			c.bad = true
			return 0
		}
		u.inner = doc.Fields[:0]
		in := counts{doc: doc}
		n, ok := in.get(key)
		c.bad = c.bad || in.bad
		if ok {
			return n
		}
	}
	n, _ := c.get(beside...)
	return n
}

var (
	inputDetails  = []string{"prompt_tokens_details", "input_tokens_details", "input_token_details"}
	outputDetails = []string{"completion_tokens_details", "output_tokens_details", "output_token_details"}
)

// read knows the shapes of chat and completions (prompt_tokens), responses, images
// and audio (input_tokens), embeddings (no output) and rerank (total_tokens alone).
func (u *usageState) read(raw []byte) (realm.Usage, usageVerdict) {
	doc, err := rawjson.Scan(raw, u.outer)
	if err != nil {
		return unknownUsage, usageSuspect
	}
	u.outer = doc.Fields[:0]
	if repeats(&doc) {
		return unknownUsage, usageSuspect
	}
	c := counts{doc: doc}
	input, hasInput := c.get("prompt_tokens", "input_tokens")
	output, hasOutput := c.get("completion_tokens", "output_tokens")
	total, hasTotal := c.get("total_tokens")
	got := realm.Usage{
		Input:      input,
		Output:     output,
		Cached:     u.detail(&c, inputDetails, "cached_tokens", "prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens"),
		CacheWrite: u.detail(&c, inputDetails, "cache_write_tokens", "cache_creation_input_tokens"),
		Reasoning:  u.detail(&c, outputDetails, "reasoning_tokens"),
		Source:     realm.UsageUpstream,
	}
	switch {
	case c.bad:
		return unknownUsage, usageSuspect
	case hasInput && !hasOutput && hasTotal && total > input:
		got.Output = total - input
	case !hasInput && hasOutput && hasTotal && total >= output:
		got.Input = total - output
	case !hasInput && hasOutput:
		return unknownUsage, usageSuspect
	case !hasInput && hasTotal:
		got.Input = total
	case !hasInput:
		return unknownUsage, usageSilent
	case got.Reasoning > 0 && hasTotal && total == input+output+got.Reasoning:
		// Some upstreams count reasoning beside the output; here it is part of it.
		got.Output += got.Reasoning
	}
	if got.Cached+got.CacheWrite > got.Input || got.Reasoning > got.Output {
		return unknownUsage, usageSuspect
	}
	return got, usageGood
}

// repeats tells whether a key is there twice: two counts, of which one is a lie.
func repeats(doc *rawjson.Doc) bool {
	for i := range doc.Fields {
		if doc.Field(string(doc.Fields[i].Key)) != &doc.Fields[i] {
			return true
		}
	}
	return false
}
