package gateway

import "github.com/prometheus/client_golang/prometheus"

// metrics of the relay. Labels come from closed sets: operations, ends, causes.
type metrics struct {
	requests *prometheus.CounterVec
	attempts *prometheus.CounterVec
	probes   *prometheus.CounterVec
	spent    *prometheus.CounterVec
	inFlight prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) metrics {
	m := metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "realms_requests_total", Help: "Requests by operation and how they ended.",
		}, []string{"operation", "ended"}),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "realms_attempts_total", Help: "Upstream attempts by cause of their end.",
		}, []string{"cause"}),
		probes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "realms_probes_total", Help: "Background probes by cause of their end.",
		}, []string{"cause"}),
		spent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "realms_budget_spent_total", Help: "Requests that failed because a budget of theirs was spent, by which.",
		}, []string{"budget"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "realms_requests_in_flight", Help: "Recognised requests that have not ended.",
		}),
	}
	r.MustRegister(m.requests, m.attempts, m.probes, m.spent, m.inFlight)
	return m
}
