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
// counts, since whatever else the machine does only adds to a round; a busy machine is
// given more of them.
func TestHeavyConversionsStayCheap(t *testing.T) {
	const enough, rounds, count, clients = 6, 30, 640, 16
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
	for i := range rounds {
		if i >= enough && dearest(best) <= mostForConverting {
			break
		}
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
	t.Logf("the best of the rounds: %v", best)
	if ratio := dearest(best); ratio > mostForConverting {
		t.Errorf("a conversion takes %.2f times the CPU of passing through, at most %.2f are allowed", ratio, mostForConverting)
	}
}

// dearest is what the dearer conversion costs, in times of passing through.
func dearest(best map[string]time.Duration) float64 {
	passing := (best[modelStream] + best[modelResponses]) / 2
	return float64(max(best[modelOverChat], best[modelOverResponses])) / float64(passing)
}
