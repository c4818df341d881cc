package integration

import (
	"strings"
	"testing"
)

// TestQueriesAnswerAsPostgreSQL covers the simple protocol, errors and what comes beside answers.
func TestQueriesAnswerAsPostgreSQL(t *testing.T) {
	t.Parallel()
	newLab(t, "").compare(t, []dialogue{
		{name: "one row", script: `
			> Q SELECT 1 AS a, NULL::text AS b, 'x' AS c
			< Z`},
		{name: "several statements in one string", script: `
			> Q SELECT 1; SELECT 2 WHERE false; CREATE TEMP TABLE multi (a int) ON COMMIT DROP; INSERT INTO multi VALUES (1), (2)
			< Z`},
		{name: "nothing", script: `
			> Q
			> Q ;
			> Q -- a comment
			< Z Z Z`},
		{name: "a syntax error has its position", script: `
			> Q SELECT 1 FROM
			< Z`},
		{name: "an error ends a string of statements", script: `
			> Q SELECT 1; SELECT 1/0; SELECT 3
			< Z
			> Q SELECT 4
			< Z`},
		{name: "detail and hint", script: `
			> Q DO $$BEGIN RAISE EXCEPTION 'm' USING DETAIL = 'd', HINT = 'h', ERRCODE = 'P1234'; END$$
			< Z`},
		{name: "notices come before the result", script: `
			> Q DO $$BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two'; END$$; SELECT 1
			< Z`},
		{name: "queries in one packet are answered one after the other", script: `
			> Q SELECT 1
			> Q SELECT 1/0
			> Q SELECT 3
			< Z Z Z`},
		{name: "a transaction", skip: noStmt, script: `
			> Q BEGIN
			< Z
			> Q SELECT 1/0
			< Z
			> Q SELECT 1
			< Z
			> Q COMMIT
			< Z
			> Q SELECT 5
			< Z`},
		{name: "savepoints", skip: noStmt, script: `
			> Q BEGIN; SAVEPOINT a; SELECT 1/0
			< Z
			> Q ROLLBACK TO a; SELECT 1
			< Z
			> Q COMMIT
			< Z`},
		{name: "several transactions in one packet", skip: noStmt, script: `
			> Q BEGIN
			> Q SELECT 1
			> Q COMMIT
			> Q BEGIN
			> Q SELECT 1/0
			> Q COMMIT
			> Q SELECT 2
			< Z Z Z Z Z Z Z`},
		{name: "PREPARE inside a transaction", skip: noStmt, script: `
			> Q BEGIN; PREPARE inside (int) AS SELECT $1 + 1
			< Z
			> Q EXECUTE inside(4)
			< Z
			> Q DEALLOCATE inside; COMMIT
			< Z`},
		{name: "a cursor", skip: noStmt, script: `
			> Q BEGIN; DECLARE c CURSOR FOR SELECT generate_series(1, 5)
			< Z
			> Q FETCH 2 FROM c
			< Z
			> Q FETCH ALL FROM c; COMMIT
			< Z`},
		{name: "function calls", script: `
			# 177 is int4pl, 1299 is now; 4711 is nothing
			> F 177 40|2
			< Z
			> F 177 \N|2
			< Z
			> F 177 a|2
			< Z
			> F 4711
			< Z
			> F 177 1|1
			> Q SELECT 1
			> F 177 2|2
			< Z Z Z`},
		{name: "function calls in a transaction", skip: noStmt, script: `
			> Q BEGIN
			> F 177 a|2
			> F 177 1|2
			> Q ROLLBACK
			< Z Z Z Z`},
		{name: "large objects by function calls", skip: noStmt, script: `
			> Q BEGIN; SELECT lo_create(4242)
			< Z
			# lo_open 952, lowrite 955, lo_lseek 956, loread 954, lo_close 953, lo_unlink 964
			> F 952 4242|393216
			< Z
			> F 955 0|hello
			> F 956 0|0|0
			> F 954 0|5
			> F 953 0
			> F 964 4242
			> Q COMMIT
			< Z Z Z Z Z Z`},
		{name: "reported parameters", script: `
			> Q SET application_name = 'x'
			< Z
			> Q SET DateStyle = 'German'
			< Z
			> Q SELECT '2026-11-22'::date
			< Z
			> Q SET client_encoding = 'LATIN1'; SELECT 'é'
			< Z
			> Q RESET client_encoding; RESET DateStyle
			< Z
			> Q SELECT '2026-11-22'::date
			< Z
			> Q SET TimeZone = 'nowhere'
			< Z`},
		{name: "parameters of a transaction that is rolled back", skip: noStmt, script: `
			> Q BEGIN; SET TimeZone = 'Asia/Tokyo'
			< Z
			> Q SHOW TimeZone
			< Z
			> Q ROLLBACK
			< Z
			> Q SHOW TimeZone
			< Z
			> Q BEGIN; SET LOCAL TimeZone = 'Asia/Tokyo'
			< Z
			> Q COMMIT
			< Z
			> Q SHOW TimeZone
			< Z`},
		{name: "NOTIFY to oneself in a transaction", skip: map[string]string{
			"tx": "they come behind ReadyForQuery", "robin": "they come behind ReadyForQuery", "pieces": "they come behind ReadyForQuery", "stmt": "they come behind ReadyForQuery",
		}, script: `
			> Q LISTEN one; LISTEN two
			< Z
			> Q BEGIN; NOTIFY one, 'p'; NOTIFY two
			< Z
			> Q COMMIT
			< A A Z
			> Q UNLISTEN *; NOTIFY one
			< Z`},
		{name: "a notification for a silent client", script: `
			> Q LISTEN silent
			< Z
			! NOTIFY silent, 'first'
			< A
			! NOTIFY silent, 'second'
			< A
			> Q SELECT 1
			< Z
			! NOTIFY silent, 'third'
			< A`},
		{name: "a server's last words come to a silent client", skip: noStmt, script: `
			> Q BEGIN; SELECT 1
			< Z
			! SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'
			< EOF`},
		{name: "a query that kills its own server", script: `
			> Q SELECT pg_terminate_backend(pg_backend_pid())
			< EOF`},
		{name: "no names from other databases", script: `
			> Q SELECT current_database() IN ('plain', 'session', 'tx', 'robin', 'pieces', 'stmt')
			< Z`},
		{name: "a wide row and a long error", script: `
			> Q SELECT repeat('x', 100000), repeat('y', 20000)
			< Z
			> Q DO $$BEGIN RAISE EXCEPTION '%', repeat('e', 50000); END$$
			< Z
			> Q SELECT 1
			< Z`},
	})
}

// TestExtendedProtocolAnswersAsPostgreSQL covers statements, portals and pipelines.
func TestExtendedProtocolAnswersAsPostgreSQL(t *testing.T) {
	t.Parallel()
	newLab(t, "").compare(t, []dialogue{
		{name: "unnamed", script: `
			> P - [23] SELECT $1 + 1
			> DS -
			> B - - 41
			> DP -
			> E -
			> S
			< Z`},
		{name: "named, used again in later transactions", script: `
			> P s SELECT $1::int, $2::text
			> S
			< Z
			> DS s
			> S
			< Z
			> B - s 1|a
			> E -
			> S
			< Z
			> B p s 2|\N
			> DP p
			> E p
			> CP p
			> S
			< Z
			> CS s
			> S
			< Z
			> B - s 3|c
			> E -
			> S
			< Z`},
		{name: "everything in one packet with several Syncs", script: `
			> P a SELECT 'a' || $1::text
			> B - a 1
			> E -
			> S
			> P b SELECT 'b' || $1::text
			> B - b 2
			> E -
			> S
			> B - a 3
			> E -
			> B - b 4
			> E -
			> S
			< Z Z Z`},
		{name: "portals that are suspended", script: `
			> P - SELECT generate_series(1, 5)
			> B p - 
			> E p 2
			> E p 2
			> E p 2
			> E p 2
			> S
			< Z`},
		{name: "a portal ends with its transaction", skip: noStmt, script: `
			> Q BEGIN
			> P - SELECT generate_series(1, 5)
			> B p -
			> E p 2
			> S
			< Z Z
			> E p 2
			> S
			< Z
			> Q COMMIT
			> E p 2
			> S
			< Z Z`},
		{name: "Flush without Sync", script: `
			> P f SELECT $1::int
			> H
			< 1
			> DS f
			> H
			< T
			> B - f 7
			> E -
			> H
			< C
			> S
			< Z`},
		{name: "Flush and nothing else", script: `
			> H
			> S
			< Z
			> H
			> H
			> Q SELECT 1
			< Z`},
		{name: "Syncs alone", script: `
			> S
			< Z
			> S
			> S
			> S
			< Z Z Z`},
		{name: "Describe of nothing that returns rows", script: `
			> P n SET statement_timeout = 0
			> DS n
			> B - n
			> DP -
			> S
			< Z
			> P e
			> DS e
			> B - e
			> E -
			> S
			< Z`},
		{name: "Close of what does not exist", script: `
			> CS nothing
			> CP nothing
			> CS -
			> CP -
			> S
			< Z
			> CS nothing
			> H
			< 3
			> S
			< Z`},
		{name: "Close and Parse again under the same name", script: `
			> P r SELECT 1
			> S
			< Z
			> CS r
			> P r SELECT 2
			> B - r
			> E -
			> CS r
			> S
			< Z
			> B - r
			> S
			< Z`},
		{name: "an unknown statement in the middle of a pipeline", script: `
			> P k SELECT 1
			> B - k
			> E -
			> B - unknown
			> E -
			> B - k
			> E -
			> S
			> B - k
			> E -
			> S
			< Z Z`},
		{name: "Describe of an unknown statement and portal", script: `
			> DS unknown
			> S
			> DP unknown
			> S
			> E unknown
			> S
			< Z Z Z`},
		{name: "a name that is in use", script: `
			> P d SELECT 1
			> S
			< Z
			> P d SELECT 2
			> B - d
			> E -
			> S
			> B - d
			> E -
			> S
			< Z Z
			> P d SELECT 3
			> H
			< E
			> P d2 SELECT 4
			> H
			> S
			< Z
			> P d SELECT FROM
			> S
			< Z
			> B - d
			> E -
			> S
			< Z`},
		{name: "an error at Parse leaves no statement", script: `
			> P bad SELECT FROM nowhere
			> B - bad
			> S
			< Z
			> P bad SELECT 1
			> B - bad
			> E -
			> S
			< Z`},
		{name: "what an error skips was not done", script: `
			> P x1 SELECT 1
			> P x2 SELECT nothing
			> P x3 SELECT 3
			> CS x1
			> S
			< Z
			> B - x1
			> E -
			> S
			< Z
			> B - x3
			> E -
			> S
			< Z`},
		{name: "an error while executing undoes the pipeline's writes and keeps its statements", script: `
			! DROP TABLE IF EXISTS w; CREATE TABLE w (a int)
			> P ins INSERT INTO w VALUES ($1)
			> B - ins 1
			> E -
			> P div SELECT 1 / $1::int
			> B - div 0
			> E -
			> B - ins 2
			> E -
			> S
			> B - ins 3
			> E -
			> S
			> B - div 1
			> E -
			> S
			> Q SELECT * FROM w
			< Z Z Z Z`},
		{name: "errors in several regions of one packet", script: `
			> P g SELECT 1 / $1::int
			> B - g 1
			> E -
			> S
			> B - g 0
			> E -
			> S
			> B - g 1
			> E -
			> S
			> B - g x
			> E -
			> S
			> Q SELECT 1/0
			> B - g 1
			> E -
			> S
			< Z Z Z Z Z Z`},
		{name: "an error and a Sync that comes later", script: `
			> P - SELECT 1/0
			> B - -
			> E -
			> H
			< E
			> P late SELECT 1
			> B - late
			> H
			> Q SELECT 'skipped too'
			> E -
			> S
			< Z
			> Q SELECT 1
			< Z`},
		{name: "a simple query ends a region without Sync", skip: map[string]string{"stmt": "before Sync, PostgreSQL 18 reports a transaction"}, script: `
			> P q1 SELECT 1
			> B - q1
			> E -
			> Q SELECT 2
			< Z
			> B - q1
			> E -
			> S
			< Z`},
		{name: "an error before a simple query skips it", script: `
			> B - unknown
			> H
			< E
			> Q SELECT 2
			> S
			< Z
			> B - unknown
			> Q SELECT 2
			> S
			< Z`},
		{name: "a deferred constraint fails at Sync", script: `
			! DROP TABLE IF EXISTS def; CREATE TABLE def (a int UNIQUE DEFERRABLE INITIALLY DEFERRED)
			> P - INSERT INTO def VALUES (1), (1)
			> B - -
			> E -
			> S
			< Z
			> P - INSERT INTO def VALUES (2)
			> B - -
			> E -
			> S
			< Z`},
		{name: "Parse of a known statement in a failed transaction", skip: noStmt, script: `
			> P kn SELECT 1
			> S
			< Z
			1> Q BEGIN
			1> Q SELECT 1/0
			1< Z Z
			1> P mine SELECT 1
			1> B - mine
			1> E -
			1> S
			1< Z
			1> DS mine
			1> S
			1< Z
			1> P end ROLLBACK
			1> B - end
			1> E -
			1> S
			1< Z
			1> P mine SELECT 1
			1> B - mine
			1> E -
			1> S
			1< Z`, edit: nil},
		{name: "Parse of a known statement behind an error of the same packet", skip: noStmt, script: `
			> P kn2 SELECT 1
			> S
			< Z
			> CS kn2
			> Q BEGIN
			> Q SELECT 1/0
			> P kn2 SELECT 1
			> S
			> Q ROLLBACK
			< Z Z Z Z
			> P kn2 SELECT 1
			> S
			< Z`},
		{name: "the wrong number of parameters", script: `
			> P - SELECT $1::int
			> B - - 1|2
			> E -
			> S
			> B - - a
			> S
			< Z Z`},
		{name: "transactions in the extended protocol", skip: noStmt, script: `
			> P begin BEGIN
			> B - begin
			> E -
			> P sel SELECT $1::int
			> B - sel 1
			> E -
			> S
			< Z
			> P commit COMMIT
			> B - sel 2
			> E -
			> B - commit
			> E -
			> S
			< Z
			> B - begin
			> E -
			> B - sel x
			> E -
			> B - commit
			> E -
			> S
			< Z
			> B - commit
			> E -
			> S
			< Z`},
		{name: "DDL that changes the result of a statement", script: `
			! DROP TABLE IF EXISTS cp; CREATE TABLE cp (a int); INSERT INTO cp VALUES (1)
			> P all SELECT * FROM cp
			> B - all
			> E -
			> S
			< Z
			> Q ALTER TABLE cp ADD b text DEFAULT 'b'
			< Z
			> CS all
			> P all2 SELECT * FROM cp
			> DS all2
			> B - all2
			> E -
			> S
			< Z`},
		{name: "Terminate behind statements", script: `
			> P - SELECT 1
			> B - -
			> E -
			> S
			> Q SELECT 2
			> X
			< Z Z EOF`},
		{name: "a large batch with one Sync", script: "\n> P big SELECT $1::text\n" + strings.Repeat("> B - big "+strings.Repeat("v", 100)+"\n> E -\n", 2000) + "> S\n< Z"},
		{name: "a large batch with one Sync and an error in the middle", script: "\n> P big2 SELECT 1 / $1::int\n" +
			strings.Repeat("> B - big2 1\n> E -\n", 700) + "> B - big2 0\n> E -\n" + strings.Repeat("> B - big2 1\n> E -\n", 700) + "> S\n> B - big2 1\n> E -\n> S\n< Z Z"},
		{name: "a large parameter and a large text", script: `
			> P - SELECT length($1::text), length($2)
			> B - - ` + strings.Repeat("x", 100_000) + `|` + strings.Repeat("y", 30_000) + `
			> E -
			> S
			< Z
			> P bigtext SELECT length('` + strings.Repeat("z", 60_000) + `'), $1::int
			> S
			< Z
			> B - bigtext 1
			> E -
			> S
			< Z
			> P - SELECT length('` + strings.Repeat("u", 60_000) + `')
			> B - -
			> E -
			> S
			< Z
			> Q SELECT length('` + strings.Repeat("q", 70_000) + `')
			< Z`},
	})
}
