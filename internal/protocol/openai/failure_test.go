package openai

import (
	"encoding/json"
	"strings"
	"testing"

	"realms/internal/sse"
)

func TestAppendFailure(t *testing.T) {
	e := UpstreamError{Message: "The upstream's \"stream\"\nended.", Code: "upstream_cut"}
	responses := Point{Kind: StreamResponses, ResponseID: "resp_1", Sequence: 6, Created: true}
	unseen := Point{Kind: StreamResponses, Sequence: -1}
	tests := []struct {
		name  string
		point Point
		err   UpstreamError
		want  string
	}{
		{"responses", responses, e, "event: response.failed\ndata: " +
			`{"type":"response.failed","sequence_number":7,"response":{"id":"resp_1","object":"response","status":"failed","error":{"code":"upstream_cut","message":"The upstream's \"stream\"\nended."},"incomplete_details":null,"output":[],"usage":null}}` + "\n\n"},
		{"responses before anything", unseen, UpstreamError{}, "event: response.failed\ndata: " +
			`{"type":"response.failed","sequence_number":0,"response":{"object":"response","status":"failed","error":{"code":"server_error","message":""},"incomplete_details":null,"output":[],"usage":null}}` + "\n\n"},
		{"chat", Point{Kind: StreamChat}, e, "data: " + `{"error":{"message":"The upstream's \"stream\"\nended.","type":"server_error","param":null,"code":"upstream_cut"}}` + "\n\n"},
		{"images", Point{Kind: StreamImages}, UpstreamError{Message: "x", Type: "t", Param: "p"}, "data: " + `{"error":{"message":"x","type":"t","param":"p","code":null}}` + "\n\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := string(tt.point.AppendFailure([]byte("before"), tt.err))
			if got != "before"+tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// TestFailureIsUnderstood: what we append is read back as a failed stream.
func TestFailureIsUnderstood(t *testing.T) {
	for kind := StreamResponses; kind <= StreamTranscription; kind++ {
		var s StreamState
		s.Reset(kind, 1)
		raw := s.Point().AppendFailure(nil, UpstreamError{Message: "é\x00\"", Code: "c"})
		sc := sse.NewScanner(strings.NewReader(string(raw)), 1<<20)
		if err := sc.Fill(); err != nil {
			t.Fatal(err)
		}
		ev, ok := sc.Next()
		if !ok || !json.Valid(ev.Data) {
			t.Fatalf("%q is no event", raw)
		}
		v, err := s.Inspect(ev)
		if err != nil || v.Class != ClassTerminal || v.Failed == nil || v.Failed.Code != "c" || !s.Ended() || s.Empty() {
			t.Errorf("%q: %+v, %v", raw, v, err)
		}
		sc.Release()
	}
}

func TestAppendKeepAlive(t *testing.T) {
	tests := []struct {
		name  string
		point Point
		want  string
	}{
		{"chat", Point{Kind: StreamChat}, ": keepalive\n\n"},
		{"responses before response.created", Point{Kind: StreamResponses, Sequence: -1}, ": keepalive\n\n"},
		{"responses", Point{Kind: StreamResponses, Sequence: 4, Created: true}, "event: keepalive\ndata: {\"type\":\"keepalive\",\"sequence_number\":4}\n\n"},
	}
	for _, tt := range tests {
		if got := string(tt.point.AppendKeepAlive(nil)); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
