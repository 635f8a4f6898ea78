package realm

// RulesConnection tells whether a header, by its canonical name, rules the
// connection, or would make net/http send a POST again by itself: nobody may set or
// take off one of these but the code that sends.
func RulesConnection(name string) bool {
	switch name {
	case "Connection", "Content-Length", "Expect", "Host", "Idempotency-Key", "Keep-Alive", "Proxy-Authorization",
		"Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "X-Idempotency-Key":
		return true
	}
	return false
}
