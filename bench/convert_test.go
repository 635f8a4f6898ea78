package main

import (
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// mostForConverting is what a converted stream of 50 pieces may cost, to what passing
// one through does.
const mostForConverting = 1.4

// A conversion reads a stream of one dialect and writes one of the other: it is
// compared with the mean of what passing either through costs. The best of some rounds
// counts, since whatever else the machine does only adds to a round.
func TestHeavyConversionsStayCheap(t *testing.T) {
	const rounds, count, clients = 6, 640, 16
	dir := t.TempDir()
	binary := filepath.Join(dir, "program")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../cmd/realms").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	upstream := httptest.NewServer(newUpstream())
	defer upstream.Close()
	r := rig{dir: dir, url: upstream.URL}
	gateway, err := r.realms(t.Context(), binary, "realms")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gateway.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer gateway.stop()
	best := map[string]time.Duration{}
	for range rounds {
		for _, model := range []string{modelStream, modelOverChat, modelResponses, modelOverResponses} {
			ob, err := gateway.observe(t.Context(), scenario{model: model, prompt: 100, clients: clients}, count)
			if err != nil {
				t.Fatalf("%s: %v", model, err)
			}
			if best[model] == 0 || ob.cpu < best[model] {
				best[model] = ob.cpu
			}
		}
	}
	passing := (best[modelStream] + best[modelResponses]) / 2
	for _, model := range []string{modelOverChat, modelOverResponses} {
		ratio := float64(best[model]) / float64(passing)
		t.Logf("%s: %v, passing through %v, ratio %.2f", model, best[model], passing, ratio)
		if ratio > mostForConverting {
			t.Errorf("%s takes %.2f times the CPU of passing through, at most %.2f are allowed", model, ratio, mostForConverting)
		}
	}
}
