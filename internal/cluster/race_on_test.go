//go:build race

package cluster_test

// The race detector slows everything; what is measured is then only bounded.
const race = true
