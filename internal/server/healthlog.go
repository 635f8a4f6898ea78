package server

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"realms/internal/realm"
	"realms/internal/scheduler"
)

// healthRoom is how many of the scheduler's notes may wait to be written down.
const healthRoom = 1024

// healthLog writes down what the scheduler finds out: breakers in the log, refused
// credentials in the store. The scheduler tells it with its lock held, so that it
// only takes notes there.
type healthLog struct {
	app     *App
	notes   chan scheduler.Event
	refused chan refusal
	dropped prometheus.Counter
}

type refusal struct {
	credential *realm.Credential
	reason     string
	version    int64 // of the account's identity that was refused
}

func newHealthLog(a *App) *healthLog {
	h := &healthLog{
		app: a, notes: make(chan scheduler.Event, healthRoom), refused: make(chan refusal, healthRoom),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "realms_health_notes_dropped_total", Help: "Changes of upstreams' health that were neither logged nor stored because too many came at once.",
		}),
	}
	a.Registry.MustRegister(h.dropped)
	return h
}

// note takes down a breaker's change.
func (h *healthLog) note(e scheduler.Event) {
	select {
	case h.notes <- e:
	default:
		h.dropped.Inc()
	}
}

// outOfUse takes down a credential that is refused for good. If there is no room
// the scheduler keeps it out of use in memory all the same.
func (h *healthLog) outOfUse(cr *realm.Credential, o realm.Outcome) {
	select {
	case h.refused <- refusal{cr, o.Reason(), o.Version}:
	default:
		h.dropped.Inc()
	}
}

// run writes the notes down until ctx ends.
func (h *healthLog) run(ctx context.Context) error {
	for {
		select {
		case e := <-h.notes:
			h.log(e)
		case r := <-h.refused:
			h.store(ctx, r)
		case <-ctx.Done():
			return nil
		}
	}
}

func (h *healthLog) log(e scheduler.Event) {
	channel, url := "", ""
	for _, ch := range h.app.Catalog.Snapshot().Channels() {
		if ch.ID == e.Channel {
			channel = ch.Name
		}
		for _, ep := range ch.Endpoints {
			if ep.ID == e.Endpoint {
				channel, url = ch.Name, ep.BaseURL
			}
		}
	}
	if e.Kind == scheduler.MarkTold {
		h.app.Log.Warn("channel does not have an api that it was asked for; it is not asked for it again until it is changed or mended",
			"channel", channel, "api", e.Model)
		return
	}
	if e.Kind == scheduler.MarkOpen {
		h.app.Log.Warn("endpoint passed by", "channel", channel, "base_url", url, "model", e.Model, "cause", string(e.Cause), "for", e.For.Round(100*time.Millisecond))
		return
	}
	h.app.Log.Info("endpoint in use again", "channel", channel, "base_url", url, "model", e.Model)
}

// storePatience bounds the writing of one refusal; a store that is away must not
// keep the next from being heard.
const storePatience = 10 * time.Second

// store puts a credential out of use until somebody mends it. Until that is
// written, and if it cannot be, the scheduler keeps requests from it.
func (h *healthLog) store(ctx context.Context, r refusal) {
	ctx, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	ch := r.credential.Endpoint.Channel.Name
	if err := h.putOut(ctx, r); err != nil {
		h.app.Log.Error("credential out of use, but not written down: a restart will try it again",
			"channel", ch, "credential", r.credential.Name, "reason", r.reason, "error", err)
		return
	}
	h.app.changed()
	if r.credential.Endpoint.Channel.Type == realm.CodexOAuth {
		return // who keeps the accounts has said so
	}
	h.app.Log.Warn("credential out of use until it is mended: give it a new key, or `realms channel mend`",
		"channel", ch, "credential", r.credential.Name, "reason", r.reason)
}

// putOut writes a refusal down where the credential's own are: an account's sign-in
// may have been renewed meanwhile, as a key may have been changed.
func (h *healthLog) putOut(ctx context.Context, r refusal) error {
	if r.credential.Endpoint.Channel.Type == realm.CodexOAuth {
		return h.app.Codex.Refused(ctx, r.credential, r.reason, r.version)
	}
	return h.app.Catalog.CredentialOutOfUse(ctx, r.credential, r.reason)
}
