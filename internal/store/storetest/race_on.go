//go:build race

package storetest

// Race tells that the race detector is on. It slows the engines tenfold, so heavy
// tests shrink.
const Race = true
