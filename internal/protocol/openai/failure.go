package openai

import (
	"strconv"

	"realms/internal/protocol/rawjson"
)

// Point is how far a stream has come: what an event of ours needs to know to fit
// in behind it.
type Point struct {
	Kind       StreamKind
	ResponseID string // of the response object; empty until it was seen
	Sequence   int64  // the last sequence_number; -1 before any
	Created    bool   // response.created has passed
}

// Point is how far the stream has come.
func (s *StreamState) Point() Point {
	return Point{Kind: s.kind, ResponseID: s.responseID, Sequence: s.sequence, Created: s.created}
}

// AppendFailure appends the stream's own error event, for a stream that ends
// before its protocol's end: response.failed on Responses (Codex ignores a bare
// error event), {"error":{…}} elsewhere. Nothing may follow it, no [DONE] either.
func (p Point) AppendFailure(dst []byte, e UpstreamError) []byte {
	if p.Kind != StreamResponses {
		dst = append(dst, "data: {\"error\":{\"message\":"...)
		dst = rawjson.AppendString(dst, e.Message)
		dst = append(dst, ",\"type\":"...)
		dst = rawjson.AppendString(dst, or(e.Type, "server_error"))
		dst = append(dst, ",\"param\":"...)
		dst = appendOrNull(dst, e.Param)
		dst = append(dst, ",\"code\":"...)
		dst = appendOrNull(dst, e.Code)
		return append(dst, "}}\n\n"...)
	}
	dst = append(dst, "event: response.failed\ndata: {\"type\":\"response.failed\",\"sequence_number\":"...)
	dst = strconv.AppendInt(dst, p.Sequence+1, 10)
	dst = append(dst, ",\"response\":{"...)
	if p.ResponseID != "" {
		dst = append(dst, "\"id\":"...)
		dst = rawjson.AppendString(dst, p.ResponseID)
		dst = append(dst, ',')
	}
	dst = append(dst, "\"object\":\"response\",\"status\":\"failed\",\"error\":{\"code\":"...)
	dst = rawjson.AppendString(dst, or(e.Code, "server_error"))
	dst = append(dst, ",\"message\":"...)
	dst = rawjson.AppendString(dst, e.Message)
	return append(dst, "},\"incomplete_details\":null,\"output\":[],\"usage\":null}}\n\n"...)
}

// AppendKeepAlive appends what keeps clients waiting: after response.created a data
// event, because Codex's idle timer ignores comments; else a comment, because the
// SDK's stream helper dies if anything precedes response.created.
func (p Point) AppendKeepAlive(dst []byte) []byte {
	if p.Kind != StreamResponses || !p.Created {
		return append(dst, ": keepalive\n\n"...)
	}
	dst = append(dst, "event: keepalive\ndata: {\"type\":\"keepalive\",\"sequence_number\":"...)
	dst = strconv.AppendInt(dst, max(p.Sequence, 0), 10)
	return append(dst, "}\n\n"...)
}

// AppendDone appends the end of a chat stream that had it all but [DONE].
func AppendDone(dst []byte) []byte { return append(dst, "data: [DONE]\n\n"...) }

func appendOrNull(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, "null"...)
	}
	return rawjson.AppendString(dst, s)
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
