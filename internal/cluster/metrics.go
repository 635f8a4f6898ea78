package cluster

import "github.com/prometheus/client_golang/prometheus"

// The values of the labels.
const (
	errorTimeout    = "timeout"
	errorConnection = "connection"
	errorRefused    = "refused" // Redis answers, and does not do it
	errorGarbage    = "garbage" // a key or a message that is not what we write

	droppedCooldown = "cooldown"
	droppedBinding  = "binding"
)

type metrics struct {
	errors    *prometheus.CounterVec
	dropped   *prometheus.CounterVec
	connected prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) metrics {
	m := metrics{
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "realms_cluster_errors_total", Help: "Operations on Redis that failed, and things found there that are none of ours, by kind.",
		}, []string{"kind"}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "realms_cluster_dropped_total", Help: "What other processes were not told because too much was waiting, by kind.",
		}, []string{"kind"}),
		connected: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "realms_cluster_connected", Help: "Whether Redis is there: 1 or 0.",
		}),
	}
	for _, kind := range []string{errorTimeout, errorConnection, errorRefused, errorGarbage} {
		m.errors.WithLabelValues(kind)
	}
	for _, kind := range []string{droppedCooldown, droppedBinding} {
		m.dropped.WithLabelValues(kind)
	}
	if r != nil {
		r.MustRegister(m.errors, m.dropped, m.connected)
	}
	return m
}

func (m *metrics) garbage() { m.errors.WithLabelValues(errorGarbage).Inc() }
