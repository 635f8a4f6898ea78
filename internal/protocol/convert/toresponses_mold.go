package convert

import (
	"bytes"

	"realms/internal/protocol/rawjson"
)

// deltaMold is what the deltas of one text have in common: everything but the piece
// of text, the sequence number and the padding. An event that comes out of the mold
// is valid JSON and does what the one it was cast from did, so that most of a stream
// need not be parsed. Any other event breaks the mold: what it changes may be what
// the next delta is about.
type deltaMold struct {
	literals [maxGaps + 1][]byte
	gaps     [maxGaps]gapKind
	n        int // of gaps; 0: there is no mold

	head, tail []byte    // of the chunk, around the text
	content    bool      // the text counts as content
	sent       *sentText // what the text is a piece of; items do not move before the mold breaks
}

type gapKind uint8

const (
	gapText gapKind = iota + 1
	gapNumber
	gapPadding
)

const maxGaps = 3

// cast takes the mold of a delta that became head, its text, and tail.
func (m *deltaMold) cast(event *rawjson.Doc, head, tail []byte) {
	type gap struct {
		start, end int
		kind       gapKind
	}
	var gaps [maxGaps]gap
	n := 0
	for i := range event.Fields { // in the order they have in the event
		f := &event.Fields[i]
		raw := event.Body[f.ValStart:f.ValEnd]
		if n == maxGaps {
			return
		}
		switch string(f.Key) {
		case "delta":
			gaps[n] = gap{f.ValStart + 1, f.ValEnd - 1, gapText}
		case "obfuscation":
			if !rawjson.IsString(raw) {
				continue
			}
			gaps[n] = gap{f.ValStart + 1, f.ValEnd - 1, gapPadding}
		case "sequence_number":
			if _, ok := rawjson.Int(raw); !ok {
				continue
			}
			gaps[n] = gap{f.ValStart, f.ValEnd, gapNumber}
		default:
			continue
		}
		n++
	}
	from := 0
	for i, g := range gaps[:n] {
		m.literals[i] = append(m.literals[i][:0], event.Body[from:g.start]...)
		m.gaps[i] = g.kind
		from = g.end
	}
	m.literals[n] = append(m.literals[n][:0], event.Body[from:]...)
	m.head, m.tail = append(m.head[:0], head...), append(m.tail[:0], tail...)
	m.n = n
}

// fits is the text of an event that comes out of the mold; nil if it does not.
func (m *deltaMold) fits(data []byte) []byte {
	if m.n == 0 {
		return nil
	}
	var text []byte
	at := 0
	for i := range m.n {
		if !bytes.HasPrefix(data[at:], m.literals[i]) {
			return nil
		}
		at += len(m.literals[i])
		var end int
		if m.gaps[i] == gapNumber {
			end = digits(data, at)
		} else {
			end = rawjson.TextEnd(data, at)
		}
		if end < 0 {
			return nil
		}
		if m.gaps[i] == gapText {
			text = data[at:end]
		}
		at = end
	}
	if len(text) == 0 || !bytes.Equal(data[at:], m.literals[m.n]) {
		return nil
	}
	return text
}

// digits is where the whole number that begins at b[i] ends; -1 if there is none.
func digits(b []byte, i int) int {
	end := i
	for end < len(b) && b[end]-'0' <= 9 {
		end++
	}
	if end == i || b[i] == '0' && end > i+1 {
		return -1
	}
	return end
}

// repeat converts a delta that came out of the mold.
func (s *chatStream) repeat(dst, text []byte) []byte {
	if s.mold.content {
		s.letters += letters(text)
	}
	s.mold.sent.add(text)
	dst = append(append(dst, s.mold.head...), text...)
	return append(dst, s.mold.tail...)
}
