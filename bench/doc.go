// Command bench measures what a gateway costs: it runs Realms, a bare
// httputil.ReverseProxy and, where it is installed, nginx side by side against
// the same fake upstream, in turn, and prints the ratios.
//
// It owns the load, the fake upstream, the bare proxy and the report. It never
// leaves the loopback interface, every loop in it is bounded in count and time,
// and it decides nothing: a number that misses its target is only written down.
//
// # How a number comes about
//
//	generator (this process, CPU 1) → gateway (own process, CPU 0) → fake upstream (own process, CPU 1)
//
// A round runs every scenario once against every target, in an order that
// turns by one each round. A ratio is always taken between two runs of one
// round; what is reported is the median of the rounds' ratios, with the lowest
// and the highest. CPU time is that of the gateway's own process, in user and
// kernel, from /proc/PID/task/*/schedstat: neither the generator nor the
// upstream is in it. At 32 clients the gateway's CPU is full, so the latency
// there is one of queueing; what a gateway adds by itself shows at one client.
//
// Run it with `make bench`; `go run ./bench -h` lists the flags.
package main
