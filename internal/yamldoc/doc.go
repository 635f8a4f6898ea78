// Package yamldoc reads a YAML file into a small tree of values that remember
// the line they stand on and the text they were written with.
//
// It owns what every file of ours shares: syntax errors, repeated and unknown
// keys with the nearest known one, and the list of problems that names file,
// line and field. It knows no file's meaning, never reads a number as a float,
// and never quotes the file in an error, because a line may hold a secret.
package yamldoc
