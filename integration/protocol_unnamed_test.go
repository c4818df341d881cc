package integration

import (
	"fmt"
	"strings"
	"testing"
)

// TestUnnamedStatementLivesAsInPostgreSQL covers the statement without a name: it stays for later Syncs, and it is never
// that of another client.
func TestUnnamedStatementLivesAsInPostgreSQL(t *testing.T) {
	t.Parallel()
	newLab(t, "").compare(t, []dialogue{
		{name: "it lives on after Sync", script: `
			> P - SELECT 'mine', $1::int
			> S
			< Z
			> B - - 1
			> E -
			> S
			< Z
			> DS -
			> S
			< Z`},
		{name: "other clients have their own", script: `
			> P - SELECT 'zero'
			> S
			< Z
			1> P - SELECT 'one'
			1> S
			1< Z
			> B - -
			> E -
			> S
			< Z
			1> B - -
			1> E -
			1> S
			1< Z
			2> B - -
			2> E -
			2> S
			2< Z
			2> DS -
			2> S
			2< Z`},
		// A Parse that the server skips behind an error made it look as if this client's statement were on the server;
		// the next Bind ran what another client had left there.
		{name: "a skipped Parse does not uncover another client's", script: `
			> P - SELECT 'zero'
			> B - -
			> E -
			> S
			< Z
			1> B - unknown
			1> P - SELECT 'one'
			1> S
			1< Z
			1> B - -
			1> E -
			1> S
			1< Z
			> B - -
			> E -
			> S
			< Z`},
		// The same when all of it comes in one packet.
		{name: "a skipped Parse in the same packet", script: `
			> P - SELECT 'zero'
			> B - -
			> E -
			> S
			< Z
			1> B - unknown
			1> P - SELECT 'one'
			1> S
			1> B - -
			1> E -
			1> S
			1> P - SELECT 'one'
			1> S
			1> DS -
			1> S
			1< Z Z Z Z
			> B - unknown
			> B - -
			> E -
			> S
			> B - -
			> E -
			> S
			< Z Z
			1> B - -
			1> E -
			1> S
			1> B - -
			1> E -
			1> S
			1< Z Z`},
		{name: "a failed Parse destroys it", script: `
			> P - SELECT 'first'
			> S
			< Z
			> P - SELECT FROM WHERE
			> S
			< Z
			> B - -
			> E -
			> S
			< Z`},
		{name: "Close destroys it", script: `
			> P - SELECT 'first'
			> S
			< Z
			> CS -
			> S
			< Z
			> B - -
			> E -
			> S
			< Z`},
		{name: "a simple query destroys it", script: `
			> P - SELECT 'first'
			> S
			< Z
			> Q SELECT 1
			< Z
			> B - -
			> E -
			> S
			< Z`},
		{name: "DISCARD ALL spares it", script: `
			> P - DISCARD ALL
			> B - -
			> E -
			> S
			< Z
			> B - -
			> E -
			> S
			< Z`},
		{name: "a longer one", script: `
			> P - SELECT 'x` + strings.Repeat("x", 20_000) + `'
			> S
			< Z
			> B - -
			> E -
			> S
			< Z`},
	})
}

// TestDeallocateAllForgetsStatements covers the commands that drop every statement.
func TestDeallocateAllForgetsStatements(t *testing.T) {
	t.Parallel()
	var dialogues []dialogue
	for _, cmd := range []string{"DEALLOCATE ALL", "DISCARD ALL"} {
		dialogues = append(dialogues, dialogue{name: cmd, script: `
			> P n SELECT 1
			> S
			< Z
			1> P n SELECT 'other'
			1> S
			1< Z
			> Q ` + cmd + `
			< Z
			> B - n
			> S
			< Z
			> P n SELECT 2
			> B - n
			> E -
			> S
			< Z
			1> B - n
			1> E -
			1> S
			1< Z
			> P all ` + cmd + `
			> B - all
			> E -
			> S
			< Z
			> B - n
			> E -
			> S
			< Z
			> B - all
			> S
			< Z
			1> B - n
			1> E -
			1> S
			1< Z`})
	}
	newLab(t, "").compare(t, dialogues)
}

// TestNothingOfOursIsTheClientsUnnamedStatement covers clients whose parameters are set on their server first: in session mode the statement that
// had set them was then the client's unnamed statement.
func TestNothingOfOursIsTheClientsUnnamedStatement(t *testing.T) {
	t.Parallel()
	l := newLab(t, "")
	for _, v := range variants {
		port := l.b.Port
		if v == "plain" {
			port = l.pg.Port
		}
		for i, say := range [][]string{{"DS -", "S"}, {"B - -", "S"}} {
			c := startRaw(t, port, v, "postgres", "application_name", fmt.Sprint("mine", i), "options", "-c statement_timeout=1min")
			if got, want := c.say(say...), "E(SERROR; C26000; Munnamed prepared statement does not exist) Z(I)"; got != want {
				t.Errorf("%s, %q\n got %s\nwant %s", v, say, got, want)
			}
			if got := c.say("Q SHOW application_name"); !strings.Contains(got, fmt.Sprint("D(mine", i)) {
				t.Errorf("%s: %s", v, got)
			}
		}
	}
}
