package integration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgdrover/internal/pgtest"
)

// proxied is the [databases.db] table for a cluster behind a proxy.
func proxied(p *pgtest.Proxy) string {
	return fmt.Sprintf("[databases.db]\nhost = \"127.0.0.1\"\nport = %d\ndbname = \"postgres\"\n", p.Port)
}

const faulty = "auth_type = \"trust\"\npool_mode = \"transaction\"\n"

// lost reports whether err is how a client may learn that its server is gone.
func lost(err error) bool {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return strings.HasPrefix(pe.Code, "08") || strings.HasPrefix(pe.Code, "57P")
	}
	var ne *net.OpError
	return err != nil && (strings.Contains(err.Error(), "EOF") || strings.Contains(err.Error(), "conn closed") || errors.As(err, &ne))
}

func TestServerThatIsTerminated(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", ""))
	b := newPool(t, pg, "default_pool_size = 2", "")
	for _, m := range []struct {
		name string
		do   func(ctx context.Context, t *testing.T, c *pgx.Conn, kill func())
	}{
		{"while it is idle is not given to a client", func(ctx context.Context, t *testing.T, c *pgx.Conn, kill func()) {
			for range 5 {
				kill()
				mustRun(ctx, t, c, "SELECT 1")
			}
		}},
		{"in a transaction ends its client with the server's words", func(ctx context.Context, t *testing.T, c *pgx.Conn, kill func()) {
			mustRun(ctx, t, c, "BEGIN")
			kill()
			wantError(t, c.PgConn().WaitForNotification(ctx), "57P01", "terminating connection due to administrator command")
		}},
		{"in a query ends its client with the server's words", func(ctx context.Context, t *testing.T, c *pgx.Conn, kill func()) {
			running := background(func() error { _, err := run(ctx, c, "SELECT pg_sleep(1000)"); return err })
			b.awaitPool("db", "app", "sv_active=1")
			kill()
			wantError(t, result(ctx, t, running), "57P01", "terminating connection due to administrator command")
		}},
		{"in a COPY to it ends its client", func(ctx context.Context, t *testing.T, c *pgx.Conn, kill func()) {
			mustRun(ctx, t, c, "BEGIN; CREATE TEMP TABLE t(x text)")
			r := &endless{started: make(chan struct{})}
			running := background(func() error { _, err := c.PgConn().CopyFrom(ctx, r, "COPY t FROM STDIN"); return err })
			begun(ctx, r.started)
			kill()
			if err := result(ctx, t, running); !lost(err) {
				t.Errorf("COPY ended with %v", err)
			}
		}},
		{"in a COPY from it ends its client", func(ctx context.Context, t *testing.T, c *pgx.Conn, kill func()) {
			w := &sink{started: make(chan struct{})}
			running := background(func() error {
				_, err := c.PgConn().CopyTo(ctx, w, "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 10000) a, generate_series(1, 10000) b) TO STDOUT")
				return err
			})
			begun(ctx, w.started)
			kill()
			if err := result(ctx, t, running); !lost(err) {
				t.Errorf("COPY ended with %v", err)
			}
		}},
	} {
		t.Run(m.name, func(t *testing.T) {
			ctx := testContext(t)
			c := b.Connect(ctx, "db", "app")
			m.do(ctx, t, c, func() {
				pg.MustExec(t, "postgres", "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = 'app'")
			})
			b.noLeaksAfter(ctx, pg, "app", c)
			next := b.Connect(ctx, "db", "app")
			mustRun(ctx, t, next, "SELECT 1")
			_ = next.Close(ctx)
		})
	}
}

// endless is COPY data without an end.
type endless struct {
	once    sync.Once
	n       int
	started chan struct{}
}

func (e *endless) Read(p []byte) (int, error) {
	if e.n++; e.n > 20 {
		e.once.Do(func() { close(e.started) })
	}
	for i := range p {
		p[i] = 'x'
		if i%100 == 99 {
			p[i] = '\n'
		}
	}
	return len(p), nil
}

type sink struct {
	once    sync.Once
	started chan struct{}
}

func (s *sink) Write(p []byte) (int, error) {
	s.once.Do(func() { close(s.started) })
	return len(p), nil
}

// begun waits until a COPY moves data, or until it is clear that it never will.
func begun(ctx context.Context, started <-chan struct{}) {
	select {
	case <-started:
	case <-ctx.Done():
	}
}

func TestClientThatVanishes(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", ""))
	b := newPool(t, pg, "default_pool_size = 1", "")
	for _, how := range []string{"RST", "FIN"} {
		for _, m := range []struct {
			state string
			enter func(ctx context.Context, c *pgx.Conn) <-chan error
		}{
			{"idle", func(ctx context.Context, c *pgx.Conn) <-chan error { return nil }},
			{"in a transaction", func(ctx context.Context, c *pgx.Conn) <-chan error {
				return background(func() error { _, err := run(ctx, c, "BEGIN"); return err })
			}},
			{"in a query", func(ctx context.Context, c *pgx.Conn) <-chan error {
				ch := background(func() error { _, err := run(ctx, c, "SELECT pg_sleep(1000)"); return err })
				b.awaitPool("db", "app", "sv_active=1")
				return ch
			}},
			{"in the queue", func(ctx context.Context, c *pgx.Conn) <-chan error {
				ch := background(func() error { _, err := run(ctx, c, "SELECT 1"); return err })
				b.awaitWaiters(1)
				return ch
			}},
			{"in a COPY to the server", func(ctx context.Context, c *pgx.Conn) <-chan error {
				r := &endless{started: make(chan struct{})}
				ch := background(func() error {
					_, err := c.PgConn().CopyFrom(ctx, r, "COPY pg_temp.t FROM STDIN")
					return err
				})
				begun(ctx, r.started)
				return ch
			}},
			{"in a COPY from the server", func(ctx context.Context, c *pgx.Conn) <-chan error {
				w := &sink{started: make(chan struct{})}
				ch := background(func() error {
					_, err := c.PgConn().CopyTo(ctx, w, "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 10000) a, generate_series(1, 10000) b) TO STDOUT")
					return err
				})
				begun(ctx, w.started)
				return ch
			}},
		} {
			t.Run(m.state+" by "+how, func(t *testing.T) {
				ctx := testContext(t)
				c := b.Connect(ctx, "db", "app")
				other := b.Connect(ctx, "db", "app")
				if strings.Contains(m.state, "to the server") {
					mustRun(ctx, t, c, "BEGIN; CREATE TEMP TABLE t(x text)")
				}
				if m.state == "in the queue" {
					mustRun(ctx, t, other, "BEGIN")
				}
				ch := m.enter(ctx, c)
				if ch != nil && m.state == "in a transaction" {
					if err := result(ctx, t, ch); err != nil {
						t.Fatal(err)
					}
					ch = nil
				}
				nc := c.PgConn().Conn()
				if how == "RST" {
					if err := nc.(*net.TCPConn).SetLinger(0); err != nil {
						t.Fatal(err)
					}
				}
				_ = nc.Close()
				if ch != nil {
					if err := result(ctx, t, ch); err == nil {
						t.Error("the query of a client that was gone has succeeded")
					}
				}
				b.awaitWaiters(0)
				if m.state == "in the queue" {
					mustRun(ctx, t, other, "COMMIT")
				}
				// The only server is free, or was replaced, and is in no state that the next client could notice.
				if got := mustRun(ctx, t, other, "SELECT pg_my_temp_schema() = 0 OR to_regclass('pg_temp.t') IS NULL"); got != "t" {
					t.Error("the next client sees the temporary table of the one that has gone")
				}
				b.noLeaksAfter(ctx, pg, "app", other)
			})
		}
	}
}

// A client that closes only its sending side still gets its answer.
func TestClientThatHalfClosesGetsItsAnswer(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", ""))
	ctx := testContext(t)
	b := newPool(t, pg, "", "")
	c := b.Connect(ctx, "db", "app")
	running := background(func() error {
		got, err := run(ctx, c, "SELECT pg_sleep(0.3)::text || 'answer'")
		if err == nil && got != "answer" {
			err = fmt.Errorf("got %q", got)
		}
		return err
	})
	b.awaitPool("db", "app", "sv_active=1")
	if err := c.PgConn().Conn().(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if err := result(ctx, t, running); err != nil {
		t.Error(err)
	}
	b.noLeaksAfter(ctx, pg, "app", c)
}

func TestSlowReaderHoldsUpNobodyAndIsKilledCleanly(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", ""))
	ctx := testContext(t)
	b := newPool(t, pg, "default_pool_size = 2", "")
	front := pgtest.StartProxy(t, fmt.Sprintf("127.0.0.1:%d", b.Port))
	slow, err := pgx.Connect(ctx, strings.Replace(b.DSN("db", "app", "application_name=slow"), fmt.Sprint(b.Port), fmt.Sprint(front.Port), 1))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = slow.Close(ctx) }()
	front.Hold(pgtest.ToClient, true)
	reading := background(func() error {
		_, err := run(ctx, slow, "SELECT repeat('x', 1000) FROM generate_series(1, 100000)")
		return err
	})
	b.awaitPool("db", "app", "sv_active=1")
	c := b.Connect(ctx, "db", "app")
	for range 20 {
		mustRun(ctx, t, c, "SELECT 1")
	}
	b.Admin("KILL_CLIENT " + b.row("CLIENTS", "application_name=slow")["id"])
	b.awaitPool("db", "app", "sv_active=0", "cl_active=1")
	front.Hold(pgtest.ToClient, false)
	if err := result(ctx, t, reading); err == nil {
		t.Error("the slow reader got everything, in spite of the kill")
	}
	b.noLeaksAfter(ctx, pg, "app", c)
}

func TestNetworkBetweenPoolAndServer(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", ""))
	t.Run("reset of idle servers is noticed before a client gets one", func(t *testing.T) {
		t.Parallel()
		ctx := testContext(t)
		proxy := pg.Proxy(t)
		b := startBouncer(t, faulty, trustUsers+proxied(proxy))
		c := b.Connect(ctx, "db", "postgres")
		for i := range 10 {
			mustRun(ctx, t, c, "SELECT 1")
			if i%2 == 0 {
				proxy.Reset()
			} else {
				proxy.Cut()
			}
			b.awaitPool("db", "postgres", "sv_idle=0")
		}
		mustRun(ctx, t, c, "SELECT 1")
	})
	t.Run("a cut in the middle of an answer ends that client alone", func(t *testing.T) {
		t.Parallel()
		ctx := testContext(t)
		proxy := pg.Proxy(t)
		b := startBouncer(t, faulty, trustUsers+proxied(proxy))
		for _, how := range []pgtest.Ending{pgtest.FIN, pgtest.RST} {
			c := b.Connect(ctx, "db", "postgres")
			mustRun(ctx, t, c, "SELECT 1")
			proxy.CutAfter(pgtest.ToClient, 5000, how)
			_, err := run(ctx, c, "SELECT repeat('x', 1000) FROM generate_series(1, 100)")
			if !lost(err) {
				t.Errorf("the query ended with %v", err)
			}
			proxy.NoCut()
			mustRun(ctx, t, b.Connect(ctx, "db", "postgres"), "SELECT 1")
		}
		b.awaitPool("db", "postgres", "sv_active=0")
	})
	t.Run("a cut in the middle of a login is tried again", func(t *testing.T) {
		t.Parallel()
		ctx := testContext(t)
		proxy := pg.Proxy(t)
		b := startBouncer(t, faulty, trustUsers+proxied(proxy))
		proxy.CutAfter(pgtest.ToClient, 20, pgtest.RST)
		in := background(func() error {
			c, err := pgx.Connect(ctx, b.DSN("db", "postgres"))
			if err != nil {
				return err
			}
			defer func() { _ = c.Close(ctx) }()
			_, err = run(ctx, c, "SELECT 1")
			return err
		})
		b.awaitLog("server connection failed", 2)
		proxy.NoCut()
		if err := result(ctx, t, in); err != nil {
			t.Error(err)
		}
	})
	t.Run("a half-open server does not outlive query_timeout", func(t *testing.T) {
		t.Parallel()
		ctx := testContext(t)
		proxy := pg.Proxy(t)
		b := startBouncer(t, faulty+"query_timeout = 0.5\ncancel_wait_timeout = 1\n", trustUsers+proxied(proxy))
		c := b.Connect(ctx, "db", "postgres")
		mustRun(ctx, t, c, "SELECT 1")
		proxy.Blackhole(true)
		_, err := run(ctx, c, "SELECT 1")
		wantError(t, err, "57014", "query timeout")
		b.awaitPool("db", "postgres", "sv_active=0", "sv_idle=0", "cl_active=0")
		proxy.Blackhole(false)
		mustRun(ctx, t, b.Connect(ctx, "db", "postgres"), "SELECT 1")
	})
}

// Under a bank's load PostgreSQL is killed and comes back. Money is neither lost nor made, what was acknowledged is there,
// once, and clients that had nothing in flight go on with the connection that they have.
func TestRestartOfPostgreSQLUnderLoad(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", ""), pgtest.WithSetting("fsync", "on"), pgtest.WithSetting("synchronous_commit", "on"))
	pg.MustExec(t, "postgres", "CREATE TABLE account(id int PRIMARY KEY, money int)", "INSERT INTO account SELECT i, 1000 FROM generate_series(0, 9) i",
		"CREATE TABLE done(id bigint PRIMARY KEY)", "GRANT ALL ON account, done TO app")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	b := newPool(t, pg, "default_pool_size = 4\nserver_login_retry = 1", "")
	idle := b.Connect(ctx, "db", "app")
	mustRun(ctx, t, idle, "SELECT 1")

	var stop atomic.Bool
	var next, reconnects atomic.Int64
	var mu sync.Mutex
	acked, unknown := map[int64]bool{}, map[int64]bool{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			var c *pgx.Conn
			defer func() {
				if c != nil {
					_ = c.Close(ctx)
				}
			}()
			for !stop.Load() {
				var err error
				if c == nil {
					if c, err = pgx.Connect(ctx, b.DSN("db", "app")); err != nil {
						c = nil
						if !lost(err) {
							t.Errorf("connect: %v", err)
							return
						}
						continue
					}
					reconnects.Add(1)
				}
				id := next.Add(1)
				err = transfer(ctx, c, id)
				mu.Lock()
				switch {
				case err == nil:
					acked[id] = true
				case isRefused(err, "deadlock detected"):
				default:
					unknown[id] = true
					if !lost(err) {
						t.Errorf("transfer: %v", err)
						stop.Store(true)
					}
					_ = c.Close(ctx)
					c = nil
				}
				mu.Unlock()
			}
		})
	}
	more := func(n int) {
		mu.Lock()
		goal := len(acked) + n
		mu.Unlock()
		pgtest.Eventually(t, time.Minute, func() error {
			mu.Lock()
			defer mu.Unlock()
			if len(acked) < goal && !stop.Load() {
				return fmt.Errorf("%d transfers, want %d", len(acked), goal)
			}
			return nil
		})
	}
	for _, how := range []pgtest.StopMode{pgtest.Immediate, pgtest.Fast} {
		more(100)
		if err := pg.Restart(ctx, how); err != nil {
			t.Fatal(err)
		}
	}
	more(100)
	stop.Store(true)
	wg.Wait()
	mustRun(ctx, t, idle, "SELECT 1") // it never noticed
	if got := pg.MustValue(t, "postgres", "SELECT sum(money) FROM account"); got != "10000" {
		t.Errorf("there is %s money, want 10000", got)
	}
	there := map[string]bool{}
	for _, id := range strings.Fields(pg.MustValue(t, "postgres", "SELECT coalesce(string_agg(id::text, ' '), '') FROM done")) {
		there[id] = true
	}
	for id := range acked {
		if !there[fmt.Sprint(id)] {
			t.Errorf("transfer %d was acknowledged and is lost", id)
		}
		delete(there, fmt.Sprint(id))
	}
	for id := range unknown {
		delete(there, fmt.Sprint(id))
	}
	if len(there) > 0 {
		t.Errorf("transfers %v were done and never asked for", there)
	}
	t.Logf("%d transfers, %d lost their server, %d logins", len(acked), len(unknown), reconnects.Load())
	b.noLeaksAfter(ctx, pg, "app", idle)
}

// transfer moves money from one account to another in one transaction.
func transfer(ctx context.Context, c *pgx.Conn, id int64) error {
	from, to := rand.IntN(10), rand.IntN(10)
	tx, err := c.Begin(ctx)
	if err != nil {
		return err
	}
	for _, sql := range []string{
		fmt.Sprintf("INSERT INTO done VALUES (%d)", id),
		fmt.Sprintf("UPDATE account SET money = money - 1 WHERE id = %d", from),
		fmt.Sprintf("UPDATE account SET money = money + 1 WHERE id = %d", to),
	} {
		if _, err := tx.Exec(ctx, sql); err != nil {
			_ = tx.Rollback(ctx)
			return err
		}
	}
	return tx.Commit(ctx)
}

// Many clients share few servers while some of them are cut off in the middle of what they do: nobody ever gets an
// answer that is not his.
func TestNoAnswerGoesToAnotherClient(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", ""))
	ctx := testContext(t)
	b := newPool(t, pg, "default_pool_size = 3", "")
	stop, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for i := range 6 {
		c := b.Connect(ctx, "db", "app")
		wg.Go(func() {
			for n := 0; stop.Err() == nil; n++ {
				want := fmt.Sprintf("%d/%d", i, n)
				var got string
				if err := c.QueryRow(ctx, "SELECT $1::text", want).Scan(&got); err != nil || got != want {
					t.Errorf("got %q, %v; want %q", got, err, want)
					return
				}
			}
		})
	}
	for range 3 {
		wg.Go(func() {
			for stop.Err() == nil {
				c, err := pgx.Connect(ctx, b.DSN("db", "app"))
				if err != nil {
					t.Error(err)
					return
				}
				query := background(func() error {
					_, err := run(ctx, c, "SELECT repeat('y', 100) FROM generate_series(1, 3000)")
					return err
				})
				for range rand.IntN(2000) {
					_ = os.Getpid() // some time, of any length
				}
				_ = c.PgConn().Conn().Close()
				<-query
			}
		})
	}
	wg.Wait()
	b.awaitPool("db", "app", "sv_active=0", "cl_waiting=0")
}
