package integration

import (
	"strings"
	"testing"
)

// TestDeallocateByName covers DEALLOCATE of a statement that the protocol has prepared, which servers know by another name. It was refused with
// 26000, and the next Parse of that name with 42P05. psycopg with a libpq before 17, PDO and Rails drop their statements in this way.
func TestDeallocateByName(t *testing.T) {
	t.Parallel()
	const again = `
			> B - n
			> S
			> P n SELECT 'anew'
			> B - n
			> E -
			> S
			< Z Z`
	forms := []string{
		"DEALLOCATE n", "deallocate prepare N;", `/* a comment */ DEALLOCATE PREPARE "n" -- and another`, "DEALLOCATE\n\t/* /* */ */n ; ;",
		"DEALLOCATE m", `DEALLOCATE "N"`, "DEALLOCATE n n", "DEALLOCATE ;", "SELECT 7; DEALLOCATE k",
	}
	dialogues := []dialogue{{name: "a Bind that was skipped drops nothing, and leaves nothing for others", skip: noStmt, script: `
			> Q BEGIN
			< Z
			> P s SELECT 5
			> B p s
			> P a SELECT 1
			> P d DEALLOCATE a
			> S
			< Z
			> Q SAVEPOINT s
			< Z
			> P - SELEC
			> B p d
			> S
			< Z
			> Q ROLLBACK TO s
			< Z
			> E p
			> S
			< Z
			> Q COMMIT
			< Z
			> B - a
			> E -
			> S
			< Z
			1> P q SELECT 2
			1> S
			1< Z
			1> Q DEALLOCATE q
			1< Z
			> Q PREPARE z AS SELECT 1; DEALLOCATE z
			< Z
			> B - a
			> E -
			> S
			< Z`}}
	for _, cmd := range forms {
		cmd = strings.NewReplacer("\n", " ", "\t", " ").Replace(cmd)
		dialogues = append(dialogues,
			dialogue{name: cmd, script: `
			> P n SELECT 'first'
			> S
			< Z
			> Q ` + cmd + `
			< Z
			> B - n
			> E -
			> S
			< Z
			> Q ` + cmd + `
			< Z` + again},
			dialogue{name: cmd + " in one packet", script: `
			> P n SELECT 'first'
			> S
			> Q ` + cmd + again},
			dialogue{name: cmd + " by the extended protocol", script: `
			> P n SELECT 'first'
			> S
			< Z
			> P - ` + cmd + `
			> DS -
			> B - -
			> DP -
			> E -
			> S
			< Z
			> P d ` + cmd + `
			> S
			< Z
			> B p d
			> DP p
			> E p
			> S
			< Z` + again},
			dialogue{name: cmd + " in a pipeline", script: `
			> P n SELECT 'first'
			> B - n
			> E -
			> P - ` + cmd + `
			> B - -
			> DP -
			> E -
			> P n SELECT 'second'
			> B - n
			> E -
			> H
			> P - ` + cmd + `
			> B - -
			> E -
			> P - ` + cmd + `
			> B - -
			> E -
			> P n SELECT 'third'
			> S
			< Z` + again})
	}
	dialogues = append(dialogues,
		dialogue{name: "in transactions", skip: noStmt, script: `
			> P n SELECT 'first'
			> S
			< Z
			> Q BEGIN
			< Z
			> Q DEALLOCATE n
			< Z
			> B - n
			> S
			< Z
			> Q DEALLOCATE n
			< Z
			> P n SELECT 'second'
			> S
			< Z
			> Q ROLLBACK
			< Z
			> P n SELECT 'second'
			> S
			< Z
			> P - DEALLOCATE n
			> S
			< Z
			> Q BEGIN
			> P - DEALLOCATE n
			> B - -
			> E -
			> S
			> P n SELECT 'third'
			> B - n
			> E -
			> S
			> Q ROLLBACK
			< Z Z Z Z
			> B - n
			> E -
			> S
			< Z`},
		dialogue{name: "it is not undone", skip: noStmt, script: `
			> P n SELECT 'first'
			> S
			< Z
			> Q BEGIN
			> Q DEALLOCATE n
			> Q SELECT 1/0
			< Z Z Z
			> Q ROLLBACK
			< Z
			> P n SELECT 'first'
			> P k SELECT 'other'
			> S
			< Z
			> P - DEALLOCATE k
			> B - -
			> E -
			> P - SELECT 1/0
			> B - -
			> E -
			> S
			< Z
			> B - k
			> S
			< Z
			> P k SELECT 'another'
			> B - k
			> E -
			> S
			< Z`},
		dialogue{name: "in a failed transaction", skip: noStmt, script: `
			> P n SELECT 'first'
			> P d DEALLOCATE n
			> S
			< Z
			> Q BEGIN
			> Q SELECT 1/0
			> Q DEALLOCATE n
			> Q DEALLOCATE n
			< Z Z Z Z
			> P - DEALLOCATE n
			> B - -
			> E -
			> S
			< Z
			> B - d
			> E -
			> S
			< Z
			> Q ROLLBACK
			< Z
			> B - n
			> E -
			> S
			< Z
			> Q DEALLOCATE n
			< Z` + again},
		dialogue{name: "behind an error in the same pipeline", script: `
			> P n SELECT 'first'
			> P d DEALLOCATE n
			> S
			< Z
			> P - SELECT 1/0
			> B - -
			> E -
			> B - d
			> E -
			> S
			> B - n
			> E -
			> S
			< Z Z
			> B - d
			> E -
			> S
			> B - d
			> E -
			> S
			< Z Z` + again},
		dialogue{name: "behind a Parse that fails", script: `
			> P n SELECT FROM WHERE
			> S
			> Q DEALLOCATE n
			> P k SELECT FROM WHERE
			> S
			> P - DEALLOCATE k
			> B - -
			> E -
			> S
			> P j SELECT FROM WHERE
			> Q DEALLOCATE j
			> S
			> P n SELECT 1
			> P n SELECT 2
			> Q DEALLOCATE n
			> CS n
			> S
			> Q DEALLOCATE n
			< Z Z Z Z Z Z Z`},
		dialogue{name: "behind Close", script: `
			> P n SELECT 1
			> S
			< Z
			> CS n
			> S
			> Q DEALLOCATE n
			> P n SELECT 2
			> S
			> P n SELECT 3
			> S
			> CS n
			> Q DEALLOCATE n
			> Q DEALLOCATE n
			< Z Z Z Z Z Z`},
		dialogue{name: "its own statement", script: `
			> P n DEALLOCATE n
			> B - n
			> E -
			> S
			< Z
			> B - n
			> E -
			> S
			< Z` + again},
		dialogue{name: "many portals", skip: noStmt, script: `
			> P a SELECT 'a'
			> P b SELECT 'b'
			> P da DEALLOCATE a
			> P db DEALLOCATE b
			> P all DEALLOCATE ALL
			> P s SELECT 's'
			> S
			< Z
			> B p da
			> B q db
			> E p
			> B - a
			> S
			< Z
			> B - b
			> E -
			> S
			< Z
			> Q BEGIN
			> B p db
			> B - s
			> E -
			> CP p
			> B p s
			> E p
			> B - b
			> E -
			> S
			< Z Z
			> B q all
			> B r db
			> E r
			> B - b
			> S
			< Z
			> Q ROLLBACK
			< Z
			> B - s
			> E -
			> S
			< Z`},
		dialogue{name: "other clients keep theirs", script: `
			> P n SELECT 'zero'
			> S
			< Z
			1> P n SELECT 'zero'
			1> S
			1< Z
			> Q DEALLOCATE n
			< Z
			1> B - n
			1> E -
			1> S
			1< Z
			> P n SELECT 'zero'
			> B - n
			> E -
			> S
			< Z
			1> Q DEALLOCATE n
			1< Z
			> B - n
			> E -
			> S
			< Z
			1> B - n
			1> S
			1< Z`},
		dialogue{name: "the unnamed statement is not there any more", script: `
			> P n SELECT 1
			> P - SELECT 2
			> S
			< Z
			> Q DEALLOCATE n
			< Z
			> B - -
			> S
			< Z
			> P n SELECT 1
			> P - DEALLOCATE n
			> S
			< Z
			> B - -
			> E -
			> S
			< Z
			> B - -
			> E -
			> S
			< Z
			> DS -
			> S
			< Z`},
		dialogue{name: "statements of PREPARE", skip: noStmt, script: `
			> Q PREPARE n AS SELECT 'of SQL'
			< Z
			> Q EXECUTE n
			< Z
			> P k SELECT 'of the protocol'
			> S
			< Z
			> Q DEALLOCATE k
			< Z
			> Q EXECUTE n
			< Z
			> Q PREPARE k AS SELECT 'of SQL too'
			< Z
			> P - DEALLOCATE n
			> B - -
			> E -
			> S
			< Z
			> Q EXECUTE n
			< Z
			> Q EXECUTE k
			< Z
			> Q DEALLOCATE k
			< Z
			> Q DEALLOCATE k
			< Z`},
		dialogue{name: "nothing is left behind", script: `
			> P n SELECT 1
			> S
			< Z
			> Q DEALLOCATE n
			< Z
			> P n SELECT 1
			> P - DEALLOCATE n
			> B - -
			> E -
			> S
			< Z
			> Q SELECT count(*) FROM pg_prepared_statements WHERE statement = ''
			< Z`},
	)
	newLab(t, "").compare(t, dialogues)
}
