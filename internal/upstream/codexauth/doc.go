// Package codexauth speaks with the issuer of ChatGPT sign-ins and asks the Codex
// backend the few things that are no inference: which workspace an account is in,
// and how much of its plan is used up.
//
// It owns those exchanges, what their answers and failures mean, and the reading of
// what a sign-in brings: claims, callbacks, the Codex CLI's auth.json. It keeps no
// state and stores nothing, never decides when to refresh, never repeats a request,
// never follows a redirect, and never shows a token or a page of HTML to anybody.
//
//	device:   StartDevice → PollDevice … ErrPending … → Code ─┐
//	browser:  NewPKCE, NewState → AuthorizeURL → ParseCallback ┴→ Exchange → Tokens → ReadClaims
//	later:    Refresh, Revoke, Workspace, Usage
package codexauth
