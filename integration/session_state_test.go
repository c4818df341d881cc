package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgdrover/internal/pgtest"
)

// startRounds starts a pool of two servers in transaction mode that hands them out in turn, so that each transaction of a
// client runs on another one than the last.
func startRounds(t *testing.T, settings string) (*pgtest.Cluster, *bouncer) {
	t.Helper()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	b := newPool(t, pg, "server_round_robin = true\n"+settings, "pool_size = 2")
	var cs []*rawClient
	for range 2 {
		c := startRaw(t, b.Port, "db", "postgres")
		c.say("Q BEGIN")
		cs = append(cs, c)
	}
	for _, c := range cs {
		c.say("Q ROLLBACK")
		_ = c.nc.Close()
	}
	return pg, b
}

// startupParameters are what the clients of the tests below say when they connect.
var startupParameters = []string{
	"application_name", "mine", "DateStyle", "SQL, DMY", "search_path", "pg_catalog, mine",
	"options", "-c statement_timeout=54321 -c my.own=x -c TimeZone=Asia/Tokyo -c role=other",
}

// shown are the parameters whose values the tests below compare.
var shown = []string{"application_name", "DateStyle", "search_path", "statement_timeout", "my.own", "TimeZone", "role"}

// reported are those of them that PostgreSQL reports.
var reported = []string{"application_name", "DateStyle", "TimeZone"}

// TestParametersAreResetToWhatTheClientBeganWith runs the same commands on PostgreSQL and, between the commands of another client,
// on a pool whose servers began with other values. RESET brought back the servers' values instead of the client's.
func TestParametersAreResetToWhatTheClientBeganWith(t *testing.T) {
	t.Parallel()
	pg, b := startRounds(t, "")
	pg.MustExec(t, "postgres", "CREATE ROLE other; GRANT other TO postgres")
	for _, script := range [][]string{
		{"Q SET application_name = 'x'", "Q RESET application_name", "Q SELECT 1"},
		{"Q SET application_name = 'x'", "Q SET application_name TO DEFAULT"},
		{"Q SET application_name = 'x'; SET search_path = y; SET statement_timeout = 7777; SET my.own = 'z'; SET TimeZone = 'UTC'", "Q RESET ALL"},
		{"Q SET search_path = y; SET statement_timeout = 7777", "Q RESET search_path", "Q RESET statement_timeout"},
		{"Q SET TIME ZONE 'UTC'", "Q SET TIME ZONE DEFAULT", "Q SET TIME ZONE 'UTC'", "Q SET TIME ZONE LOCAL", "Q SET TIME ZONE 'UTC'", "Q RESET TIME ZONE"},
		{"Q SET role = none", "Q RESET role", "Q SET ROLE postgres", "Q RESET ROLE"},
		{"Q SET ROLE postgres", "Q RESET ALL"},
		{"Q SET application_name = 'x'; SET DateStyle = 'ISO'; SET search_path = y; SET my.own = 'z'", "Q DISCARD ALL"},
		{"Q SET application_name = 'x'", "Q BEGIN", "Q RESET application_name", "Q ROLLBACK"},
		{"Q SET application_name = 'x'; SET search_path = y", "Q BEGIN", "Q RESET ALL", "Q COMMIT"},
		{"Q SET application_name = 'x'; SET search_path = y", "Q BEGIN", "Q RESET ALL", "Q SELECT 1/0", "Q ROLLBACK"},
		{
			"Q SET application_name = 'x'; SET statement_timeout = 7777", "Q BEGIN", "Q SAVEPOINT a", "Q RESET ALL", "Q SAVEPOINT b",
			"Q SET application_name = 'y'", "Q ROLLBACK TO b", "Q ROLLBACK TO a", "Q COMMIT",
		},
		{"Q SET application_name = 'x'", "Q BEGIN", "Q SET LOCAL application_name TO DEFAULT", "Q COMMIT"},
		{"Q SET statement_timeout = 7777", "Q BEGIN; SET LOCAL statement_timeout TO DEFAULT", "Q SHOW statement_timeout", "Q COMMIT"},
		{"Q SET statement_timeout = 7777", "Q BEGIN; RESET statement_timeout; COMMIT"},
		{"Q SET statement_timeout = 7777", "Q BEGIN; RESET statement_timeout; ROLLBACK"},
		{"Q SET application_name = 'x'", "Q RESET application_name; SET application_name = 'z'"},
		{"Q SET application_name = 'x'", "Q RESET nonsense"},
		{"Q SET application_name = 'x'", "Q SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;"},
		{"Q SET application_name = 'x'", "P - RESET application_name|B - -|E -|S", "Q SELECT 1"},
		{"Q SET application_name = 'x'", "P r RESET ALL|S", "B - r|E -|S", "Q SET application_name = 'y'", "B - r|E -|S"},
		{"Q SET DateStyle = 'ISO, YMD'", `Q /* a comment */ reset "datestyle" -- another`},
		{"Q SELECT set_config('application_name', 'x', false)", "Q SET SESSION application_name = DEFAULT"},
		{"Q SET NAMES 'LATIN1'", "Q SET NAMES DEFAULT"},
	} {
		t.Run(strings.Join(script, "; "), func(t *testing.T) {
			var outputs [2][]string
			for i, port := range []int{pg.Port, b.Port} {
				c := startRaw(t, port, []string{"postgres", "db"}[i], "postgres", startupParameters...)
				outputs[i] = append(outputs[i], showAll(c))
				var other *rawClient
				if i == 1 {
					other = startRaw(t, port, "db", "postgres", "application_name", "theirs", "TimeZone", "Europe/Paris")
				}
				for _, step := range script {
					if other != nil {
						other.say("Q SET search_path = theirs; SET statement_timeout = 999999; SET DateStyle = 'German'")
						other.say("Q SELECT 1")
					}
					answer := c.say(strings.Split(step, "|")...)
					outputs[i] = append(outputs[i], step+": "+withoutReports(answer), showAll(c))
				}
				_ = c.nc.Close()
			}
			if diff := cmp.Diff(outputs[0], outputs[1]); diff != "" {
				t.Errorf("(-PostgreSQL +pgdrover)\n%s", diff)
			}
		})
	}
}

// withoutReports leaves ParameterStatus out of an answer: how often a value is reported may differ.
func withoutReports(answer string) string {
	var out []string
	depth, from := 0, 0
	for i := 0; i < len(answer); i++ {
		switch answer[i] {
		case '(':
			depth++
		case ')':
			depth--
		}
		if i == len(answer)-1 || answer[i] == ' ' && depth == 0 {
			if m := strings.TrimSpace(answer[from : i+1]); !strings.HasPrefix(m, "S(") {
				out = append(out, m)
			}
			from = i + 1
		}
	}
	return strings.Join(out, " ")
}

// showAll lists what the server shows of parameters, and what it has reported last.
func showAll(c *rawClient) string {
	c.tb.Helper()
	var out strings.Builder
	var cols []string
	for _, name := range shown {
		cols = append(cols, "current_setting('"+name+"', true)")
	}
	fmt.Fprintln(&out, c.say("Q SELECT "+strings.Join(cols, ", ")))
	for _, name := range reported {
		fmt.Fprintf(&out, "%s is reported as %s\n", name, c.params[name])
	}
	return strings.NewReplacer("C25P02; Mcurrent transaction is aborted", "aborted").Replace(out.String())
}

// TestNothingRunsUnderTheServersDefaultsBehindAReset sends statements that would, in one message and in one pipeline.
func TestNothingRunsUnderTheServersDefaultsBehindAReset(t *testing.T) {
	t.Parallel()
	_, b := startRounds(t, "")
	for _, packet := range [][]string{
		{"Q RESET application_name; SHOW application_name"},
		{"Q BEGIN; RESET ALL; SELECT 1; COMMIT"},
		{"P - RESET ALL", "B - -", "E -", "P - SHOW application_name", "B - -", "E -", "S"},
	} {
		c := startRaw(t, b.Port, "db", "postgres", "application_name", "mine")
		c.write(encode(t, packet...))
		if got := c.eof(); !strings.Contains(got, "C0A000") || !strings.Contains(got, `"application_name"`) {
			t.Errorf("%s: %s", packet, got)
		}
		// Whoever gave no such parameter is not concerned, and a message later is early enough.
		c = startRaw(t, b.Port, "db", "postgres")
		c.write(encode(t, packet...))
		if got := c.until("Z"); strings.Contains(got, "E(") {
			t.Errorf("%s: %s", packet, got)
		}
		c = startRaw(t, b.Port, "db", "postgres", "application_name", "mine")
		c.write(encode(t, "Q SET application_name = 'x'", "Q RESET application_name", "Q SHOW application_name"))
		if got := c.until("ZZZ"); !strings.Contains(got, "D(mine)") {
			t.Errorf("a pipeline: %s", got)
		}
	}
}
