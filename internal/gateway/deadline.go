package gateway

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"realms/internal/realm"
)

// headerDeadline is how many seconds the client waits, as OpenAI's SDKs tell it.
const headerDeadline = "X-Stainless-Timeout"

// longestDeadline is where a client's patience stops being a limit.
const longestDeadline = 24 * time.Hour

// errDeadline is the cause with which a request's context is ended because its
// client does not wait any longer. To upstream it is a deadline like any.
var errDeadline = fmt.Errorf("the client's own time limit: %w", context.DeadlineExceeded)

// withDeadline ends ctx when the client has stopped waiting, so that no attempt
// goes on, or begins, for nobody. From the first byte on the client sees for
// itself: the SDK for Node counts up to the header, and a stream may take longer.
func (x *exchange) withDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	text := x.call.Header.Get(headerDeadline)
	if text == "" {
		return ctx, func() {}
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || !(seconds > 0 && seconds < longestDeadline.Seconds()) { // not a number fails both
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	limit := time.Duration(seconds * float64(time.Second))
	x.deadline = time.AfterFunc(limit-time.Since(x.started), func() { cancel(errDeadline) })
	return ctx, func() {
		x.deadline.Stop()
		cancel(nil)
	}
}

// pastDeadline tells whether that is why ctx has ended.
func pastDeadline(ctx context.Context) bool { return errors.Is(context.Cause(ctx), errDeadline) }

// late ends a request whose client does not wait any longer.
func (x *exchange) late() {
	x.fail(&realm.Error{Code: realm.CodeUpstreamTimeout, Message: "No upstream answered within the time that the client waits (" + headerDeadline + ")."},
		realm.EndedTimeout, realm.CauseTimeout)
}
