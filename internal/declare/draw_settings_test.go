package declare

import (
	"fmt"
	"strings"

	"pgregory.net/rapid"
)

// drawSettings writes any of a channel's settings, defaults among them.
func drawSettings(t *rapid.T, w *writer) {
	line := func(key string, values ...string) {
		if maybe(t, key) {
			w.line(2, "%s: %s", key, rapid.SampledFrom(values).Draw(t, key))
		}
	}
	if maybe(t, "timed") {
		w.line(2, "timeouts: %s", drawTimeouts(t))
	}
	line("attempts", "0", "6")
	if maybe(t, "limited") {
		w.line(2, "limits: %s", drawLimits(t))
	}
	line("proxy", `""`, "http://proxy.example:3128", `"socks5h://u:test-p%40ss$$@[::1]:1080"`, "https://key@proxy.example")
	line("probe", "0s", "10s", "1h30m")
	line("on_disconnect", "cancel", "drain")
	line("service_tier", "pass", "drop", `[default, "pass", 'a: b']`)
	line("store", "pass", "false", `"false"`)
	line("safety_identifier", "pass", "drop", "hmac")
	line("headers", "{}", "{set: {}}", `{set: {x-a: "test-b: {c}", OpenAI-Beta: '1', X-D: $$5}, delete: [X-C, x-e]}`, "{delete: [x-c]}")
	line("status_map", "{}", "{400: 503, 599: 400}")
	if !maybe(t, "edited") {
		return
	}
	n := rapid.IntRange(0, 3).Draw(t, "edits")
	w.list(2, "body", n)
	for range n {
		f := flow{}
		switch rapid.SampledFrom([]string{"set", "delete", "rename"}).Draw(t, "op") {
		case "set":
			f = f.plain("op", "set").text("path", "a.b c").plain("value", drawValue(t, 3))
		case "delete":
			f = f.plain("op", "delete").text("path", "metadata.$x")
		default:
			f = f.plain("op", "rename").text("path", "d").text("to", "e f")
		}
		if maybe(t, "confined") {
			f = f.plain("models", `["gpt-*", "*", m]`)
		}
		w.item(3, f)
	}
}

func drawTimeouts(t *rapid.T) flow {
	f := flow{}
	for key, values := range map[string][]string{"connect": {"1ms", "3s"}, "first_byte": {"20s", "1h0m0s"}, "first_event": {"0s", "5m"}, "idle": {"0", "1.5s"}} {
		if maybe(t, key) {
			f = f.plain(key, rapid.SampledFrom(values).Draw(t, key))
		}
	}
	return f
}

func drawLimits(t *rapid.T) flow {
	f := flow{}
	for _, key := range []string{"concurrent", "rpm", "tpm"} {
		if maybe(t, key) {
			f = f.plain(key, fmt.Sprint(rapid.IntRange(0, 1_000_000_000).Draw(t, key)))
		}
	}
	return f
}

// drawValue writes a YAML value as somebody might, references aside.
func drawValue(t *rapid.T, depth int) string {
	kinds := []string{"plain", "quoted"}
	if depth > 0 {
		kinds = append(kinds, "list", "map")
	}
	n := rapid.IntRange(0, 3).Draw(t, "n")
	items := make([]string, n)
	switch rapid.SampledFrom(kinds).Draw(t, "kind") {
	case "list":
		for i := range items {
			items[i] = drawValue(t, depth-1)
		}
		return "[" + strings.Join(items, ", ") + "]"
	case "map":
		for i := range items {
			key := rapid.SampledFrom([]string{"k", "with space", "$x", "true", "1", "<<", "a: b", "", "null"}).Draw(t, "key")
			items[i] = literal(key+strings.Repeat("+", i)) + ": " + drawValue(t, depth-1)
		}
		return "{" + strings.Join(items, ", ") + "}"
	case "quoted":
		return quote(rapid.SampledFrom([]string{"", "1", "true", "null", "<&>", "a\nb", "\u2028", "${x}", "file:x", "界", "~", "1e3"}).Draw(t, "text"))
	}
	return rapid.SampledFrom([]string{"1", "-0", "18446744073709551616", "1.50", "1e400", "1E-2", "true", "False", "null", "~", "word", "0x1F", ".5", "+1", "1_000", "yes"}).Draw(t, "plain")
}
