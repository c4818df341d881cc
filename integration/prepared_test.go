package integration

import (
	"fmt"
	"maps"
	"slices"
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

// TestPrepareOfAKnownTextNeedsNoServer: a text may be prepared by many clients while others hold all servers, which programs rely on that prepare
// with one thread for several sessions (pgbench does). What only a server can decide waits for one.
func TestPrepareOfAKnownTextNeedsNoServer(t *testing.T) {
	t.Parallel()
	_, b, holder, c := startPair(t, "")
	holder.say("Q CREATE TABLE known AS SELECT 1 AS a")
	const parse = " SELECT a FROM known WHERE a = $1"
	if got := holder.say("P s"+parse, "S"); got != "1 Z(I)" {
		t.Fatal(got)
	}
	holder.say("Q BEGIN")
	for _, say := range [][]string{{"P s" + parse, "S"}, {"P t" + parse, "S"}, {"CS s", "P u" + parse, "S"}, {"P s" + parse, "H", "S"}} {
		if got := strings.TrimPrefix(c.say(say...), "3 "); got != "1 Z(I)" {
			t.Errorf("%q: %s", say, got)
		}
	}
	for _, m := range []struct {
		say  []string
		want string
	}{
		{[]string{"P v SELECT a + 1 FROM known", "S"}, "1 Z(I)"},
		{[]string{"P v2 [23]" + parse, "S"}, "1 Z(I)"},
		{[]string{"P v3 SELECT b FROM known", "S"}, "E(SERROR; C42703"},
		{[]string{"P t" + parse, "S"}, "E(SERROR; C42P05"},
		{[]string{"P v4" + parse, "P v4" + parse, "S"}, "1 E(SERROR; C42P05"},
		{[]string{"P -" + parse, "S"}, "1 Z(I)"},
		{[]string{"P w" + parse, "DS w", "S"}, "1 t(23) T(a:23) Z(I)"},
		{[]string{"B - u 1", "E -", "S"}, "2 D(1) C(SELECT 1) Z(I)"},
		{[]string{"Q SET TimeZone = 'Asia/Tokyo'"}, "C(SET)"},
		{[]string{"P x" + parse, "S"}, "1 Z(I)"}, // what a text means may depend on the TimeZone
	} {
		c.write(encode(t, m.say...))
		b.awaitPool("db", "postgres", "cl_waiting=1")
		holder.say("Q COMMIT")
		if got := c.until("Z"); !strings.HasPrefix(got, m.want) {
			t.Errorf("%q: got %s, want %s", m.say, got, m.want)
		}
		holder.say("Q BEGIN")
	}
	if got := c.say("P y"+parse, "S"); got != "1 Z(I)" {
		t.Errorf("under the other TimeZone, once it is known: %s", got)
	}
	// A table that was altered has other columns, and one that a transaction has created is there for nobody else.
	holder.say("Q ALTER TABLE known RENAME a TO b")
	holder.say("Q COMMIT")
	if got := c.say("P z"+parse, "S"); !strings.HasPrefix(got, "E(SERROR; C42703") {
		t.Errorf("after ALTER TABLE: %s", got)
	}
	holder.say("Q BEGIN")
	holder.say("Q CREATE TABLE undone (a int)")
	holder.say("P undone SELECT a FROM undone", "S")
	holder.say("Q ROLLBACK")
	if got := c.say("P undone SELECT a FROM undone", "S"); !strings.HasPrefix(got, "E(SERROR; C42P01") {
		t.Errorf("after CREATE TABLE and ROLLBACK: %s", got)
	}
}

func TestPrepareOfAKnownTextNeedsNoShard(t *testing.T) {
	t.Parallel()
	s := startShop(t, 2, "", "pool_size = 1")
	holder, c := startRaw(t, s.Port, "shop", "app"), startRaw(t, s.Port, "shop", "app")
	const parse = "P s SELECT id FROM customers WHERE id = $1"
	holder.say("Q INSERT INTO customers (id, name) VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')")
	if got := holder.say(parse, "S"); got != "1 Z(I)" {
		t.Fatal(got)
	}
	holder.say("Q BEGIN")
	if got := holder.say("Q UPDATE customers SET name = 'x'"); got != "C(UPDATE 4) Z(T)" {
		t.Fatal(got)
	}
	if got := c.say(parse, "S"); got != "1 Z(I)" {
		t.Error(got)
	}
	holder.say("Q COMMIT")
	for id := range 4 {
		if got, want := c.say(fmt.Sprintf("B - s %d", id+1), "E -", "S"), fmt.Sprintf("2 D(%d) C(SELECT 1) Z(I)", id+1); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// TestChangedColumnsAreRefusedOnEveryServer: a client that was told of a statement's columns must not get others, as it does not from PostgreSQL:
// not on a server that has prepared it before they have changed, and not on one that has to prepare it anew.
func TestChangedColumnsAreRefusedOnEveryServer(t *testing.T) {
	t.Parallel()
	const refused = "E(SERROR; C0A000; Mcached plan must not change result type"
	told := map[string][]string{
		"by Describe of the statement":  {"P s SELECT * FROM altered", "DS s", "S"},
		"by Describe of its portal":     {"P s SELECT * FROM altered", "B - s", "DP -", "E -", "S"},
		"by Describe of a named portal": {"P s SELECT * FROM altered", "B p s", "DP p", "E p", "S"},
	}
	for _, how := range slices.Sorted(maps.Keys(told)) {
		for _, elsewhere := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, DDL elsewhere %v", how, elsewhere), func(t *testing.T) {
				t.Parallel()
				pg, b := startRounds(t, "")
				ddl := func(sql string) {
					if elsewhere {
						pg.MustExec(t, "postgres", sql)
					} else if got := startRaw(t, b.Port, "db", "postgres").say("Q " + sql); strings.Contains(got, "E(") {
						t.Fatal(got)
					}
				}
				pg.MustExec(t, "postgres", "CREATE TABLE altered AS SELECT '1'::text AS a")
				c, late := startRaw(t, b.Port, "db", "postgres"), startRaw(t, b.Port, "db", "postgres")
				if got := c.say(told[how]...); strings.Contains(got, "E(") {
					t.Fatal(got)
				}
				late.say(told[how]...)
				for range 4 { // both servers, each twice
					if got := c.say("B - s", "E -", "S"); got != "2 D(1) C(SELECT 1) Z(I)" {
						t.Fatalf("before: %s", got)
					}
				}
				ddl("ALTER TABLE altered ALTER a TYPE int USING a::int")
				for i := range 6 {
					if got := c.say("B - s", "E -", "S"); !strings.HasPrefix(got, refused) {
						t.Errorf("execution %d: %s", i, got)
					}
				}
				if got := c.say("P - BEGIN", "B - -", "E -", "B - s", "E -", "S"); !strings.Contains(got, "C(BEGIN) "+refused) || !strings.HasSuffix(got, "Z(E)") {
					t.Errorf("in a transaction: %s", got)
				}
				if got := c.say("B - s", "E -", "S"); !strings.HasPrefix(got, "E(SERROR; C25P02") {
					t.Errorf("in a failed one: %s", got)
				}
				c.say("Q ROLLBACK")
				if got := c.say("P - SELECT 2", "B - -", "E -", "B - s", "E -", "B - s", "E -", "S"); strings.Count(got, "E(") != 1 || !strings.Contains(got, "D(2) C(SELECT 1) "+refused) {
					t.Errorf("in a pipeline: %s", got)
				}
				// Whoever is told again with each execution need not be held to what it was told first.
				for i := range 4 {
					if got := late.say("B - s", "DP -", "E -", "S"); got != "2 T(a:23) D(1) C(SELECT 1) Z(I)" && (i > 1 || !strings.Contains(got, refused)) {
						t.Errorf("with Describe: %s", got)
					}
				}
				for range 4 {
					if got := late.say("B - s", "E -", "S"); got != "2 D(1) C(SELECT 1) Z(I)" {
						t.Errorf("told again: %s", got)
					}
				}
				// What drivers do then is to prepare it again.
				c.say("CS s", "S")
				if got := c.say(told[how]...); strings.Contains(got, "E(") {
					t.Errorf("prepared again: %s", got)
				}
				for i := range 4 {
					if got := c.say("B - s", "E -", "S"); got != "2 D(1) C(SELECT 1) Z(I)" {
						t.Errorf("execution %d of the new one: %s", i, got)
					}
				}
			})
		}
	}
}

// TestColumnsThatHaveNotChangedAreNotRefused goes through what looks like other columns and is none, on two servers.
func TestColumnsThatHaveNotChangedAreNotRefused(t *testing.T) {
	t.Parallel()
	pg, b := startRounds(t, "")
	pg.MustExec(t, "postgres", "CREATE TABLE same (a int, name varchar(20))", "INSERT INTO same VALUES (1, 'x')")
	start := func() *rawClient { return startRaw(t, b.Port, "db", "postgres") }
	each := func(c *rawClient, what, want string, say ...string) {
		t.Helper()
		for i := range 6 {
			if got := c.say(say...); got != want {
				t.Errorf("%s, execution %d: %s", what, i, got)
			}
		}
	}

	c := start()
	c.say("P s SELECT coalesce($1::varchar, name) FROM same", `B - s \N`, "DP -", "E -", "S")
	each(c, "a modifier that depends on a parameter", "2 D(x) C(SELECT 1) Z(I)", `B - s \N`, "E -", "S")

	c = start()
	c.say("P s SELECT a FROM same", "DS s", "S")
	for _, sql := range []string{"ALTER TABLE same ALTER a TYPE bigint", "ALTER TABLE same ALTER a TYPE int"} {
		pg.MustExec(t, "postgres", sql)
		c.say("B - s", "E -", "S")
		c.say("B - s", "E -", "S")
	}
	each(c, "changed and changed back", "2 D(1) C(SELECT 1) Z(I)", "B - s", "E -", "S")

	c, other := start(), start()
	c.say("P s SELECT * FROM same", "DS s", "S")
	other.say("Q BEGIN")
	other.say("Q ALTER TABLE same ADD b int")
	if got := other.say("P s SELECT * FROM same", "DS s", "B - s", "E -", "S"); !strings.Contains(got, "D(1|x|NULL)") {
		t.Errorf("within the transaction: %s", got)
	}
	other.say("Q ROLLBACK")
	each(c, "changed and rolled back", "2 D(1|x) C(SELECT 1) Z(I)", "B - s", "E -", "S")

	c = start()
	c.say("Q BEGIN")
	c.say("Q DECLARE cu CURSOR FOR SELECT a FROM same")
	c.say("P s FETCH 1 FROM cu", "DS s", "S")
	c.say("Q COMMIT")
	for range 2 {
		c.say("Q BEGIN")
		c.say("Q DECLARE cu CURSOR FOR SELECT a, a FROM same")
		if got := c.say("B - s", "E -", "S"); got != "2 D(1|1) C(FETCH 1) Z(T)" {
			t.Errorf("FETCH: %s", got)
		}
		c.say("Q COMMIT")
	}

	// What follows is refused, in all circumstances.
	c = start()
	c.say("P s SELECT * FROM same WHERE name <> $1", "DS s", "S")
	if got := c.say("P - nonsense", "CS s", "S"); !strings.HasPrefix(got, "E(") {
		t.Error(got)
	}
	pg.MustExec(t, "postgres", "ALTER TABLE same ADD b int")
	long := strings.Repeat("z", 200_000) // the rest of it must not become messages of its own
	for i := range 6 {
		if got := c.say("B - s "+long, "E -", "S"); !strings.HasPrefix(got, "E(SERROR; C0A000") || !strings.HasSuffix(got, "Z(I)") {
			t.Errorf("execution %d with a long parameter: %.200s", i, got)
		}
	}
}

// TestStatementsParsedBehindASetAreNobodyElses: what stands in one packet with a SET means something else than for other clients.
func TestStatementsParsedBehindASetAreNobodyElses(t *testing.T) {
	t.Parallel()
	_, b := startRounds(t, "")
	const dmy, date = "SET DateStyle = 'ISO, DMY'", " SELECT date '01/02/2020' AS d /* %d */"
	execute := func(sql string) []string { return []string{"P - " + sql, "B - -", "E -"} }
	for i, first := range [][]string{
		execute(dmy),
		append(execute(dmy), "S"),
		append(execute(dmy), "H"),
		{"Q " + dmy},
		execute("SELECT set_config('DateStyle', 'ISO, DMY', false)"),
		append(execute("BEGIN"), execute("SET LOCAL DateStyle = 'ISO, DMY'")...),
		execute("DO $$ BEGIN SET DateStyle = 'ISO, DMY'; END $$"),
	} {
		c, d := startRaw(t, b.Port, "db", "postgres"), startRaw(t, b.Port, "db", "postgres")
		parse := "P s" + fmt.Sprintf(date, i)
		say := append(first, parse, "B - s", "E -", "S")
		if i == 5 {
			say = append(append(first, parse, "B - s", "E -"), append(execute("COMMIT"), "S")...)
		}
		c.write(encode(t, say...))
		got := c.until("D")
		if i == 4 { // the row of set_config
			got = c.until("D")
		}
		if !strings.HasSuffix(got, "D(2020-02-01)") {
			t.Errorf("%q: %s", first, got)
		}
		for range 4 {
			if got := d.say("CS s", parse, "B - s", "E -", "S"); !strings.Contains(got, "D(2020-01-02)") {
				t.Errorf("another client after %q: %s", first, got)
			}
		}
	}
}
