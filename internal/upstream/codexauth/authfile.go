package codexauth

import (
	"bytes"
	"encoding/json"
	"time"

	"realms/internal/realm"
)

// maxAuthFile is larger than any auth.json by far.
const maxAuthFile = 1 << 20

// AuthFile is the sign-in in an auth.json of the Codex CLI. There is a refresh
// token in it; the other tokens need not be.
type AuthFile struct {
	realm.CodexTokens
	AccountID   string    // as the file says; empty: it does not
	RefreshedAt time.Time // zero: it does not say
}

// What to do with a file that is not taken.
const (
	notAuthFile   = "This is not an auth.json of the Codex CLI."
	signInInstead = " Sign in with `realms codex login` instead."
)

// ParseAuthFile reads an auth.json. The error is a realm.Error that says what is
// wrong and what to do, and quotes nothing.
func ParseAuthFile(file []byte) (*AuthFile, error) {
	file = bytes.TrimSpace(file)
	var f struct {
		Mode        json.RawMessage `json:"auth_mode"`
		APIKey      json.RawMessage `json:"OPENAI_API_KEY"`
		Tokens      json.RawMessage `json:"tokens"`
		LastRefresh json.RawMessage `json:"last_refresh"`
	}
	if len(file) == 0 || len(file) > maxAuthFile || file[0] != '{' || json.Unmarshal(file, &f) != nil {
		return nil, realm.Invalid("auth_file", notAuthFile+signInInstead)
	}
	if err := checkMode(f.Mode, f.APIKey); err != nil {
		return nil, err
	}
	tokens := fields(f.Tokens)
	if tokens == nil {
		return nil, realm.Invalid("auth_file", "The auth.json holds no ChatGPT sign-in: the tokens may be in the system's keyring."+signInInstead)
	}
	a := &AuthFile{
		CodexTokens: realm.CodexTokens{
			ID:      realm.Secret(text(tokens["id_token"])),
			Access:  realm.Secret(text(tokens["access_token"])),
			Refresh: realm.Secret(text(tokens["refresh_token"])),
		},
		AccountID: text(tokens["account_id"]),
	}
	if a.Refresh == "" {
		return nil, realm.Invalid("auth_file", "The auth.json holds no refresh token, so its sign-in would soon be over."+signInInstead)
	}
	for _, s := range [...]string{a.ID.Reveal(), a.Access.Reveal(), a.Refresh.Reveal(), a.AccountID} {
		if !visible(s, maxToken) {
			return nil, realm.Invalid("auth_file", "The auth.json is damaged: a token in it cannot be one."+signInInstead)
		}
	}
	if at, err := time.Parse(time.RFC3339Nano, text(f.LastRefresh)); err == nil {
		a.RefreshedAt = at.UTC()
	}
	return a, nil
}

// checkMode lets a ChatGPT sign-in pass. Old files do not name their mode: an API
// key in one is what it stands for.
func checkMode(mode, apiKey json.RawMessage) error {
	name := text(mode)
	if name == "" && len(mode) != 0 && string(mode) != "null" && string(mode) != `""` {
		return realm.Invalid("auth_file", notAuthFile+signInInstead)
	}
	switch {
	case name == "chatgpt", name == "" && text(apiKey) == "":
		return nil
	case name == "apikey", name == "":
		return realm.Invalid("auth_file", "The auth.json holds an API key, not a ChatGPT sign-in. Use the key in a channel of type openai_compatible.")
	}
	return realm.Invalid("auth_file", "The auth.json is of a kind that cannot be taken over: only a sign-in with ChatGPT can."+signInInstead)
}
