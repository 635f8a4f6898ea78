package declare

import (
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"realms/internal/realm"
)

// name draws few names, so that files meet each other's, and awkward ones.
var name = rapid.SampledFrom([]string{"a", "b", "true", "1.0", "with space", "名", `q"u\o`, "$x", "file:x", "a: b", "&b", "-"})

func names(t *rapid.T, label string) []string {
	return rapid.SliceOfNDistinct(name, 0, 3, rapid.ID[string]).Draw(t, label)
}

// drawFile writes a sound declarative file by hand, so that the writer of
// exports is not tested against itself.
func drawFile(t *rapid.T) string {
	var w writer
	groups := append([]string{realm.DefaultGroup}, names(t, "groups")...)
	w.section("groups", len(groups))
	w.item(1, flow{}.text("name", ownersGroup))
	for _, g := range groups {
		w.item(1, flow{}.text("name", g).plain("multiplier", decimal(t, 6)))
	}
	models := names(t, "models")
	w.section("models", len(models))
	for _, m := range models {
		w.item(1, drawModel(t, m))
	}
	channels := names(t, "channels")
	w.section("channels", len(channels)+1)
	for _, c := range channels {
		drawChannel(t, &w, c, groups)
	}
	drawAccounts(t, &w)
	users := names(t, "users")
	w.section("users", len(users))
	for _, u := range users {
		w.item(1, drawUser(t, u, groups))
	}
	return w.String()
}

func maybe(t *rapid.T, label string) bool { return rapid.Bool().Draw(t, label) }

func decimal(t *rapid.T, places int) string {
	whole := rapid.IntRange(0, 999).Draw(t, "whole")
	frac := rapid.StringMatching(fmt.Sprintf(`(\.[0-9]{1,%d})?`, places)).Draw(t, "frac")
	return fmt.Sprint(whole) + frac
}

func drawModel(t *rapid.T, name string) flow {
	f := flow{}.text("name", name).disabled(maybe(t, "enabled"))
	if maybe(t, "owned") {
		f = f.text("owned_by", "owner of "+name)
	}
	if maybe(t, "max") {
		f = f.plain("max_output_tokens", fmt.Sprint(rapid.IntRange(0, 1_000_000).Draw(t, "max")))
	}
	if maybe(t, "priced") {
		price := flow{}
		for _, key := range []string{"input", "cached_input", "cache_write", "output", "reasoning"} {
			if maybe(t, key) {
				price = price.plain(key, decimal(t, 9))
			}
		}
		f = f.plain("price", price.String())
	}
	if maybe(t, "compat") {
		f = f.plain("compat", rapid.SampledFrom([]string{"[]", "[no_sampling]", "[developer_role, max_completion_tokens]"}).Draw(t, "compat"))
	}
	return f
}

func some(t *rapid.T, list []string, label string) []string {
	return rapid.SliceOfNDistinct(rapid.SampledFrom(list), 0, len(list), rapid.ID[string]).Draw(t, label)
}

func drawUser(t *rapid.T, name string, groups []string) flow {
	f := flow{}.text("name", name).disabled(maybe(t, "enabled"))
	role := "user"
	if maybe(t, "role") {
		role = rapid.SampledFrom([]string{"user", "admin", "root"}).Draw(t, "role")
		f = f.text("role", role)
	}
	if role != "user" {
		groups = append(slices.Clip(groups), ownersGroup)
	}
	if maybe(t, "grouped") {
		f = f.plain("groups", textList(some(t, groups, "groups")))
	}
	return f
}

func drawChannel(t *rapid.T, w *writer, name string, groups []string) {
	w.line(1, "- name: %s", quote(name))
	w.line(2, "enabled: %v", maybe(t, "enabled"))
	w.line(2, "priority: %d", rapid.IntRange(-9, 9).Draw(t, "priority"))
	w.line(2, "weight: %d", rapid.IntRange(0, 9).Draw(t, "weight"))
	if maybe(t, "grouped") {
		w.line(2, "groups: %s", textList(some(t, groups, "groups")))
	}
	if maybe(t, "apis") {
		w.line(2, "apis: [embeddings, chat]")
	}
	if maybe(t, "bound") {
		drawBindings(t, w)
	}
	if maybe(t, "set") {
		drawSettings(t, w)
	}
	if !maybe(t, "reachable") {
		return
	}
	urls := some(t, []string{"https://a.example/v1", "http://127.0.0.1:1/x", "https://b.example"}, "urls")
	w.list(2, "endpoints", len(urls))
	for _, u := range urls {
		w.line(3, "- base_url: %s", quote(u))
		creds := names(t, "credentials")
		w.list(4, "credentials", len(creds))
		for _, c := range creds {
			f := flow{}.text("name", c).disabled(maybe(t, "enabled"))
			if maybe(t, "keyed") {
				f = f.text("api_key", rapid.SampledFrom([]string{"", "test-1", `t"e\s$t{2}`, "${"[:1] + "x"}).Draw(t, "key"))
			}
			if maybe(t, "ranked") {
				f = f.plain("priority", "3").plain("weight", "0")
			}
			if maybe(t, "limited") {
				f = f.plain("limits", drawLimits(t).String())
			}
			w.item(5, f)
		}
	}
}

// ownersGroup has no users but administrators.
const ownersGroup = "owners"

// drawAccounts writes a channel of ChatGPT accounts.
func drawAccounts(t *rapid.T, w *writer) {
	w.line(1, "- name: accounts")
	w.line(2, "type: codex_oauth")
	w.line(2, "groups: %s", rapid.SampledFrom([]string{"[]", "[" + ownersGroup + "]"}).Draw(t, "groups"))
	if maybe(t, "apis") {
		w.line(2, "apis: %s", rapid.SampledFrom([]string{"[compact]", "[compact, responses]"}).Draw(t, "apis"))
	}
	if maybe(t, "set") {
		w.line(2, "timeouts: %s", drawTimeouts(t))
		w.line(2, "store: false")
		w.line(2, "headers: {set: {version: '1'}, delete: [x-c]}")
	}
	switch rapid.SampledFrom([]string{"none", "empty", "bare", "some"}).Draw(t, "endpoints") {
	case "empty":
		w.line(2, "endpoints: []")
	case "bare":
		w.line(2, "endpoints: [{}]")
	case "some":
		creds := names(t, "credentials")
		w.line(2, "endpoints:")
		w.list(3, "- credentials", len(creds))
		for _, c := range creds {
			w.item(5, flow{}.text("name", c).disabled(maybe(t, "enabled")).plain("limits", drawLimits(t).String()))
		}
	}
	if maybe(t, "bound") {
		drawBindings(t, w)
	}
}

func drawBindings(t *rapid.T, w *writer) {
	bound := names(t, "bindings")
	w.list(2, "models", len(bound))
	for _, b := range bound {
		upstream := strings.ToUpper(b) + "-up"
		if maybe(t, "pattern") {
			b += "*"
			upstream = rapid.SampledFrom([]string{"*", b, upstream, upstream + "-*-x"}).Draw(t, "upstream")
		}
		switch {
		case maybe(t, "mapped"):
			w.item(3, flow{}.text("name", b).text("upstream", upstream))
		case maybe(t, "timed"):
			w.item(3, flow{}.text("name", b).plain("timeouts", drawTimeouts(t).String()))
		default:
			w.line(3, "- %s", quote(b))
		}
	}
}
