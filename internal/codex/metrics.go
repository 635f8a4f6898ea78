package codex

import "github.com/prometheus/client_golang/prometheus"

// How a renewal ended.
const (
	resultRenewed = "renewed"
	resultFound   = "found"   // another process had done it
	resultFailed  = "failed"  // it may pass
	resultRefused = "refused" // it will not
)

type metrics struct{ renewals *prometheus.CounterVec }

func newMetrics(r prometheus.Registerer) metrics {
	m := metrics{renewals: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "realms_codex_renewals_total", Help: "Renewals of codex accounts' tokens, by how they ended.",
	}, []string{"result"})}
	for _, result := range []string{resultRenewed, resultFound, resultFailed, resultRefused} {
		m.renewals.WithLabelValues(result)
	}
	if r != nil {
		r.MustRegister(m.renewals)
	}
	return m
}

func (m *metrics) renewed(result string) { m.renewals.WithLabelValues(result).Inc() }
