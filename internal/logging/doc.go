// Package logging writes the process's log, as the settings say: to standard error, to a file, to syslog,
// in PgBouncer's line format, as JSON, or readable for a person at a terminal.
//
// Everybody logs through the zerolog.Logger that [Logger.Zerolog] returns, or a child of it. Level, format
// and outputs are not in that value but behind it, so that a reload changes them for everybody at once and
// nobody needs to fetch it again. There is no global logger.
//
// # Lines
//
// A line is one event of zerolog's, an object of JSON. Written as PgBouncer writes it:
//
//	2026-11-22 15:10:35.123 UTC [4711] LOG C-1f: shop/app@127.0.0.1:40112 login attempt: db=shop user=app tls=no
//	2026-11-22 15:10:35.140 UTC [4711] WARNING slow wait pool=shop/app waited=1.2
//
// The field named [Subject] comes in front of the message, all others after it as key=value. The levels of
// zerolog have PgBouncer's names: trace NOISE, debug DEBUG, info LOG, warn WARNING, error ERROR, fatal FATAL.
//
// # Invariants
//
//   - One event is one write, so that lines of several goroutines do not mix, and one record: line breaks
//     inside are followed by a tab, other control characters are escaped. What a client sends cannot forge a line.
//   - A reload that cannot open the new file changes nothing.
//   - Logging never fails for the caller. Lines that could not be written are counted.
//   - Nothing here logs on its own account, except that syslog cannot be reached.
//
// It has no goroutines.
package logging
