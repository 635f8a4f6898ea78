// Package codextest is a fake of the issuer of ChatGPT sign-ins and of the Codex
// backend, for tests.
//
// It owns what the two answer and which rules they insist on: refresh tokens that
// serve once, codes bound by PKCE, the backend's body rules, plans that are used up.
// It is imported by tests only and never by the program, and nothing in it is a real
// account or leaves the machine.
//
//	f := codextest.Start(t, codextest.Options{})
//	… a client with f.Issuer() and f.Backend() …
//	f.Confirm(t, userCode)                       // or f.Authorize(t, url) → the callback
//	f.Instead(codextest.PathToken, codextest.RefreshRefused("refresh_token_expired"))
//	release := f.Block(codextest.PathToken)      // … f.Waiting(t, path, n) …; release()
//	f.Change(codextest.AccountID, func(a *codextest.Account) { a.Windows[0].UsedPercent = 100 })
//
// How an answer goes out, and what a model says, is testkit's to describe: every
// testkit.Fault does here too.
package codextest
