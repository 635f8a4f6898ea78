package usage

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"realms/internal/realm"
)

// Defaults of Options.
const (
	DefaultQueue    = 16_384
	DefaultBatch    = 2_000
	DefaultInterval = 500 * time.Millisecond
	DefaultFullWait = 100 * time.Millisecond
)

// Options makes a Recorder.
type Options struct {
	// Insert writes a batch in one transaction, idempotently by request id.
	Insert func(context.Context, []realm.RequestRecord) error
	// Off keeps nothing: Close drops the record.
	Off      bool
	Queue    int           // records waiting at most; DefaultQueue
	Batch    int           // rows of one transaction at most; DefaultBatch
	Interval time.Duration // how long a record waits for company; DefaultInterval
	FullWait time.Duration // how long Close waits for a full queue; DefaultFullWait
	Log      *slog.Logger
	Registry prometheus.Registerer
}

// Recorder takes the records of requests and writes them in batches, off the
// requests' way. It is safe for concurrent use.
type Recorder struct {
	o       Options
	queue   chan *realm.RequestRecord
	lost    prometheus.Counter
	written prometheus.Counter
	failed  prometheus.Counter
}

// New makes a Recorder; nothing is written until Run.
func New(o Options) *Recorder {
	o.Queue = defaulted(o.Queue, DefaultQueue)
	o.Batch = defaulted(o.Batch, DefaultBatch)
	o.Interval = defaulted(o.Interval, DefaultInterval)
	o.FullWait = defaulted(o.FullWait, DefaultFullWait)
	r := &Recorder{
		o:     o,
		queue: make(chan *realm.RequestRecord, o.Queue),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "realms_usage_lost_total", Help: "Request records dropped because the queue to the store stayed full.",
		}),
		written: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "realms_usage_written_total", Help: "Request records written to the store.",
		}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "realms_usage_write_failures_total", Help: "Batches of request records that the store refused and that are tried again.",
		}),
	}
	if o.Registry != nil {
		o.Registry.MustRegister(r.lost, r.written, r.failed, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "realms_usage_queue_records", Help: "Request records waiting to be written.",
		}, func() float64 { return float64(len(r.queue)) }))
	}
	return r
}

func defaulted[T int | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

// Ticket stands for one open record.
type Ticket struct {
	recorder *Recorder
	record   *realm.RequestRecord
}

// Open begins the record of an admitted request. The record stays the caller's
// to fill until Close.
func (r *Recorder) Open(rec *realm.RequestRecord) Ticket { return Ticket{recorder: r, record: rec} }

// Close hands the filled record over; the caller must not touch it afterwards.
// It returns when the record is as durable as the recorder promises. An error
// means that it is not, and is already counted.
func (t Ticket) Close() error {
	r := t.recorder
	if r.o.Off {
		return nil
	}
	select {
	case r.queue <- t.record:
		return nil
	default:
	}
	timer := time.NewTimer(r.o.FullWait)
	defer timer.Stop()
	select {
	case r.queue <- t.record:
		return nil
	case <-timer.C:
		r.lost.Inc()
		return errLost
	}
}

var errLost = &realm.Error{Code: realm.CodeUnavailable, Message: "The record of this request could not be kept: the store is too slow."}

// Run writes batches until the context ends, then writes what is still queued,
// for at most ten seconds. A batch that the store refuses is tried again until
// it is taken.
func (r *Recorder) Run(ctx context.Context) error {
	batch := make([]realm.RequestRecord, 0, r.o.Batch)
	for {
		select {
		case <-ctx.Done():
			return r.drain(batch)
		case rec := <-r.queue:
			batch = r.gather(ctx, append(batch[:0], *rec))
		}
		if !r.write(ctx, batch) {
			return r.drain(batch)
		}
		clear(batch)
		batch = batch[:0]
	}
}

// gather waits Interval for company, or until the batch is full.
func (r *Recorder) gather(ctx context.Context, batch []realm.RequestRecord) []realm.RequestRecord {
	timer := time.NewTimer(r.o.Interval)
	defer timer.Stop()
	for len(batch) < r.o.Batch {
		select {
		case rec := <-r.queue:
			batch = append(batch, *rec)
		case <-timer.C:
			return batch
		case <-ctx.Done():
			return batch
		}
	}
	return batch
}

// write tries until the store takes the batch; false means that ctx ended first.
func (r *Recorder) write(ctx context.Context, batch []realm.RequestRecord) bool {
	for wait := 100 * time.Millisecond; ; wait = min(wait*2, 5*time.Second) {
		err := r.o.Insert(ctx, batch)
		if err == nil {
			r.written.Add(float64(len(batch)))
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		r.failed.Inc()
		r.o.Log.Warn("request records not written, will retry", "rows", len(batch), "retry_in", wait, "error", err)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return false
		}
	}
}

// drain writes what Run still holds and what is queued.
func (r *Recorder) drain(batch []realm.RequestRecord) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for {
	fill:
		for len(batch) < r.o.Batch {
			select {
			case rec := <-r.queue:
				batch = append(batch, *rec)
			default:
				break fill
			}
		}
		if len(batch) == 0 {
			return nil
		}
		if !r.write(ctx, batch) {
			lost := len(batch) + len(r.queue)
			r.lost.Add(float64(lost))
			return &realm.Error{Code: realm.CodeUnavailable, Message: "the store did not take the last request records before the exit", Err: context.Cause(ctx)}
		}
		batch = batch[:0]
	}
}
