package relay

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
)

const mib = 1 << 20

// peakMemory tells by how many bytes this process grew at most while do ran. The
// fake upstream and the client live in the same process, so it is more than the
// relay took. do runs a few times before, so that what is made once is there.
// Tests that measure must not be parallel.
func peakMemory(t *testing.T, do func()) int64 {
	t.Helper()
	for range map[bool]int{true: 1, false: 3}[raceEnabled] {
		do()
	}
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil { // resets VmHWM
		t.Fatalf("reset the peak of memory: %v", err)
	}
	before := procStatus(t, "VmRSS:")
	do()
	return procStatus(t, "VmHWM:") - before
}

// sparse is a step that the race detector, which makes all of it ten times as slow,
// makes wider: what it looks for is in every round.
func sparse(step int) int {
	if raceEnabled {
		return 7 * step
	}
	return step
}

func procStatus(t *testing.T, field string) int64 {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(status), field)
	words := strings.Fields(rest)
	if !ok || len(words) == 0 {
		t.Fatalf("no %s in /proc/self/status", field)
	}
	kib, err := strconv.ParseInt(words[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// grewAtMost fails if the process grew by more than so many MiB. The race
// detector keeps up to eight bytes for each that is touched.
func grewAtMost(t *testing.T, what string, grew int64, limit int64) {
	t.Helper()
	limit *= mib
	if raceEnabled {
		limit *= 9
	}
	t.Logf("%s: grew by %.1f MiB", what, float64(grew)/mib)
	if grew > limit {
		t.Errorf("%s: grew by %d bytes, want %d at most", what, grew, limit)
	}
}
