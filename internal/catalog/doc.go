// Package catalog owns what an operator declares: groups, models, and channels
// with their endpoints and credentials. It checks what is declared, keeps it in
// the store, and publishes it as a realm.Snapshot for the hot path.
//
// It never chooses a channel for a request, never talks to an upstream, and
// never puts a secret into an error, a log line or an audit row.
//
//	verb ─ store.Tx ─→ Inner (check → compare → write → record) ─→ rows
//	change feed ─→ Apply ─→ Read (one consistent view) ─→ Snapshot
//
// Inner's methods are the verbs over one transaction, so that others (the
// declarative file) put many of them into one. A verb that finds everything as
// it should be writes nothing and returns no mutation.
package catalog
