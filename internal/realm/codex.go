package realm

import "time"

// CodexAccount is the ChatGPT account that an operator has signed in for one
// credential of a codex_oauth channel.
type CodexAccount struct {
	Credential ID
	AccountID  string // the provider's, of the workspace
	UserID     string // the provider's, of the person; empty: it told none
	Email      string
	Plan       string // as the provider calls it; a free text
	Tokens     CodexTokens
	// Version counts the tokens that were written: a write names the one it replaces.
	Version     int64
	ExpiresAt   time.Time // of the access token; zero: it does not say
	SignedInAt  time.Time
	RefreshedAt time.Time
	// RefreshError is why the provider will never take this refresh token again; empty:
	// it may. The access token may serve until it expires.
	RefreshError string
	Limits       CodexLimits
}

// CodexTokens are what a sign-in gave. A refresh token serves once.
type CodexTokens struct {
	ID      Secret
	Access  Secret
	Refresh Secret
}

// CodexIdentity is what one exchange with the backend shows of an account.
type CodexIdentity struct {
	AccessToken Secret
	AccountID   string
	FedRAMP     bool
	// Version is CodexAccount.Version of the access token.
	Version int64
}

// CodexLimits is how much of an account's plan is used up, as the provider said
// last.
type CodexLimits struct {
	Plan    string // empty: it did not say
	Windows []CodexWindow
	At      time.Time // when it was said; zero: never
}

// Bound takes no window for longer than it is: a reset that lies further ahead of what
// was said than the window's length is a mistake, of a clock or of whoever wrote it,
// and nothing may wait for it.
func (l *CodexLimits) Bound() {
	for i := range l.Windows {
		w := &l.Windows[i]
		if most := l.At.Add(w.Length); w.ResetsAt.After(most) {
			w.ResetsAt = most
		}
	}
}

// CodexWindow is one allowance of a plan. Windows are told apart by their length:
// the same slot of the provider's answers holds now one and now another.
type CodexWindow struct {
	Limit       string // the family, where a model has its own; empty: the account's
	Length      time.Duration
	UsedPercent float64
	ResetsAt    time.Time
}

// Exhausted tells whether nothing is left of the window at a time.
func (w *CodexWindow) Exhausted(now time.Time) bool {
	return w.UsedPercent >= 100 && now.Before(w.ResetsAt)
}

// CodexConcurrent is how many requests at once a ChatGPT account takes where its
// credential sets no limit: about what one person's sessions need.
const CodexConcurrent = 4
