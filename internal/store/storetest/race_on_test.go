//go:build race

package storetest_test

// raceEnabled makes heavy tests smaller: the detector slows the engines tenfold.
const raceEnabled = true
