package rawjson

// longestWord is the longest string that a Doc's filter notes.
const longestWord = 32

// wordSet is a Bloom filter of 256 bits with one hash: of a string's length and its
// first, middle and last byte.
type wordSet [4]uint64

func (w *wordSet) add(b []byte) {
	h := wordHash(b)
	w[h>>6] |= 1 << (h & 63)
}

func (w *wordSet) has(b []byte) bool {
	h := wordHash(b)
	return w[h>>6]>>(h&63)&1 != 0
}

func wordHash(b []byte) uint8 {
	n := len(b)
	if n == 0 {
		return 0
	}
	h := uint32(n) | uint32(b[0])<<8 | uint32(b[n/2])<<16 | uint32(b[n-1])<<24
	return uint8(h * 0x9e3779b1 >> 24)
}

// MayHave tells whether word, of at most 32 bytes, may be there as a key at any
// depth, or as a string value at any depth that is written without escapes. False
// is certain. It saves a search through a large body for what is hardly ever in it;
// after Scan, which notes nothing, it is always true.
func (d *Doc) MayHave(word string) bool {
	return !d.sifted || d.escaped || len(word) > longestWord || d.words.has([]byte(word))
}
