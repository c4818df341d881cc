package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgdrover/internal/pgtest"
)

// beginner is a client that begins a transaction beside the test, and so keeps a server once it has got one.
type beginner struct {
	*pgx.Conn
	begun <-chan error
}

func (b *bouncer) begin(ctx context.Context, db, user string) beginner {
	b.tb.Helper()
	c := b.Connect(ctx, db, user)
	return beginner{c, background(func() error { _, err := run(ctx, c, "BEGIN"); return err })}
}

// commit waits for the server, and gives it back.
func (c beginner) commit(ctx context.Context, tb testing.TB) {
	tb.Helper()
	if err := result(ctx, tb, c.begun); err != nil {
		tb.Fatal(err)
	}
	mustRun(ctx, tb, c.Conn, "COMMIT")
}

func TestPoolSize(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("bob", ""))
	for _, m := range []struct {
		name, settings, inDB, inUser string
		want                         int
	}{
		{"default_pool_size", "default_pool_size = 2", "", "", 2},
		{"a database's pool_size wins", "default_pool_size = 3", "pool_size = 2", "", 2},
		{"a user's pool_size wins over the database's", "default_pool_size = 3", "pool_size = 2", "pool_size = 1", 1},
		{"the reserve opens after reserve_pool_timeout", "default_pool_size = 1\nreserve_pool_size = 1\nreserve_pool_timeout = 0.2", "", "", 2},
		{"max_db_connections caps the pool", "max_db_connections = 1", "", "", 1},
		{"a database's max_db_connections wins", "max_db_connections = 1", "max_db_connections = 2", "", 2},
		{"max_user_connections caps the pool", "max_user_connections = 2", "", "", 2},
		{"a user's max_user_connections wins", "max_user_connections = 3", "", "max_user_connections = 1", 1},
	} {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			ctx := testContext(t)
			b := newPool(t, pg, m.settings, m.inDB, "[users.bob]\npassword = \"b\"\n"+m.inUser)
			var cs []beginner
			for range m.want + 2 {
				cs = append(cs, b.begin(ctx, "db", "bob"))
			}
			b.awaitPool("db", "bob", fmt.Sprintf("sv_active=%d", m.want), "cl_waiting=2")
			free := 0
			for len(cs) > 0 { // whoever has a server gives it to one that waits
				for i, c := range cs {
					select {
					case err := <-c.begun:
						if err != nil {
							t.Fatal(err)
						}
						mustRun(ctx, t, c.Conn, "COMMIT")
						cs = append(cs[:i:i], cs[i+1:]...)
						free++
					default:
						continue
					}
					break
				}
			}
			b.awaitPool("db", "bob", "cl_waiting=0", "sv_active=0", fmt.Sprintf("sv_idle=%d", m.want))
		})
	}
}

func TestClientLimits(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("bob", ""))
	bob := "[users.bob]\npassword = \"b\"\n"
	for _, m := range []struct{ name, settings, inDB, users, message string }{
		{"max_client_conn", "max_client_conn = 2", "", bob, "no more connections allowed (max_client_conn)"},
		{"max_db_client_connections", "max_db_client_connections = 2", "", bob, "client connections exceeded (max_db_client_connections)"},
		{"max_db_client_connections of the database", "max_db_client_connections = 9", "max_db_client_connections = 2", bob, "client connections exceeded (max_db_client_connections)"},
		{"max_user_client_connections", "max_user_client_connections = 2", "", bob, "client connections exceeded (max_user_client_connections)"},
		{"max_user_client_connections of the user", "max_user_client_connections = 9", "", bob + "max_user_client_connections = 2", "client connections exceeded (max_user_client_connections)"},
	} {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			ctx := testContext(t)
			b := newPool(t, pg, m.settings, m.inDB, m.users)
			one, two := b.Connect(ctx, "db", "bob"), b.Connect(ctx, "db", "bob")
			_, err := pgx.Connect(ctx, b.DSN("db", "bob"))
			wantError(t, err, "53300", m.message)
			b.Admin("SHOW POOLS") // which none of the limits is for
			mustRun(ctx, t, two, "SELECT 1")
			if err := one.Close(ctx); err != nil {
				t.Error(err)
			}
			pgtest.Eventually(t, patience, func() error {
				c, err := pgx.Connect(ctx, b.DSN("db", "bob"))
				if err != nil {
					return err
				}
				return c.Close(ctx)
			})
		})
	}
}

func TestLimitThatSpansPoolsEvictsAnIdleServerOfAnotherPool(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("bob", ""))
	bob := "[users.bob]\npassword = \"b\"\n"
	for _, m := range []struct{ name, settings, tables, db, user string }{
		{"max_db_connections", "max_db_connections = 1", bob, "db", "bob"},
		{"max_user_connections", "max_user_connections = 1", pgDatabase("other", pg, ""), "other", "postgres"},
	} {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			ctx := testContext(t)
			b := newPool(t, pg, m.settings, "", m.tables)
			one, two := b.Connect(ctx, "db", "postgres"), b.Connect(ctx, m.db, m.user)
			for range 3 {
				mustRun(ctx, t, one, "SELECT 1")
				b.awaitPool("db", "postgres", "sv_idle=1")
				b.awaitPool(m.db, m.user, "sv_idle=0", "sv_active=0")
				mustRun(ctx, t, two, "SELECT 1")
				b.awaitPool("db", "postgres", "sv_idle=0", "sv_active=0")
				b.awaitPool(m.db, m.user, "sv_idle=1")
			}
		})
	}
}

// Freed capacity used to go to whoever waited in the pool of the server that was released, so that a busy pool
// could keep another one out for ever.
func TestFreedCapacityGoesToTheOldestWaiterOfAnyPool(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("bob", ""), pgtest.WithUser("carol", ""))
	for _, m := range []struct{ name, settings, tables string }{
		{"max_db_connections", "max_db_connections = 1", "[users.bob]\npassword = \"b\"\n[users.carol]\npassword = \"c\"\n"},
		{"max_user_connections", "max_user_connections = 1", pgDatabase("db2", pg, "") + pgDatabase("db3", pg, "")},
	} {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			ctx := testContext(t)
			b := newPool(t, pg, m.settings, "", m.tables)
			where := [][2]string{{"db", "postgres"}, {"db", "bob"}, {"db", "carol"}}
			if m.name == "max_user_connections" {
				where = [][2]string{{"db", "postgres"}, {"db2", "postgres"}, {"db3", "postgres"}}
			}
			// Logged in first: a login waits for a server too.
			order := []int{0, 1, 0, 2, 1, 0}
			var conns []*pgx.Conn
			for _, w := range order {
				conns = append(conns, b.Connect(ctx, where[w][0], where[w][1]))
			}
			var cs []beginner
			for i, c := range conns {
				cs = append(cs, beginner{c, background(func() error { _, err := run(ctx, c, "BEGIN"); return err })})
				if i == 0 {
					b.awaitPool("db", "postgres", "sv_active=1")
				}
				b.awaitWaiters(i)
			}
			for i, c := range cs {
				for _, later := range cs[i+1:] {
					noResult(t, later.begun)
				}
				c.commit(ctx, t)
			}
		})
	}
}

// A limit that is lowered shrinks what is there: idle servers at once, the longest idle first, and those in use when they come back.
func TestLimitsThatSpanPoolsAreLoweredLive(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("bob", ""))
	for _, m := range []struct{ name, lower, raise, tables, db, user string }{
		{
			"max_db_connections", "SET max_db_connections = 2", "SET max_db_connections = 9",
			"[users.bob]\npassword = \"b\"\n", "db", "bob",
		},
		{
			"max_user_connections", "ALTER USER postgres SET max_user_connections = 2", "ALTER USER postgres SET max_user_connections = 9",
			pgDatabase("other", pg, ""), "other", "postgres",
		},
	} {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			ctx := testContext(t)
			b := newPool(t, pg, "", "", m.tables)
			var cs []beginner
			for i := range 6 {
				if i%2 == 0 {
					cs = append(cs, b.begin(ctx, "db", "postgres"))
				} else {
					cs = append(cs, b.begin(ctx, m.db, m.user))
				}
			}
			for _, c := range cs {
				if err := result(ctx, t, c.begun); err != nil {
					t.Fatal(err)
				}
			}
			mustRun(ctx, t, cs[0].Conn, "COMMIT") // in either pool one server is idle
			mustRun(ctx, t, cs[1].Conn, "COMMIT")
			b.Admin(m.lower)
			b.awaitPool("db", "postgres", "sv_idle=0", "sv_active=2")
			b.awaitPool(m.db, m.user, "sv_idle=0", "sv_active=2")
			for _, c := range cs[2:] {
				mustRun(ctx, t, c.Conn, "COMMIT")
			}
			// The first two of each that came back were too many.
			b.awaitPool("db", "postgres", "sv_active=0", "sv_idle=1")
			b.awaitPool(m.db, m.user, "sv_active=0", "sv_idle=1")
			b.Admin(m.raise)
			for _, c := range cs {
				mustRun(ctx, t, c.Conn, "BEGIN")
			}
			b.awaitPool("db", "postgres", "sv_active=3")
			b.awaitPool(m.db, m.user, "sv_active=3")
		})
	}
}

// Beyond pool_size there is the reserve: who has waited long enough for it waits for what keeps it from opening.
func TestWaitersForTheReserveAreToldWhatIsInTheWay(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	for _, m := range []struct {
		name, settings string
		active         int
		reason         string
	}{
		{"a limit that spans pools", "reserve_pool_size = 5\nreserve_pool_timeout = 0.1\nmax_db_connections = 2", 2, "max_db_connections"},
		{"the reserve is used up", "reserve_pool_size = 1\nreserve_pool_timeout = 0.1\nmax_db_connections = 2", 2, "pool_size"},
		{"it is not the waiter's turn yet", "reserve_pool_size = 5\nreserve_pool_timeout = 1000\nmax_db_connections = 1", 1, "pool_size"},
	} {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			ctx := testContext(t)
			b := newPool(t, pg, "default_pool_size = 1\n"+m.settings, "")
			var cs []beginner
			for range 3 {
				cs = append(cs, b.begin(ctx, "db", "postgres"))
			}
			b.awaitPool("db", "postgres", fmt.Sprintf("sv_active=%d", m.active), fmt.Sprintf("cl_waiting=%d", 3-m.active))
			b.eventuallyValue(m.reason, "SELECT max(reason) FROM waiters")
			b.Admin("KILL db")
			for _, c := range cs {
				_ = result(ctx, t, c.begun)
			}
		})
	}
}

func TestWaitersAreServedInTheOrderInWhichTheyCame(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	pg.MustExec(t, "postgres", "CREATE TABLE served(at serial, who int)")
	ctx := testContext(t)
	b := newPool(t, pg, "default_pool_size = 1", "")
	holder := b.begin(ctx, "db", "postgres")
	if err := result(ctx, t, holder.begun); err != nil {
		t.Fatal(err)
	}
	const n = 8
	var done []<-chan error
	for i := range n {
		c := b.Connect(ctx, "db", "postgres")
		done = append(done, background(func() error {
			_, err := run(ctx, c, fmt.Sprintf("INSERT INTO served(who) VALUES (%d)", i))
			return err
		}))
		b.awaitWaiters(i + 1)
	}
	mustRun(ctx, t, holder.Conn, "COMMIT")
	for _, d := range done {
		if err := result(ctx, t, d); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := pg.MustValue(t, "postgres", "SELECT string_agg(who::text, ' ' ORDER BY at) FROM served"), "0 1 2 3 4 5 6 7"; got != want {
		t.Errorf("order\ngot  %s\nwant %s", got, want)
	}
}

// A cold pool used to be a place where clients queue for one login after the other.
func TestColdPoolOpensAsManyServersAsClientsArrive(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	ctx := testContext(t)
	proxy := pg.Proxy(t)
	b := startBouncer(t, "auth_type = \"trust\"\npool_mode = \"transaction\"\ndefault_pool_size = 20",
		trustUsers+fmt.Sprintf("[databases.db]\nhost = \"127.0.0.1\"\nport = %d\ndbname = \"postgres\"\n", proxy.Port))
	proxy.Hold(pgtest.ToClient, true) // nobody's login can end
	var done []<-chan error
	for range 20 {
		done = append(done, background(func() error {
			c, err := pgx.Connect(ctx, b.DSN("db", "postgres"))
			if err != nil {
				return err
			}
			defer func() { _ = c.Close(ctx) }()
			_, err = run(ctx, c, "SELECT 1")
			return err
		}))
	}
	pgtest.Eventually(t, patience, func() error {
		if got := proxy.Open(); got != 20 {
			return fmt.Errorf("%d logins at once, want 20", got)
		}
		return nil
	})
	proxy.Hold(pgtest.ToClient, false)
	for _, d := range done {
		if err := result(ctx, t, d); err != nil {
			t.Error(err)
		}
	}
}

// isRefused reports whether an error is one that came over the wire and contains text.
func isRefused(err error, text string) bool {
	var pe *pgconn.PgError
	return errors.As(err, &pe) && strings.Contains(pe.Message+" "+pe.Detail, text)
}
