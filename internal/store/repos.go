package store

import "errors"

// What repositories answer besides a plain failure, for errors.Is. A value that
// no row could hold (an empty or too long name) is a realm.CodeInvalid error.
var (
	// ErrNotFound: no such row.
	ErrNotFound = errors.New("not found")
	// ErrDuplicate: a unique name or key is taken.
	ErrDuplicate = errors.New("already exists")
	// ErrReference: other rows refer to the row that was to be deleted, or the row
	// refers to one that is not there.
	ErrReference = errors.New("in use, or refers to something missing")

	errReadOnly = errors.New("written outside a transaction")
)

// Repos is the tables, over the pool or over one transaction. Everywhere, Insert
// mints an id when the value has none and writes it into the value; Update and
// Delete answer ErrNotFound when there is no such row; and names are trimmed, in
// the value too.
type Repos struct {
	Groups        Groups
	Models        Models
	Channels      Channels
	Endpoints     Endpoints
	Credentials   Credentials
	Users         Users
	Tokens        Tokens
	Requests      Requests
	Objects       Objects
	Audit         Audit
	Settings      Settings
	Changes       Changes
	CodexAccounts CodexAccounts
	CodexSignIns  CodexSignIns
}

func newRepos(h handle) Repos {
	return Repos{
		Groups:        Groups{h},
		Models:        Models{h},
		Channels:      Channels{h},
		Endpoints:     Endpoints{h},
		Credentials:   Credentials{h},
		Users:         Users{h},
		Tokens:        Tokens{h},
		Requests:      Requests{h},
		Objects:       Objects{h},
		Audit:         Audit{h},
		Settings:      Settings{h},
		Changes:       Changes{h},
		CodexAccounts: CodexAccounts{h},
		CodexSignIns:  CodexSignIns{h},
	}
}
