package codexauth

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"strconv"
	"time"

	"realms/internal/realm"
)

// maxWindow is longer than any window of a plan.
const maxWindow = 366 * 24 * time.Hour

// limitReport is a rate_limit of the usage answer. All in it may be missing.
type limitReport struct {
	Primary   *windowReport `json:"primary_window"`
	Secondary *windowReport `json:"secondary_window"`
}

// windowReport keeps numbers as they were written: the provider has them as numbers
// and as texts.
type windowReport struct {
	UsedPercent json.RawMessage `json:"used_percent"`
	Seconds     json.RawMessage `json:"limit_window_seconds"`
	ResetAfter  json.RawMessage `json:"reset_after_seconds"`
	ResetAt     json.RawMessage `json:"reset_at"`
}

// Usage asks how much of the account's plan is used up. A window that does not say
// how long it is, or how full, is left out.
func (c *Client) Usage(ctx context.Context, id realm.CodexIdentity) (realm.CodexLimits, error) {
	a, err := c.ask(ctx, "usage", "/wham/usage", id)
	if err != nil {
		return realm.CodexLimits{}, err
	}
	var got struct {
		Plan       json.RawMessage `json:"plan_type"`
		Limit      *limitReport    `json:"rate_limit"`
		Additional []*struct {
			Name    json.RawMessage `json:"limit_name"`
			Feature json.RawMessage `json:"metered_feature"`
			Limit   *limitReport    `json:"rate_limit"`
		} `json:"additional_rate_limits"`
	}
	if err := a.object(&got); err != nil {
		return realm.CodexLimits{}, err
	}
	limits := realm.CodexLimits{Plan: label(text(got.Plan)), At: c.now()}
	limits.Windows = got.Limit.windows(limits.Windows, "", limits.At)
	for _, more := range got.Additional {
		if more == nil {
			continue
		}
		// Without a name its windows would pass for the account's.
		if name := label(first(text(more.Name), text(more.Feature))); name != "" {
			limits.Windows = more.Limit.windows(limits.Windows, name, limits.At)
		}
	}
	limits.Bound()
	return limits, nil
}

func (l *limitReport) windows(list []realm.CodexWindow, name string, now time.Time) []realm.CodexWindow {
	if l == nil {
		return list
	}
	for _, w := range [...]*windowReport{l.Primary, l.Secondary} {
		if window, ok := w.window(now); ok {
			window.Limit = name
			list = append(list, window)
		}
	}
	return list
}

func (w *windowReport) window(now time.Time) (realm.CodexWindow, bool) {
	if w == nil {
		return realm.CodexWindow{}, false
	}
	length, long := number(w.Seconds)
	used, told := number(w.UsedPercent)
	if !long || !told || length <= 0 || length > maxWindow.Seconds() {
		return realm.CodexWindow{}, false
	}
	window := realm.CodexWindow{Length: seconds(length), UsedPercent: max(used, 0)}
	if at := unixTime(bytes.Trim(w.ResetAt, `"`)); !at.IsZero() {
		window.ResetsAt = at
	} else if after, ok := number(w.ResetAfter); ok && after >= 0 && after <= maxWindow.Seconds() {
		window.ResetsAt = now.Add(seconds(after))
	}
	return window, true
}

func seconds(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }

// number reads a JSON number, or a text that is one.
func number(raw json.RawMessage) (float64, bool) {
	n, err := strconv.ParseFloat(string(bytes.Trim(raw, `"`)), 64)
	return n, err == nil && !math.IsNaN(n) && !math.IsInf(n, 0)
}
