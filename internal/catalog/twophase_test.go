package catalog

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"pgdrover/internal/pgtest"
)

func code(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return fmt.Sprint(err)
}

func missing(t *testing.T, conn *pgconn.PgConn) string {
	t.Helper()
	results, err := conn.Exec(within(t), TwoPhaseMissing).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var s []string
	for _, r := range results[0].Rows {
		s = append(s, string(r[0]))
	}
	return strings.Join(s, "; ")
}

func TestTwoPhaseDecisions(t *testing.T) {
	t.Parallel()
	for _, version := range versions {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			t.Parallel()
			c := startVersion(t, version, pgtest.WithUser("app", "secret"), pgtest.WithUser("other", "secret"), pgtest.WithUser("recovery", "secret"),
				pgtest.WithSetting("max_prepared_transactions", "10"))
			admin := connect(t, c.SocketDSN("postgres", pgtest.Superuser))
			app, other := connect(t, c.DSN("postgres", "app")), connect(t, c.DSN("postgres", "other"))
			if got := missing(t, app); !strings.Contains(got, "pgdrover.decide") {
				t.Errorf("before the installation is missing: %q", got)
			}
			run(t, admin, TwoPhaseSQL("recovery", []string{"app"})...)
			run(t, admin, TwoPhaseSQL("recovery", []string{"app", "recovery"})...) // again
			run(t, admin, `CREATE TABLE work (i int)`, `GRANT ALL ON work TO app`)
			if got := missing(t, app); got != "" {
				t.Errorf("after it is missing: %q", got)
			}
			if got := missing(t, other); !strings.Contains(got, "pgdrover.decide") {
				t.Errorf("for a role without the grant is missing: %q", got)
			}

			// Only through the functions, and only for those who may.
			for _, sql := range []string{`SELECT * FROM pgdrover.decision`, `INSERT INTO pgdrover.decision VALUES ('x', '{}')`, `DELETE FROM pgdrover.decision`} {
				if err := try(t, app, sql); code(err) != "42501" {
					t.Errorf("%s as an application: %v", sql, err)
				}
			}
			if err := try(t, other, `SELECT pgdrover.decide('x', '{}')`); code(err) != "42501" {
				t.Errorf("decide() by a role without the grant: %v", err)
			}

			// The decision raises synchronous_commit for its own transaction, and only there.
			run(t, app, `SET synchronous_commit = off`)
			if err := try(t, app, `INSERT INTO work VALUES (1)`, `SELECT pgdrover.decide('g1', '{a,b}')`,
				`DO $$ BEGIN ASSERT current_setting('synchronous_commit') = 'on'; END $$`); err != nil {
				t.Fatal(err)
			}
			if got := value(t, app, `SHOW synchronous_commit`); got != "off" {
				t.Errorf("synchronous_commit afterwards: %s", got)
			}
			if got := value(t, admin, `SELECT owner || ' ' || participants::text FROM pgdrover.decision WHERE gid = 'g1'`); got != "app {a,b}" {
				t.Errorf("row: %s", got)
			}
			if err := try(t, app, `SELECT pgdrover.decide('g1', '{}')`); code(err) != "23505" {
				t.Errorf("deciding twice: %v", err)
			}

			recovery := connect(t, c.DSN("postgres", "recovery"))
			probe := func(gid string) string {
				ctx := within(t)
				if _, err := recovery.Exec(ctx, "BEGIN").ReadAll(); err != nil {
					return err.Error()
				}
				r := recovery.ExecParams(ctx, ProbeDecision, [][]byte{[]byte(gid)}, nil, nil, nil).Read()
				if r.Err != nil {
					return r.Err.Error()
				}
				if _, err := recovery.Exec(ctx, "ROLLBACK").ReadAll(); err != nil {
					return err.Error()
				}
				return r.CommandTag.String()
			}
			if got := probe("g1"); got != "INSERT 0 0" {
				t.Errorf("probe of what committed: %s", got)
			}
			if got := probe("never"); got != "INSERT 0 1" {
				t.Errorf("probe of what did not: %s", got)
			}

			// A decider in flight is waited out.
			for _, end := range []string{"COMMIT", "ROLLBACK"} {
				gid := "flying " + end
				ctx := within(t)
				if _, err := app.Exec(ctx, "BEGIN; SELECT pgdrover.decide('"+gid+"', '{}')").ReadAll(); err != nil {
					t.Fatal(err)
				}
				answer := make(chan string, 1)
				go func() { answer <- probe(gid) }()
				pgtest.Eventually(t, ctxPatience, func() error {
					if n := value(t, admin, `SELECT count(*) FROM pg_stat_activity WHERE usename = 'recovery' AND wait_event_type = 'Lock'`); n != "1" {
						return errors.New("recovery does not wait")
					}
					return nil
				})
				if _, err := app.Exec(ctx, end).ReadAll(); err != nil {
					t.Fatal(err)
				}
				want := map[string]string{"COMMIT": "INSERT 0 0", "ROLLBACK": "INSERT 0 1"}[end]
				if got := <-answer; got != want {
					t.Errorf("probe of one that ends in %s: got %s, want %s", end, got, want)
				}
			}

			// Recovery finishes what the application prepared, in its role.
			if _, err := app.Exec(within(t), `BEGIN; INSERT INTO work VALUES (2); PREPARE TRANSACTION 'p1'`).ReadAll(); err != nil {
				t.Fatal(err)
			}
			for _, sql := range []string{`SET ROLE app`, `COMMIT PREPARED 'p1'`, `RESET ROLE`} {
				if _, err := recovery.Exec(within(t), sql).ReadAll(); err != nil {
					t.Fatalf("%s: %v", sql, err)
				}
			}

			// Roles forget what they decided, whatever role they log in with; recovery forgets all.
			run(t, admin, `GRANT app TO other`)
			run(t, other, `SET LOCAL ROLE app`, `SELECT pgdrover.decide('as app', '{}')`)
			run(t, admin, TwoPhaseSQL("recovery", []string{"other"})...)
			run(t, other, `SELECT pgdrover.forget('{g1,as app}')`)
			run(t, app, `SELECT pgdrover.forget('{as app}')`)
			if got := value(t, admin, `SELECT string_agg(gid, ' ' ORDER BY gid) FROM pgdrover.decision`); got != "flying COMMIT g1" {
				t.Errorf("rows left: %s", got)
			}
			run(t, recovery, `DELETE FROM pgdrover.decision`)
		})
	}
}

func TestTwoPhaseMakesTheRecoveryRole(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t, pgtest.WithUser(`odd "app'`, "secret"))
	admin := connect(t, c.SocketDSN("postgres", pgtest.Superuser))
	run(t, admin, TwoPhaseSQL(`re'cov\er"y`, []string{`odd "app'`})...)
	if got := value(t, admin, `SELECT pg_has_role('re''cov\er"y', 'odd "app''', 'MEMBER')`); got != "t" {
		t.Error("the recovery role is no member of the application's")
	}
	if got := missing(t, connect(t, c.DSN("postgres", `odd "app'`))); got != "max_prepared_transactions is 0" {
		t.Errorf("missing: %q", got)
	}
}

func TestBackendsAreKnownAsLongAsTheirTransaction(t *testing.T) {
	t.Parallel()
	for _, version := range versions {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			t.Parallel()
			c := startVersion(t, version, pgtest.WithUser("app", "secret"), pgtest.WithUser("recovery", "secret"))
			run(t, connect(t, c.SocketDSN("postgres", pgtest.Superuser)), TwoPhaseSQL("recovery", []string{"app"})...)
			app, recovery := connect(t, c.DSN("postgres", "app")), connect(t, c.DSN("postgres", "recovery"))
			if err := try(t, app, `SELECT * FROM pgdrover.backends('{}', '{}')`); code(err) != "42501" {
				t.Errorf("as an application: %v", err)
			}
			written := func(pids, sessions string) string {
				return value(t, recovery, fmt.Sprintf(`SELECT coalesce(string_agg(session, ',' ORDER BY session), '') FROM pgdrover.backends('{%s}', '{%s}')`, pids, sessions))
			}
			pid := value(t, app, `SELECT pg_backend_pid()`)
			value(t, app, `BEGIN; SELECT 1`)
			for _, x := range []struct{ pids, sessions, want string }{
				{"", "", ""},
				{pid + ",1", "s1,s2", "s1"}, // there is no backend 1
				{"", "", "s1"},
				{pid, "s3", "s3"},
				{pid, "", ""},
				{pid, "s4", "s4"},
			} {
				if got := written(x.pids, x.sessions); got != x.want {
					t.Errorf("{%s} {%s}: %q, want %q", x.pids, x.sessions, got, x.want)
				}
			}
			value(t, app, `COMMIT; BEGIN; SELECT 1`)
			if got := written("", ""); got != "" {
				t.Errorf("in its next transaction the backend still works for %q", got)
			}
		})
	}
}
