package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"realms/internal/server"
)

// padded fills a text up to a width in characters; one that is longer keeps its
// distance from what follows.
func padded(text string, width int) string {
	if n := utf8.RuneCountInString(text); n < width {
		return text + strings.Repeat(" ", width-n)
	}
	if text == "" || strings.HasSuffix(text, "  ") {
		return text
	}
	return text + "  "
}

// share is "98.1% of 210, 0.42 s": how many attempts succeeded, and when their
// answers began.
func share(s server.Share) string {
	if s.Attempts == 0 {
		return none
	}
	text := percent(s.Succeeded, s.Attempts) + " of " + strconv.Itoa(s.Attempts)
	if s.FirstByteMS > 0 {
		text += ", " + span(time.Duration(s.FirstByteMS)*time.Millisecond)
	}
	return text
}

// percent is rounded down: only all is 100%.
func percent(part, whole int) string {
	tenths := part * 1000 / whole
	if tenths%10 == 0 {
		return strconv.Itoa(tenths/10) + "%"
	}
	return fmt.Sprintf("%d.%d%%", tenths/10, tenths%10)
}

// span is a duration as people say it, in one unit.
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0f h", d.Hours())
	}
	return fmt.Sprintf("%.0f days", d.Hours()/24)
}

// left is a span that passes: its seconds are whole, rounded up.
func left(d time.Duration) string {
	if d = max(d, 0); d < 2*time.Minute {
		return fmt.Sprintf("%.0f s", math.Ceil(d.Seconds()))
	}
	return span(d)
}

// clock is a time of today without the day.
func clock(t, now time.Time) string {
	if t.IsZero() {
		return "long ago"
	}
	t, now = t.Local(), now.Local()
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format(time.TimeOnly)
	}
	return t.Format("2006-01-02 15:04")
}

// clip shortens a text to so many characters.
func clip(text string, characters int) string {
	if r := []rune(text); len(r) > characters {
		return string(r[:characters-1]) + "…"
	}
	return text
}
