package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"realms/internal/catalog"
	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/server"
)

// none stands in a column that has nothing to say.
const none = "–"

// shortReason is how many characters of a reason a table shows; below the table
// it stands whole.
const shortReason = 28

func (c *cli) showLive(ctx context.Context, cfg config.Config, raw json.RawMessage) error {
	all, err := readChannels(raw)
	if err != nil {
		return err
	}
	if len(all.Channels) == 0 {
		_, err := fmt.Fprintf(c.stderr, "there is no channel yet: `%s` makes some\n", c.again("apply -f FILE"))
		return err
	}
	off := false
	if hasAccounts(all) {
		if off, err = c.readAccountsOff(ctx, cfg); err != nil {
			fmt.Fprintf(c.stderr, "whether the use of ChatGPT accounts is on cannot be read: %s\n", words(err))
		}
	}
	return c.print(slices.Concat(liveTable(all, off), c.offAdvice(off), advice(all, c.again)))
}

// hasAccounts tells whether there is a channel of ChatGPT accounts that would be used.
func hasAccounts(all *server.Channels) bool {
	return slices.ContainsFunc(all.Channels, func(ch server.ChannelState) bool { return ch.Enabled && ofAccounts(&ch) })
}

// ofAccounts tells whether a channel goes out with ChatGPT accounts: no other does
// without an address.
func ofAccounts(ch *server.ChannelState) bool {
	return slices.ContainsFunc(ch.Endpoints, func(ep server.EndpointState) bool { return ep.BaseURL == "" })
}

// offAdvice says below a table what its accounts wait for.
func (c *cli) offAdvice(off bool) []string {
	if !off {
		return nil
	}
	return []string{"", c.accountsOff()}
}

// liveTable has one line a credential, below those of its endpoint and channel.
// An endpoint's address reaches into the columns beside it, which it leaves empty. Off:
// the use of ChatGPT accounts is.
func liveTable(all *server.Channels, off bool) []string {
	t := &stateTable{now: all.At, off: off}
	t.row("CHANNEL", []string{"IN FLIGHT", "LAST 5 MIN", "LAST 60 MIN"}, "STATE")
	for _, ch := range all.Channels {
		t.row(ch.Name, []string{strconv.Itoa(ch.InFlight), "", ""}, t.channel(&ch)...)
		for _, ep := range ch.Endpoints {
			t.row("  "+catalog.EndpointName(ep.BaseURL), nil, t.marks(ep.Marks)...)
			for _, cr := range ep.Credentials {
				t.row("    "+cr.Name, []string{strconv.Itoa(cr.InFlight), share(cr.Last5), share(cr.Last60)}, t.credential(&cr)...)
			}
		}
	}
	return t.lines()
}

// stateTable is rows that end with states, of which each has a line.
type stateTable struct {
	now  time.Time
	off  bool // ChatGPT accounts are not in use
	rows []stateRow
}

type stateRow struct {
	name   string
	cells  []string // nil: the name may take their place
	states []string
}

func (t *stateTable) row(name string, cells []string, states ...string) {
	t.rows = append(t.rows, stateRow{name, cells, states})
}

func (t *stateTable) lines() []string {
	var widths []int
	for _, r := range t.rows {
		if r.cells == nil {
			continue
		}
		for i, cell := range append([]string{r.name}, r.cells...) {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	before := 0 // the states
	for _, w := range widths {
		before += w + len("  ")
	}
	lines := make([]string, 0, len(t.rows))
	for _, r := range t.rows {
		line := r.name
		if r.cells != nil {
			line = ""
			for i, cell := range append([]string{r.name}, r.cells...) {
				line += padded(cell, widths[i]+len("  "))
			}
		}
		for _, state := range r.states {
			lines = append(lines, strings.TrimRight(padded(line, before)+state, " "))
			line = ""
		}
		if len(r.states) == 0 {
			lines = append(lines, strings.TrimRight(line, " "))
		}
	}
	return lines
}

func (t *stateTable) channel(ch *server.ChannelState) []string {
	states := t.marks(ch.Marks)
	switch {
	case !ch.Enabled:
		return append([]string{"disabled"}, states...)
	case t.off && ofAccounts(ch):
		return append([]string{"NOT USABLE: the use of ChatGPT accounts is off"}, states...)
	case !usable(ch):
		return append([]string{"NOT USABLE: none of its credentials may be asked now"}, states...)
	case len(states) == 0:
		return []string{"ok"}
	}
	return states
}

func (t *stateTable) credential(cr *server.CredentialState) []string {
	var states []string
	if !cr.Enabled {
		states = append(states, "disabled")
	}
	if cr.State != realm.CredentialOK {
		states = append(states, "out of use since "+clock(cr.Since, t.now)+" ("+clip(cr.Reason, shortReason)+")")
	}
	states = append(states, t.marks(cr.Marks)...)
	if len(states) == 0 {
		return []string{"ok"}
	}
	return states
}

// gravity is the order in which marks are told.
var gravity = []server.MarkKind{server.MarkTold, server.MarkOpen, server.MarkHalfOpen, server.MarkRecovering}

func (t *stateTable) marks(list []server.Mark) []string {
	sorted := slices.SortedStableFunc(slices.Values(list), func(a, b server.Mark) int {
		return cmp.Or(cmp.Compare(slices.Index(gravity, a.Kind), slices.Index(gravity, b.Kind)), cmp.Compare(a.For, b.For))
	})
	texts := make([]string, 0, len(sorted))
	for _, m := range sorted {
		texts = append(texts, markText(m, t.now))
	}
	return slices.Compact(texts)
}

// markText is "told for gpt-5.5 until 12:03:10 (rate_limited, 42 s)".
func markText(m server.Mark, now time.Time) string {
	text := strings.ReplaceAll(string(m.Kind), "_", "-")
	if m.For != "" {
		text += " for " + m.For
	}
	var why []string
	if m.Cause != "" {
		why = append(why, string(m.Cause))
	}
	switch {
	case !m.Until.IsZero():
		text += " until " + clock(m.Until, now)
		why = append(why, left(m.Until.Sub(now)))
	case m.Kind == server.MarkTold:
		text += " until mended"
	}
	if len(why) == 0 {
		return text
	}
	return text + " (" + strings.Join(why, ", ") + ")"
}

// usable tells whether a channel has a credential that may be asked for some
// model: open ones may be, where nothing else is left.
func usable(ch *server.ChannelState) bool {
	kept := func(marks []server.Mark) bool {
		return slices.ContainsFunc(marks, func(m server.Mark) bool { return m.Kind == server.MarkTold && m.For == "" })
	}
	if !ch.Enabled || kept(ch.Marks) {
		return false
	}
	for _, ep := range ch.Endpoints {
		for _, cr := range ep.Credentials {
			if cr.Enabled && cr.State == realm.CredentialOK && !kept(ep.Marks) && !kept(cr.Marks) {
				return true
			}
		}
	}
	return false
}

// marked tells whether anything is held against a channel, its endpoints or its
// credentials.
func marked(ch *server.ChannelState) bool {
	held := func(marks []server.Mark) bool {
		return slices.ContainsFunc(marks, func(m server.Mark) bool { return m.Kind != server.MarkRecovering })
	}
	return held(ch.Marks) || slices.ContainsFunc(ch.Endpoints, func(ep server.EndpointState) bool {
		return held(ep.Marks) || slices.ContainsFunc(ep.Credentials, func(cr server.CredentialState) bool { return held(cr.Marks) })
	})
}

// outOfUse tells whether a credential of the channel waits for somebody to mend it.
func outOfUse(ch *server.ChannelState) bool {
	return slices.ContainsFunc(ch.Endpoints, func(ep server.EndpointState) bool {
		return slices.ContainsFunc(ep.Credentials, func(cr server.CredentialState) bool { return cr.State != realm.CredentialOK })
	})
}

// remedy says what puts a credential back, unless its reason does.
func remedy(ch *server.ChannelState, ep *server.EndpointState, cr *server.CredentialState, again func(string) string) []string {
	if catalog.IsSignInReason(cr.Reason) {
		return nil
	}
	mend := "  " + again("channel mend "+shellQuote(ch.Name)+" "+shellQuote(cr.Name))
	if ep.BaseURL == "" { // a ChatGPT account
		return []string{fmt.Sprintf("  A new sign-in puts it back (`%s`), or with the account as it is:", again("codex login "+shellQuote(ch.Name)+"/"+shellQuote(cr.Name))), mend}
	}
	return []string{fmt.Sprintf("  A new api_key puts it back (`%s`), or with the key as it is:", again("apply -f FILE")), mend}
}

// advice says what to do about what is out of use, with command lines.
func advice(all *server.Channels, again func(string) string) []string {
	var lines []string
	for _, ch := range all.Channels {
		for _, ep := range ch.Endpoints {
			for _, cr := range ep.Credentials {
				if cr.State == realm.CredentialOK {
					continue
				}
				lines = append(lines, "", fmt.Sprintf("%s of %s is out of use since %s: %s", cr.Name, ch.Name, moment(cr.Since, "long ago"), cr.Reason))
				lines = append(lines, remedy(&ch, &ep, &cr, again)...)
			}
		}
	}
	var held []string
	for _, ch := range all.Channels {
		if marked(&ch) {
			held = append(held, shellQuote(ch.Name))
		}
	}
	switch len(held) {
	case 0:
	case 1:
		lines = append(lines, "", "What has a time ends then by itself; to end it now: "+again("channel mend "+held[0]))
	default:
		lines = append(lines, "", "What has a time ends then by itself; to end it now: "+again("channel mend NAME"))
	}
	return lines
}
