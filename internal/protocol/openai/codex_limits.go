package openai

import (
	"math"
	"strconv"
	"strings"
	"time"

	"realms/internal/protocol/rawjson"
	"realms/internal/realm"
)

// accountLimit is what the backend calls the account's own family of limits.
const accountLimit = "codex"

// LimitName is the one name of a family of limits, which the backend spells in several
// ways: the name it shows people, else its id ("codex_bengalfox"). Empty means the
// account's own family.
func LimitName(id, shown string) string {
	id = strings.ReplaceAll(strings.ToLower(cleanLine([]byte(id), maxWord)), "-", "_")
	if id == "" || id == accountLimit {
		return ""
	}
	return or(cleanLine([]byte(shown), maxWord), id)
}

// PlanName is a plan's name as the provider writes it, as one short line.
func PlanName(s string) string { return cleanLine([]byte(s), maxWord) }

// ReadRateLimits reads the data of a codex.rate_limits event, which comes in a stream
// where the header does not tell the limits. It has no clock: At is the caller's to
// set, and a window that says only in how many seconds it ends has no ResetsAt. ok is
// false for any other event, and for one without a window.
func ReadRateLimits(data []byte) (limits realm.CodexLimits, ok bool) {
	doc, err := rawjson.Scan(data, nil)
	if err != nil {
		return limits, false
	}
	get := func(key string) []byte { raw, _ := doc.Get(key); return raw }
	if !rawjson.Equal(get("type"), "codex.rate_limits") {
		return limits, false
	}
	family := LimitName(or(text(get("metered_limit_name"), maxWord), text(get("limit_id"), maxWord)), text(get("limit_name"), maxWord))
	limits.Windows = appendWindows(nil, get("rate_limits"), family)
	limits.Plan = text(get("plan_type"), maxWord)
	return limits, len(limits.Windows) > 0
}

// appendWindows reads {"primary":{…},"secondary":{…}}.
func appendWindows(windows []realm.CodexWindow, raw []byte, family string) []realm.CodexWindow {
	if !rawjson.IsObject(raw) {
		return windows
	}
	doc, err := rawjson.Scan(raw, nil)
	if err != nil {
		return windows
	}
	for _, slot := range [...]string{"primary", "secondary"} {
		raw, _ := doc.Get(slot)
		if w, ok := readWindow(raw); ok {
			w.Limit = family
			windows = append(windows, w)
		}
	}
	return windows
}

// readWindow reads {"used_percent":42,"window_minutes":300,"reset_at":1777936568}. A
// window that does not say how long it is, or how full, cannot be told from others.
func readWindow(raw []byte) (w realm.CodexWindow, ok bool) {
	if !rawjson.IsObject(raw) {
		return w, false
	}
	doc, err := rawjson.Scan(raw, nil)
	if err != nil {
		return w, false
	}
	get := func(key string) []byte { raw, _ := doc.Get(key); return raw }
	used, err := strconv.ParseFloat(string(get("used_percent")), 64)
	if err != nil || math.IsInf(used, 0) || used < 0 {
		return w, false
	}
	minutes, ok := seconds(get("window_minutes"))
	if !ok || minutes == 0 || minutes > maxReset/60 {
		return w, false
	}
	w.UsedPercent, w.Length = used, minutes*60
	if at, ok := seconds(get("reset_at")); ok && at > 0 {
		w.ResetsAt = time.Unix(int64(at/time.Second), 0)
	}
	return w, true
}
