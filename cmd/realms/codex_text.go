package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"realms/internal/catalog"
	"realms/internal/codex"
	"realms/internal/realm"
)

// accountName is an account as commands name it.
func accountName(a *codex.Account) string { return a.Channel + "/" + a.Credential }

// signedInLines say who is signed in now, and what the plan has left.
func signedInLines(a *codex.Account, now time.Time) []string {
	who := a.Email
	if who == "" {
		who = "an account without an e-mail address"
	}
	line := accountName(a) + ": signed in as " + who
	if a.Plan != "" {
		line += ", plan " + a.Plan
	}
	lines := []string{line + ", workspace " + a.AccountID}
	if len(a.Limits.Windows) > 0 {
		lines = append(lines, usageLines(a, now)[1:]...)
	}
	if !a.Enabled {
		lines = append(lines, "  it is not used yet: the channel or the credential is disabled")
	}
	return lines
}

// usageLines are a plan and its windows.
func usageLines(a *codex.Account, now time.Time) []string {
	plan := a.Limits.Plan
	if plan == "" {
		plan = a.Plan
	}
	if plan == "" {
		plan = "unknown"
	}
	lines := []string{accountName(a) + ": plan " + plan}
	if until := exhausted(a, now); !until.IsZero() {
		lines[0] += ", used up until " + clock(until, now)
	} else if usedUp(a, now) {
		lines[0] += ", used up"
	}
	if len(a.Limits.Windows) == 0 {
		return append(lines, "  the provider named no limit")
	}
	for i := range a.Limits.Windows {
		lines = append(lines, "  "+windowText(&a.Limits.Windows[i], now))
	}
	return lines
}

// usedUp tells whether nothing is left of one of an account's own windows, as far as
// anybody knows.
func usedUp(a *codex.Account, now time.Time) bool {
	return slices.ContainsFunc(a.Limits.Windows, func(w codex.Window) bool {
		return w.Limit == "" && w.UsedPercent >= 100 && (w.ResetsAt.IsZero() || w.ResetsAt.After(now))
	})
}

// exhausted is when the last of an account's own windows that are used up resets;
// zero: none is, or the provider did not say when. One for a single model does not
// count.
func exhausted(a *codex.Account, now time.Time) (until time.Time) {
	for _, w := range a.Limits.Windows {
		if w.Limit == "" && w.UsedPercent >= 100 && w.ResetsAt.After(now) && w.ResetsAt.After(until) {
			until = w.ResetsAt
		}
	}
	return until
}

// windowText is "5 h: 42% used, resets in 2 h 10 min". What was said of a window
// holds until it resets.
func windowText(w *codex.Window, now time.Time) string {
	text := windowLength(w.Length()) + ": "
	if w.Limit != "" {
		text = w.Limit + ", " + text
	}
	if !w.ResetsAt.IsZero() && !w.ResetsAt.After(now) {
		return text + "has reset since"
	}
	text += strconv.FormatFloat(w.UsedPercent, 'f', -1, 64) + "% used"
	if w.ResetsAt.IsZero() {
		return text
	}
	return text + ", resets in " + remaining(w.ResetsAt.Sub(now))
}

// windowLength is a length in the largest unit that it is a whole number of.
func windowLength(d time.Duration) string {
	switch {
	case d >= 24*time.Hour && d%(24*time.Hour) == 0:
		return fmt.Sprintf("%d d", d/(24*time.Hour))
	case d >= time.Hour && d%time.Hour == 0:
		return fmt.Sprintf("%d h", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return fmt.Sprintf("%d s", d/time.Second)
}

// remaining is a span in its two largest units, rounded up to a minute.
func remaining(d time.Duration) string {
	minutes := int64((d + time.Minute - 1) / time.Minute)
	if minutes <= 0 {
		return "0 min"
	}
	var parts []string
	for _, unit := range []struct {
		minutes int64
		name    string
	}{{24 * 60, " d"}, {60, " h"}, {1, " min"}} {
		if n := minutes / unit.minutes; n > 0 && len(parts) < 2 {
			parts = append(parts, strconv.FormatInt(n, 10)+unit.name)
		} else if len(parts) > 0 {
			break
		}
		minutes %= unit.minutes
	}
	return strings.Join(parts, " ")
}

// accountRows have a line an account, and one more for each further window.
func accountRows(list []*codex.Account, now time.Time) [][]string {
	rows := [][]string{{"ACCOUNT", "E-MAIL", "PLAN", "STATE", "TOKEN EXPIRES", "REFRESHED", "AS OF", "LIMITS"}}
	for _, a := range list {
		row := []string{
			accountName(a), orNone(a.Email), orNone(a.Plan), accountState(a, now),
			shortMoment(a.ExpiresAt), shortMoment(a.RefreshedAt), shortMoment(a.Limits.At),
		}
		if len(a.Limits.Windows) == 0 {
			rows = append(rows, append(row, none))
		}
		for i := range a.Limits.Windows {
			rows = append(rows, append(row[:len(row):len(row)], windowText(&a.Limits.Windows[i], now)))
			row = make([]string, len(row)) // said once an account
		}
	}
	return rows
}

func shortMoment(t time.Time) string {
	if t.IsZero() {
		return none
	}
	return t.Local().Format("2006-01-02 15:04")
}

func accountState(a *codex.Account, now time.Time) string {
	until := exhausted(a, now)
	switch {
	case !a.Enabled:
		return "disabled"
	case a.State != realm.CredentialOK:
		return "out of use"
	case !until.IsZero():
		return "used up until " + clock(until, now)
	case a.RefreshError != "":
		return "ends when the token expires"
	}
	return "ok"
}

// accountAdvice says, for each account that is not as it should be, why, and what
// to type where the reason does not say it.
func accountAdvice(list []*codex.Account, again func(string) string) [][]string {
	var all [][]string
	for _, a := range list {
		name := shellQuote(a.Channel) + "/" + shellQuote(a.Credential)
		var lines []string
		if a.State != realm.CredentialOK {
			lines = append(lines, accountName(a)+" is out of use: "+a.Reason)
		}
		if a.RefreshError != "" {
			lines = append(lines, accountName(a)+" cannot be renewed: "+a.RefreshError)
		}
		if len(lines) > 0 && !catalog.IsSignInReason(a.Reason) {
			lines = append(lines, "  A new sign-in mends that: "+again("codex login "+name))
		}
		if len(lines) > 0 {
			all = append(all, append([]string{""}, lines...))
		}
	}
	return all
}
