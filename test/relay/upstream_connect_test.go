package relay

import (
	"testing"
	"time"

	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/testkit"
)

// connectLimit stands for the three seconds of the default, to be quick.
const connectLimit = 400 * time.Millisecond

// noConnection are the ways of not coming to a connection (D-01).
func noConnection(t *testing.T) []struct {
	name string
	leg  leg
	word string // of the reason in the row
} {
	t.Helper()
	secure := func(f testkit.TLSFault) leg { return leg{up: testkit.Options{Protocol: testkit.TLS, TLSFault: f}} }
	return []struct {
		name string
		leg  leg
		word string
	}{
		{"refused", leg{at: testkit.Refused(t)}, "refused"},
		{"unknown name", leg{at: "http://nobody.invalid/v1"}, ""},
		{"SYN dropped", leg{at: testkit.Blackhole(t)}, "timeout"},
		{"TLS expired", secure(testkit.TLSExpired), "expired"},
		{"TLS wrong host", secure(testkit.TLSWrongHost), "127.0.0.1"},
		{"TLS self-signed", secure(testkit.TLSSelfSigned), "unknown authority"},
		{"TLS 1.0", secure(testkit.TLSOld), "protocol version"},
		{"TLS handshake hangs", secure(testkit.TLSHang), "connect timeout"},
		{"TLS reset in the handshake", secure(testkit.TLSReset), "reset"},
	}
}

// D-01: what keeps the relay from a connection costs the client nothing while
// another channel is there, and at most connect's time each.
func TestNoConnectionFailsOver(t *testing.T) {
	t.Parallel()
	inLayouts(t, func(c *config.Config) { c.Relay.Timeouts.Connect = connectLimit }, noConnectionFailsOver)
}

func noConnectionFailsOver(t *testing.T, w *world) {
	t.Helper()
	var trials []trial
	for _, fault := range noConnection(t) {
		for _, f := range forms {
			trials = append(trials, trial{
				name: fault.name + ", " + f.name, scene: w.scene(t, fault.leg, good), form: f,
				want: ok("b1", "connect ok"),
				more: func(t *testing.T, _ *answer, rec realm.RequestRecord) {
					if took := rec.Tries[0].Duration; took > connectLimit*3/2 {
						t.Errorf("the attempt took %s", took)
					}
					hasWord(t, rec.Tries[0].Error, fault.word)
				},
			})
		}
	}
	w.run(t, trials)
}

// D-01: the client hears of it when nothing else is left. One channel alone is
// asked twice, for the fault may pass.
func TestNoConnectionAnywhere(t *testing.T) {
	t.Parallel()
	inLayouts(t, func(c *config.Config) { c.Relay.Timeouts.Connect = connectLimit }, noConnectionAnywhere)
}

func noConnectionAnywhere(t *testing.T, w *world) {
	t.Helper()
	var trials []trial
	for _, fault := range noConnection(t) {
		for _, f := range forms {
			trials = append(trials, trial{
				name: fault.name + ", " + f.name, scene: w.scene(t, fault.leg), form: f,
				want: overloaded("-", "connect connect"),
			})
		}
	}
	w.run(t, trials)
}
