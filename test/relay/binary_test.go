package relay

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"realms/internal/cluster"
	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/store/storetest"
	"realms/internal/testkit/redistest"
	"realms/internal/testkit/testapp"
)

// built is the program, made once for all tests.
type built struct {
	once sync.Once
	dir  string
	err  error
}

var binary = new(built)

// build makes the program, without the race detector: it is measured.
func build(t testing.TB) string {
	t.Helper()
	binary.once.Do(func() {
		binary.dir, binary.err = os.MkdirTemp("", "realms-built-") //nolint:usetesting // other tests use it too
		if binary.err != nil {
			return
		}
		cmd := exec.Command("go", "build", "-o", binary.dir, "realms/cmd/realms")
		if out, err := cmd.CombinedOutput(); err != nil {
			binary.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if binary.err != nil {
		t.Fatalf("build the program: %v", binary.err)
	}
	return filepath.Join(binary.dir, "realms")
}

// remove ends the tests.
func (b *built) remove(exitCode int) {
	if b.dir != "" {
		_ = os.RemoveAll(b.dir)
	}
	os.Exit(exitCode)
}

// starter starts a world, as newWorld does.
type starter func(t testing.TB, configure func(*config.Config)) *world

// onPrograms runs a test against the real program on every engine, with and without
// Redis. All that one test starts is over the same store and the same Redis.
func onPrograms(t *testing.T, test func(t *testing.T, start starter)) {
	t.Helper()
	program := build(t)
	for _, engine := range storetest.Engines(t) {
		for _, with := range []string{"alone", "redis"} {
			t.Run(engine+" "+with, func(t *testing.T) {
				t.Parallel()
				dsn, redis, state := storetest.DSN(t, engine), "", cluster.StateAlone
				if with == "redis" {
					redis, state = redistest.URL(t), cluster.StateConnected
				}
				prefix := redistest.Prefix()
				test(t, func(t testing.TB, configure func(*config.Config)) *world {
					t.Helper()
					w := startWorld(t, testapp.Options{Program: program, Role: realm.RoleUser, Configure: func(c *config.Config) {
						c.DB.DSN, c.Redis.URL, c.Redis.Prefix = config.DSN(dsn), config.RedisURL(redis), prefix
						if configure != nil {
							configure(c)
						}
					}})
					eventually(t, "Redis to be "+string(state), 10*time.Second, func() bool { return w.ClusterState(t) == state })
					return w
				})
			})
		}
	}
}

// The scorecard, and what else failover stands on, as `realms serve` does it. While
// the times of S15 run the other rows take their turn.
func TestScorecardAndCoreRowsAgainstTheProgram(t *testing.T) {
	t.Parallel()
	onPrograms(t, func(t *testing.T, start starter) {
		w := start(t, nil)
		down := goDown(t, w)
		for _, row := range []struct {
			name string
			test func(t *testing.T, w *world)
		}{
			{"S01 to S16", scorecard},
			{"D-12", limitedAreLeftAlone},
			{"S15 is found well", func(t *testing.T, _ *world) { each(t, down, isFoundWell) }},
			{"S10 in the middle", malformedInTheMiddle},
			{"D-14", func(t *testing.T, w *world) { closedAreOutOfUse(t, w, start) }},
			{"C-FO-02", func(t *testing.T, w *world) { failoverOverThreeLevels(t, w, 3) }},
			{"sessions stay", sessionsStay},
			{"limits", fullOnesArePassedBy},
			{"S15 is back", func(t *testing.T, _ *world) { each(t, down, isBack) }},
		} {
			t.Run(row.name, func(t *testing.T) { row.test(t, w) })
		}
		w.settles(t)
	})
}

// A test of its own: it would declare the other's scenes anew.
func TestSessionsYieldInTheProgram(t *testing.T) {
	t.Parallel()
	onPrograms(t, sessionsYield)
}
