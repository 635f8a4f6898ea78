package main

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"realms/internal/catalog"
	"realms/internal/realm"
	"realms/internal/server"
)

// storyText is a request for people: what was asked, what came of it, and a line
// for each attempt, its error below.
func storyText(s *server.Story) []string {
	lines := labelled([][2]string{
		{"request", s.ID.String() + clientsID(s.ClientRequestID)},
		{"started", s.StartedAt.Local().Format("2006-01-02 15:04:05.000")},
		{"asked by", asker(s)},
		{"for", wanted(s)},
		{"served by", served(s)},
		{"ended", ending(s)},
		{"error", s.Error},
		{"took", took(s)},
		{"usage", counted(s.Usage)},
		{"attempts", attempts(s)},
	})
	if len(s.Tries) > 0 {
		lines = append(append(lines, ""), triesTable(s.Tries)...)
	}
	return lines
}

// labelled aligns texts behind their labels and leaves out what is empty.
func labelled(pairs [][2]string) []string {
	var lines []string
	for _, p := range pairs {
		if p[1] != "" {
			lines = append(lines, padded(p[0], len("served by")+2)+p[1])
		}
	}
	return lines
}

func clientsID(id string) string {
	if id == "" {
		return ""
	}
	return fmt.Sprintf(" (the client calls it %q)", id)
}

func asker(s *server.Story) string {
	return named(s.UserName, s.UserID) + ", token " + named(s.TokenName, s.TokenID)
}

func wanted(s *server.Story) string {
	text := s.Operation
	if s.Model != "" {
		text += " of " + s.Model
	}
	if s.Stream {
		text += ", streamed"
	}
	if s.GroupID != 0 {
		text += ", in the group " + named(s.GroupName, s.GroupID)
	}
	return text
}

// served is where the answer came from; of a request that nobody served, where
// it was asked last.
func served(s *server.Story) string {
	if s.ChannelID == 0 {
		return "nobody: it was not sent on"
	}
	text := strings.Join([]string{named(s.ChannelName, s.ChannelID), endpoint(s.Place), named(s.CredentialName, s.CredentialID)}, " / ")
	if s.UpstreamModel != "" && s.UpstreamModel != s.Model {
		text += ", as " + s.UpstreamModel
	}
	if s.Status == 0 || s.Ended == realm.EndedFailed && s.Cause != realm.CauseClientError {
		return "nobody; asked last: " + text
	}
	return text
}

// endpoint is that of a place. Where the credential is still known its endpoint is
// too, and may have no URL.
func endpoint(p server.Place) string {
	if p.CredentialName != "" {
		return catalog.EndpointName(p.BaseURL)
	}
	return named(p.BaseURL, p.EndpointID)
}

func ending(s *server.Story) string {
	text := string(s.Ended)
	switch s.Ended {
	case realm.EndedCompleted:
	case realm.EndedClientGone:
		text += ": the client left before the end"
	case realm.EndedUpstreamCut:
		text += ": the upstream broke off within its answer"
	case realm.EndedTimeout:
		text += ": the upstream fell silent within its answer"
	case realm.EndedFailed:
		text += ": an error went to the client"
	case realm.EndedRefused:
		text += ": by Realms, before any upstream was asked"
	case realm.EndedInterrupted:
		text += ": this server was stopped"
	}
	if s.Cause != "" && s.Cause != realm.CauseOK {
		text += " (cause " + string(s.Cause) + ")"
	}
	if s.Status == 0 {
		return text + "; the client got no status"
	}
	return fmt.Sprintf("%s; the client got %d", text, s.Status)
}

func took(s *server.Story) string {
	text := millis(max(s.DurationMS, 1))
	if s.FirstByteMS == 0 {
		return text + "; no byte went to the client"
	}
	return text + "; the first byte went to the client after " + millis(s.FirstByteMS)
}

func counted(u server.StoryUsage) string {
	if u.Source == realm.UsageNone || u.Source == "" {
		return "unknown: nobody counted"
	}
	in := fmt.Sprintf("%d tokens in", u.Input) + including(part{u.Cached, "cached"}, part{u.CacheWrite, "written to the cache"})
	out := fmt.Sprintf("%d out", u.Output) + including(part{u.Reasoning, "reasoning"})
	by := "as the upstream counted"
	if u.Source == realm.UsageEstimated {
		by = "estimated"
	}
	return in + ", " + out + "; " + by
}

// part is a share of a count.
type part struct {
	n  int64
	is string
}

// including is " (12 cached, 3 written)" of the parts that are more than nothing.
func including(parts ...part) string {
	var texts []string
	for _, p := range parts {
		if p.n > 0 {
			texts = append(texts, fmt.Sprintf("%d %s", p.n, p.is))
		}
	}
	if texts == nil {
		return ""
	}
	return " (" + strings.Join(texts, ", ") + ")"
}

func attempts(s *server.Story) string {
	if len(s.Tries) == 0 && s.Attempts == 1 {
		return "1, told above"
	}
	return strconv.Itoa(s.Attempts)
}

// place is the channel and the credential of an attempt, and the endpoint between
// them where another attempt went to another endpoint of the channel.
func place(t server.StoryTry, all []server.StoryTry) string {
	words := []string{named(t.ChannelName, t.ChannelID), named(t.CredentialName, t.CredentialID)}
	if slices.ContainsFunc(all, func(o server.StoryTry) bool { return o.ChannelID == t.ChannelID && o.EndpointID != t.EndpointID }) {
		at := endpoint(t.Place)
		if u, err := url.Parse(t.BaseURL); err == nil && u.Host != "" {
			at = u.Host
		}
		words = slices.Insert(words, 1, at)
	}
	return strings.Join(words, " / ")
}

// triesTable has a line an attempt and its error below it, if it has one.
func triesTable(tries []server.StoryTry) []string {
	rows := [][]string{{"#", "AT", "WAITED", "CHANNEL / CREDENTIAL", "MODEL", "STATUS", "CAUSE", "1ST BYTE", "TOOK"}}
	for _, t := range tries {
		rows = append(rows, []string{
			strconv.Itoa(t.Number), "+" + span(time.Duration(t.OffsetMS)*time.Millisecond), millis(t.WaitMS),
			place(t, tries),
			orNone(t.Model), status(t.Status), string(t.Cause), millis(t.FirstByteMS), millis(t.DurationMS),
		})
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var lines []string
	for n, row := range rows {
		line := ""
		for i, cell := range row {
			line += padded(cell, widths[i]+len("  "))
		}
		lines = append(lines, strings.TrimRight(line, " "))
		if n > 0 && tries[n-1].Error != "" {
			lines = append(lines, padded("", widths[0]+len("  "))+tries[n-1].Error)
		}
	}
	return lines
}
