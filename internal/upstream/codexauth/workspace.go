package codexauth

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"realms/internal/realm"
)

const (
	// noConstraint is how the provider says that a workspace has no address of its own.
	noConstraint  = "NO_CONSTRAINT"
	defaultOrigin = "https://chatgpt.com"
)

// Workspace asks whether the account's workspace is served at the ordinary address.
// An *Error with CodeWorkspaceRouting says that it is not: no request of the
// account may be sent there. CodeWorkspaceMissing: the provider does not list the
// account.
func (c *Client) Workspace(ctx context.Context, id realm.CodexIdentity) error {
	a, err := c.ask(ctx, "workspace", "/wham/accounts/check", id)
	if err != nil {
		return err
	}
	var got struct {
		Accounts json.RawMessage `json:"accounts"`
	}
	if err := a.object(&got); err != nil {
		return err
	}
	list, ok := accounts(got.Accounts)
	if !ok {
		return a.bad("the answer holds no list of accounts")
	}
	found := false
	for _, account := range list {
		if name := first(text(account["id"]), text(account["account_id"])); name == "" || name != id.AccountID {
			continue
		}
		found = true
		if !c.ordinary(account) {
			return &Error{
				Op: "workspace", Code: CodeWorkspaceRouting, Status: a.status, Permanent: true,
				Message: "the account's workspace is bound to a region or served at another address, which Realms does not support; use another account or workspace",
			}
		}
	}
	if !found {
		return &Error{
			Op: "workspace", Code: CodeWorkspaceMissing, Status: a.status,
			Message: "the provider does not list the account's workspace; sign in again and choose one that you are a member of",
		}
	}
	return nil
}

// accounts reads a list of accounts, or an object that holds each as {"account": …}.
func accounts(raw json.RawMessage) ([]map[string]json.RawMessage, bool) {
	var list []map[string]json.RawMessage
	if json.Unmarshal(raw, &list) == nil && list != nil {
		return list, true
	}
	byName := fields(raw)
	for _, envelope := range byName {
		list = append(list, fields(fields(envelope)["account"]))
	}
	return list, byName != nil
}

// ordinary tells whether an account is served where everybody is. What is not
// understood is not ordinary.
func (c *Client) ordinary(account map[string]json.RawMessage) bool {
	return unset(account["account_routing_override"]) &&
		(unset(account["workspace_backend_origin"]) || c.ourOrigin(text(account["workspace_backend_origin"])))
}

func unset(raw json.RawMessage) bool {
	return len(raw) == 0 || string(raw) == "null" || text(raw) == noConstraint
}

// ourOrigin is the default one, or the backend's own where that is on this machine,
// as in tests.
func (c *Client) ourOrigin(origin string) bool {
	if origin == defaultOrigin {
		return true
	}
	u, err := url.Parse(c.backend())
	return err == nil && loopback(u.Hostname()) && origin == u.Scheme+"://"+u.Host
}

// ask is a GET of the backend in an account's name; an answer that is not good is
// an error.
func (c *Client) ask(ctx context.Context, op, path string, id realm.CodexIdentity) (*answer, error) {
	h := http.Header{}
	h.Set("Authorization", "Bearer "+id.AccessToken.Reveal())
	h.Set("Chatgpt-Account-Id", id.AccountID)
	if id.FedRAMP {
		h.Set("X-Openai-Fedramp", "true")
	}
	a, err := c.do(ctx, &call{
		op: op, method: http.MethodGet, url: c.backend() + path, header: h, limit: maxReport,
		secrets: []realm.Secret{id.AccessToken, realm.Secret(id.AccountID)},
	})
	if err != nil {
		return nil, err
	}
	if a.good() {
		return a, nil
	}
	e := a.failure(c.now())
	e.Permanent = !e.Blocked && a.status == http.StatusPaymentRequired && e.Code == codeDeactivatedWorkspace
	return nil, e
}
