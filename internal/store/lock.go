package store

import "context"

const lockVersion = "UPDATE versions SET version = version WHERE name = 'changes'"

// Lock makes the transaction the only one that changes things until it ends: the
// row that Bump holds, taken before anything is read, so that what is read is
// still so when it is written. It must be the first statement of a Tx: MySQL
// takes the snapshot that a transaction reads from at its first plain read.
func (r Changes) Lock(ctx context.Context) error { return r.h.execOne(ctx, lockVersion) }
