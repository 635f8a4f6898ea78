// Package rawjson reads and edits a JSON object as the bytes it came in: one pass
// finds where the top-level fields lie, one copy applies all edits. Unknown
// fields, key order, white space, explicit zeros and integers over 2^53 stay as
// the client wrote them.
//
// It owns the grammar and its bounds (depth, repeated keys, UTF-8), which hold on
// input of any size: nothing recurses with its nesting. It never decodes into Go
// values beyond one string, bool or integer, and knows no field by name.
package rawjson
