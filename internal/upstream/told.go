package upstream

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"realms/internal/protocol/openai"
)

// The longest waits that are believed.
const (
	maxWait       = 10 * time.Minute
	maxWindowWait = 7 * 24 * time.Hour // a plan's usage window
)

// toldWait is how long the upstream says to wait, from whichever of its ways to
// say it is there; told is false if none is. That a limit is used up says something
// of a 429 alone: other answers carry the same headers.
func toldWait(status int, h http.Header, e *openai.UpstreamError, now time.Time) (wait time.Duration, told bool) {
	longest := maxWait
	if e.Type == "usage_limit_reached" || e.Code == "usage_limit_reached" {
		longest = maxWindowWait
	}
	wait, told = retryAfter(h, now)
	if !told {
		wait, told = bodyWait(e, now)
	}
	if !told && status == http.StatusTooManyRequests {
		wait, told = limitReset(h, now)
	}
	return min(max(wait, 0), longest), told
}

// retryAfter reads Retry-After-Ms and Retry-After: seconds or a date. A negative
// number and garbage say nothing; a date that has passed says "at once".
func retryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	if d, ok := seconds(get(h, "Retry-After-Ms")); ok {
		return d / 1000, true
	}
	v := get(h, "Retry-After")
	if d, ok := seconds(v); ok {
		return d, true
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(at.Sub(now), 0), true
	}
	return 0, false
}

// bodyWait reads resets_in_seconds and resets_at.
func bodyWait(e *openai.UpstreamError, now time.Time) (time.Duration, bool) {
	switch {
	case e.ResetsIn > 0:
		return e.ResetsIn, true
	case !e.ResetsAt.IsZero():
		return max(e.ResetsAt.Sub(now), 0), true
	}
	return 0, false
}

// limitReset reads x-ratelimit-reset-* of what has nothing remaining; the longest
// of several counts.
func limitReset(h http.Header, now time.Time) (wait time.Duration, told bool) {
	for _, what := range [...]string{"Requests", "Tokens"} {
		if strings.TrimSpace(get(h, "X-Ratelimit-Remaining-"+what)) != "0" {
			continue
		}
		if d, ok := resetTime(get(h, "X-Ratelimit-Reset-"+what), now); ok {
			wait, told = max(wait, d), true
		}
	}
	return wait, told
}

// resetTime reads "1s", "6m0s", "120ms", a number of seconds, or a unix time.
func resetTime(v string, now time.Time) (time.Duration, bool) {
	v = strings.TrimSpace(v)
	if d, ok := seconds(v); ok {
		const unixTimes = 1_000_000_000 * time.Second
		if d >= unixTimes {
			return max(time.Unix(int64(d/time.Second), 0).Sub(now), 0), true
		}
		return d, true
	}
	if d, err := time.ParseDuration(v); err == nil && d >= 0 {
		return d, true
	}
	return 0, false
}

// seconds reads a number of seconds that is not negative; an absurd one is cut to
// what a Duration can hold.
func seconds(v string) (time.Duration, bool) {
	f, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
	if err != nil || !(f >= 0) { // not f < 0: NaN is no number of seconds either
		return 0, false
	}
	return time.Duration(min(f, 9e9) * float64(time.Second)), true
}

func get(h http.Header, canonical string) string {
	if v := h[canonical]; len(v) > 0 {
		return v[0]
	}
	return ""
}
