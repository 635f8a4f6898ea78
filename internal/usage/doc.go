// Package usage keeps what requests consumed: one record a request, one an
// attempt where a request took several, and which account holds the objects
// that an upstream keeps for a user.
//
// It owns the way of a record from the request to the store. It never prices,
// charges or refuses anything, and no request waits for the store because of it.
//
//	gateway: Open(record) → Ticket → … relay … → Close() → queue → Run: batches → store
//
// Close returns when the record is durable by the recorder's promise. This
// recorder promises little: the record is in a bounded queue of this process,
// written within a second, and a record that finds the queue full for longer
// than FullWait is counted as lost. The gateway holds the terminal event for
// Close already, so a recorder that promises more changes nothing else.
package usage
