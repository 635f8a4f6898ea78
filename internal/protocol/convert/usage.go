package convert

import (
	"strconv"

	"realms/internal/protocol/rawjson"
)

// tokenCounts are the counts of a usage, in whichever dialect's words it is.
type tokenCounts struct {
	get                  func(key string) []byte // its fields
	input, output, total int64
}

// Where the details of a usage stand, in the words of Chat and of Responses.
var (
	inputDetails  = [2]string{"prompt_tokens_details", "input_tokens_details"}
	outputDetails = [2]string{"completion_tokens_details", "output_tokens_details"}
)

// readCounts reads a usage. A count that is missing follows from the two others; where
// it does not, nothing is told: clients would read none.
func readCounts(raw []byte) (counts tokenCounts, ok bool) {
	u := tokenCounts{get: reader(raw)}
	var hasInput, hasOutput, hasTotal bool
	u.input, hasInput = count(u.first("input_tokens", "prompt_tokens"))
	u.output, hasOutput = count(u.first("output_tokens", "completion_tokens"))
	u.total, hasTotal = count(u.get("total_tokens"))
	switch {
	case hasInput && hasOutput:
		if !hasTotal {
			u.total = u.input + u.output
		}
	case hasTotal && hasInput && u.total >= u.input:
		u.output = u.total - u.input
	case hasTotal && hasOutput && u.total >= u.output:
		u.input = u.total - u.output
	default:
		return tokenCounts{}, false
	}
	return u, true
}

// first is the first of several fields that is there.
func (u *tokenCounts) first(keys ...string) []byte {
	for _, key := range keys {
		if value := u.get(key); value != nil {
			return value
		}
	}
	return nil
}

// detail is a count in the first of two inner objects that is there, or under a name
// beside them; 0 if there is none.
func (u *tokenCounts) detail(objects [2]string, key string, beside ...string) int64 {
	if n, ok := count(at(u.first(objects[:]...), key)); ok {
		return n
	}
	for _, name := range beside {
		if n, ok := count(u.get(name)); ok {
			return n
		}
	}
	return 0
}

// maxCount bounds what is believed of a count: the greatest whole number that every
// reader of JSON has.
const maxCount = 1 << 53

// count is a number of tokens; some upstreams write a fraction.
func count(raw []byte) (int64, bool) {
	if !isNumber(raw) {
		return 0, false
	}
	if n, ok := rawjson.Int(raw); ok {
		return n, n >= 0 && n <= maxCount
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || f < 0 || f > maxCount {
		return 0, false
	}
	return int64(f), true
}
