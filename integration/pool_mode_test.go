package integration

import (
	"fmt"
	"testing"

	"pgdrover/internal/pgtest"
)

func TestPoolMode(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	for i, m := range []struct{ name, settings, inDB, inUser, mode string }{
		{"global", `pool_mode = "session"`, "", "", "session"},
		{"the default is session", `# pool_mode`, "", "", "session"},
		{"a database's mode wins over the global one", `pool_mode = "session"`, `pool_mode = "transaction"`, "", "transaction"},
		{"a user's mode wins over the database's", `pool_mode = "session"`, `pool_mode = "session"`, `pool_mode = "transaction"`, "transaction"},
		{"statement", `pool_mode = "statement"`, "", "", "statement"},
	} {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			ctx := testContext(t)
			user := fmt.Sprintf("mode%d", i)
			pg.MustExec(t, "postgres", "CREATE ROLE "+user+" LOGIN")
			b := newPool(t, pg, m.settings+"\ndefault_pool_size = 1", m.inDB, "[users."+user+"]\npassword = \"x\"\n"+m.inUser)
			one, two := b.Connect(ctx, "db", user), b.Connect(ctx, "db", user)
			pid := backend(ctx, t, one)
			if got := b.row("POOLS", "database=db")["pool_mode"]; got != m.mode {
				t.Errorf("SHOW POOLS says %s, want %s", got, m.mode)
			}
			second := background(func() error { _, err := run(ctx, two, "SELECT 1"); return err })
			if m.mode == "session" {
				b.awaitWaiters(1)
				if again := backend(ctx, t, one); again != pid {
					t.Errorf("the session moved from server %s to %s", pid, again)
				}
				noResult(t, second)
				if err := one.Close(ctx); err != nil {
					t.Error(err)
				}
			}
			if err := result(ctx, t, second); err != nil {
				t.Fatal(err)
			}
			if got := backend(ctx, t, two); got != pid {
				t.Errorf("the second client is on server %s, want the first one's %s", got, pid)
			}
			switch m.mode {
			case "transaction":
				mustRun(ctx, t, one, "BEGIN")
				second = background(func() error { _, err := run(ctx, two, "SELECT 1"); return err })
				b.awaitWaiters(1)
				noResult(t, second)
				mustRun(ctx, t, one, "COMMIT")
				if err := result(ctx, t, second); err != nil {
					t.Error(err)
				}
			case "statement":
				_, err := run(ctx, one, "BEGIN")
				wantError(t, err, "08P01", "transaction blocks not allowed in statement pooling mode")
				mustRun(ctx, t, two, "SELECT 1")
			}
			b.noLeaksAfter(ctx, pg, user, one, two)
		})
	}
}

func TestServerOfSessionModeIsResetBeforeTheNextClientGetsIt(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	ctx := testContext(t)
	b := newPool(t, pg, "pool_mode = \"session\"\ndefault_pool_size = 1", "")
	one := b.Connect(ctx, "db", "postgres")
	pid := backend(ctx, t, one)
	mustRun(ctx, t, one, "CREATE TEMP TABLE secret(x int); SET work_mem = '7MB'; PREPARE p AS SELECT 1; LISTEN gossip")
	if err := one.Close(ctx); err != nil {
		t.Fatal(err)
	}
	two := b.Connect(ctx, "db", "postgres")
	if got := backend(ctx, t, two); got != pid {
		t.Errorf("the server was not reused: %s, then %s", pid, got)
	}
	got := mustRun(ctx, t, two, `SELECT concat_ws(',', current_setting('work_mem'), to_regclass('secret'),
		(SELECT count(*) FROM pg_prepared_statements), (SELECT count(*) FROM pg_listening_channels()))`)
	if want := mustRun(ctx, t, two, "SELECT concat_ws(',', reset_val::int / 1024 || 'MB', 0, 0) FROM pg_settings WHERE name = 'work_mem'"); got != want {
		t.Errorf("what the second client finds\ngot  %s\nwant %s", got, want)
	}
}

func TestServerResetQueryRunsInTransactionModeOnlyWithAlways(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	pg.MustExec(t, "postgres", "CREATE SEQUENCE resets")
	ctx := testContext(t)
	reset := `server_reset_query = "DO $$ BEGIN PERFORM nextval('resets'); END $$"` + "\ndefault_pool_size = 1\n"
	for _, always := range []bool{false, true} {
		settings := reset
		want := "0"
		if always {
			settings += "server_reset_query_always = 1"
			want = "3"
		}
		b := newPool(t, pg, settings, "")
		c := b.Connect(ctx, "db", "postgres")
		for range 3 {
			mustRun(ctx, t, c, "SELECT 1")
		}
		b.awaitPool("db", "postgres", "sv_idle=1", "sv_tested=0")
		if got := pg.MustValue(t, "postgres", "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM resets"); got != want {
			t.Errorf("always %t: %s resets after 3 transactions, want %s", always, got, want)
		}
	}
}
