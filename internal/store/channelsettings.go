package store

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"realms/internal/realm"
	"realms/internal/secret"
)

// What the columns channels.settings, channel_models.settings and
// credentials.limits hold is written here field by field, so that a change of the
// vocabulary never changes what is stored. Absent means the zero value.
// Durations are texts of time.Duration ("1m30s"), which lose nothing.
type (
	storedSettings struct {
		Timeouts         storedTimeouts    `json:"timeouts,omitzero"`
		Attempts         int               `json:"attempts,omitempty"`
		Limits           storedLimits      `json:"limits,omitzero"`
		Proxy            string            `json:"proxy,omitempty"`
		CAFile           string            `json:"ca_file,omitempty"`
		Probe            storedDuration    `json:"probe,omitempty"`
		OnDisconnect     string            `json:"on_disconnect,omitempty"`
		ServiceTier      storedTier        `json:"service_tier,omitzero"`
		Store            string            `json:"store,omitempty"`
		SafetyIdentifier string            `json:"safety_identifier,omitempty"`
		SetHeaders       map[string]string `json:"set_headers,omitempty"`
		DeleteHeaders    []string          `json:"delete_headers,omitempty"`
		BodyEdits        []storedEdit      `json:"body,omitempty"`
		StatusMap        map[int]int       `json:"status_map,omitempty"`
	}
	storedTimeouts struct {
		Connect    *storedDuration `json:"connect,omitempty"`
		FirstByte  *storedDuration `json:"first_byte,omitempty"`
		FirstEvent *storedDuration `json:"first_event,omitempty"`
		Idle       *storedDuration `json:"idle,omitempty"`
	}
	storedLimits struct {
		Concurrent        int   `json:"concurrent,omitempty"`
		RequestsPerMinute int   `json:"rpm,omitempty"`
		TokensPerMinute   int64 `json:"tpm,omitempty"`
	}
	storedTier struct {
		Drop bool     `json:"drop,omitempty"`
		Only []string `json:"only,omitempty"`
	}
	storedEdit struct {
		Op     string          `json:"op"`
		Path   string          `json:"path"`
		To     string          `json:"to,omitempty"`
		Value  json.RawMessage `json:"value,omitempty"`
		Models []string        `json:"models,omitempty"`
	}
	// storedBinding is what a channel's model has of its own.
	storedBinding struct {
		Timeouts storedTimeouts `json:"timeouts,omitzero"`
	}
	storedDuration time.Duration
)

func (d storedDuration) MarshalText() ([]byte, error) {
	return []byte(time.Duration(d).String()), nil
}

func (d *storedDuration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = storedDuration(v)
	return err
}

// turn is seal or open for one of the secrets in a channel's settings.
type turn func(part, text string) (string, error)

// The parts of channels.settings that are secret.
const proxyPart = "settings.proxy"

func headerPart(name string) string { return "settings.set_headers." + name }

func (h handle) settingsSealer(channel realm.ID) turn {
	return func(part, plain string) (string, error) { return h.seal("channels", part, channel.String(), plain) }
}

func (h handle) settingsOpener(channel realm.ID) turn {
	return func(part, stored string) (string, error) { return h.open("channels", part, channel.String(), stored) }
}

// secrets turns every secret of the settings in place.
func (s *storedSettings) secrets(each turn) (err error) {
	if s.Proxy, err = each(proxyPart, s.Proxy); err != nil {
		return err
	}
	for name, value := range s.SetHeaders {
		if s.SetHeaders[name], err = each(headerPart(name), value); err != nil {
			return err
		}
	}
	return nil
}

// encodeSettings is the column channels.settings, its secrets sealed.
func encodeSettings(s *realm.ChannelSettings, seal turn) (string, error) {
	out := storedSettings{
		Timeouts: storeTimeouts(s.Timeouts), Attempts: s.Attempts, Limits: storedLimits(s.Limits), Proxy: s.Proxy.Reveal(),
		CAFile: s.CAFile, Probe: storedDuration(s.Probe), OnDisconnect: string(s.OnDisconnect), ServiceTier: storedTier(s.ServiceTier),
		Store: string(s.Store), SafetyIdentifier: string(s.SafetyIdentifier), DeleteHeaders: s.DeleteHeaders, StatusMap: s.StatusMap,
	}
	if len(s.SetHeaders) > 0 {
		out.SetHeaders = make(map[string]string, len(s.SetHeaders))
		for name, value := range s.SetHeaders {
			out.SetHeaders[name] = value.Reveal()
		}
	}
	for _, e := range s.BodyEdits {
		out.BodyEdits = append(out.BodyEdits, storedEdit{Op: string(e.Op), Path: e.Path, To: e.To, Value: e.Value, Models: e.Models})
	}
	plain, err := encodeStrict("settings", out)
	if err != nil {
		return "", err
	}
	// Settings that fit in the clear alone could not be sealed later.
	longer := 0
	_ = out.secrets(func(_, text string) (string, error) {
		longer += secret.SealedSize(len(text)) - len(text)
		return text, nil
	})
	if err := checkSealedSize("settings", len(plain)+longer); err != nil {
		return "", err
	}
	if err := out.secrets(seal); err != nil {
		return "", err
	}
	return encodeStrict("settings", out)
}

func decodeSettings(channel, text string, open turn) (realm.ChannelSettings, error) {
	var in storedSettings
	if err := decodeStrict(fmt.Sprintf("settings of channel %q", channel), text, &in); err != nil {
		return realm.ChannelSettings{}, err
	}
	if err := in.secrets(open); err != nil {
		return realm.ChannelSettings{}, err
	}
	s := realm.ChannelSettings{
		Timeouts: in.Timeouts.timeouts(), Attempts: in.Attempts, Limits: realm.Limits(in.Limits), Proxy: realm.Secret(in.Proxy),
		CAFile: in.CAFile, Probe: time.Duration(in.Probe), OnDisconnect: realm.OnDisconnect(in.OnDisconnect), ServiceTier: realm.ServiceTier(in.ServiceTier),
		Store: realm.StorePolicy(in.Store), SafetyIdentifier: realm.SafetyIdentifier(in.SafetyIdentifier), DeleteHeaders: in.DeleteHeaders, StatusMap: in.StatusMap,
	}
	if len(in.SetHeaders) > 0 {
		s.SetHeaders = make(map[string]realm.Secret, len(in.SetHeaders))
		for name, value := range in.SetHeaders {
			s.SetHeaders[name] = realm.Secret(value)
		}
	}
	for _, e := range in.BodyEdits {
		s.BodyEdits = append(s.BodyEdits, realm.BodyEdit{Op: realm.BodyOp(e.Op), Path: e.Path, To: e.To, Value: e.Value, Models: e.Models})
	}
	return s, nil
}

func storeTimeouts(t realm.Timeouts) storedTimeouts {
	return storedTimeouts{
		Connect: (*storedDuration)(t.Connect), FirstByte: (*storedDuration)(t.FirstByte),
		FirstEvent: (*storedDuration)(t.FirstEvent), Idle: (*storedDuration)(t.Idle),
	}
}

func (t storedTimeouts) timeouts() realm.Timeouts {
	return realm.Timeouts{
		Connect: (*time.Duration)(t.Connect), FirstByte: (*time.Duration)(t.FirstByte),
		FirstEvent: (*time.Duration)(t.FirstEvent), Idle: (*time.Duration)(t.Idle),
	}
}

// encodeBinding is the column channel_models.settings; NULL when there is nothing
// to say.
func encodeBinding(b *realm.Binding) (sql.NullString, error) {
	if b.Timeouts == (realm.Timeouts{}) {
		return sql.NullString{}, nil
	}
	text, err := encodeStrict("models", storedBinding{Timeouts: storeTimeouts(b.Timeouts)})
	return sql.NullString{String: text, Valid: true}, err
}

func decodeBinding(text sql.NullString, b *realm.Binding) error {
	var in storedBinding
	if err := decodeStrict(fmt.Sprintf("settings of a channel's model %q", b.Model), text.String, &in); err != nil {
		return err
	}
	b.Timeouts = in.Timeouts.timeouts()
	return nil
}

// encodeLimits is the column credentials.limits; NULL when nothing is limited.
func encodeLimits(l realm.Limits) (sql.NullString, error) {
	if l.IsZero() {
		return sql.NullString{}, nil
	}
	text, err := encodeStrict("limits", storedLimits(l))
	return sql.NullString{String: text, Valid: true}, err
}

func decodeLimits(credential string, text sql.NullString) (realm.Limits, error) {
	var in storedLimits
	err := decodeStrict(fmt.Sprintf("limits of credential %q", credential), text.String, &in)
	return realm.Limits(in), err
}

// encodeStrict is encodeSame for a column.
func encodeStrict(field string, v any) (string, error) {
	text, err := encodeSame(field, v)
	if err != nil {
		return "", err
	}
	return text, checkText(field, text)
}

// encodeSame leaves < > & in a body edit's value as they were written.
func encodeSame(field string, v any) (string, error) {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return "", fmt.Errorf("encode %s: %w", field, err)
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// decodeStrict reads what encodeStrict wrote; an empty text leaves v as it is. A
// field that it does not know is refused: a newer program may mean by it that
// something must not be sent, or sent otherwise. The error quotes nothing, since
// secrets stand there.
func decodeStrict(what, text string, v any) error {
	if text == "" || text == "{}" {
		return nil
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		return &realm.Error{
			Code:    realm.CodeUnavailable,
			Message: "The store holds " + what + " that this Realms does not understand" + unknownField(err) + ": use the newer Realms that wrote them.",
		}
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("decode the %s: something follows the value", what)
	}
	return nil
}

// unknownField names the field that a decoder did not know; its other complaints
// may quote a value.
func unknownField(err error) string {
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return " (" + name + ")"
	}
	return ""
}
