// Package testkit is what tests stand on: a scripted upstream that can fail in
// every way the catalogue of faults names.
//
// It owns fakes of the outside world. It is imported by tests only and never by
// the program.
//
//	u := testkit.NewUpstream(t, testkit.Options{
//		Script: testkit.Sequence(testkit.RateLimited("1"), testkit.Cut(3, testkit.EndFIN)),
//	})
//	… a channel with u.BaseURL …
//	second := u.WaitRequests(t, 2)[1]
//	second.WaitCancelled(t)
//
// For each request a Script chooses a Fault, a Fault edits the good Answer, and the
// answer is delivered: over HTTP/1 byte by byte as it says, over HTTP/2 as far as
// the standard library's server can. Faults compose with All, in order: those that
// say what the answer is (With, Say, Usage, Status, Body) before those that say how
// it goes out (Cut, Drip, Gzip).
package testkit
