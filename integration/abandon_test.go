package integration

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"pgdrover/internal/pgtest"
)

// awaitSleepers waits until n sessions of a user run a pg_sleep.
func awaitSleepers(tb testing.TB, pg *pgtest.Cluster, user string, n int) {
	tb.Helper()
	pgtest.Eventually(tb, patience, func() error {
		got, err := pg.Value(context.Background(), "SELECT count(*) FROM pg_stat_activity WHERE usename = '"+user+"' AND query LIKE '%pg_sleep(%' AND pid <> pg_backend_pid() AND state = 'active'")
		if err == nil && got != fmt.Sprint(n) {
			err = fmt.Errorf("%s queries run, want %d", got, n)
		}
		return err
	})
}

// freeze stops a backend until thaw, so that it does not see what it is sent.
func freeze(tb testing.TB, pid string) (thaw func()) {
	tb.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		tb.Fatal(err)
	}
	if err := syscall.Kill(n, syscall.SIGSTOP); err != nil {
		tb.Fatal(err)
	}
	thaw = func() { _ = syscall.Kill(n, syscall.SIGCONT) }
	tb.Cleanup(thaw)
	return thaw
}

// A query ran on without its client when the cancel request overtook it: the backend had not read the query yet, found
// nothing to cancel, and nobody asked it again. Now the request is repeated until the session has ended.
func TestAQueryWithoutAClientIsCancelledAlsoWhenTheRequestComesTooEarly(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", ""))
	for _, m := range []struct {
		name string
		say  []string
		end  func(b *bouncer, c *rawClient)
	}{
		{"killed", []string{"Q SELECT pg_sleep(1000)"}, func(b *bouncer, _ *rawClient) { b.Admin("KILL_CLIENT " + b.row("CLIENTS", "user=app")["id"]) }},
		{"gone", []string{"Q SELECT pg_sleep(1000)"}, func(_ *bouncer, c *rawClient) { _ = c.nc.Close() }},
		{"several in a row", []string{"Q SELECT pg_sleep(1000)", "Q SELECT pg_sleep(1001)", "Q SELECT pg_sleep(1002)"}, func(_ *bouncer, c *rawClient) { _ = c.nc.Close() }},
		{"without Sync", []string{"P - SELECT pg_sleep(1000)", "B - -", "E -", "H"}, func(_ *bouncer, c *rawClient) { _ = c.nc.Close() }},
	} {
		t.Run(m.name, func(t *testing.T) {
			proxy := pg.Proxy(t)
			b := startBouncer(t, faulty+"default_pool_size = 1", trustUsers+proxied(proxy))
			c := startRaw(t, b.Port, "db", "app")
			c.say("Q SELECT 1")
			pid := pg.MustValue(t, "postgres", "SELECT pid FROM pg_stat_activity WHERE usename = 'app'")
			thaw := freeze(t, pid)
			c.write(encode(t, m.say...))
			b.awaitPool("db", "app", "sv_active=1")
			m.end(b, c)
			b.awaitPool("db", "app", "sv_active=0", "sv_being_canceled=1", "sv_idle=0")
			pgtest.Eventually(t, patience, func() error {
				if proxy.Served() < 2 {
					return errors.New("no cancel request was sent")
				}
				return nil
			})
			// The limit still counts the server.
			next := background(func() error { _, err := pgx.Connect(testContext(t), b.DSN("db", "app")); return err })
			thaw()
			if err := result(testContext(t), t, next); err != nil {
				t.Error(err)
			}
			awaitSleepers(t, pg, "app", 0)
			b.noLeaks(pg, "app")
		})
	}
}

// A server that does not react must not hold up the end of the process.
func TestCloseDoesNotWaitForAQueryThatCannotBeCancelled(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", ""))
	ctx := testContext(t)
	b := newPool(t, pg, "cancel_wait_timeout = 1000", "")
	c := b.Connect(ctx, "db", "app")
	freeze(t, backend(ctx, t, c))
	running := background(func() error { _, err := run(ctx, c, "SELECT pg_sleep(1000)"); return err })
	b.awaitPool("db", "app", "sv_active=1")
	begin := time.Now()
	b.Close()
	if took := time.Since(begin); took > patience {
		t.Errorf("closing took %s", took)
	}
	if err := result(ctx, t, running); err == nil {
		t.Error("the query has succeeded")
	}
}
