// Package testkit is what tests stand on: a scripted upstream that can fail in
// every way the catalogue of faults names.
//
// It owns fakes of the outside world. It is imported by tests only and never by
// the program.
package testkit
