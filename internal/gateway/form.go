package gateway

import (
	"realms/internal/protocol/convert"
	"realms/internal/protocol/openai"
	"realms/internal/realm"
)

// form is a request as an attempt sends it: as it came, or converted for channels
// that do not speak the client's dialect.
type form struct {
	op      *openai.Operation
	path    string          // below /v1
	req     *openai.Request // nil: without a body
	body    *body           // nil once let go
	conv    convert.Conversion
	dropped []string // fields taken away for one more try
}

// convertedAPI is what an operation can be converted to; 0: nothing.
func convertedAPI(op *openai.Operation) realm.API {
	switch {
	case op.Object || op.Body != openai.BodyJSON:
		return 0
	case op.API == realm.APIResponses:
		return realm.APIChat
	case op.API == realm.APIChat:
		return realm.APIResponses
	default:
		return 0
	}
}

// operationOf is the one that a request for an API is made with.
func operationOf(api realm.API) *openai.Operation {
	for _, op := range openai.Operations() {
		if op.API == api && !op.Object {
			return op
		}
	}
	return nil
}

// take makes an API's form of the request the present one. The error says what of
// the request has no place in it; it is the client's to read.
func (x *exchange) take(api realm.API) error {
	if api == 0 || api == x.op.API {
		x.form = &x.native
		return nil
	}
	if x.converted == nil {
		f, err := x.convert(api)
		if err != nil {
			return err
		}
		x.converted = f
	}
	x.form = x.converted
	return nil
}

func (x *exchange) convert(api realm.API) (*form, error) {
	f := &form{op: operationOf(api)}
	var err error
	if api == realm.APIChat {
		f.conv, err = convert.ToChat(x.req)
	} else {
		f.conv, err = convert.ToResponses(x.req)
	}
	if err != nil {
		return nil, err
	}
	f.path = f.op.Path
	b := ownBody(f.conv.Body())
	b.budget = x.g.o.Limits.BodyMemory
	if !b.take(int64(len(b.buf))) {
		return nil, bodyMemoryFull()
	}
	f.body = b
	if f.req, err = openai.ReadJSON(f.op, b.buf, nil); err != nil {
		b.release()
		x.g.o.Log.Warn("converted request cannot be read", "request_id", x.call.ID.String(), "error", err)
		return nil, realm.Invalid("", "The request cannot be converted for the model's upstream: it nests too deep, or has too many fields.")
	}
	return f, nil
}

// release lets go of the form's body.
func (f *form) release() {
	if f.body != nil {
		f.body.release()
		f.body = nil
	}
}

// addedByConversion are the fields that only the conversion has put into the present
// form: an upstream that refuses one is asked once more without it, since the client
// knows nothing of it.
func (x *exchange) addedByConversion() []string {
	if x.form.conv == nil {
		return nil
	}
	return x.form.conv.Added()
}
