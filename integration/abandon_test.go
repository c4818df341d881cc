package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
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

// A client that had sent more before it closed was taken for one that is still there, because its good-bye lay behind bytes that nobody read: its
// query ran on and kept the server, and its place in the queue was kept too.
func TestAClientIsGoneAlsoWithBytesUnread(t *testing.T) {
	t.Parallel()
	ca := pgtest.StartCA(t, "ca")
	pair := mustKeyPair(t)(ca.IssueServer("localhost"))
	shop := startShop(t, 2, "default_pool_size = 1\nclient_tls_sslmode = \"allow\"\nclient_tls_cert_file = \""+pair.CertFile+"\"\nclient_tls_key_file = \""+pair.KeyFile+"\"\n", "")
	ctx := testContext(t)
	for _, db := range []string{"one", "shop_a"} {
		startRaw(t, shop.Port, strings.TrimSuffix(db, "_a"), "app").say("Q SELECT id FROM customers")
		c, err := shop.pg.Connect(ctx, db)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close(ctx) }()
		mustRun(ctx, t, c, "BEGIN")
		mustRun(ctx, t, c, "LOCK TABLE customers")
	}
	blocked := func(tb testing.TB, n int) {
		tb.Helper()
		awaitCount(tb, shop.pg, n, "pg_stat_activity WHERE usename = 'app' AND wait_event_type = 'Lock'")
	}
	all, next := encode(t, "Q SELECT id FROM customers"), encode(t, "Q SELECT 1")
	for _, m := range []struct {
		name, db     string
		tls          bool
		first, later []byte
	}{
		{"a query", "one", false, all, next},
		{"over TLS", "one", true, all, next},
		{"more than the sockets hold", "one", false, append(bytes.Clone(all), bytes.Repeat(next, 1<<20)...), nil},
		{"one shard", "shop", false, encode(t, "Q SELECT /* shard=a */ id FROM customers"), next},
		{"all shards", "shop", false, all, next},
	} {
		t.Run(m.name, func(t *testing.T) {
			dial := func() *rawClient {
				if m.tls {
					return startRawTLS(t, shop.Port, ca, m.db, "app")
				}
				return startRaw(t, shop.Port, m.db, "app")
			}
			c := dial()
			sent := background(func() error { return c.tryWrite(m.first) })
			blocked(t, 1)
			if m.later != nil {
				if err := result(ctx, t, sent); err != nil {
					t.Fatal(err)
				}
				c.write(m.later)
				// One that waits, and has sent more too.
				w := dial()
				w.write(m.first)
				shop.awaitWaiters(1)
				w.write(m.later)
				_ = w.nc.Close()
				shop.awaitWaiters(0)
			} else if err := c.nc.(*net.TCPConn).SetLinger(0); err != nil { // otherwise the end is behind what its kernel still has to send
				t.Fatal(err)
			}
			_ = c.nc.Close()
			blocked(t, 0)
			shop.noLeaks(shop.pg, "app")
		})
	}
}

// A client that closes only its sending side has all its answers, those to what was not read when it did so too, although they take
// longer together than a query without a client goes on.
func TestAClientThatOnlyStopsSendingHasItsAnswers(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", ""))
	b := newPool(t, pg, "", "")
	slow := encode(t, "Q SELECT pg_sleep(0.4)")
	for _, m := range []struct {
		name   string
		packet int
	}{{"in one packet", 8}, {"in one each", 1}} {
		t.Run(m.name, func(t *testing.T) {
			c := startRaw(t, b.Port, "db", "app")
			c.say("Q SELECT 1") // there is a server now: who leaves the queue is not asked whether it still reads
			for range 8 / m.packet {
				c.write(bytes.Repeat(slow, m.packet))
			}
			if err := c.nc.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if got := strings.Count(c.eof(), "Z(I)"); got != 8 {
				t.Errorf("%d answers, want 8", got)
			}
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
