// Package openai is the OpenAI wire format as the relay needs it: which endpoints
// go upstream, what of a request must be known to route and edit it, and what of
// an answer tells success, usage and failure.
//
// It owns field names, event types and shapes. Everything is a pure function over
// bytes: it never does I/O, decides no routing and never re-encodes what it can
// pass through. Bodies and events are read in place (rawjson, sse).
package openai
