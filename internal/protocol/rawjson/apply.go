package rawjson

import "slices"

// Apply appends the edited body to dst; with too little room one slice of the size
// needed is made.
func (e *Edits) Apply(dst []byte) []byte {
	spans := inOrder(e.plan(make([]span, 0, len(e.changes)+2), 0))
	size := len(e.Doc.Body)
	for _, s := range spans {
		size += len(s.text)
	}
	return splice(slices.Grow(dst, size), e.Doc.Body, 0, spans)
}

// splice appends the body from at on, with the ranges replaced.
func splice(dst, body []byte, at int, spans []span) []byte {
	for _, s := range spans {
		if s.start < at {
			continue // inside a range that went already
		}
		dst = append(dst, body[at:s.start]...)
		dst = append(dst, s.text...)
		at = s.end
	}
	return append(dst, body[at:]...)
}

// inOrder sorts ranges. Where some begin together the wider one goes first and wins.
func inOrder(spans []span) []span {
	slices.SortStableFunc(spans, func(a, b span) int {
		if a.start != b.start {
			return a.start - b.start
		}
		return b.end - a.end
	})
	return spans
}

// plan is every change as ranges of the outermost body, in which Doc.Body begins
// at offset at.
func (e *Edits) plan(spans []span, at int) []span {
	fields := e.Doc.Fields
	kept := false
	for i := range fields {
		f, c := &fields[i], e.changed(i)
		if c == nil || !c.gone {
			kept = true
			if c != nil {
				spans = c.plan(spans, f, at)
			}
			continue
		}
		switch {
		case kept: // with the comma before it
			spans = append(spans, span{start: at + fields[i-1].ValEnd, end: at + f.ValEnd})
		case i+1 < len(fields): // with the comma after it
			spans = append(spans, span{start: at + f.KeyStart, end: at + fields[i+1].KeyStart})
		default:
			spans = append(spans, span{start: at + f.KeyStart, end: at + f.ValEnd})
		}
	}
	if len(e.added) != 0 {
		end := e.Doc.open + 1
		if len(fields) != 0 {
			end = fields[len(fields)-1].ValEnd
		}
		spans = append(spans, span{at + end, at + end, e.addedText(kept)})
	}
	return spans
}

// plan is what becomes of a field that stays.
func (c *change) plan(spans []span, f *Field, at int) []span {
	if c.renamed {
		spans = append(spans, span{at + f.KeyStart, at + f.KeyEnd, AppendString(nil, c.key)})
	}
	switch {
	case c.raw != nil:
		return append(spans, span{at + f.ValStart, at + f.ValEnd, c.raw})
	case c.inner != nil:
		return c.inner.plan(spans, at+f.ValStart)
	}
	for _, s := range c.spans {
		spans = append(spans, span{at + s.start, at + s.end, s.text})
	}
	return spans
}

func (e *Edits) addedText(comma bool) []byte {
	size := 0
	for _, a := range e.added {
		size += len(a.key) + len(a.raw) + 4
	}
	text := make([]byte, 0, size)
	for _, a := range e.added {
		if comma {
			text = append(text, ',')
		}
		comma = true
		text = AppendString(text, a.key)
		text = append(text, ':')
		text = append(text, a.raw...)
	}
	return text
}
