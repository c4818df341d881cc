package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"pgdrover/internal/pgtest"
)

// pinning lists what keeps a session on its server: how it comes about, a query that works only where it is, its answer, and
// how it ends.
var pinning = []struct{ name, why, make, use, want, end string }{
	{"CREATE TEMP TABLE", "temporary objects", "CREATE TEMP TABLE t AS SELECT 7 AS a", "SELECT a FROM t", "7", "DROP TABLE t"},
	{"SELECT INTO TEMP", "temporary objects", "SELECT 7 AS a INTO TEMPORARY t", "SELECT a FROM t", "7", "DISCARD TEMP"},
	{"a transaction", "temporary objects", "BEGIN; CREATE TEMP TABLE t AS SELECT 7 AS a; COMMIT", "SELECT a FROM t", "7", "DROP TABLE t"},
	{"a block of PL/pgSQL", "temporary objects", "DO $$BEGIN CREATE TEMP TABLE t AS SELECT 7 AS a; END$$", "SELECT a FROM t", "7", "DROP TABLE t"},
	{"a temporary view", "temporary objects", "CREATE TEMP VIEW t AS SELECT 7 AS a", "SELECT a FROM t", "7", "DROP VIEW t"},
	{"a function in pg_temp", "temporary objects", "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql RETURN 7", "SELECT pg_temp.f()", "7", "DROP FUNCTION pg_temp.f()"},
	{"a lock", "advisory locks", "SELECT pg_advisory_lock(11)", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()", "1", "SELECT pg_advisory_unlock(11)"},
	{"a shared lock", "advisory locks", "SELECT pg_try_advisory_lock_shared(1, 2)", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()", "1", "SELECT pg_advisory_unlock_all()"},
	{"a cursor", "cursors WITH HOLD", "DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT 7", "FETCH FIRST c", "7", "CLOSE c"},
	{"PREPARE", "PREPARE", "PREPARE p AS SELECT 7", "EXECUTE p", "7", "DEALLOCATE p"},
}

// TestSessionsKeepTheServerThatHoldsTheirState has two clients in a pool of two servers that are handed out in turn.
func TestSessionsKeepTheServerThatHoldsTheirState(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"transaction", "statement"} {
		pg, b := startRounds(t, fmt.Sprintf("pool_mode = %q\n", mode))
		if mode == "statement" {
			pg, b = nil, newPool(t, pg, "server_round_robin = true\npool_mode = \"statement\"\n", "pool_size = 2")
		}
		ctx := testContext(t)
		one, two := b.Connect(ctx, "db", "postgres", "default_query_exec_mode=exec"), b.Connect(ctx, "db", "postgres")
		for _, p := range pinning {
			if mode == "statement" && strings.Contains(p.make, "BEGIN;") {
				continue
			}
			for _, extended := range []bool{false, true} {
				if extended && strings.Contains(p.make, "; ") && !strings.HasPrefix(p.make, "DO") {
					continue
				}
				t.Run(fmt.Sprintf("%s, %s, extended %t", mode, p.name, extended), func(t *testing.T) {
					do := func(sql string) string {
						t.Helper()
						if !extended {
							return mustRun(ctx, t, one, sql)
						}
						var v any
						rows, err := one.Query(ctx, sql)
						if err != nil {
							t.Fatal(err)
						}
						for rows.Next() {
							if vs, err := rows.Values(); err == nil {
								v = vs[0]
							}
						}
						if rows.Err() != nil {
							t.Fatalf("%s: %v", sql, rows.Err())
						}
						return fmt.Sprint(v)
					}
					do(p.make)
					for range 3 {
						mustRun(ctx, t, two, "SELECT 1")
						if got := do(p.use); p.name != "a cursor" && got != p.want {
							t.Errorf("%s: %q, want %q", p.use, got, p.want)
						}
						r := b.row("CLIENTS", "pinned="+p.why)
						if r == nil || r["link"] == "" || b.row("SERVERS", "pinned="+p.why, "ptr="+r["link"]) == nil {
							t.Fatalf("SHOW CLIENTS: %v; SHOW SERVERS: %v", b.rows("CLIENTS", "database=db"), b.rows("SERVERS"))
						}
					}
					do(p.end)
					do("SELECT 1")
					if r := b.row("CLIENTS", "pinned="+p.why); r != nil {
						t.Errorf("still pinned: %v", r)
					}
					b.awaitPool("db", "postgres", "sv_active=0")
				})
			}
		}
	}
}

// TestStateOfOneClientIsNotLeftToTheNext closes the connection of clients without a word and looks for what they had.
func TestStateOfOneClientIsNotLeftToTheNext(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", ""))
	for _, reset := range []string{"", "server_reset_query = \"\"\n"} {
		b := newPool(t, pg, reset, "pool_size = 1")
		ctx := testContext(t)
		for _, p := range pinning {
			c := startRaw(t, b.Port, "db", "app")
			c.say("Q " + p.make)
			if got := c.say("Q " + p.use); !strings.Contains(got, "D("+p.want+")") {
				t.Fatalf("%s: %s", p.use, got)
			}
			_ = c.nc.Close()
			next, err := pgx.Connect(ctx, b.DSN("db", "app"))
			if err != nil {
				t.Fatal(err)
			}
			if v, err := run(ctx, next, p.use); err == nil && v != "0" {
				t.Errorf("%s: the next client has %q", p.name, v)
			}
			if got := mustRun(ctx, t, next, "SELECT pg_try_advisory_lock(11)"); got != "t" {
				t.Errorf("%s: the next client does not get the lock", p.name)
			}
			_ = next.Close(ctx)
		}
		b.awaitPool("db", "app", "cl_active=0", "sv_active=0")
		b.noLeaks(pg, "app")
		b.Close()
	}
}

// TestAPinnedServerCountsAsInUse follows one through waiting clients, timeouts, RECONNECT, PAUSE and a restart of PostgreSQL.
func TestAPinnedServerCountsAsInUse(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", ""))
	ctx := testContext(t)
	b := newPool(t, pg, "server_fast_close = true\n", "pool_size = 1")
	pinned := b.Connect(ctx, "db", "app")
	mustRun(ctx, t, pinned, "CREATE TEMP TABLE t ()")
	other := b.Connect(ctx, "db", "app")
	waits := background(func() error { _, err := run(ctx, other, "SELECT 1"); return err })
	b.awaitWaiters(1)
	pgtest.Eventually(t, patience, func() error {
		if w := b.Admin("SHOW WAITERS")[0]; w["holder_state"] != "pinned" {
			return fmt.Errorf("SHOW WAITERS: %v", w)
		}
		return nil
	})
	noResult(t, waits)
	mustRun(ctx, t, pinned, "DROP TABLE t")
	if err := result(ctx, t, waits); err != nil {
		t.Fatal(err)
	}

	// A cancel request reaches the query of a pinned client, and leaves it pinned.
	mustRun(ctx, t, pinned, "CREATE TEMP TABLE t ()")
	slow := background(func() error { _, err := run(ctx, pinned, "SELECT pg_sleep(30)"); return err })
	pgtest.Eventually(t, patience, func() error {
		if n, err := pg.Value(ctx, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"); err != nil || n != "1" {
			return fmt.Errorf("%s, %v", n, err)
		}
		return nil
	})
	if err := pinned.PgConn().CancelRequest(ctx); err != nil {
		t.Fatal(err)
	}
	wantError(t, result(ctx, t, slow), "57014", "canceling statement")
	mustRun(ctx, t, pinned, "TABLE t")

	// RECONNECT with server_fast_close closes it, as in session mode.
	b.Admin("RECONNECT db")
	pgtest.Eventually(t, patience, func() error {
		if err := pinned.Ping(ctx); err == nil {
			return fmt.Errorf("the client is still there")
		}
		return nil
	})

	// PAUSE waits for it.
	third := b.Connect(ctx, "db", "app")
	mustRun(ctx, t, third, "SELECT pg_advisory_lock(5)")
	paused := background(func() error { _, err := b.TryAdmin("PAUSE db"); return err })
	pgtest.Eventually(t, patience, func() error {
		if b.row("DATABASES", "name=db", "paused=1") == nil {
			return fmt.Errorf("not paused yet")
		}
		return nil
	})
	noResult(t, paused)
	mustRun(ctx, t, third, "SELECT pg_advisory_unlock(5)")
	if err := result(ctx, t, paused); err != nil {
		t.Fatal(err)
	}
	b.Admin("RESUME db")

	// The death of its server is told to it.
	mustRun(ctx, t, third, "SELECT pg_advisory_lock(5)")
	pg.MustExec(t, "postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')")
	_, err := run(ctx, third, "SELECT 1")
	if err == nil {
		t.Error("a client that has lost its locks goes on")
	}
	b.noLeaksAfter(context.Background(), pg, "app", third, other, pinned)
}
