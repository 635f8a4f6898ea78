package gateway

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"realms/internal/protocol/openai"
	"realms/internal/realm"
	"realms/internal/scheduler"
	"realms/internal/settings"
	"realms/internal/upstream"
)

// HeaderChannel chooses a channel by name, for administrators' tokens.
const HeaderChannel = "X-Realms-Channel"

// maxHops is how many relays may stand in a row.
const maxHops = 3

// record begins the request's row.
func (x *exchange) record() {
	x.rec = &realm.RequestRecord{
		ID: x.call.ID, StartedAt: x.started, UserID: x.principal.UserID, TokenID: x.principal.TokenID,
		Operation: x.op.Name, ClientRequestID: clipped(x.call.Header.Get("X-Request-Id")),
		Usage: realm.Usage{Source: realm.UsageNone}, // nothing, until an upstream is asked
	}
}

// admit is step 3. Whatever it refuses costs nothing upstream and names its
// cause.
func (x *exchange) admit(ctx context.Context) error {
	x.need = scheduler.Need{
		User: x.principal.UserID, Groups: x.principal.Groups, API: x.op.API, Converted: convertedAPI(x.op),
		Accounts: x.g.mayUseAccounts(x.principal),
	}
	if x.req != nil {
		x.rec.Model, x.rec.Stream = x.req.Model, x.req.Stream // a refused request has its row too
	}
	if err := x.admitHops(); err != nil {
		return err
	}
	if err := x.admitChannel(); err != nil {
		return err
	}
	if x.op.Object {
		return x.bindObject(ctx)
	}
	if err := x.admitModel(); err != nil {
		return err
	}
	x.bindSession()
	return x.bindReferences(ctx)
}

func (x *exchange) admitHops() error {
	text := x.call.Header.Get(upstream.HopsHeader)
	if text == "" {
		return nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return realm.Invalid("", upstream.HopsHeader+" must be a whole number.")
	}
	if n > maxHops {
		return &realm.Error{Code: realm.CodeLoop, Message: fmt.Sprintf("The request came through more than %d relays: one of their channels points back at another.", maxHops)}
	}
	x.hops = n
	return nil
}

func (x *exchange) admitChannel() error {
	name := x.call.Header.Get(HeaderChannel)
	if name == "" {
		return nil
	}
	if !x.principal.Role.Administers() {
		return &realm.Error{Code: realm.CodeForbidden, Message: HeaderChannel + " is for administrators' tokens only."}
	}
	if x.snap.Channel(name) == nil {
		return realm.Invalid("", fmt.Sprintf("%s names a channel that does not exist: %.100q.", HeaderChannel, name))
	}
	x.need.Channel = name
	return nil
}

// admitModel finds out which model is meant and whether the token may have it.
// Exact names win; a name that the catalogue lacks may end in an effort.
func (x *exchange) admitModel() error {
	name := x.req.Model
	x.need.Open = !x.g.o.Settings.State().Enabled(settings.Models)
	x.model = x.snap.Model(name)
	if x.model == nil {
		if base, effort, ok := openai.SplitEffort(name); ok && x.snap.Model(base) != nil {
			name, x.effort, x.model = base, effort, x.snap.Model(base)
		}
	}
	x.rec.Model = name
	x.need.Model = name
	if (x.model != nil && !x.model.Enabled && !x.need.Open) || !x.principal.AllowsModel(name) || !x.routed(name) {
		return modelNotFound(x.req.Model)
	}
	return nil
}

func (x *exchange) routed(name string) bool {
	return slices.ContainsFunc(x.need.Groups, func(g realm.ID) bool {
		return x.snap.Route(g, name, x.need.Open) != nil
	})
}

func modelNotFound(name string) *realm.Error {
	return &realm.Error{
		Code: realm.CodeModelNotFound, Field: "model",
		Message: fmt.Sprintf("The model '%.200s' does not exist or this token may not use it; GET /v1/models lists what it may.", name),
	}
}

// bindReferences binds the request to the one credential that holds the objects
// its body names. An id that Realms has not seen passes in self mode alone.
func (x *exchange) bindReferences(ctx context.Context) error {
	for _, ref := range x.req.Objects {
		obj, err := x.g.o.Objects.Find(ctx, ref.ID, x.principal.UserID)
		if err != nil {
			e := realm.AsError(err)
			if e.Code != realm.CodeNotFound {
				return err
			}
			if x.g.o.SelfMode {
				continue
			}
			return unknownReference(ref)
		}
		if x.need.Credential != 0 && x.need.Credential != obj.Credential {
			return realm.Invalid(ref.Field, fmt.Sprintf("'%.100s' and another object of this request live on different upstream accounts.", ref.ID))
		}
		x.need.Credential = obj.Credential
	}
	return nil
}

func unknownReference(ref openai.ObjectRef) error {
	e := realm.Invalid(ref.Field, fmt.Sprintf("No object with id '%.100s' was found.", ref.ID))
	if ref.Field == "previous_response_id" {
		e.Reason = "previous_response_not_found"
		e.Message = fmt.Sprintf("Previous response with id '%.100s' not found.", ref.ID)
	}
	return e
}

// bindObject finds the credential that made the object in the path. Another
// user's object, an unknown one and one on a channel that the token cannot reach
// are the same 404.
func (x *exchange) bindObject(ctx context.Context) error {
	obj, err := x.g.o.Objects.Find(ctx, x.call.ObjectID, x.principal.UserID)
	if err != nil {
		return err
	}
	cr := x.snap.Credential(obj.Credential)
	if cr == nil || !slices.ContainsFunc(cr.Endpoint.Channel.Groups, func(g realm.ID) bool {
		return slices.Contains(x.need.Groups, g)
	}) {
		return &realm.Error{Code: realm.CodeNotFound, Message: fmt.Sprintf("No object with id '%.100s' was found.", x.call.ObjectID)}
	}
	if !cr.Usable() || !cr.Endpoint.Channel.Enabled {
		return accountAway(0)
	}
	x.need.Credential = cr.ID
	return nil
}

// accountAway is the answer when the one account that can serve a request is out
// of use, for soon if that is known.
func accountAway(soon time.Duration) *realm.Error {
	if soon == 0 {
		soon = 30 * time.Second
	}
	e := &realm.Error{
		Code: realm.CodeOverloaded, RetryAfter: max(soon, time.Second),
		Message: "The upstream account that holds what this request refers to is out of use at the moment; no other account can serve it.",
	}
	return e
}

// clipped bounds what a client may make us store.
func clipped(s string) string {
	const most = 128
	if len(s) > most {
		return s[:most]
	}
	return s
}
