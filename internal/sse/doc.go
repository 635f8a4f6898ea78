// Package sse cuts a byte stream into server-sent events without copying them:
// a relay reads once, walks the complete events of that read and writes their
// bytes on unchanged.
//
// It owns the framing (line endings, fields, byte order mark) and the buffer.
// It never looks into an event's data, never writes and never starts a goroutine.
//
//	for {
//		for ev, ok := s.Next(); ok; ev, ok = s.Next() { … }  // no I/O
//		if s.Full() { s.Grow() or s.TakePart() }             // one event over 64 KiB
//		if err := s.Fill(); err != nil { s.Finish() … }      // ONE read
//	}
package sse
