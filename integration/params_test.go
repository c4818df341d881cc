package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"pgdrover/internal/pgtest"
)

// startPair starts a pool of one server in transaction mode with two clients.
func startPair(t *testing.T, settings string, opts ...pgtest.Option) (*pgtest.Cluster, *bouncer, *rawClient, *rawClient) {
	t.Helper()
	pg := pgtest.Start(t, append([]pgtest.Option{pgtest.WithAuth("trust")}, opts...)...)
	b := startBouncer(t, "auth_type = \"trust\"\npool_mode = \"transaction\"\n"+settings, trustUsers+pgDatabase("db", pg, "pool_size = 1"))
	return pg, b, startRaw(t, b.Port, "db", "postgres"), startRaw(t, b.Port, "db", "postgres")
}

// TestParametersFollowTheirClient sets each parameter that follows clients, in every way that PostgreSQL has, on one
// of two clients that share a server.
func TestParametersFollowTheirClient(t *testing.T) {
	t.Parallel()
	_, _, a, b := startPair(t, "track_extra_parameters = [\"IntervalStyle\", \"statement_timeout\"]\n")
	a.say("Q CREATE ROLE other; GRANT other TO postgres")
	for _, p := range []struct{ name, value, shown string }{
		{"application_name", "one", "one"},
		{"application_name", `it's "a" \ {name}, NULL`, `it's "a" \ {name}, NULL`},
		{"client_encoding", "LATIN1", "LATIN1"},
		{"DateStyle", "SQL, DMY", "SQL, DMY"},
		{"IntervalStyle", "iso_8601", "iso_8601"},
		{"TimeZone", "Asia/Tokyo", "Asia/Tokyo"},
		{"standard_conforming_strings", "off", "off"},
		{"default_transaction_read_only", "on", "on"},
		{"search_path", "pg_temp, nothing", `"pg_temp, nothing"`},
		{"role", "other", "other"},
		{"statement_timeout", "7min", "7min"},
	} {
		show := func(c *rawClient) string {
			c.tb.Helper()
			got := c.say("Q SELECT current_setting('" + p.name + "')")
			_, v, _ := strings.Cut(got, "D(")
			return strings.TrimSuffix(v, ") C(SELECT 1) Z(I)")
		}
		before := show(a)
		ways := [][]string{
			{"Q SET " + p.name + " = '" + strings.ReplaceAll(p.value, "'", "''") + "'"},
			{"Q BEGIN", "Q SET " + p.name + " = '" + strings.ReplaceAll(p.value, "'", "''") + "'", "Q COMMIT"},
			{"P - SELECT set_config($1, $2, false)", "B - - " + p.name + "|" + p.shown, "E -", "S"},
		}
		if strings.ContainsAny(p.value, `\"|`) {
			ways = ways[:1] // standard_conforming_strings, and the notation of tests
		}
		for i, way := range ways {
			if p.name == "search_path" && i == 2 {
				way = []string{"P - SELECT set_config($1, $2, false)", `B - - search_path|"pg_temp, nothing"`, "E -", "S"}
			}
			a.write(encode(t, way...))
			a.until(strings.Repeat("Z", strings.Count(strings.Join(way, "\n"), "Q ")+strings.Count("\n"+strings.Join(way, "\n")+"\n", "\nS\n")))
			for range 2 {
				if got := show(b); got != before {
					t.Errorf("%s, way %d: the other client has %q, want %q", p.name, i, got, before)
				}
				if got := show(a); got != p.shown {
					t.Errorf("%s, way %d: its client has %q, want %q", p.name, i, got, p.shown)
				}
			}
			a.say("Q RESET " + p.name)
			if got := show(a); got != before {
				t.Errorf("%s after RESET is %q, want %q", p.name, got, before)
			}
		}
		// What is rolled back or LOCAL does not stay.
		for _, way := range []string{"BEGIN; SET %s = '%s'; ROLLBACK", "BEGIN; SET LOCAL %s = '%s'; COMMIT"} {
			a.say("Q " + fmt.Sprintf(way, p.name, strings.ReplaceAll(p.value, "'", "''")))
			if got := show(b); got != before {
				t.Errorf("%s after %s: the other client has %q", p.name, way, got)
			}
			if got := show(a); got != before {
				t.Errorf("%s after %s is %q, want %q", p.name, way, got, before)
			}
		}
	}
}

// TestPreparedSetConfigIsNoticedEveryTime executes one prepared set_config with several values: what it does was noticed only
// when it was parsed, and later values stayed behind on the server for other clients.
func TestPreparedSetConfigIsNoticedEveryTime(t *testing.T) {
	t.Parallel()
	_, _, a, b := startPair(t, "")
	a.say("P set SELECT set_config('search_path', $1, false)", "S")
	for _, path := range []string{"one", "two", "three"} {
		a.say("B - set "+path, "E -", "S")
		if got := b.say("Q SHOW search_path"); !strings.Contains(got, `D("$user", public)`) {
			t.Errorf("the other client: %s", got)
		}
		if got := a.say("Q SHOW search_path"); !strings.Contains(got, "D("+path+")") {
			t.Errorf("want %s: %s", path, got)
		}
	}
}

// TestEqualParametersCostNoRoundTrip counts what the server runs, by its log.
func TestEqualParametersCostNoRoundTrip(t *testing.T) {
	t.Parallel()
	pg, _, a, b := startPair(t, "", pgtest.WithSetting("log_statement", "all"))
	a.say("Q SET application_name = 'same'")
	b.say("Q SET application_name = 'same'")
	sets := func(marker string) int {
		t.Helper()
		pgtest.Eventually(t, 5*time.Second, func() error {
			if !strings.Contains(pg.Log(), marker) {
				return fmt.Errorf("%s is not in the log", marker)
			}
			return nil
		})
		return strings.Count(pg.Log(), "pg_catalog.set_config(")
	}
	a.say("Q SELECT 'marker 1'")
	before := sets("marker 1")
	for range 10 {
		a.say("Q SELECT 1")
		b.say("P - SELECT 1", "B - -", "E -", "S")
	}
	a.say("Q SELECT 'marker 2'")
	if n := sets("marker 2") - before; n != 0 {
		t.Errorf("%d statements set parameters that were the same", n)
	}
	a.say("Q SET application_name = 'differs'")
	b.say("Q SELECT 'marker 3'")
	if n := sets("marker 3") - before; n != 1 {
		t.Errorf("one change was carried by %d statements, want 1", n)
	}
}

// TestConnectingMeansTheSameBehindAnyClient compares what a client that names parameters at connect sees with plain PostgreSQL, after
// another client has left its own values on the one server.
func TestConnectingMeansTheSameBehindAnyClient(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	pg.MustExec(t, "postgres", `CREATE ROLE alice; CREATE ROLE bob; CREATE ROLE vault LOGIN SUPERUSER IN ROLE alice, bob; ALTER ROLE vault SET role = alice; CREATE ROLE carol LOGIN IN ROLE bob`)
	b := newPool(t, pg, "", "pool_size = 1", "[users.vault]\npassword = \"x\"\n")
	connect := func(port int, user, options string) *pgx.Conn {
		t.Helper()
		c, err := pgx.Connect(ctx, fmt.Sprintf("host=127.0.0.1 port=%d dbname=%s user=%s sslmode=disable options='%s'", port, map[bool]string{true: "postgres", false: "db"}[port == pg.Port], user, options))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close(context.Background()) })
		return c
	}
	for _, of := range []struct {
		user, before, options, first, ask string
	}{
		{"postgres", "SET DateStyle = 'ISO, DMY'", "-c datestyle=ISO", "", "SELECT '01/02/2003'::date || current_setting('DateStyle')"},
		{"postgres", "SET DateStyle = 'SQL, DMY'", "-c datestyle=ymd", "", "SELECT '2001/02/03'::date || current_setting('DateStyle')"},
		{"postgres", "SET DateStyle = 'ISO, YMD'", "-c datestyle=german", "", "SELECT '01/02/2003'::date || current_setting('DateStyle')"},
		{"vault", "SET ROLE bob", "", "", "SELECT current_user"},
		{"vault", "SET ROLE NONE", "", "", "SELECT current_user"},
		{"vault", "SET ROLE bob", "", "SET ROLE NONE", "SELECT current_user"},
		{"vault", "SET ROLE bob", "", "RESET ROLE", "SELECT current_user"},
		{"vault", "SET ROLE bob", "-c session_replication_role=replica", "", "SELECT current_user || current_setting('session_replication_role')"},
		{"vault", "SET ROLE bob", "-c session_replication_role=replica", "SET ROLE alice", "SELECT current_user || current_setting('session_replication_role')"},
		{"vault", "SET ROLE bob", "-c session_replication_role=replica", "SET ROLE bob", "SELECT current_user || current_setting('session_replication_role')"},
		{"vault", "SET SESSION AUTHORIZATION carol; SET ROLE bob", "", "SET ROLE bob", "SELECT current_user || session_user || current_setting('role')"},
		{"vault", "SET ROLE bob", "", "SET SESSION AUTHORIZATION carol; SET ROLE bob", "SELECT current_user || session_user || current_setting('role')"},
		{"vault", "SET ROLE bob", "", "SET SESSION AUTHORIZATION carol", "SELECT current_user || session_user || current_setting('role')"},
		{"vault", "SELECT 1", "-c role=bob", "RESET SESSION AUTHORIZATION", "SELECT current_user"},
		{"vault", "SET SESSION AUTHORIZATION bob", "-c session_replication_role=replica", "", "SELECT session_user || current_setting('session_replication_role')"},
	} {
		other, c, direct := connect(b.Port, of.user, ""), connect(b.Port, of.user, of.options), connect(pg.Port, of.user, of.options)
		for _, c := range []*pgx.Conn{c, direct} {
			if of.first != "" {
				mustRun(ctx, t, c, of.first)
			}
		}
		want := mustRun(ctx, t, direct, of.ask)
		for range 2 {
			mustRun(ctx, t, other, of.before)
			if got := mustRun(ctx, t, c, of.ask); got != want {
				t.Errorf("%s with %q and %q, behind %s: %s is %s, PostgreSQL says %s", of.user, of.options, of.first, of.before, of.ask, got, want)
			}
		}
		for _, name := range []string{"DateStyle", "client_encoding", "TimeZone"} {
			if got, want := c.PgConn().ParameterStatus(name), direct.PgConn().ParameterStatus(name); got != want {
				t.Errorf("%s with %q: %s is reported as %s, PostgreSQL says %s", of.user, of.options, name, got, want)
			}
		}
		for _, c := range []*pgx.Conn{other, c, direct} {
			_ = c.Close(ctx)
		}
	}
}

// TestValuesAreNeverSQL tries to break out of the statement that sets parameters.
func TestValuesAreNeverSQL(t *testing.T) {
	t.Parallel()
	_, b, a, _ := startPair(t, "")
	a.say("Q CREATE TABLE victim (a int)")
	for _, v := range []string{`'; DROP TABLE victim; --`, `"},{"x`, `\`, `\\'`, `","DateStyle"}`, "NULL", "{}", `"`, "é ü"} {
		c := startRaw(t, b.Port, "db", "postgres", "application_name", v)
		got := c.say("Q SELECT current_setting('application_name')")
		want := strings.NewReplacer("é", `??`, "ü", `??`).Replace(v) // PostgreSQL 15 replaces what is not ASCII
		if v == "é ü" {
			want = ""
			if !strings.Contains(got, "C(SELECT 1) Z(I)") {
				t.Error(got)
			}
			continue
		}
		if !strings.Contains(got, "D("+want+") C(SELECT 1) Z(I)") {
			t.Errorf("%q came back as %s", v, got)
		}
	}
	if got := a.say("Q SELECT count(*) FROM victim"); !strings.Contains(got, "D(0)") {
		t.Error(got)
	}
	c := startRaw(t, b.Port, "db", "postgres", "TimeZone", "nowhere")
	if got := c.say("Q SELECT 1"); got != "" && !strings.Contains(got, "C22023") {
		t.Errorf("a value that the server refuses: %s", got)
	}
	if got := a.say("Q SELECT 1"); !strings.Contains(got, "D(1)") {
		t.Error(got)
	}
}

// TestStatementsDependOnTheirEnvironment prepares the same text under different parameters: a literal date is read when
// the statement is prepared, a table is looked up in the search_path.
func TestStatementsDependOnTheirEnvironment(t *testing.T) {
	t.Parallel()
	pg, _, a, b := startPair(t, "")
	pg.MustExec(t, "postgres", "CREATE SCHEMA s1; CREATE SCHEMA s2; CREATE TABLE s1.w AS SELECT 'one'::text x; CREATE TABLE s2.w AS SELECT 'two'::text x")
	for _, test := range []struct{ setA, setB, text, wantA, wantB string }{
		{"SET DateStyle = 'ISO, DMY'", "SET DateStyle = 'ISO, MDY'", "SELECT '01/02/2026'::date", "2026-02-01", "2026-01-02"},
		{"SET TimeZone = 'UTC'", "SET TimeZone = 'Asia/Tokyo'", "SELECT extract(epoch FROM '2026-01-01 00:00'::timestamptz)::bigint", "1767225600", "1767193200"},
		{"SET search_path = s1", "SET search_path = s2", "SELECT x FROM w", "one", "two"},
		{"RESET standard_conforming_strings", "SET standard_conforming_strings = off; SET escape_string_warning = off", `SELECT 'a\\b'`, `a\\b`, `a\b`},
	} {
		a.say("Q " + test.setA)
		b.say("Q " + test.setB)
		for round := range 2 {
			for _, x := range []struct {
				c    *rawClient
				want string
			}{{a, test.wantA}, {b, test.wantB}} {
				if round == 0 {
					x.c.say("P env "+test.text, "S")
				}
				if got := x.c.say("B - env", "E -", "S"); !strings.Contains(got, "D("+x.want+")") {
					t.Errorf("%s: got %s, want %s", test.text, got, x.want)
				}
			}
		}
		a.say("CS env", "S")
		b.say("CS env", "S")
	}
}
