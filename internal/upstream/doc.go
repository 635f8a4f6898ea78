// Package upstream carries one attempt to a provider and back, streamed, and
// says what its failure means.
//
// It owns the connections, with the proxy and the certificates that a channel asks
// for, the headers and URL that go up, the few headers that may come down, the time
// limits of an attempt, and the table from "what was seen" to realm.Outcome; of the
// Codex backend also its address, what of an account it is shown, and its firewall's
// cookies. It never chooses a credential, never retries, never renews a token, never
// follows a redirect, never writes to a client and never changes a body's bytes.
//
//	Exchange ─ Executor.Do ─┬─ 2xx ──────────────→ Response (Body: idle-timed, gzip decoded)
//	                        └─ anything else ─────→ Failure  (realm.Outcome, error body scrubbed)
//	Response.Body.Read ─ *ReadError ─ Outcome() ──→ realm.Outcome
//	error object inside a 200 ─ ClassifyError ────→ Failure
package upstream
