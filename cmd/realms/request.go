package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"time"

	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/server"
	"realms/internal/store"
)

var requestShowCommand = command{
	name: "request show", args: "ID", short: "tell the story of a request: every attempt, why it failed, how long it took",
	long: `
The ID is what the answer carried as x-request-id. The row of a request is there
up to a second after its end. Of a request that succeeded at once there is no
more than its row.`,
	setup: func(c *cli, f *flag.FlagSet) action {
		asJSON := f.Bool("json", false, "print everything as JSON")
		return func(ctx context.Context, args []string) error {
			text, err := oneArg(args, "the request's ID")
			if err != nil {
				return err
			}
			id, err := pastedID(text)
			if err != nil {
				return err
			}
			story, err := c.readStory(ctx, id)
			if err != nil {
				return err
			}
			if *asJSON {
				return c.printJSON(story)
			}
			return c.print(storyText(story))
		}
	},
}

// pastedID finds the id in what was copied from a header or a log line.
func pastedID(text string) (realm.RequestID, error) {
	_, word, ok := strings.Cut(text, ":")
	if !ok {
		word = text
	}
	id, err := realm.ParseRequestID(strings.Trim(word, " \t\r\n\"',;"))
	if err != nil {
		return id, usagef("%q is %s", text, err)
	}
	return id, nil
}

// readStory asks the running server, or else the store.
func (c *cli) readStory(ctx context.Context, id realm.RequestID) (*server.Story, error) {
	cfg, err := c.loadConfig()
	if err != nil {
		return nil, err
	}
	story, err := newControl(cfg).story(ctx, id)
	if !errors.Is(err, errNoServer) {
		return story, err
	}
	err = c.readConfigured(ctx, cfg, func(s *store.Store) (err error) {
		story, err = server.ReadStory(ctx, s, id)
		return err
	})
	return story, err
}

// requestFilter is which requests are asked for; zero values ask for all.
type requestFilter struct {
	failed               bool
	model, channel, user string
}

func (f requestFilter) fits(s *server.Story) bool {
	return (!f.failed || failed(s.Ended)) &&
		(f.model == "" || s.Model == f.model) &&
		(f.channel == "" || s.ChannelName == f.channel) &&
		(f.user == "" || s.UserName == f.user)
}

// failed tells whether somebody did not get what they waited for.
func failed(e realm.Ended) bool { return e != realm.EndedCompleted && e != realm.EndedClientGone }

var requestListCommand = command{
	name: "request list", short: "list the requests, newest first",
	long: `
The channel is the one that served, or was asked last; request show tells the
others.`,
	setup: func(c *cli, f *flag.FlagSet) action {
		var filter requestFilter
		last := f.Int("last", 20, "at most `N`")
		f.BoolVar(&filter.failed, "failed", false, "only those that failed, were refused or were cut; not those whose client left")
		f.StringVar(&filter.model, "model", "", "only those for the `MODEL`")
		f.StringVar(&filter.channel, "channel", "", "only those of the channel `NAME`")
		f.StringVar(&filter.user, "user", "", "only those of the user `NAME`")
		asJSON := f.Bool("json", false, "print everything as JSON")
		return func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			if *last < 1 {
				return usagef("--last is at least 1")
			}
			return c.readStore(ctx, func(_ config.Config, s *store.Store) error {
				list, looked, err := server.FindStories(ctx, s, *last, filter.fits)
				if err != nil {
					return err
				}
				if looked >= server.StoriesLookedAt && len(list) < *last {
					fmt.Fprintf(c.stderr, "these are of the newest %d requests; older ones were not looked at\n", looked)
				}
				if *asJSON {
					return c.printJSON(list)
				}
				return c.table(requestRows(list))
			})
		}
	},
}

func requestRows(list []*server.Story) [][]string {
	rows := [][]string{{"STARTED", "ID", "USER", "MODEL", "CHANNEL", "TRIES", "STATUS", "END", "1ST BYTE", "TOOK"}}
	for _, s := range list {
		rows = append(rows, []string{
			moment(s.StartedAt, ""), s.ID.String(), named(s.UserName, s.UserID), orNone(s.Model), named(s.ChannelName, s.ChannelID),
			strconv.Itoa(s.Attempts), status(s.Status), shortEnd(s), millis(s.FirstByteMS), millis(s.DurationMS),
		})
	}
	return rows
}

// shortEnd is how a request ended, and why if that says more.
func shortEnd(s *server.Story) string {
	end := string(s.Ended)
	if why := string(s.Cause); why != "" && why != end && s.Cause != realm.CauseOK {
		end += ": " + why
	}
	return end
}

// named is a name, or the id of what has no name any more.
func named(name string, id realm.ID) string {
	switch {
	case name != "":
		return name
	case id != 0:
		return id.String() + " (gone)"
	}
	return none
}

func orNone(text string) string {
	if text == "" {
		return none
	}
	return text
}

func status(code int) string {
	if code == 0 {
		return none
	}
	return strconv.Itoa(code)
}

func millis(ms int64) string {
	if ms == 0 {
		return none
	}
	return span(time.Duration(ms) * time.Millisecond)
}
