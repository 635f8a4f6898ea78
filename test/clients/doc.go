// Package clients proves Realms with the programs that people point at it: the
// OpenAI SDKs for Go and Node, and the Codex CLI, in pinned versions.
//
// It owns the clients' scripts and what they must see. It never looks inside
// Realms: everything is asked over HTTP, as the clients ask it.
//
// `npm ci --ignore-scripts` in this folder installs the clients; without them
// the tests skip and say so, and where CI is set they fail.
package clients
