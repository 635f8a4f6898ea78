// Package declare owns the declarative file: reading it, telling what would
// change, applying it and writing it out again. It holds no rule about channels
// or users itself and no SQL: what may be declared, and how it is compared and
// written, is the services'; declare calls their inner verbs, all in one
// transaction, and translates what they find wrong into file, line and field.
//
//	Read:   bytes → yamldoc → ${NAME}, file:PATH → typed entries that know their lines → every problem at once
//	Apply:  one transaction: groups → models → channels → users → prune → commit, or roll back (dry run, any problem)
//	Export: the store → the same form, without secrets unless asked
//
// A secret never stands in an error, a change or a log line.
package declare
