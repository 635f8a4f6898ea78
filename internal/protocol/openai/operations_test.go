package openai

import (
	"strings"
	"testing"
)

func TestOperations(t *testing.T) {
	names, routes := map[string]bool{}, map[string]bool{}
	for _, op := range Operations() {
		route := op.Method + " " + op.Path
		if op.Name == "" || names[op.Name] || routes[route] {
			t.Errorf("%s (%s) is there twice or has no name", op.Name, route)
		}
		names[op.Name], routes[route] = true, true
		if op.API == 0 || !strings.HasPrefix(op.Path, "/") || strings.HasPrefix(op.Path, "/v1") {
			t.Errorf("%s: api %v, path %s", op.Name, op.API, op.Path)
		}
		if op.Object != strings.Contains(op.Path, "{id}") || op.Object != (op.Body == BodyNone) {
			t.Errorf("%s: an operation has either an object or a body", op.Name)
		}
		if op.Object && op.Meters {
			t.Errorf("%s: what an object cost was counted when it was made", op.Name)
		}
	}
	// Every endpoint that the design names.
	for _, route := range strings.Fields(`
		POST/responses POST/responses/compact POST/responses/input_tokens GET/responses/{id} DELETE/responses/{id}
		POST/responses/{id}/cancel GET/responses/{id}/input_items POST/chat/completions POST/completions
		POST/embeddings POST/moderations POST/rerank POST/images/generations POST/images/edits POST/images/variations
		POST/audio/speech POST/audio/transcriptions POST/audio/translations`) {
		if !routes[strings.Replace(route, "/", " /", 1)] {
			t.Errorf("%s is missing", route)
		}
	}
}

func TestTarget(t *testing.T) {
	op := operation(t, "responses.cancel")
	for id, want := range map[string]string{
		"resp_1":       "/responses/resp_1/cancel",
		"../models":    "/responses/..%2Fmodels/cancel",
		"a/b?c#d%2F e": "/responses/a%2Fb%3Fc%23d%252F%20e/cancel",
	} {
		if got := op.Target(id); got != want {
			t.Errorf("Target(%q) = %s, want %s", id, got, want)
		}
	}
}

func operation(t testing.TB, name string) *Operation {
	t.Helper()
	for _, op := range Operations() {
		if op.Name == name {
			return op
		}
	}
	t.Fatalf("no operation %s", name)
	return nil
}
