// Package store owns Realms' durable state: the tables, the SQL that reads and
// writes them, their migrations, the change feed and the backup of all of it. It
// never decides anything: rules, permissions and audit wording belong to the
// services, and linking rows into a catalogue belongs to catalog.
//
//	service verb ─ Store.Tx ─→ Repos over a transaction ─→ rows + Changes.Bump + Audit.Insert
//	service read ─ Store.Read ─→ Repos over the pool
//	Watcher      ─ versions, changes ─→ OnChanges or OnReload
//	Backup       ─ one read snapshot ─→ JSON Lines ─→ Restore, on either engine
//
// # The portable subset
//
// One text serves SQLite, MySQL 8, MariaDB 10.11 and, later, PostgreSQL 15. Only
// the dialects know which engine is there. So, in every statement and migration:
//
//   - `?` placeholders; no backticks or quoted identifiers.
//   - No identifier that MySQL, MariaDB or PostgreSQL reserves: user_groups and
//     group_ids, never groups, key, usage, window, user.
//   - One column per ALTER; indexes by CREATE INDEX; no UNIQUE on TEXT.
//   - No DEFAULT on TEXT, no AUTOINCREMENT, no LastInsertId, no RETURNING.
//   - Time is BIGINT unix milliseconds (0: none), money is BIGINT nano-USD, a
//     flag is SMALLINT 0 or 1, a list or structure is JSON in TEXT.
//   - Upserts and "insert unless there" only through the dialect.
//   - Pages are keyset pages; no OFFSET.
//   - A change that depends on what a row holds is one guarded statement (UPDATE
//     … WHERE id = ? AND state = ?) whose affected rows are looked at. A read
//     followed by a write loses updates under MySQL's and MariaDB's default
//     isolation; rows affected means rows matched on every engine.
//   - Names are trimmed before they are stored: utf8mb4_bin holds 'a' = 'a '.
//   - A migration's every statement may be run again: MySQL commits each DDL
//     statement by itself, so a killed migration begins anew.
package store
