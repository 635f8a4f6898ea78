// Package realm is the vocabulary of Realms: the entities an operator declares,
// the identifiers they carry, money, and the values that travel between the
// catalogue, the scheduler and the upstream executor on a request's way.
//
// It owns words and their invariants. It never does I/O, reads no clock and
// imports nothing but the standard library.
//
// # How the hot path reads the catalogue
//
//	store rows → catalog builds → Snapshot (immutable) → gateway asks Route
//	                                                   → scheduler picks Attempt
//	                                                   → upstream returns Outcome
package realm
