package integration

import (
	"fmt"
	"strings"
	"testing"
)

// TestEvictedStatementsArePreparedAgain uses more statements than a server keeps, one by one and in one packet.
func TestEvictedStatementsArePreparedAgain(t *testing.T) {
	t.Parallel()
	_, _, a, _ := startPair(t, "max_prepared_statements = 2\n")
	var say []string
	for i := range 6 {
		say = append(say, fmt.Sprintf("P s%d SELECT %d, $1::int", i, i), fmt.Sprintf("B - s%d %d", i, i), "E -")
	}
	if got := a.say(append(say, "S")...); strings.Count(got, "C(SELECT 1)") != 6 || strings.Contains(got, "E(") {
		t.Fatal(got)
	}
	for round := range 20 {
		i := round * 5 % 6
		if got, want := a.say(fmt.Sprintf("B - s%d %d", i, round), "E -", "S"), fmt.Sprintf("2 D(%d|%d) C(SELECT 1) Z(I)", i, round); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
	a.say("Q BEGIN")
	if got := a.say("P - SELECT count(*) <= 6 FROM pg_prepared_statements", "B - -", "E -", "S"); !strings.Contains(got, "D(t)") {
		t.Errorf("the server keeps more than it should (a packet may exceed the limit, until the next statement is added): %s", got)
	}
	// An error in the region where one is evicted must not lose count of what the server has.
	a.say("Q ROLLBACK")
	for range 10 {
		a.say("B - nothing", "B - s0 0", "B - s1 0", "B - s2 0", "S")
		a.say("B - s3 0", "E -", "B - s4 x", "E -", "B - s5 0", "S")
	}
	if got := a.say("P - SELECT count(*) <= 6 FROM pg_prepared_statements", "B - -", "E -", "S"); !strings.Contains(got, "D(t)") {
		t.Errorf("after errors: %s", got)
	}
}

// TestWithoutTrackingNamesPassAsTheyAre covers max_prepared_statements = 0.
func TestWithoutTrackingNamesPassAsTheyAre(t *testing.T) {
	t.Parallel()
	_, _, a, b := startPair(t, "max_prepared_statements = 0\n")
	if got := a.say("P mine SELECT 1", "B - mine", "E -", "S"); got != "1 2 D(1) C(SELECT 1) Z(I)" {
		t.Error(got)
	}
	if got := b.say("B - mine", "E -", "S"); got != "2 D(1) C(SELECT 1) Z(I)" {
		t.Errorf("the server's statement is everybody's: %s", got)
	}
}

// TestAlteredTableDoesNotBreakNewStatements prepares a text again after the table has got a column: a new client was
// refused with 0A000 on the server's old plan, for as long as the server lived.
func TestAlteredTableDoesNotBreakNewStatements(t *testing.T) {
	t.Parallel()
	pg, b, a, other := startPair(t, "")
	a.say("Q CREATE TABLE altered AS SELECT 1 AS a")
	a.say("P s SELECT * FROM altered", "B - s", "E -", "S")
	other.say("Q ALTER TABLE altered ADD b int DEFAULT 2")
	if got := other.say("P s SELECT * FROM altered", "DS s", "B - s", "E -", "S"); !strings.Contains(got, "D(1|2)") {
		t.Errorf("after DDL through the pool: %s", got)
	}
	// DDL that did not pass here costs one error.
	pg.MustExec(t, "postgres", "ALTER TABLE altered ADD c int DEFAULT 3")
	fresh := func() string {
		return startRaw(t, b.Port, "db", "postgres").say("P s SELECT * FROM altered", "DS s", "B - s", "E -", "S")
	}
	if got := fresh(); !strings.Contains(got, "C0A000") {
		t.Logf("no error: %s", got)
	}
	if got := fresh(); !strings.Contains(got, "D(1|2|3)") {
		t.Errorf("after DDL elsewhere: %s", got)
	}
}
