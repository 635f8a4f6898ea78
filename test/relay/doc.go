// Package relay holds the tests that ask a whole, running Realms over HTTP, with
// fake upstreams behind it: what a client sees when all is well, and what it sees
// under every fault that an upstream, a client or the machine can show.
//
// It owns no code of the relay; a test here reaches into nothing that a client or
// an operator could not see.
package relay
