package integration

import (
	"strings"
	"testing"

	"pgdrover/internal/pgtest"
)

// TestCopyAnswersAsPostgreSQL covers COPY in both protocols, with the client's and the server's ends of it failing, and
// clients that send without waiting.
func TestCopyAnswersAsPostgreSQL(t *testing.T) {
	t.Parallel()
	const table = "! DROP TABLE IF EXISTS c; CREATE TABLE c (a int, b text)\n"
	const count = "\n> Q SELECT count(*), sum(a) FROM c\n< Z\n"
	const locked = "! CREATE OR REPLACE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''never''; END'; DROP TRIGGER IF EXISTS no ON c; CREATE TRIGGER no BEFORE INSERT ON c FOR EACH STATEMENT EXECUTE FUNCTION no()\n"
	row := "> d 1\\tx\\n\n"
	row = strings.ReplaceAll(row, `\t`, "\t")
	newLab(t, "").compare(t, []dialogue{
		{name: "in, simple", script: table + "> Q COPY c FROM STDIN\n< G\n" + row + row + "> c\n< Z" + count},
		{name: "in, without waiting", script: table + "> Q COPY c FROM STDIN\n" + row + row + "> c\n< Z" + count},
		{name: "in, without waiting, and more behind it", script: table + "> Q COPY c FROM STDIN\n" + row + "> c\n> Q SELECT 1\n> Q COPY c FROM STDIN\n" + row + "> c\n< Z Z Z" + count},
		{name: "in, nothing", script: table + "> Q COPY c FROM STDIN\n< G\n> c\n< Z" + count},
		{name: "in, the client fails", script: table + "> Q COPY c FROM STDIN\n< G\n" + row + "> f no more\n< Z" + count},
		{name: "in, the server fails while the client goes on", script: table + "> Q COPY c FROM STDIN\n< G\n> d bad\\n\n< E\n" + strings.Repeat(row, 50) + "> c\n< Z" + count},
		{name: "in, the server fails and the client goes on later", script: table + "> Q COPY c FROM STDIN\n< G\n> d bad\\n\n< E Z\n" + row + "> c\n> Q SELECT 1\n< Z" + count},
		{name: "in, refused", script: table + "> Q COPY nowhere FROM STDIN\n" + row + "> c\n> Q SELECT 1\n< Z Z" + count},
		{name: "in, several statements", script: table + "> Q SELECT 1; COPY c FROM STDIN; SELECT 2; COPY c FROM STDIN; SELECT 3\n< G\n" + row + "> c\n< G\n" + row + "> c\n< Z" + count},
		{name: "in, in a transaction", skip: noStmt, script: table + "> Q BEGIN\n< Z\n> Q COPY c FROM STDIN\n< G\n" + row + "> c\n< Z\n> Q ROLLBACK\n< Z" + count},
		{name: "in, fails in a transaction", skip: noStmt, script: table + "> Q BEGIN\n< Z\n> Q COPY c FROM STDIN\n< G\n> d x\\n\n> c\n< Z\n> Q COMMIT\n< Z" + count},
		{name: "in, extended", script: table + "> P - COPY c FROM STDIN\n> B - -\n> DP -\n> E -\n> H\n< G\n" + row + "> c\n> S\n< Z" + count},
		// libpq sends Sync together with Execute. The COPY swallows it, and another one ends the COPY; in between the server
		// was given to others.
		{name: "in, extended, with a Sync before the data", script: table + "> P - COPY c FROM STDIN\n> B - -\n> E -\n> S\n< G\n" + row + "> c\n> S\n< Z" + count},
		{name: "in, extended, with a Sync before the data and a pause before the last", script: table + "> P - COPY c FROM STDIN\n> B - -\n> E -\n> S\n< G\n" + row + "> c\n> H\n< C\n> S\n< Z" + count},
		{name: "in, extended, without waiting", script: table + "> P - COPY c FROM STDIN\n> B - -\n> E -\n> S\n" + row + row + "> c\n> S\n> Q SELECT 1\n< Z Z" + count},
		{name: "in, extended, the server fails", script: table + "> P - COPY c FROM STDIN\n> B - -\n> E -\n> S\n< G\n> d bad\\n\n< E\n" + row + "> c\n> S\n< Z" + count},
		{
			name: "in, extended, the server fails and the client asks for something else", script: table + "> P - COPY c FROM STDIN\n> B - -\n> E -\n> S\n< G\n> d bad\\n\n< E\n1> Q SELECT 'other'\n1< Z\n> P - SELECT 1\n> B - -\n> S\n< Z" + count,
			skip: map[string]string{"tx": "two clients, one server", "pieces": "two clients, one server", "stmt": "two clients, one server"},
		},
		{name: "in, extended, the client fails", script: table + "> P - COPY c FROM STDIN\n> B - -\n> E -\n> S\n< G\n" + row + "> f enough\n> S\n< Z" + count},
		{name: "in, extended, Sync and Flush before CopyDone are ignored", script: table + "> P - COPY c FROM STDIN\n> B - -\n> E -\n> H\n< G\n" + row + "> S\n> H\n" + row + "> S\n> c\n> S\n< Z" + count},
		{name: "in, extended, refused", script: table + "> P - COPY nowhere FROM STDIN\n> B - -\n> E -\n> S\n" + row + "> c\n> S\n< Z Z" + count},
		// The COPY fails before it reads: nobody can tell from outside whether it has swallowed the Sync that was sent with it.
		{name: "in, extended, fails at once, with a Sync before the data", script: table + locked + "> P - COPY c FROM STDIN\n> B - -\n> E -\n> S\n< Z" + count},
		{name: "in, extended, fails at once, without waiting", script: table + locked + "> P - COPY c FROM STDIN\n> B - -\n> E -\n> S\n" + row + "> c\n> S\n> Q SELECT 1\n< Z Z Z" + count},
		{name: "in, extended, the server fails, without waiting", script: table + "> P - COPY c FROM STDIN\n> B - -\n> E -\n> S\n> d bad\\n\n" + row + "> c\n> S\n> Q SELECT 1\n< Z Z" + count},
		{name: "in, extended, the server fails and Syncs come late", script: table + "> P - COPY c FROM STDIN\n> B - -\n> E -\n> H\n< G\n> d bad\\n\n< E\n" + row + "> S\n< Z\n> c\n> S\n< Z" + count},
		{name: "in, extended, several Syncs before the data", script: table + "> P - COPY c FROM STDIN\n> B - -\n> E -\n> S\n> S\n> S\n< G\n" + row + "> c\n> S\n< Z" + count},
		{name: "in, extended, several Syncs before the data, the server fails", script: table + "> P - COPY c FROM STDIN\n> B - -\n> E -\n> S\n> S\n< G\n> d bad\\n\n< E\n> c\n> S\n> S\n< Z Z" + count},
		{name: "in, extended, a Sync among the data, then the server fails", script: table + "> P - COPY c FROM STDIN\n> B - -\n> E -\n> H\n< G\n> S\n> d bad\\n\n> c\n< E\n> S\n> Q SELECT 1\n< Z Z" + count},
		{name: "in, extended, two in one packet", script: table + "> P - COPY c FROM STDIN\n> B - -\n> E -\n> S\n" + row + "> c\n> S\n> P - COPY c FROM STDIN\n> B - -\n> E -\n> S\n" + row + "> c\n> S\n< Z Z" + count},
		{name: "a query in the middle", script: table + "> Q COPY c FROM STDIN\n< G\n" + row + "> Q SELECT 1\n< EOF"},
		{name: "data without COPY is ignored", script: table + row + "> c\n> f x\n> Q SELECT 1\n< Z" + count},
		{name: "data without COPY in a transaction is ignored", skip: noStmt, script: table + "> Q BEGIN\n< Z\n" + row + "> c\n> Q SELECT 1\n< Z\n> Q COMMIT\n< Z" + count},
		{name: "out, simple", script: "> Q COPY (SELECT g, repeat('x', g) FROM generate_series(1, 300) g) TO STDOUT\n< Z"},
		{name: "out, extended, binary", script: "> P - COPY (SELECT 1) TO STDOUT (FORMAT binary)\n> B - -\n> E -\n> S\n< Z"},
		{name: "out, fails in the middle", script: "> Q COPY (SELECT 10 / (g - 5) FROM generate_series(1, 9) g) TO STDOUT\n< Z\n> Q SELECT 1\n< Z"},
		{name: "out and in in one packet", script: table + "> Q COPY (SELECT 1) TO STDOUT; COPY c FROM STDIN\n" + row + "> c\n> Q COPY c TO STDOUT\n< Z Z"},
		{name: "large data", script: table + "> Q COPY c FROM STDIN\n< G\n> d 1\t" + strings.Repeat("y", 300_000) + "\\n\n" + strings.Repeat(row, 500) + "> c\n< Z\n> Q SELECT count(*), sum(length(b)) FROM c\n< Z\n> Q COPY c TO STDOUT\n< Z"},
	})
}

// TestSyncsBehindASimpleCopy sends Syncs along with a simple query's COPY, which ignores them while it reads. They were waited for, and the
// server stayed with its client: another one has it next here.
func TestSyncsBehindASimpleCopy(t *testing.T) {
	t.Parallel()
	const table = "! DROP TABLE IF EXISTS c; CREATE TABLE c (a int)\n"
	const locked = "! CREATE OR REPLACE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''never''; END'; CREATE TRIGGER no BEFORE INSERT ON c FOR EACH STATEMENT EXECUTE FUNCTION no()\n"
	const cp, row, bad = "> Q COPY c FROM STDIN\n", "> d 1\\n\n", "> d bad\\n\n"
	const more = "\n> Q SELECT 'same'\n< Z\n1> Q SELECT count(*) FROM c\n1< Z"
	const begin, end = "> Q BEGIN\n< Z\n", "\n> Q ROLLBACK\n< Z" + more
	all := []dialogue{
		{name: "without waiting", script: table + cp + "> S\n" + row + "> c\n< Z" + more},
		{name: "several and a Flush", script: table + cp + "> S\n> S\n> H\n> S\n" + row + "> S\n" + row + "> S\n> c\n< Z" + more},
		{name: "before the data", script: table + cp + "> S\n< G\n" + row + "> c\n< Z" + more},
		{name: "among the data", script: table + cp + "< G\n> S\n" + row + "> S\n> c\n< Z" + more},
		{name: "also behind it", script: table + cp + "> S\n" + row + "> c\n> S\n> Q SELECT 1\n< Z Z Z" + more},
		{name: "twice", script: table + cp + "> S\n" + row + "> c\n" + cp + "> S\n" + row + "> c\n< Z Z" + more},
		{name: "two in one text", script: table + "> Q COPY c FROM STDIN; COPY c FROM STDIN\n> S\n" + row + "> c\n> S\n" + row + "> c\n< Z" + more},
		{name: "two in one text, with pauses", script: table + "> Q COPY c FROM STDIN; COPY c FROM STDIN\n> S\n< G\n" + row + "> c\n< G\n> S\n" + row + "> S\n> c\n< Z" + more},
		{name: "refused", script: table + "> Q COPY nowhere FROM STDIN\n> S\n" + row + "> c\n< Z Z" + more},
		{name: "in a transaction", skip: noStmt, script: table + begin + cp + "> S\n" + row + "> c\n< Z" + end},
	}
	for _, f := range []struct{ name, script string }{
		{"fails at once", locked + cp + "> S\n" + row + "> c\n< Z Z"},
		{"fails at once, twice", locked + cp + "> S\n> S\n" + row + "> c\n> Q SELECT 1\n< Z Z Z Z"},
		{"fails at once, before the data", locked + cp + "> S\n< Z Z\n" + row + "> c"},
		{"fails later", cp + "> S\n" + bad + "> c\n< Z"},
		{"fails later, before the end", cp + "> S\n" + bad + "< Z\n> c"},
		{"fails later, and more behind it", cp + "> S\n" + bad + "> c\n> S\n> Q SELECT 1\n< Z Z Z"},
		{"the client fails", cp + "> S\n" + row + "> f enough\n< Z"},
	} {
		all = append(all, dialogue{name: f.name, script: table + f.script + more},
			dialogue{name: f.name + ", in a transaction", skip: noStmt, script: table + begin + f.script + end})
	}
	newLab(t, "").compare(t, all)
}

// TestSyncsBehindACopyThatFailsInATransaction is the same for the extended protocol.
func TestSyncsBehindACopyThatFailsInATransaction(t *testing.T) {
	t.Parallel()
	const begin = "! DROP TABLE IF EXISTS c; CREATE TABLE c (a int)\n> Q BEGIN\n< Z\n"
	const locked = "! CREATE OR REPLACE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''never''; END'; CREATE TRIGGER no BEFORE INSERT ON c FOR EACH STATEMENT EXECUTE FUNCTION no()\n"
	const cp, row, end = "> P - COPY c FROM STDIN\n> B - -\n> E -\n", "> d 1\\n\n", "\n> Q ROLLBACK\n< Z\n> Q SELECT 1\n< Z"
	newLab(t, "").compare(t, []dialogue{
		{name: "at once", skip: noStmt, script: begin + locked + cp + "> S\n" + row + "> c\n> S\n< Z Z" + end},
		{name: "at once, twice", skip: noStmt, script: begin + locked + cp + "> S\n> S\n" + row + "> c\n> S\n< Z Z Z" + end},
		{name: "at once, before the data", skip: noStmt, script: begin + locked + cp + "> S\n< Z\n" + row + "> c\n> S\n< Z" + end},
		{name: "later", skip: noStmt, script: begin + cp + "> S\n> d bad\\n\n> c\n> S\n< Z" + end},
	})
}

// TestTerminateInTheMiddleOfACopyEndsIt sends Terminate without an end of the data: client and server waited for each other,
// and the server stayed in use for as long as the pooler ran. Nobody waits for the end of a COPY any more that nobody will end.
func TestTerminateInTheMiddleOfACopyEndsIt(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", ""))
	pg.MustExec(t, "postgres", "CREATE TABLE c (a int); GRANT ALL ON c TO app")
	b := newPool(t, pg, "", "")
	for range 2 {
		c := startRaw(t, b.Port, "db", "app")
		c.write(encode(t, "Q COPY c FROM STDIN"))
		c.until("G")
		c.write(encode(t, "d 1\\n", "X"))
		b.awaitPool("db", "app", "cl_active=0", "sv_active=0", "sv_being_canceled=0")
		b.noLeaks(pg, "app")
		if n := pg.MustValue(t, "postgres", "SELECT count(*) FROM c"); n != "0" {
			t.Errorf("%s rows were copied", n)
		}
	}
}
