// Package account owns users and API tokens: it mints and imports tokens, keeps
// who may do what, and recognises the token of every request.
//
// It never keeps or logs a token's text, only its SHA-256, and never decides
// about models, limits or money: it hands out a realm.Principal and is done.
//
// # How a token is recognised
//
//	text → wrong rlm_ checksum ───────────────────────────→ 401, nothing is asked
//	     → hash → known map (sharded, in memory) ─ hit ───→ expiry → Principal
//	                    └ miss → remembered refusal (30 s) → 401
//	                           → a question is free (50/s) → store → known map
//	                           → no question is free ──────→ 401, or 503 while the store is away
//
// The known map is loaded whole by Load and changed one by one by Apply, which
// the store's change feed calls. A fill from a miss and an Apply may race; a
// fill whose read began before an Apply is never kept (see known.publish).
//
// Every verb exists twice: a function on store.Repos that composes with others
// in one transaction, and a method of Service that is store.Tx around it.
package account
