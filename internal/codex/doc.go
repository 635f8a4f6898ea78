// Package codex owns the operator's own ChatGPT accounts: how one is signed in for
// a credential of a codex_oauth channel, its tokens and when they are renewed, and
// what is used up of its plan.
//
// It never sends a client's request, never chooses a credential, never shows a
// token to anybody, and does nothing at all with an account until the operator has
// accepted what that means (Enable). The credential and its state are catalog's.
//
//	sign-in ─→ tokens, durable ─→ workspace checked ─→ credential in use
//	Identity ─ from memory ─→ an exchange ─ 401 ─→ Renew ─→ the same once more
//	renewing ─ one flight in the process ─ one lease on the row ─→ issuer ─→ durable ─→ in use
//
// A refresh token serves once. So of all processes one at a time may use it: the
// one that has the row's lease. What the issuer answers is in the store before
// anybody uses it; who waited takes it from there.
package codex
