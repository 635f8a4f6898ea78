package openai

import (
	"bytes"

	"realms/internal/protocol/rawjson"
	"realms/internal/realm"
)

var usageKey = []byte(`"usage"`)

// TailUsage finds the usage at the end of a JSON answer that was too large to be
// held whole (images in base64, long lists of embeddings): OpenAI puts it last.
// It is unknown if none is there.
func TailUsage(tail []byte) realm.Usage {
	var u usageState
	u.reset()
	at := bytes.LastIndex(tail, usageKey)
	if at < 0 {
		return u.usage
	}
	rest := bytes.TrimLeft(tail[at+len(usageKey):], " \t\r\n")
	if len(rest) == 0 || rest[0] != ':' {
		return u.usage
	}
	rest = bytes.TrimSpace(rest[1:])
	w := rawjson.Prefix(rest)
	u.take(w)
	return u.usage
}
