package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
	"realms/internal/server"
)

func someID() realm.RequestID { return realm.NewRequestID(time.UnixMilli(1_795_000_000_000), 7, 7) }

func TestStoryText(t *testing.T) {
	home := server.Place{ChannelID: 1, ChannelName: "main", EndpointID: 2, BaseURL: "https://api.example.com/v1", CredentialID: 3, CredentialName: "alice"}
	other := server.Place{ChannelID: 1, ChannelName: "main", EndpointID: 4, BaseURL: "https://eu.example.com/v1", CredentialID: 5, CredentialName: "alice"}
	gone := server.Place{ChannelID: 9, EndpointID: 8, CredentialID: 7}
	story := func(change func(*server.Story)) *server.Story {
		s := &server.Story{
			ID: someID(), StartedAt: at(12, 3, 10), UserID: 11, UserName: "owner", TokenID: 12, TokenName: "laptop",
			Operation: "chat.completions", Model: "fast", Status: 200, Ended: realm.EndedCompleted, Cause: realm.CauseOK,
			GroupID: 13, GroupName: "default", Place: home, UpstreamModel: "gpt-5.5", Attempts: 1,
			Usage:      server.StoryUsage{Input: 12, Cached: 8, Output: 3, Reasoning: 2, Source: realm.UsageUpstream},
			DurationMS: 3210, FirstByteMS: 840,
		}
		change(s)
		return s
	}
	for name, tc := range map[string]struct {
		story *server.Story
		want  []string
	}{
		"at once": {story(func(*server.Story) {}), []string{
			"request    " + someID().String(),
			"started    2026-11-22 12:03:10.000",
			"asked by   owner, token laptop",
			"for        chat.completions of fast, in the group default",
			"served by  main / https://api.example.com/v1 / alice, as gpt-5.5",
			"ended      completed; the client got 200",
			"took       3.21 s; the first byte went to the client after 840 ms",
			"usage      12 tokens in (8 cached), 3 out (2 reasoning); as the upstream counted",
			"attempts   1, told above",
		}},
		"after a failover": {story(func(s *server.Story) {
			s.Stream, s.ClientRequestID, s.TokenName, s.Attempts = true, "mine", "", 3
			s.Tries = []server.StoryTry{
				{Number: 1, Place: gone, Model: "old", Cause: realm.CauseConnect, DurationMS: 3000, Error: "dial: refused"},
				{Number: 2, OffsetMS: 3001, Place: other, Model: "gpt-5.5", Status: 429, Cause: realm.CauseRateLimited, FirstByteMS: 120, DurationMS: 121, Error: "429 Too Many Requests"},
				{Number: 3, OffsetMS: 3372, WaitMS: 250, Place: home, Model: "gpt-5.5", Status: 200, Cause: realm.CauseOK, FirstByteMS: 90, DurationMS: 95},
			}
		}), []string{
			"request    " + someID().String() + ` (the client calls it "mine")`,
			"started    2026-11-22 12:03:10.000",
			"asked by   owner, token 12 (gone)",
			"for        chat.completions of fast, streamed, in the group default",
			"served by  main / https://api.example.com/v1 / alice, as gpt-5.5",
			"ended      completed; the client got 200",
			"took       3.21 s; the first byte went to the client after 840 ms",
			"usage      12 tokens in (8 cached), 3 out (2 reasoning); as the upstream counted",
			"attempts   3",
			"",
			"#  AT       WAITED  CHANNEL / CREDENTIAL            MODEL    STATUS  CAUSE         1ST BYTE  TOOK",
			"1  +0 ms    –       9 (gone) / 7 (gone)             old      –       connect       –         3.00 s",
			"   dial: refused",
			"2  +3.00 s  –       main / eu.example.com / alice   gpt-5.5  429     rate_limited  120 ms    121 ms",
			"   429 Too Many Requests",
			"3  +3.37 s  250 ms  main / api.example.com / alice  gpt-5.5  200     ok            90 ms     95 ms",
		}},
		"failed": {story(func(s *server.Story) {
			s.Status, s.Ended, s.Cause, s.Error = 503, realm.EndedFailed, realm.CauseServerError, "No upstream could serve this request."
			s.Usage = server.StoryUsage{Input: -1, Output: -1, Source: realm.UsageNone}
			s.Tries = []server.StoryTry{{Number: 1, Place: home, Model: "gpt-5.5", Status: 500, Cause: realm.CauseServerError, DurationMS: 5, FirstByteMS: 5}}
		}), []string{
			"request    " + someID().String(),
			"started    2026-11-22 12:03:10.000",
			"asked by   owner, token laptop",
			"for        chat.completions of fast, in the group default",
			"served by  nobody; asked last: main / https://api.example.com/v1 / alice, as gpt-5.5",
			"ended      failed: an error went to the client (cause server_error); the client got 503",
			"error      No upstream could serve this request.",
			"took       3.21 s; the first byte went to the client after 840 ms",
			"usage      unknown: nobody counted",
			"attempts   1",
			"",
			"#  AT     WAITED  CHANNEL / CREDENTIAL  MODEL    STATUS  CAUSE         1ST BYTE  TOOK",
			"1  +0 ms  –       main / alice          gpt-5.5  500     server_error  5 ms      5 ms",
		}},
		"not sent on, and nobody there": {story(func(s *server.Story) {
			s.Place, s.UpstreamModel, s.Attempts, s.GroupID, s.GroupName = server.Place{}, "", 0, 0, ""
			s.Status, s.Ended, s.Cause, s.FirstByteMS, s.DurationMS = 0, realm.EndedClientGone, realm.CauseClientGone, 0, 0
			s.Usage = server.StoryUsage{Input: 5, Output: 0, Source: realm.UsageEstimated}
		}), []string{
			"request    " + someID().String(),
			"started    2026-11-22 12:03:10.000",
			"asked by   owner, token laptop",
			"for        chat.completions of fast",
			"served by  nobody: it was not sent on",
			"ended      client_gone: the client left before the end (cause client_gone); the client got no status",
			"took       1 ms; no byte went to the client",
			"usage      5 tokens in, 0 out; estimated",
			"attempts   0",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(tc.want, storyText(tc.story)); d != "" {
				t.Error(d)
			}
		})
	}
}

// An upstream that refused a client's own fault has served.
func TestServedBy(t *testing.T) {
	s := &server.Story{Place: server.Place{ChannelID: 1, ChannelName: "main"}, Status: 400, Ended: realm.EndedFailed, Cause: realm.CauseClientError}
	if got := served(s); got != "main / – / –" {
		t.Error(got)
	}
}

func TestRequestFilter(t *testing.T) {
	s := &server.Story{UserName: "owner", Model: "fast", Place: server.Place{ChannelName: "main"}, Ended: realm.EndedClientGone}
	for _, tc := range []struct {
		filter requestFilter
		want   bool
	}{
		{requestFilter{}, true},
		{requestFilter{model: "fast", channel: "main", user: "owner"}, true},
		{requestFilter{model: "slow"}, false},
		{requestFilter{channel: "spare"}, false},
		{requestFilter{user: "guest"}, false},
		{requestFilter{failed: true}, false},
	} {
		if got := tc.filter.fits(s); got != tc.want {
			t.Errorf("%+v: %v", tc.filter, got)
		}
	}
	for end, want := range map[realm.Ended]bool{
		realm.EndedCompleted: false, realm.EndedClientGone: false, realm.EndedUpstreamCut: true, realm.EndedTimeout: true,
		realm.EndedFailed: true, realm.EndedRefused: true, realm.EndedInterrupted: true,
	} {
		if failed(end) != want {
			t.Errorf("%s counts as failed: %v", end, !want)
		}
	}
}

func TestPastedID(t *testing.T) {
	id := someID()
	for _, text := range []string{id.String(), " " + id.String() + "\r\n", "x-request-id: " + id.String() + "\r", `"x-request-id":"` + id.String() + `",`} {
		if got, err := pastedID(text); err != nil || got != id {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "x-request-id:", "laptop", id.String()[1:]} {
		if _, err := pastedID(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}
