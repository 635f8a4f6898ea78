package cluster

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"realms/internal/realm"
)

// Bounds on what is read from Redis, where anybody may have written. They are far
// above what Realms writes.
const (
	maxProcess = 64
	maxID      = 20
	maxValue   = 1024 // of a stored cool-down: a name of 256 bytes makes 350
	maxCount   = 1 << 40
)

// cooldownWire is a cool-down as a message and as a value. A name is bytes (base64
// in JSON), since what clients call a model need not be a text.
type cooldownWire struct {
	From   string      `json:"from"`
	Scope  realm.Scope `json:"scope"`
	ID     realm.ID    `json:"id"`
	Name   []byte      `json:"name,omitempty"`
	Cause  realm.Cause `json:"cause,omitempty"`
	Millis int64       `json:"ms"` // that remain; 0: not any more
	Print  uint32      `json:"print,omitempty"`
}

// loadsWire is what a process has under way: in flight, requests and tokens of the
// last minute, by id.
type loadsWire struct {
	From  string                `json:"from"`
	Loads map[realm.ID][3]int64 `json:"loads"`
}

func (c *Cluster) coolChannel() string    { return c.o.Prefix + ":cool" }
func (c *Cluster) loadChannel() string    { return c.o.Prefix + ":load" }
func (c *Cluster) changedChannel() string { return c.o.Prefix + ":changed" }
func (c *Cluster) bindChannel() string    { return c.o.Prefix + ":bind" }
func (c *Cluster) coolPrefix() string     { return c.o.Prefix + ":cool:" }

// aliveKey is written to learn whether Redis takes what is written.
func (c *Cluster) aliveKey() string { return c.o.Prefix + ":alive" }

func (c *Cluster) bindKey(key realm.RouteKey) string {
	return c.o.Prefix + ":bind:" + hex.EncodeToString(key[:])
}

func (c *Cluster) coolKey(t topic) string {
	return c.coolPrefix() + strconv.Itoa(int(t.scope)) + ":" + t.id.String() + ":" + base64.RawURLEncoding.EncodeToString([]byte(t.name))
}

// sayable tells whether the others would take it.
func sayable(d *realm.Cooldown) bool {
	return d.Scope > realm.ScopeNone && d.Scope <= realm.ScopeChannelAPI && d.ID > 0 && len(d.Name) <= MaxName &&
		(d.Until.IsZero() || blames(d.Cause))
}

// encodeCooldown gives the message, and how long it holds: 0 for an end.
func encodeCooldown(from string, d *realm.Cooldown, now time.Time) (text string, remaining time.Duration) {
	if !d.Until.IsZero() {
		remaining = min(d.Until.Sub(now), MaxCooldown).Truncate(time.Millisecond)
	}
	b, err := json.Marshal(cooldownWire{
		From: from, Scope: d.Scope, ID: d.ID, Name: []byte(d.Name), Cause: d.Cause, Millis: remaining.Milliseconds(), Print: d.Print,
	})
	if err != nil {
		return "", 0 // numbers and bytes can always be written
	}
	return string(b), remaining
}

// decodeCooldown reads a message. Until is by this process's clock.
func decodeCooldown(text string, now time.Time) (d realm.Cooldown, from string, ok bool) {
	var w cooldownWire
	if json.Unmarshal([]byte(text), &w) != nil || w.From == "" || w.Millis < 0 {
		return d, "", false
	}
	d = realm.Cooldown{Scope: w.Scope, ID: w.ID, Name: string(w.Name), Print: w.Print}
	if w.Millis > 0 {
		d.Cause = w.Cause
		d.Until = now.Add(time.Duration(min(w.Millis, MaxCooldown.Milliseconds())) * time.Millisecond)
	}
	return d, w.From, sayable(&d)
}

// moveWire says that a session is another credential's.
type moveWire struct {
	From       string   `json:"from"`
	Key        []byte   `json:"key"`
	Credential realm.ID `json:"credential"`
}

func encodeMove(from string, key realm.RouteKey, credential realm.ID) string {
	b, err := json.Marshal(moveWire{From: from, Key: key[:], Credential: credential})
	if err != nil {
		return "" // numbers and bytes can always be written
	}
	return string(b)
}

func decodeMove(text string) (key realm.RouteKey, credential realm.ID, from string, ok bool) {
	var w moveWire
	if json.Unmarshal([]byte(text), &w) != nil || w.From == "" || len(w.Key) != len(key) || w.Credential <= 0 {
		return key, 0, "", false
	}
	return realm.RouteKey(w.Key), w.Credential, w.From, true
}

// blames tells whether a cause is one of ours, which are labels and columns, and
// one that somebody else is to blame for.
func blames(c realm.Cause) bool {
	switch c {
	case realm.CauseStaleConn, realm.CauseConnect, realm.CauseTimeout, realm.CauseAuth, realm.CauseForbidden, realm.CauseBlocked,
		realm.CauseRateLimited, realm.CauseQuota, realm.CauseServerError, realm.CauseModelMissing, realm.CauseAPIMissing,
		realm.CauseBadAnswer, realm.CauseEmpty, realm.CauseUpstreamCut:
		return true
	default:
		return false
	}
}

func encodeLoads(from string, loads map[realm.ID]realm.Load) string {
	w := loadsWire{From: from, Loads: make(map[realm.ID][3]int64, len(loads))}
	for id, l := range loads {
		w.Loads[id] = [3]int64{int64(l.InFlight), int64(l.Requests), l.Tokens}
	}
	b, err := json.Marshal(w)
	if err != nil {
		return "" // numbers can always be written
	}
	return string(b)
}

func decodeLoads(text string) (loads map[realm.ID]realm.Load, from string, ok bool) {
	var w loadsWire
	if json.Unmarshal([]byte(text), &w) != nil || w.From == "" || len(w.From) > maxProcess {
		return nil, "", false
	}
	loads = make(map[realm.ID]realm.Load, len(w.Loads))
	for id, n := range w.Loads {
		for _, count := range n {
			if count < 0 || count > maxCount {
				return nil, "", false
			}
		}
		loads[id] = realm.Load{InFlight: int(n[0]), Requests: int(n[1]), Tokens: n[2]}
	}
	return loads, w.From, true
}

// literal makes a text that SCAN's pattern takes as it is.
func literal(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`, `^`, `\^`, `-`, `\-`).Replace(s)
}
