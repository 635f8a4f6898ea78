package codextest

import (
	"testing"
	"time"

	"realms/internal/realm"
)

// AccountID is the one of DefaultAccount.
const AccountID = "acc-0001"

// Account is a person in a workspace.
type Account struct {
	ID, UserID, Email, Plan string

	FedRAMP bool
	// Origin and Override are what accounts/check says of the workspace, empty:
	// NO_CONSTRAINT.
	Origin, Override string
	Unlisted         bool // accounts/check does not know it
	Deactivated      bool // 402 deactivated_workspace
	NotIncluded      bool // the plan has no Codex
	// Windows are those of the plan; one without Limit that is exhausted refuses
	// requests.
	Windows []realm.CodexWindow
	// Models are those that the plan offers; nil: all that are asked for.
	Models []string
}

// DefaultAccount has a plan with most of both windows left.
func DefaultAccount() Account {
	return Account{
		ID: AccountID, UserID: "user-0001", Email: "owner@example.com", Plan: "plus",
		Windows: []realm.CodexWindow{
			{Length: 5 * time.Hour, UsedPercent: 12.5, ResetsAt: time.Now().Add(3 * time.Hour).Truncate(time.Second)},
			{Length: 7 * 24 * time.Hour, UsedPercent: 40, ResetsAt: time.Now().Add(5 * 24 * time.Hour).Truncate(time.Second)},
		},
	}
}

// Change edits an account.
func (f *Fake) Change(id string, edit func(*Account)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	edit(f.person(id))
}

// Visit says whose browser it is from now on: who confirms codes and signs in.
func (f *Fake) Visit(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.visitor = f.person(id).ID
}

// Refuse lets the visitor say no to further sign-ins by browser, or yes again.
func (f *Fake) Refuse(no bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuses = no
}

// SignIn is a sign-in of an account without its exchanges: fresh tokens.
func (f *Fake) SignIn(t testing.TB, account string) realm.CodexTokens {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.issue(f.tokens.family(f.person(account).ID))
}

// person finds an account; a test that names none of them is wrong.
func (f *Fake) person(id string) *Account {
	for _, a := range f.people {
		if a.ID == id {
			return a
		}
	}
	panic("codextest: no such account: " + id)
}

// exhausted is the account's window that is used up, the longest to wait for; nil
// if none is.
func (a *Account) exhausted(now time.Time) *realm.CodexWindow {
	var found *realm.CodexWindow
	for i := range a.Windows {
		w := &a.Windows[i]
		if w.Limit == "" && w.Exhausted(now) && (found == nil || w.ResetsAt.After(found.ResetsAt)) {
			found = w
		}
	}
	return found
}

// families are the account's windows by their limit, in order.
func (a *Account) families() (names []string, windows map[string][]realm.CodexWindow) {
	windows = map[string][]realm.CodexWindow{}
	for _, w := range a.Windows {
		if windows[w.Limit] == nil {
			names = append(names, w.Limit)
		}
		windows[w.Limit] = append(windows[w.Limit], w)
	}
	return names, windows
}
