package rawjson

import "strconv"

// Walker goes through all values inside a raw value that is known to be valid,
// outer before inner, in linear time whatever the nesting.
type Walker struct {
	s       scanner
	i       int
	wantKey bool
	opened  bool // the present value is a container whose inside comes next
	start   int
	end     int
	path    []step
}

// step is where in an open container the walk is.
type step struct {
	object bool
	key    []byte // as written, without the quotes
	index  int
}

// NewWalker begins before raw itself.
func NewWalker(raw []byte) *Walker { return &Walker{s: scanner{b: raw}} }

// Next goes to the next value; false at the end.
func (w *Walker) Next() bool {
	w.opened = false
	for {
		w.i = w.s.space(w.i)
		if w.i >= len(w.s.b) {
			return false
		}
		switch c := w.s.b[w.i]; {
		case c == ',':
			w.i++
			w.comma()
		case c == '}' || c == ']':
			w.i++
			w.pop()
		case w.wantKey:
			if !w.readKey() {
				return false
			}
		default:
			return w.readValue(c)
		}
	}
}

func (w *Walker) comma() {
	if n := len(w.path); n != 0 {
		w.path[n-1].index++
		w.wantKey = w.path[n-1].object
	}
}

func (w *Walker) pop() {
	w.wantKey = false
	if n := len(w.path); n != 0 {
		w.path = w.path[:n-1]
	}
}

func (w *Walker) readKey() bool {
	start := w.i + 1
	end := w.s.text(start)
	if end == failed || len(w.path) == 0 {
		return false
	}
	key := w.s.b[start : end-1]
	if w.s.escape {
		key = unescape(key)
	}
	w.path[len(w.path)-1].key = key
	w.wantKey = false
	w.i = w.s.space(end) + 1 // the colon
	return true
}

func (w *Walker) readValue(c byte) bool {
	w.start = w.i
	if c == '{' || c == '[' {
		w.i++
		w.end = w.i
		w.opened, w.wantKey = true, c == '{'
		w.path = append(w.path, step{object: c == '{'})
		return true
	}
	w.end = w.s.value(w.i)
	w.i = w.end
	return w.end != failed
}

// Skip leaves out the inside of the present value, if it has one.
func (w *Walker) Skip() {
	if !w.opened {
		return
	}
	w.opened = false
	w.pop()
	if w.i = w.s.value(w.start); w.i == failed {
		w.i = len(w.s.b)
	}
}

// Key is the present value's key, unescaped; nil for an element of an array and
// for the outermost value.
func (w *Walker) Key() []byte {
	n := w.Depth()
	if n == 0 {
		return nil
	}
	return w.path[n-1].key
}

// Name is the present value's key or, for an element of an array, the array's.
func (w *Walker) Name() []byte {
	for n := w.Depth(); n > 0; n-- {
		if w.path[n-1].object {
			return w.path[n-1].key
		}
	}
	return nil
}

// Depth is how many containers the present value lies in.
func (w *Walker) Depth() int {
	if w.opened {
		return len(w.path) - 1
	}
	return len(w.path)
}

// Value is the present value if it is a scalar, else only its opening bracket.
func (w *Walker) Value() []byte { return w.s.b[w.start:w.end] }

// Offset is where the present value begins in what is walked.
func (w *Walker) Offset() int { return w.start }

// Path says where the present value is: "[3].content[0].file_id".
func (w *Walker) Path() string {
	var b []byte
	for _, s := range w.path[:w.Depth()] {
		if s.object {
			b = append(append(b, '.'), s.key...)
		} else {
			b = append(strconv.AppendInt(append(b, '['), int64(s.index), 10), ']')
		}
	}
	return string(b)
}
