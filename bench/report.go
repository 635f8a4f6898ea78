package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// report turns results into Markdown.
type report struct {
	rig                   *rig
	options               options
	results               results
	loadBefore, loadAfter string
}

// yardstick is the target that the ratios compare with.
const yardstick = "bare"

func (r report) markdown(ctx context.Context) string {
	var b strings.Builder
	b.WriteString(r.method(ctx))
	b.WriteString("\n## CPU time of the gateway per request, and memory under load\n\n")
	b.WriteString("| scenario | clients | gateway | CPU per request | × bare (lowest – highest round) | requests/s | peak RSS | × bare |\n|---|---|---|---|---|---|---|---|\n")
	for i, s := range scenarios {
		for _, t := range r.rig.targets {
			if t.launch != nil && s.runs(t) {
				b.WriteString(r.costLine(i, s, t.name))
			}
		}
	}
	b.WriteString("\n## Latency added to the upstream's own\n\n")
	b.WriteString("A gateway's quantile less the one measured straight to the upstream in the same round; medians over the rounds, and in parentheses the ratio to what bare adds. *First* is the time to the first byte of the body.\n\n")
	b.WriteString("| scenario | clients | gateway | p50 | p99 | first p50 | first p99 |\n|---|---|---|---|---|---|---|\n")
	for i, s := range scenarios {
		for _, t := range r.rig.targets {
			if s.runs(t) {
				b.WriteString(r.latencyLine(i, s, t.name))
			}
		}
	}
	b.WriteString(r.conversions())
	b.WriteString(r.lifeTable())
	b.WriteString(r.rows(ctx))
	return b.String()
}

func (r report) costLine(i int, s scenario, name string) string {
	obs, base := r.results.loads[i][name], r.results.loads[i][yardstick]
	cpu := func(o observation) float64 { return float64(o.cpu) }
	peak := func(o observation) float64 { return float64(o.peak) }
	return fmt.Sprintf("| %s | %d | %s | %s | %s | %.0f | %s | %s |\n", s.name, s.clients, name,
		micro(median(obs, cpu)), ratio(obs, base, cpu), median(obs, func(o observation) float64 { return o.rate }),
		mib(median(obs, peak)), ratioOf(median(obs, peak), median(base, peak)))
}

func (r report) latencyLine(i int, s scenario, name string) string {
	cells := make([]string, 0, 4)
	for _, get := range []func(observation) time.Duration{
		func(o observation) time.Duration { return o.p50 }, func(o observation) time.Duration { return o.p99 },
		func(o observation) time.Duration { return o.firstP50 }, func(o observation) time.Duration { return o.firstP99 },
	} {
		cells = append(cells, r.latencyCell(i, name, get))
	}
	return fmt.Sprintf("| %s | %d | %s | %s |\n", s.name, s.clients, name, strings.Join(cells, " | "))
}

// latencyCell is what a target adds, and the ratio of that to what the
// yardstick adds; for the upstream itself it is the whole time.
func (r report) latencyCell(i int, name string, get func(observation) time.Duration) string {
	direct := r.results.loads[i]["direct"]
	if name == "direct" || len(direct) == 0 {
		return micro(median(r.results.loads[i][name], func(o observation) float64 { return float64(get(o)) })) + " in all"
	}
	added := func(name string) float64 {
		obs := r.results.loads[i][name]
		values := make([]float64, len(obs))
		for j := range obs {
			values[j] = float64(get(obs[j]) - get(direct[j]))
		}
		return middle(values)
	}
	return fmt.Sprintf("%+.0f µs (× %s)", added(name)/1e3, ratioOf(added(name), added(yardstick)))
}

// conversions reports what converting a stream costs over passing one through, for
// the same client and for the same upstream.
func (r report) conversions() string {
	type kind struct {
		model string
		tools int
	}
	loads := map[kind][]observation{}
	for i, s := range scenarios {
		if s.clients == 32 {
			loads[kind{s.model, s.tools}] = r.results.loads[i]["realms"]
		}
	}
	cpu := func(o observation) float64 { return float64(o.cpu) }
	var b strings.Builder
	for _, d := range []struct {
		name, model, client, upstream string
		tools                         int
	}{
		{"a Responses client, a chat upstream", modelOverChat, modelResponses, modelStream, 0},
		{"a chat client, a Responses upstream", modelOverResponses, modelStream, modelResponses, 0},
		{"an agent's Responses request, a chat upstream", modelOverChat, modelResponses, modelStream, agentTools},
		{"an agent's chat request, a Responses upstream", modelOverResponses, modelStream, modelResponses, agentTools},
	} {
		if obs := loads[kind{d.model, d.tools}]; len(obs) > 0 {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", d.name, ratio(obs, loads[kind{d.client, d.tools}], cpu), ratio(obs, loads[kind{d.upstream, d.tools}], cpu))
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return "\n## Converting a stream\n\nRealms' CPU time for a stream of 50 deltas that it converts, at 32 clients, to what it takes to pass one through: one of the client's dialect, and one of the upstream's. " +
		fmt.Sprintf("An agent's request has %d KiB of text and %d tools.", agentPrompt>>10, agentTools) +
		"\n\n| | × the client's own | × the upstream's own |\n|---|---|---|\n" + b.String()
}

// lifeTable reports fresh processes.
func (r report) lifeTable() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n## A fresh process, and %d idle streams\n\n", r.options.streams)
	b.WriteString("| gateway | exec to first answer | idle RSS | RSS per idle stream | × bare |\n|---|---|---|---|---|\n")
	base := median(r.results.lives[yardstick], func(l life) float64 { return l.perStream })
	for _, t := range r.rig.targets {
		ls := r.results.lives[t.name]
		if len(ls) == 0 {
			continue
		}
		per := median(ls, func(l life) float64 { return l.perStream })
		fmt.Fprintf(&b, "| %s | %.0f ms | %s | %.1f KiB | %s |\n", t.name,
			median(ls, func(l life) float64 { return float64(l.cold) / 1e6 }),
			mib(median(ls, func(l life) float64 { return float64(l.idle) })), per, ratioOf(per, base))
	}
	return b.String()
}

// rows reports what writing a row for each request costs, as a share of the
// bare proxy's whole cost.
func (r report) rows(ctx context.Context) string {
	var b strings.Builder
	for i, s := range scenarios {
		with, without, base := r.results.loads[i]["realms"], r.results.loads[i]["realms-norows"], r.results.loads[i][yardstick]
		if len(with) == 0 || len(without) == 0 || len(base) == 0 {
			continue
		}
		share := make([]float64, len(with))
		for j := range with {
			share[j] = float64(with[j].cpu-without[j].cpu) / float64(base[j].cpu)
		}
		fmt.Fprintf(&b, "| %s | %d | %.2f |\n", s.name, s.clients, middle(share))
	}
	if b.Len() == 0 {
		return ""
	}
	for _, t := range r.rig.targets {
		if t.store == "" {
			continue
		}
		kept := "unknown"
		if n, err := t.kept(ctx); err == nil {
			kept = strconv.Itoa(n)
		}
		fmt.Fprintf(&b, "\n%s: %s rows in the store after %d requests.\n", t.name, kept, t.sent)
	}
	return "\n## Writing the rows\n\nRealms with its request rows (SQLite) less Realms without them, as a share of the bare proxy's CPU time.\n\n| scenario | clients | × bare |\n|---|---|---|\n" + b.String()
}

// method says how the numbers were made, so that nobody compares what differs.
func (r report) method(ctx context.Context) string {
	var b strings.Builder
	pinned := "not pinned: taskset or a second CPU is missing, so the processes disturbed each other"
	if os.Getenv(pinnedEnv) != "" {
		pinned = "gateway on CPU " + gatewayCPU + ", generator and upstream on CPU " + loadCPU + " (taskset), so a gateway in Go has GOMAXPROCS 1"
	}
	fmt.Fprintf(&b, "# What the gateway costs\n\nWritten by `make bench`; not edited by hand. The method is described in `bench/doc.go`.\n\n")
	fmt.Fprintf(&b, "- when: %s, commit %s\n", time.Now().UTC().Format("2006-01-02 15:04 MST"), commit(ctx))
	fmt.Fprintf(&b, "- machine: %s, %d CPUs, Linux %s, %s; load average before %s, after %s\n", cpuModel(), cpus(), fileLine("/proc/sys/kernel/osrelease"), runtime.Version(), r.loadBefore, r.loadAfter)
	fmt.Fprintf(&b, "- placement: %s\n", pinned)
	fmt.Fprintf(&b, "- rounds: %d, scale %g; medians over the rounds; a ratio pairs two runs of one round\n", r.options.rounds, r.options.scale)
	b.WriteString("- bare: `httputil.ReverseProxy{Rewrite, FlushInterval: -1}`, idle connections ≥ clients, no compression\n")
	for _, m := range r.rig.missing {
		fmt.Fprintf(&b, "- left out: %s\n", m)
	}
	return b.String()
}

// ratio pairs the rounds of two targets: median, lowest, highest.
func ratio(obs, base []observation, get func(observation) float64) string {
	n := min(len(obs), len(base))
	if n == 0 {
		return "–"
	}
	rs := make([]float64, 0, n)
	for j := range n {
		if b := get(base[j]); b > 0 {
			rs = append(rs, get(obs[j])/b)
		}
	}
	if len(rs) == 0 {
		return "–"
	}
	return fmt.Sprintf("**%.2f** (%.2f – %.2f)", middle(rs), slices.Min(rs), slices.Max(rs))
}

func ratioOf(a, b float64) string {
	if b <= 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f", a/b)
}

func median[T any](list []T, get func(T) float64) float64 {
	values := make([]float64, len(list))
	for i, v := range list {
		values[i] = get(v)
	}
	return middle(values)
}

// middle is the median; 0 of nothing.
func middle(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

func micro(ns float64) string { return fmt.Sprintf("%.0f µs", ns/1e3) }

func mib(kib float64) string { return fmt.Sprintf("%.1f MiB", kib/1024) }

func loadAverage() string {
	first, _, _ := strings.Cut(fileLine("/proc/loadavg"), " ")
	return first
}

// fileLine is a file's first line, or "unknown".
func fileLine(name string) string {
	text, err := os.ReadFile(name)
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo") // missing: unknown
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown CPU"
}

// cpus counts the machine's, where runtime.NumCPU counts those left by taskset.
func cpus() int {
	text, _ := os.ReadFile("/proc/cpuinfo") // missing: none known
	return strings.Count("\n"+string(text), "\nprocessor")
}

// commit names the tree that was measured; "+" says that it had changes.
func commit(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty=+").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
