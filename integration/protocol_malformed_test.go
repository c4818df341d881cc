package integration

import "testing"

// TestMalformedMessagesAnswerAsPostgreSQL sends messages whose header is right and whose body is not, and then goes on in the
// same session.
func TestMalformedMessagesAnswerAsPostgreSQL(t *testing.T) {
	t.Parallel()
	var all []dialogue
	for _, m := range []struct{ name, packet string }{
		{"Parse that ends behind its text", "raw 50 0000000d 00 53454c45435420 00"},
		{"Bind without parameters", "raw 42 00000006 00 00"},
		{"Bind with fewer than it says", "raw 42 0000000a 00 00 0000 0005"},
		{"Describe without a body", "raw 44 00000004"},
		{"Describe of neither", "raw 44 00000006 5a 00"},
		{"Describe with more than a name", "raw 44 00000008 50 00 7878"},
		{"Execute without a body", "raw 45 00000004"},
		{"Execute without a count", "raw 45 00000005 00"},
		{"Execute with more than a count", "raw 45 0000000b 00 00000000 7878"},
		{"Close without a body", "raw 43 00000004"},
		{"Close of neither", "raw 43 00000006 5a 00"},
		{"Close with more than a name", "raw 43 00000008 50 00 7878"},
	} {
		all = append(all,
			dialogue{name: m.name, script: "> P - SELECT 1\n> B - -\n> " + m.packet + "\n> E -\n> S\n< Z\n> Q SELECT 2\n< Z"},
			dialogue{name: m.name + ", Flush, Query", script: "> " + m.packet + "\n> H\n< E\n> Q SELECT 1\n> F 1248 1\n> c\n> S\n< Z\n> Q SELECT 2\n< Z"},
			dialogue{name: m.name + ", in one packet", script: "> " + m.packet + "\n> H\n> Q SELECT 1\n> F 1248 1\n> c\n> S\n> Q SELECT 2\n< Z Z"},
		)
	}
	for _, m := range []struct{ name, packet string }{
		{"Query without an end", "raw 51 00000005 31"},
		{"Query with more than a text", "raw 51 0000000f 53454c454354203100 7878"},
		{"FunctionCall without a body", "raw 46 00000004"},
		{"FunctionCall without arguments", "raw 46 00000008 000004e0"},
	} {
		all = append(all,
			dialogue{name: m.name, script: "> " + m.packet + "\n< Z\n> Q SELECT 2\n< Z"},
			dialogue{name: m.name + ", behind others", script: "> P - SELECT 1\n> B - -\n> E -\n> " + m.packet + "\n> S\n> Q SELECT 2\n< Z Z Z"},
		)
	}
	all = append(all,
		dialogue{name: "leftovers of a COPY with bodies of any kind", script: "> raw 63 00000006 7878\n> raw 66 00000005 78\n> Q SELECT 1\n> raw 63 00000006 7878\n> raw 66 00000005 78\n> Q SELECT 2\n< Z Z"},
		dialogue{name: "CopyFail without an end", script: "! CREATE TABLE IF NOT EXISTS m (a int)\n> Q COPY m FROM STDIN\n< G\n> raw 66 00000005 78\n< Z\n> Q SELECT 2\n< Z"},
		dialogue{name: "CopyDone with a body", script: "! CREATE TABLE IF NOT EXISTS m (a int)\n> Q COPY m FROM STDIN\n< G\n> raw 63 00000006 7878\n< Z\n> Q SELECT 2\n< Z"},
	)
	newLab(t, "").compare(t, all)
}

// TestAnErrorInThePlaceOfNoMessage has the time limit of a pipeline pass while the server waits for more of it: Flush, which has no
// answer, is told so, and everything up to Sync is skipped. The query behind it was taken for one that has an answer.
func TestAnErrorInThePlaceOfNoMessage(t *testing.T) {
	t.Parallel()
	newLab(t, "").compare(t, []dialogue{
		{name: "Flush", skip: noStmt, script: "> Q BEGIN\n> Q SET LOCAL statement_timeout = 50\n> P - SELECT 1\n> H\n< Z Z 1\n! SELECT pg_sleep(0.2)\n> H\n< E\n> Q SELECT 1\n> S\n< Z\n> Q ROLLBACK\n< Z"},
	})
}
