package convert

import (
	"bytes"

	"realms/internal/protocol/rawjson"
)

// chunkMold is what the chunks of a stream have in common that only add some text:
// everything but the text. A chunk that comes out of the mold is valid JSON and means
// what the one it was cast from meant, if what fills the hole is the inside of a
// string: most of a stream need not be parsed.
type chunkMold struct {
	before, after []byte
	n             int // 0: there is none
	kind          moldKind
	call          *outputItem // whose arguments the text is
	start, end    int         // of the text in the chunk that is being read
}

type moldKind uint8

const (
	moldText moldKind = iota
	moldReasoning
	moldArguments
)

// maxMold bounds what is kept of a chunk.
const maxMold = 4 << 10

// note tells where in the present chunk a text is.
func (m *chunkMold) note(kind moldKind, call *outputItem, start, end int) {
	m.kind, m.call, m.start, m.end = kind, call, start, end
	m.n = 1
}

// cast takes the mold of a chunk of which only the text noted had an effect.
func (m *chunkMold) cast(chunk []byte) {
	if m.n == 0 || len(chunk)-(m.end-m.start) > maxMold {
		m.n = 0
		return
	}
	m.before = append(m.before[:0], chunk[:m.start]...)
	m.after = append(m.after[:0], chunk[m.end:]...)
	m.n = 2
}

// fits is the text of a chunk that comes out of the mold; nil if it does not.
func (m *chunkMold) fits(chunk []byte) []byte {
	if m.n != 2 || !bytes.HasPrefix(chunk, m.before) || !bytes.HasSuffix(chunk, m.after) {
		return nil
	}
	end := rawjson.TextEnd(chunk, len(m.before))
	if end <= len(m.before) || end != len(chunk)-len(m.after) {
		return nil
	}
	return chunk[len(m.before):end]
}

// repeat converts a chunk that came out of the mold.
func (s *responseStream) repeat(dst, text []byte) []byte {
	switch s.mold.kind {
	case moldReasoning:
		return s.think(dst, text, false)
	case moldArguments:
		return s.argue(dst, s.mold.call, text)
	default:
		return s.say(dst, partOutput, text)
	}
}
