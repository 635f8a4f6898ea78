// Package scheduler chooses, among the credentials that may serve a request, the
// one to ask next, and learns from how each attempt ends.
//
// It owns the choice (groups in order, the session's account, priority, weight,
// least load), the health of channels, endpoints and credentials, what may be
// under way at once, and a request's budget of attempts. It does no I/O and keeps
// no clock: every call is told the time. It never decides whether a failure may be
// retried (upstream classifies), never waits (it says how long to), and never
// looks at a body.
//
//	Begin → Plan ─ Next ─┬─ StepAttempt → the exchange → Report ─ Next …
//	                     ├─ StepWait    → ask again after Step.Wait
//	                     ├─ StepQueue   → ask again when Step.Turn is closed, or after Step.Wait
//	                     └─ StepNone    → Verdict says why
//	Close, in every case: what the plan holds is given back.
//
// Two kinds of marks keep requests away. A told one is the upstream's word (a
// time, a quota, a refused key): it is never asked before its time. An open one is
// our own guess, a breaker: if only open ones are left, the one nearest its end is
// asked all the same.
package scheduler
