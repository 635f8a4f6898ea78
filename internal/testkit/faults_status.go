package testkit

import (
	"fmt"
	"net/http"
)

// Status answers with a status and a JSON body; header is name, value, name, …
func Status(status int, body string, header ...string) Fault {
	return func(_ *Request, a *Answer) {
		a.Status, a.Framing, a.Chunks = status, FrameLength, [][]byte{[]byte(body)}
		a.Header = answerHeader("application/json")
		setAll(a.Header, header)
	}
}

// Header adds to the answer's header: name, value, name, …; an empty value takes
// the name away.
func Header(header ...string) Fault {
	return func(_ *Request, a *Answer) { setAll(a.Header, header) }
}

func setAll(h http.Header, pairs []string) {
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			h.Del(pairs[i])
			continue
		}
		h.Set(pairs[i], pairs[i+1])
	}
}

// ErrorBody is OpenAI's error object; an empty param or code is null.
func ErrorBody(kind, code, param, message string) string {
	null := func(s string) string {
		if s == "" {
			return "null"
		}
		return quote(s)
	}
	return fmt.Sprintf(`{"error":{"message":%s,"type":%s,"param":%s,"code":%s}}`, quote(message), quote(kind), null(param), null(code))
}

// Error answers with a status and OpenAI's error object.
func Error(status int, kind, code, message string, header ...string) Fault {
	return Status(status, ErrorBody(kind, code, "", message), header...)
}

// RateLimited is a 429 with a Retry-After, or without one if it is empty.
func RateLimited(retryAfter string) Fault {
	return Error(http.StatusTooManyRequests, "rate_limit_error", "rate_limit_exceeded", "Rate limit reached.", "Retry-After", retryAfter)
}

// ServerError is a plain 500.
func ServerError() Fault {
	return Error(http.StatusInternalServerError, "server_error", "", "The server had an error.")
}

// Page answers with an HTML page.
func Page(status int, header ...string) Fault {
	return func(r *Request, a *Answer) {
		Status(status, "<!DOCTYPE html>\n<html><head><title>Just a moment...</title></head><body>Checking your browser.</body></html>")(r, a)
		a.Header.Set("Content-Type", "text/html; charset=UTF-8")
		setAll(a.Header, header)
	}
}

// Cloudflare is the firewall's page in front of an upstream.
func Cloudflare() Fault { return Page(http.StatusForbidden, "Cf-Mitigated", "challenge") }

// EchoKey is an error that tells everybody the key it was asked with.
func EchoKey(status int) Fault {
	return func(r *Request, a *Answer) {
		message := "Incorrect API key provided: " + r.Key + ". Your header was Authorization: Bearer " + r.Key + "."
		Status(status, ErrorBody("invalid_request_error", "", "", message))(r, a)
	}
}

// Redirect points elsewhere.
func Redirect(status int, location string) Fault {
	return func(r *Request, a *Answer) {
		Status(status, "", "Location", location)(r, a)
	}
}

// Body answers 200 with another body, in one piece.
func Body(contentType, body string) Fault {
	return func(r *Request, a *Answer) {
		Status(http.StatusOK, body, "Content-Type", contentType)(r, a)
	}
}

// Events answers 200 with these events instead of the good ones.
func Events(events ...string) Fault {
	return func(_ *Request, a *Answer) {
		*a = *stream(&a.Reply, events)
	}
}

// EmptyBody is a 200 with nothing in it.
func EmptyBody() Fault {
	return func(_ *Request, a *Answer) { a.Chunks = nil }
}

// BrokenJSON is a 200 whose JSON ends in the middle.
func BrokenJSON() Fault { return Body("application/json", `{"id":"chatcmpl-fake","object":"chat.comp`) }

// Array is a 200 whose JSON is an array.
func Array() Fault { return Body("application/json", `[{"id":"chatcmpl-fake"}]`) }

// ErrorInside is a 200 whose JSON is an error object.
func ErrorInside(kind, code, message string) Fault {
	return Body("application/json", ErrorBody(kind, code, "", message))
}
