package openai

import (
	"bytes"

	"realms/internal/protocol/rawjson"
)

// mold is what the text deltas of a stream have in common: everything but the text,
// the sequence number and the obfuscation. An event that comes out of the mold is
// valid JSON, and means what the one that the mold was cast from meant, if what
// fills its holes is of the right kind: most of a stream need not be parsed.
type mold struct {
	literal []byte // what stands between the holes, one after another
	ends    [maxHoles + 1]int
	holes   [maxHoles]holeKind
	n       int
	casts   int // in a row, without an event that fitted
}

const (
	maxHoles = 3
	maxMold  = 4 << 10
	maxCasts = 8 // a stream whose events differ otherwise has no mold
)

type holeKind uint8

const (
	noHole holeKind = iota
	holeOutput
	holePadding
	holeSequence
)

// hole is a range of an event that varies: the inside of a string, or an integer.
type hole struct {
	start, end int
	kind       holeKind
}

// integerHole is the place of a field that is a sequence number.
func integerHole(doc *rawjson.Doc, key string) hole {
	f := doc.Field(key)
	if f == nil {
		return hole{}
	}
	if _, ok := rawjson.Int(doc.Body[f.ValStart:f.ValEnd]); !ok {
		return hole{}
	}
	return hole{f.ValStart, f.ValEnd, holeSequence}
}

// cast takes the mold of an event that was read: output is the text's place,
// sequence that of the number, if there is one.
func (m *mold) cast(doc *rawjson.Doc, output, sequence hole) {
	if m.casts == maxCasts || len(doc.Body)-(output.end-output.start) > maxMold {
		return
	}
	m.casts++
	holes := [maxHoles]hole{output, sequence}
	if f := doc.Field("obfuscation"); f != nil && rawjson.IsString(doc.Body[f.ValStart:f.ValEnd]) {
		holes[2] = hole{f.ValStart + 1, f.ValEnd - 1, holePadding}
	}
	m.literal, m.n = m.literal[:0], 0
	at := 0
	for {
		next := -1
		for i, h := range holes {
			if h.kind != noHole && h.start >= at && (next < 0 || h.start < holes[next].start) {
				next = i
			}
		}
		if next < 0 {
			break
		}
		h := holes[next]
		m.literal = append(m.literal, doc.Body[at:h.start]...)
		m.ends[m.n], m.holes[m.n] = len(m.literal), h.kind
		m.n++
		at, holes[next].kind = h.end, noHole
	}
	m.literal = append(m.literal, doc.Body[at:]...)
	m.ends[m.n] = len(m.literal)
}

// fits tells whether data came out of the mold: the length of its output, 0 if it
// did not, and its sequence number, -1 if it has none.
func (m *mold) fits(data []byte) (output int, sequence int64) {
	if m.n == 0 {
		return 0, -1
	}
	at, from := 0, 0
	sequence = -1
	for i := range m.n + 1 {
		literal := m.literal[from:m.ends[i]]
		if !bytes.HasPrefix(data[at:], literal) {
			return 0, -1
		}
		at, from = at+len(literal), m.ends[i]
		if i == m.n {
			break
		}
		var end int
		if m.holes[i] == holeSequence {
			if sequence, end = integer(data, at); end < 0 {
				return 0, -1
			}
		} else if end = rawjson.TextEnd(data, at); end < 0 {
			return 0, -1
		}
		if m.holes[i] == holeOutput {
			output = end - at
		}
		at = end
	}
	if at != len(data) {
		return 0, -1
	}
	m.casts = 0
	return output, sequence
}

// integer reads the integer that begins at b[i], as JSON writes it and of at most
// 15 digits; end is -1 if there is none.
func integer(b []byte, i int) (n int64, end int) {
	end = i
	for end < len(b) && b[end]-'0' <= 9 {
		n = n*10 + int64(b[end]-'0')
		if end++; end-i > 15 {
			return 0, -1
		}
	}
	if end == i || b[i] == '0' && end > i+1 {
		return 0, -1
	}
	return n, end
}
