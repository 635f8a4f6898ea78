package server

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"realms/internal/account"
	"realms/internal/catalog"
	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/scheduler"
)

// controlled is an app that holds one channel, "main": two endpoints, the
// credential "alice" on both and "bob" on the first.
func controlled(t *testing.T) (*App, *control) {
	t.Helper()
	cfg := config.Default()
	cfg.DataDir = t.TempDir()
	a, err := Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	none := realm.Secret("")
	credential := func(name string) catalog.CredentialSpec {
		return catalog.CredentialSpec{Name: name, APIKey: &none, Enabled: true, Weight: 1}
	}
	_, err = a.Catalog.UpsertChannel(t.Context(), "test", catalog.ChannelSpec{
		Name: "main", Type: realm.OpenAICompatible, APIs: realm.AllAPIs, Enabled: true, Weight: 1, Groups: []string{realm.DefaultGroup},
		Endpoints: []catalog.EndpointSpec{
			{BaseURL: "https://one.example.com/v1", Credentials: []catalog.CredentialSpec{credential("alice"), credential("bob")}},
			{BaseURL: "https://two.example.com/v1", Credentials: []catalog.CredentialSpec{credential("alice")}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return a, a.controlServer()
}

// ask sends a request to the control socket's handler and reads the answer.
func (c *control) ask(t *testing.T, method, path string, into any) int {
	t.Helper()
	w := httptest.NewRecorder()
	c.srv.Handler.ServeHTTP(w, httptest.NewRequest(method, path, http.NoBody))
	if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
		t.Fatalf("%s %s: %v in %s", method, path, err, w.Body)
	}
	return w.Code
}

func TestChannels(t *testing.T) {
	_, c := controlled(t)
	live := c.channels()
	live[0].InFlight = 3
	live[0].Endpoints[0].Marks = []Mark{{Kind: MarkOpen, Cause: realm.CauseConnect, Until: time.Unix(1_800_000_000, 0).UTC()}}
	c.channels = func() []scheduler.ChannelState { return live }
	var got Channels
	if code := c.ask(t, http.MethodGet, "/channels", &got); code != http.StatusOK || !got.Live || got.At.IsZero() {
		t.Errorf("%d, %+v", code, got)
	}
	if d := cmp.Diff(live, got.Channels); d != "" {
		t.Error(d)
	}
}

// What mend clears is told, and only what it was asked for is cleared.
func TestMend(t *testing.T) {
	told := []Mark{{Kind: MarkTold, For: "fast", Cause: realm.CauseRateLimited, Until: time.Unix(1_800_000_000, 0).UTC()}}
	for name, tc := range map[string]struct {
		path  string
		clear []string // the credentials that the scheduler is asked to mend; "" for all
		want  []Cleared
	}{
		"all": {"/channels/main/mend", []string{""}, []Cleared{
			{Mark: told[0]},
			{BaseURL: "https://one.example.com/v1", Credential: "bob", Mark: told[0]},
		}},
		"one":       {"/channels/main/mend?credential=bob", []string{"bob"}, []Cleared{{BaseURL: "https://one.example.com/v1", Credential: "bob", Mark: told[0]}}},
		"same name": {"/channels/main/mend?credential=alice", []string{"alice", "alice"}, []Cleared{}},
	} {
		t.Run(name, func(t *testing.T) {
			_, c := controlled(t)
			live := c.channels()
			live[0].Marks, live[0].Endpoints[0].Credentials[1].Marks = told, told
			live = append(live, ChannelState{Name: "other", Marks: told}) // which ends meanwhile by itself
			c.channels = func() []scheduler.ChannelState { return live }
			var asked []string
			c.mend = func(channel, id realm.ID) {
				if channel != live[0].ID {
					t.Errorf("channel %s", channel)
				}
				live[1].Marks = nil
				if id == 0 {
					live[0].Marks = nil
					asked = append(asked, "")
				}
				for _, ep := range live[0].Endpoints {
					for i := range ep.Credentials {
						if cr := &ep.Credentials[i]; id == 0 || id == cr.ID {
							cr.Marks = nil
							if id != 0 {
								asked = append(asked, cr.Name)
							}
						}
					}
				}
			}
			var got Mended
			if code := c.ask(t, http.MethodPost, tc.path, &got); code != http.StatusOK {
				t.Fatal(code)
			}
			if d := cmp.Diff(tc.want, got.Cleared); d != "" || !slices.Equal(asked, tc.clear) {
				t.Errorf("asked for %q\n%s", asked, d)
			}
		})
	}
}

func TestMendNobody(t *testing.T) {
	_, c := controlled(t)
	c.mend = func(_, _ realm.ID) { t.Error("something was mended") }
	for path, want := range map[string]string{
		"/channels/none/mend":                 `there is no channel named "none"`,
		"/channels/main/mend?credential=none": `the channel "main" has no credential named "none"`,
	} {
		var got struct{ Error string }
		if code := c.ask(t, http.MethodPost, path, &got); code != http.StatusNotFound || got.Error != want {
			t.Errorf("%s: %d, %q", path, code, got.Error)
		}
	}
}

// A mark that is there before and after, for another time, was not cleared.
func TestHolds(t *testing.T) {
	was := Cleared{Credential: "a", Mark: Mark{Kind: MarkTold, For: "m", Until: time.Unix(1, 0)}}
	still, other := was, was
	still.Mark.Until = time.Unix(2, 0)
	other.Mark.For = "n"
	if !holds([]Cleared{other, still}, was) || holds([]Cleared{other}, was) {
		t.Error("holds confuses times with marks")
	}
}

// A page of rows is not the end of the search.
func TestFindStoriesBeyondAPage(t *testing.T) {
	a, _ := controlled(t)
	const rows = 1500
	started := time.UnixMilli(1_795_000_000_000).UTC()
	batch := make([]realm.RequestRecord, rows)
	for i := range batch {
		at := started.Add(time.Duration(i) * time.Second)
		batch[i] = realm.RequestRecord{ID: realm.NewRequestID(at, 1, 1), StartedAt: at, Model: "new", Ended: realm.EndedRefused, Usage: realm.Usage{Source: realm.UsageNone}}
	}
	batch[0].Model = "old"
	if err := a.insertRecords(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	list, looked, err := FindStories(t.Context(), a.Store, 2, func(s *Story) bool { return s.Model == "old" })
	if err != nil || looked != rows || len(list) != 1 || list[0].ID != batch[0].ID {
		t.Errorf("%d found among %d, %v", len(list), looked, err)
	}
}

func TestStories(t *testing.T) {
	a, c := controlled(t)
	if _, err := a.Accounts.UpsertUser(t.Context(), "test", account.UserSpec{Name: "owner", Role: realm.RoleRoot, Groups: []string{realm.DefaultGroup}, Enabled: true}); err != nil {
		t.Fatal(err)
	}
	_, token, err := a.Accounts.CreateToken(t.Context(), "test", account.TokenSpec{User: "owner", Name: "laptop"})
	if err != nil {
		t.Fatal(err)
	}
	ch := a.Catalog.Snapshot().Channel("main")
	ep := ch.Endpoints[1]
	started := time.UnixMilli(1_795_000_000_000).UTC()
	try := realm.AttemptRecord{
		Number: 1, StartedAt: started.Add(5 * time.Millisecond), Channel: 101, Endpoint: 102, Credential: 103, Model: "old",
		Cause: realm.CauseConnect, Duration: 20 * time.Millisecond, Error: "refused",
	}
	second := realm.AttemptRecord{
		Number: 2, StartedAt: started.Add(275 * time.Millisecond), Channel: ch.ID, Endpoint: ep.ID, Credential: ep.Credentials[0].ID, Model: "up",
		Status: 200, Cause: realm.CauseOK, Duration: 40 * time.Millisecond, FirstByte: 30 * time.Millisecond,
	}
	rec := realm.RequestRecord{
		ID: realm.NewRequestID(started, 1, 1), StartedAt: started, UserID: token.UserID, TokenID: token.ID,
		Operation: "chat.completions", Model: "fast", Stream: true, Status: 200, Ended: realm.EndedCompleted, Cause: realm.CauseOK,
		Group: ch.Groups[0], Channel: ch.ID, Endpoint: ep.ID, Credential: ep.Credentials[0].ID, UpstreamModel: "up",
		Usage:    realm.Usage{Input: 12, Cached: 8, Output: 3, Source: realm.UsageUpstream},
		Duration: 320 * time.Millisecond, FirstByte: 310 * time.Millisecond, Attempts: 2, ClientRequestID: "mine",
		Tries: []realm.AttemptRecord{try, second},
	}
	newer := realm.RequestRecord{ID: realm.NewRequestID(started.Add(time.Second), 1, 1), StartedAt: started.Add(time.Second), Ended: realm.EndedRefused, Usage: realm.Usage{Source: realm.UsageNone}}
	if err := a.insertRecords(t.Context(), []realm.RequestRecord{rec, newer}); err != nil {
		t.Fatal(err)
	}
	place := Place{ChannelID: ch.ID, ChannelName: "main", EndpointID: ep.ID, BaseURL: ep.BaseURL, CredentialID: ep.Credentials[0].ID, CredentialName: "alice"}
	want := Story{
		ID: rec.ID, StartedAt: started, UserID: token.UserID, UserName: "owner", TokenID: token.ID, TokenName: "laptop",
		Operation: "chat.completions", Model: "fast", Stream: true, Status: 200, Ended: realm.EndedCompleted, Cause: realm.CauseOK,
		GroupID: ch.Groups[0], GroupName: realm.DefaultGroup, Place: place, UpstreamModel: "up",
		Usage:      StoryUsage{Input: 12, Cached: 8, Output: 3, Source: realm.UsageUpstream},
		DurationMS: 320, FirstByteMS: 310, Attempts: 2, ClientRequestID: "mine",
		Tries: []StoryTry{
			{Number: 1, StartedAt: try.StartedAt, OffsetMS: 5, WaitMS: 5, Place: Place{ChannelID: 101, EndpointID: 102, CredentialID: 103}, Model: "old", Cause: realm.CauseConnect, DurationMS: 20, Error: "refused"},
			{Number: 2, StartedAt: second.StartedAt, OffsetMS: 275, WaitMS: 250, Place: place, Model: "up", Status: 200, Cause: realm.CauseOK, FirstByteMS: 30, DurationMS: 40},
		},
	}
	var got Story
	if code := c.ask(t, http.MethodGet, "/requests/"+rec.ID.String(), &got); code != http.StatusOK {
		t.Fatal(code)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	var missing struct{ Error string }
	if code := c.ask(t, http.MethodGet, "/requests/"+realm.NewRequestID(started, 9, 9).String(), &missing); code != http.StatusNotFound || missing.Error == "" {
		t.Errorf("%d, %+v", code, missing)
	}
	for name, tc := range map[string]struct {
		limit int
		fits  func(*Story) bool
		want  []realm.RequestID
		seen  int
	}{
		"newest":        {1, func(*Story) bool { return true }, []realm.RequestID{newer.ID}, 1},
		"all":           {5, func(*Story) bool { return true }, []realm.RequestID{newer.ID, rec.ID}, 2},
		"those by name": {5, func(s *Story) bool { return s.ChannelName == "main" }, []realm.RequestID{rec.ID}, 2},
	} {
		list, looked, err := FindStories(t.Context(), a.Store, tc.limit, tc.fits)
		var ids []realm.RequestID
		for _, s := range list {
			ids = append(ids, s.ID)
		}
		if err != nil || looked != tc.seen || !slices.Equal(ids, tc.want) {
			t.Errorf("%s: %v after %d, %v", name, ids, looked, err)
		}
	}
}
