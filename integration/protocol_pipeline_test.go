package integration

import "testing"

// TestMessagesBehindOnesThatChangeStatements covers packets in which what a name means depends on answers that have not come
// when the message passes. The pooler used to translate such a name too early.
func TestMessagesBehindOnesThatChangeStatements(t *testing.T) {
	t.Parallel()
	var dialogues []dialogue
	for _, cmd := range []string{"DEALLOCATE ALL", "/* a comment */ discard all", "deallocate prepare ALL"} {
		dialogues = append(dialogues, dialogue{name: cmd + " in the same packet", script: `
			> P n SELECT 1
			> P m SELECT 2
			> S
			< Z
			1> P n SELECT 'other'
			1> S
			1< Z
			> P all ` + cmd + `
			> B - all
			> E -
			> S
			> B - n
			> E -
			> S
			> P n SELECT 3
			> B - n
			> E -
			> S
			< Z Z Z
			1> B - n
			1> E -
			1> S
			1< Z
			> P - ` + cmd + `
			> B - -
			> E -
			> S
			> B - n
			> S
			> P m SELECT 4
			> B - m
			> E -
			> S
			< Z Z Z
			> Q ` + cmd + `
			> B - m
			> S
			> P m SELECT 5
			> B - m
			> E -
			> S
			< Z Z Z
			> P fails SELECT 1/0
			> B - fails
			> E -
			> B - m
			> E -
			> S
			> B - m
			> E -
			> S
			< Z Z`})
	}
	dialogues = append(dialogues,
		dialogue{name: "without a Sync between them", script: `
			> P n SELECT 1
			> S
			< Z
			> P all DEALLOCATE ALL
			> B - all
			> E -
			> B - n
			> E -
			> S
			< Z
			> P n SELECT 2
			> P all DEALLOCATE ALL
			> B - all
			> E -
			> P n SELECT 3
			> B - n
			> E -
			> S
			< Z`},
		dialogue{name: "a string of statements with DEALLOCATE ALL at its end", script: `
			> P n SELECT 1
			> S
			< Z
			> Q SELECT 1; DEALLOCATE ALL
			> P n SELECT 2
			> B - n
			> E -
			> S
			< Z Z`},
		dialogue{name: "named portals", skip: noStmt, script: `
			> P n SELECT 1
			> P all DEALLOCATE ALL
			> S
			< Z
			> B p all
			> B - n
			> E -
			> E p
			> B - n
			> E -
			> S
			< Z`},
		dialogue{name: "a second Parse of a name behind its failing first one", script: `
			> P n SELECT FROM WHERE
			> S
			> P n SELECT 1
			> S
			> B - n
			> E -
			> S
			< Z Z Z
			> P k SELECT FROM WHERE
			> P k SELECT 1
			> B - k
			> S
			> B - k
			> E -
			> S
			> P k SELECT 2
			> B - k
			> E -
			> S
			< Z Z Z`},
		dialogue{name: "Bind of a name behind its failing Parse", script: `
			> P n SELECT FROM WHERE
			> S
			> B - n
			> E -
			> S
			> DS n
			> S
			< Z Z Z`},
		dialogue{name: "Parse of a name behind a Close that is skipped", script: `
			> P n SELECT 1
			> S
			< Z
			> B - unknown
			> CS n
			> S
			> P n SELECT 2
			> S
			> B - n
			> E -
			> S
			< Z Z Z
			> B - n
			> E -
			> S
			< Z`},
		dialogue{name: "Parse of a name behind a Close", script: `
			> P n SELECT 1
			> S
			< Z
			> CS n
			> S
			> P n SELECT 2
			> S
			> B - n
			> E -
			> S
			< Z Z Z`},
		dialogue{name: "Flush behind a failing Parse", script: `
			> P n SELECT FROM WHERE
			> H
			> S
			> P n SELECT 1
			> H
			> B - n
			> E -
			> H
			> S
			< Z Z`},
	)
	newLab(t, "").compare(t, dialogues)
}

// TestErrorsNameTheClientsStatement covers errors in which PostgreSQL quotes the name of a statement: it must be the name
// that the client has given.
func TestErrorsNameTheClientsStatement(t *testing.T) {
	t.Parallel()
	newLab(t, "").compare(t, []dialogue{
		{name: "too few and too many parameters", script: `
			> P mine SELECT $1::int
			> S
			< Z
			> B - mine 1|2
			> S
			< Z
			> B - mine
			> S
			< Z
			> B - mine 1
			> E -
			> S
			< Z`},
		{name: "two names for one text", script: `
			> P a SELECT $1::int
			> P a_longer_name_than_that_of_the_pooler_which_is_not_short SELECT $1::int
			> S
			< Z
			> B - a_longer_name_than_that_of_the_pooler_which_is_not_short
			> S
			< Z
			> B - a
			> S
			< Z`},
		{name: "a statement that was dropped where it cannot be seen", skip: map[string]string{"robin": "another server still has it"}, script: `
			> P gone SELECT 1
			> B - gone
			> E -
			> S
			< Z
			> Q DO $$BEGIN EXECUTE 'DEALLOCATE ALL'; END$$
			< Z
			> B - gone
			> S
			< Z
			> P other SELECT 2
			> B - other
			> E -
			> S
			< Z`},
	})
}

// TestUnnamedStatementSurvivesWhatIsSkipped covers the statement without a name when a later Parse does not take place.
func TestUnnamedStatementSurvivesWhatIsSkipped(t *testing.T) {
	t.Parallel()
	newLab(t, "").compare(t, []dialogue{
		{name: "a Parse behind an error", script: `
			> P - SELECT 'first'
			> S
			< Z
			> B - unknown
			> P - SELECT 'second'
			> S
			< Z
			> B - -
			> E -
			> S
			< Z`},
		{name: "two of them", script: `
			> P - SELECT 'first'
			> B - -
			> E -
			> S
			< Z
			> B - unknown
			> P - SELECT 'second'
			> P - SELECT 'third'
			> S
			< Z
			> B - -
			> E -
			> S
			< Z`},
		{name: "behind one that was carried out", script: `
			> P - SELECT 'first'
			> S
			< Z
			> P - SELECT 'second'
			> B - unknown
			> P - SELECT 'third'
			> S
			< Z
			> P - SELECT 'fourth'
			> S
			> B - unknown
			> P - SELECT 'fifth'
			> S
			> P - SELECT 'sixth'
			> S
			< Z Z Z
			> B - -
			> E -
			> S
			< Z`},
		// The text of the first was given up as soon as the second had passed.
		{name: "between one that was carried out and its answer", script: `
			> P - SELECT 1/0
			> B - -
			> E -
			> P - SELECT 'second'
			> S
			< Z
			> B - -
			> E -
			> S
			< Z
			> P - SELECT 'third'
			> B - -
			> E -
			> P - SELECT 'fourth'
			> B - -
			> E -
			> B - unknown
			> P - SELECT 'fifth'
			> P - SELECT 'sixth'
			> S
			> B - -
			> E -
			> B - unknown
			> P - SELECT 'seventh'
			> S
			> B - -
			> E -
			> S
			< Z Z Z
			> P - SELECT 'eighth'
			> S
			> B - unknown
			> P - SELECT 'ninth'
			> S
			< Z Z
			> B - -
			> E -
			> S
			< Z
			> P - SELECT 'tenth'
			> P - SELECT FROM WHERE
			> S
			< Z
			> B - -
			> E -
			> S
			< Z`},
		// The pooler took note of them although the server did not carry them out.
		{name: "a Query and a Close that are skipped", script: `
			> P - SELECT 'first'
			> S
			< Z
			> E nope
			> Q SELECT 1
			> S
			< Z
			> B - -
			> E -
			> S
			< Z
			> E nope
			> CS -
			> S
			< Z
			> B - -
			> E -
			> S
			< Z
			> P - SELECT 'second'
			> B - -
			> E -
			> CS -
			> P - SELECT 'third'
			> CS -
			> E nope
			> P - SELECT 'fourth'
			> S
			> B - -
			> S
			< Z Z
			> P - SELECT 'fifth'
			> CS -
			> E nope
			> CS -
			> P - SELECT 'sixth'
			> S
			> P - SELECT 'seventh'
			> B - -
			> E -
			> Q SELECT 2
			> B - -
			> S
			< Z Z Z
			> P - SELECT 'eighth'
			> S
			> B - -
			> E -
			> Q SELECT 3
			> S
			> B - -
			> S
			< Z Z Z Z`},
		{name: "one that fails", script: `
			> P - SELECT 'first'
			> S
			< Z
			> P - SELECT FROM WHERE
			> P - SELECT 'second'
			> S
			< Z
			> B - -
			> E -
			> S
			< Z`},
		{name: "one that fails, and one that does not", script: `
			> P - SELECT FROM WHERE
			> S
			> P - SELECT 'second'
			> S
			< Z Z
			> B - -
			> E -
			> S
			< Z
			1> P - SELECT 'other'
			1> S
			1< Z
			> B - -
			> E -
			> S
			< Z`},
		{name: "in a transaction", skip: noStmt, script: `
			> P - SELECT 'first'
			> Q BEGIN
			> P - SELECT 'second'
			> S
			< Z Z
			> B - unknown
			> P - SELECT 'third'
			> S
			> Q ROLLBACK
			< Z Z`},
	})
}
