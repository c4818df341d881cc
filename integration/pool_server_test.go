package integration

import (
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"pgdrover/internal/pgtest"
)

func TestMinPoolSize(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", ""))
	t.Run("is opened at the start when the server user is forced, and refilled", func(t *testing.T) {
		t.Parallel()
		b := newPool(t, pg, "server_idle_timeout = 0.1", "user = \"app\"\nmin_pool_size = 3")
		b.awaitPool("db", "app", "sv_idle=3")
		before := b.row("SERVERS")["remote_pid"]
		pg.MustExec(t, "postgres", "SELECT pg_terminate_backend("+before+")")
		pgtest.Eventually(t, patience, func() error {
			rows := b.rows("SERVERS")
			for _, r := range rows {
				if r["remote_pid"] == before {
					return fmt.Errorf("server %s is still there", before)
				}
			}
			if len(rows) != 3 {
				return fmt.Errorf("%d servers, want 3", len(rows))
			}
			return nil
		})
		b.Admin("RECONNECT")
		b.awaitPool("db", "app", "sv_idle=3")
	})
	t.Run("is kept while a client is there when the user is not forced", func(t *testing.T) {
		t.Parallel()
		ctx := testContext(t)
		b := newPool(t, pg, "min_pool_size = 2\nserver_idle_timeout = 0.2", "")
		c := b.Connect(ctx, "db", "postgres")
		b.awaitPool("db", "postgres", "sv_idle=2")
		_ = c.Close(ctx)
		b.awaitPool("db", "postgres", "sv_idle=0")
	})
}

func TestServerIdleTimeoutLeavesMinPoolSize(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	ctx := testContext(t)
	b := newPool(t, pg, "min_pool_size = 1\nserver_idle_timeout = 0.5", "")
	var cs []beginner
	for range 4 {
		cs = append(cs, b.begin(ctx, "db", "postgres"))
	}
	b.awaitPool("db", "postgres", "sv_active=4")
	for _, c := range cs {
		c.commit(ctx, t)
	}
	b.awaitPool("db", "postgres", "sv_idle=1")
	pid := backend(ctx, t, cs[0].Conn)
	b.awaitLog("server idle timeout", 3)
	if got := backend(ctx, t, cs[0].Conn); got != pid {
		t.Errorf("the last server was replaced: %s, then %s", pid, got)
	}
}

func TestServerLifetime(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	t.Run("an old server is replaced between transactions", func(t *testing.T) {
		t.Parallel()
		ctx := testContext(t)
		b := newPool(t, pg, "default_pool_size = 1\nserver_lifetime = 0.3", "")
		c := b.Connect(ctx, "db", "postgres")
		mustRun(ctx, t, c, "BEGIN")
		pid := backend(ctx, t, c)
		mustRun(ctx, t, c, "SELECT pg_sleep(0.4)")
		if got := backend(ctx, t, c); got != pid {
			t.Errorf("the transaction moved from %s to %s", pid, got)
		}
		mustRun(ctx, t, c, "COMMIT")
		if got := backend(ctx, t, c); got == pid {
			t.Error("the server outlived its time")
		}
		b.awaitLog("server lifetime over", 1)
	})
	// With server_lifetime = 0 a new server used to be closed before anybody had used it.
	t.Run("0 uses each server once", func(t *testing.T) {
		t.Parallel()
		ctx := testContext(t)
		b := newPool(t, pg, "server_lifetime = 0", "")
		c := b.Connect(ctx, "db", "postgres")
		seen := map[string]bool{}
		for range 4 {
			pid := backend(ctx, t, c)
			if seen[pid] {
				t.Errorf("server %s was used twice", pid)
			}
			seen[pid] = true
		}
	})
	t.Run("a database's wins", func(t *testing.T) {
		t.Parallel()
		ctx := testContext(t)
		b := newPool(t, pg, "server_lifetime = 0", "server_lifetime = 100")
		c := b.Connect(ctx, "db", "postgres")
		if one, two := backend(ctx, t, c), backend(ctx, t, c); one != two {
			t.Errorf("servers %s and %s, want one", one, two)
		}
	})
}

func TestServerReuseOrder(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	for _, m := range []struct {
		settings string
		want     int // different servers in six transactions
	}{{"", 1}, {"server_round_robin = 1", 3}} {
		t.Run(fmt.Sprintf("%q", m.settings), func(t *testing.T) {
			t.Parallel()
			ctx := testContext(t)
			b := newPool(t, pg, m.settings, "")
			var cs []beginner
			for range 3 {
				cs = append(cs, b.begin(ctx, "db", "postgres"))
			}
			b.awaitPool("db", "postgres", "sv_active=3")
			for _, c := range cs {
				c.commit(ctx, t)
			}
			b.awaitPool("db", "postgres", "sv_idle=3")
			pids := map[string]bool{}
			for range 6 {
				pids[backend(ctx, t, cs[0].Conn)] = true
			}
			if len(pids) != m.want {
				t.Errorf("six transactions used %d servers, want %d", len(pids), m.want)
			}
		})
	}
}

func TestServerCheck(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	pg.MustExec(t, "postgres", "CREATE SEQUENCE never", "CREATE SEQUENCE always")
	for name, delay := range map[string]int{"never": 30, "always": 0} {
		t.Run(fmt.Sprintf("server_check_delay %d: %s", delay, name), func(t *testing.T) {
			t.Parallel()
			ctx := testContext(t)
			b := newPool(t, pg, fmt.Sprintf("server_check_delay = %d\nserver_check_query = \"SELECT nextval('%s')\"", delay, name), "")
			c := b.Connect(ctx, "db", "postgres")
			for range 3 {
				mustRun(ctx, t, c, "SELECT 1")
			}
			want := map[string]string{"never": "0", "always": "3"}[name]
			if got := pg.MustValue(t, "postgres", "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM "+name); got != want {
				t.Errorf("checked %s times in 3 transactions, want %s", got, want)
			}
		})
	}
	t.Run("a server that fails it is replaced", func(t *testing.T) {
		t.Parallel()
		ctx := testContext(t)
		proxy := pg.Proxy(t)
		b := startBouncer(t, "auth_type = \"trust\"\npool_mode = \"transaction\"\nserver_check_delay = 0\nserver_connect_timeout = 1",
			trustUsers+fmt.Sprintf("[databases.db]\nhost = \"127.0.0.1\"\nport = %d\ndbname = \"postgres\"\n", proxy.Port))
		c := b.Connect(ctx, "db", "postgres")
		pid := backend(ctx, t, c)
		proxy.CutAfter(pgtest.ToServer, 1, pgtest.RST) // in the middle of the check
		second := background(func() error {
			got, err := run(ctx, c, "SELECT pg_backend_pid()")
			if err == nil && got == pid {
				return fmt.Errorf("server %s was used again", pid)
			}
			return err
		})
		b.awaitLog("server_check_query failed", 1)
		proxy.NoCut()
		if err := result(ctx, t, second); err != nil {
			t.Error(err)
		}
	})
}

func TestConnectQueryRunsOnceOnEachServer(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	ctx := testContext(t)
	b := newPool(t, pg, "", "connect_query = \"SET work_mem = '7MB'\"", pgDatabase("broken", pg, "connect_query = \"SELECT nosuchcolumn\""))
	c := b.Connect(ctx, "db", "postgres")
	if got := mustRun(ctx, t, c, "SHOW work_mem"); got != "7MB" {
		t.Errorf("work_mem is %s, want 7MB", got)
	}
	_, err := pgx.Connect(ctx, b.DSN("broken", "postgres"))
	wantError(t, err, "42703", "nosuchcolumn")
}

// TestConnectQueryDecidesWhatClientsBeginWith: what it sets holds for clients that ask for nothing else.
func TestConnectQueryDecidesWhatClientsBeginWith(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	const query = `connect_query = "SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'German'; SET default_transaction_read_only = on"`
	b := newPool(t, pg, "", query, pgDatabase("session", pg, query+"\npool_mode = \"session\""))
	for _, db := range []string{"db", "session"} {
		for range 2 { // the first one is greeted by the server that it has opened
			c := startRaw(t, b.Port, db, "postgres")
			for name, want := range map[string]string{"TimeZone": "Asia/Tokyo", "DateStyle": "German, DMY", "default_transaction_read_only": "on"} {
				if got := c.say("Q SHOW " + name); !strings.Contains(got, "D("+want+")") {
					t.Errorf("%s: %s is %s, want %s", db, name, got, want)
				}
				if got := c.params[name]; got != want && (name != "default_transaction_read_only" || got != "") { // reported since PostgreSQL 14
					t.Errorf("%s: the client was told that %s is %q, want %q", db, name, got, want)
				}
			}
			if got := c.say("Q CREATE TABLE t (a int)"); !strings.Contains(got, "C25006") {
				t.Errorf("%s: %s", db, got)
			}
		}
		c := startRaw(t, b.Port, db, "postgres", "TimeZone", "Europe/Paris")
		if got := c.say("Q SHOW TimeZone"); !strings.Contains(got, "D(Europe/Paris)") {
			t.Errorf("%s: asked for another one: %s", db, got)
		}
	}
}

func TestSeveralHosts(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithSetting("listen_addresses", "127.0.0.1,127.0.0.2"),
		pgtest.WithHBA("host all all 127.0.0.2/32 trust", "host all all 127.0.0.1/32 trust"))
	for _, m := range []struct{ name, hosts, inDB, want string }{
		{"round-robin", "127.0.0.1,127.0.0.2", "", "127.0.0.1 127.0.0.2"},
		{"disable", "127.0.0.2,127.0.0.1", "load_balance_hosts = \"disable\"", "127.0.0.2"},
		{"one that is down is passed over", "127.0.0.3,127.0.0.2", "", "127.0.0.2"},
	} {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			ctx := testContext(t)
			b := startBouncer(t, "auth_type = \"trust\"\npool_mode = \"transaction\"",
				trustUsers+fmt.Sprintf("[databases.db]\nhost = %q\nport = %d\ndbname = \"postgres\"\n%s\n", m.hosts, pg.Port, m.inDB))
			var cs []beginner
			for range 4 {
				cs = append(cs, b.begin(ctx, "db", "postgres"))
			}
			used := map[string]bool{}
			for _, c := range cs {
				if err := result(ctx, t, c.begun); err != nil {
					t.Fatal(err)
				}
				used[mustRun(ctx, t, c.Conn, "SELECT host(inet_server_addr())")] = true
			}
			if got := strings.Join(slices.Sorted(maps.Keys(used)), " "); got != m.want {
				t.Errorf("hosts in use\ngot  %s\nwant %s", got, m.want)
			}
		})
	}
}

// A host that accepts connections and never answers is passed over, and where new connections stay with one host, it costs time once.
func TestAHostThatNeverAnswers(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	for mode, host := range map[string]string{"round-robin": "127.0.0.2", "disable": "127.0.0.3"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", host, pg.Port))
			if err != nil {
				t.Fatal(err)
			}
			var tried atomic.Int64
			var wg sync.WaitGroup
			wg.Go(func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					tried.Add(1)
					wg.Go(func() { _, _ = io.Copy(io.Discard, c); _ = c.Close() })
				}
			})
			ctx := testContext(t)
			b := startBouncer(t, "auth_type = \"trust\"\npool_mode = \"transaction\"\nserver_connect_timeout = 2",
				trustUsers+fmt.Sprintf("[databases.db]\nhost = \"%s,127.0.0.1\"\nport = %d\ndbname = \"postgres\"\nload_balance_hosts = %q\n", host, pg.Port, mode))
			t.Cleanup(func() { _ = l.Close(); b.Close(); wg.Wait() })
			first := b.begin(ctx, "db", "postgres")
			if err := result(ctx, t, first.begun); err != nil {
				t.Fatal(err)
			}
			n := tried.Load()
			if n == 0 {
				t.Error("the first host was not tried")
			}
			for range 4 {
				c := b.begin(ctx, "db", "postgres")
				if err := result(ctx, t, c.begun); err != nil {
					t.Fatal(err)
				}
			}
			if again := tried.Load() - n; again > 0 && mode == "disable" {
				t.Errorf("the host that never answers was tried %d times more", again)
			}
		})
	}
}
