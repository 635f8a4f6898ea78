package codextest

// Issued are all tokens that were ever given out, for a test that looks where they
// have got to.
func (f *Fake) Issued() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []string
	for token := range f.tokens.access {
		list = append(list, token)
	}
	for token := range f.tokens.refresh {
		list = append(list, token)
	}
	return append(list, f.tokens.id...)
}
