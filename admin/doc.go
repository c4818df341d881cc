// Package admin is the virtual database through which pgdrover is watched and steered: connect with psql to
// the database "pgdrover" (or "pgbouncer", which exporters expect) and SHOW, SET, PAUSE or SELECT.
//
// # What it owns
//
// Two tables, from which the parser, SHOW HELP, the columns of every result and docs/admin.md are derived:
//
//   - commands (commands.go): syntax, who may run it, a line of help, the handler
//   - views (views.go and view_*.go): name, columns with PostgreSQL type and meaning, rows
//
// PgBouncer's commands, columns, command tags and messages come first and are PgBouncer's own; what is ours
// stands after them.
//
// SELECT over the views is answered by an embedded SQLite (sqlite.go). Each statement gets an in-memory
// database of its own with one snapshot of just the views that it names, may only read, and is bounded in
// time, rows and memory (SQLLimits). PgBouncer's own commands never pass through it.
//
// # Invariants
//
//   - The data plane is known only as pooler.Control, the configuration only as config.Controller.
//   - What SHOW and SELECT return never contains a secret: config.Origin hides them, and no other source
//     holds any. Admin actions are logged with user and address; values of secret settings are masked.
//   - Texts in views have no control characters, so that psql's columns and "-A -F <tab>" stay aligned.
//   - A broken message, an unknown command or a failing handler ends at most that command, or that session.
//
// # Goroutines
//
// ServeAdmin runs in the caller's goroutine. One more per session waits for cancel requests, and while a
// command that may wait is running, one watches whether the client is still there. Both end before
// ServeAdmin returns. A session's fields belong to the goroutine of ServeAdmin unless they say otherwise.
//
// # Why
//
// SQLite's memory limit is process-wide and needs its memory statistics, which the driver is built without;
// they are switched on before the first database is opened (sqlite.go). A result is materialised with CREATE
// TABLE … AS, because the driver can interrupt one step of a statement but not the fetching of further rows.
package admin
