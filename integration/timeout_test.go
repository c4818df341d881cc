package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgproto3/v2"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgdrover/internal/pgtest"
)

func TestQueryWaitTimeoutSaysWhoHoldsThePool(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	for _, m := range []struct{ name, settings, inDB, inUser string }{
		{"global", "query_wait_timeout = 0.5", "", ""},
		{"of the database", "query_wait_timeout = 50", "query_wait_timeout = 0.5", ""},
		{"of the user", "query_wait_timeout = 50", "query_wait_timeout = 50", "query_wait_timeout = 0.5"},
	} {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			ctx := testContext(t)
			pgUser := "u" + strings.ReplaceAll(m.name, " ", "_")
			pg.MustExec(t, "postgres", "CREATE ROLE "+pgUser+" LOGIN")
			b := newPool(t, pg, "default_pool_size = 1\n"+m.settings, m.inDB, "[users."+pgUser+"]\npassword = \"x\"\n"+m.inUser)
			holder := b.Connect(ctx, "db", pgUser, "application_name=nightly_report")
			waiter := b.Connect(ctx, "db", pgUser)
			mustRun(ctx, t, holder, "BEGIN")
			mustRun(ctx, t, holder, "SELECT 'hush-hush'")
			pid := backend(ctx, t, holder)
			_, err := run(ctx, waiter, "SELECT 'not-for-logs'")
			e := wantError(t, err, "57014", "query_wait_timeout")
			for _, want := range []string{"db/" + pgUser, "1 of 1 connections in use", "pool_size is reached", "nightly_report", "idle in transaction", "SELECT", "backend " + pid} {
				if !strings.Contains(e.Detail, want) {
					t.Errorf("DETAIL %q does not say %q", e.Detail, want)
				}
			}
			if e.Hint == "" {
				t.Error("there is no HINT")
			}
			mustRun(ctx, t, holder, "COMMIT")
			b.noLeaksAfter(ctx, pg, pgUser, holder)
			for _, secret := range []string{"hush-hush", "not-for-logs"} {
				if strings.Contains(b.logText(), secret) {
					t.Errorf("the log has the literal %q", secret)
				}
			}
		})
	}
}

func TestTimeouts(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	for i, m := range []struct {
		setting, code, message string
		run                    []string // the last one does not come back
	}{
		{"query_timeout", "57014", "query timeout", []string{"SELECT pg_sleep(1000)"}},
		{"query_timeout", "57014", "query timeout", []string{"BEGIN", "SELECT pg_sleep(1000)"}},
		{"idle_transaction_timeout", "25P03", "idle transaction timeout", []string{"BEGIN", ""}},
		{"transaction_timeout", "25P04", "transaction timeout", []string{"BEGIN", ""}},
		{"transaction_timeout", "25P04", "transaction timeout", []string{"BEGIN", "SELECT pg_sleep(1000)"}},
		{"client_idle_timeout", "57P05", "client_idle_timeout", []string{"SELECT 1", ""}},
	} {
		for _, of := range []string{"global", "user"} {
			t.Run(fmt.Sprintf("%s of %s: %s", m.setting, of, m.run), func(t *testing.T) {
				t.Parallel()
				ctx := testContext(t)
				user := fmt.Sprintf("timeout%d%s", i, of)
				pg.MustExec(t, "postgres", "CREATE ROLE "+user+" LOGIN")
				limit := m.setting + " = 0.5\n"
				var global, own string
				if of == "user" {
					own = limit
				} else {
					global = limit
				}
				b := newPool(t, pg, global, "", "[users."+user+"]\npassword = \"x\"\n"+own)
				c := b.Connect(ctx, "db", user)
				var err error
				for _, sql := range m.run {
					if sql != "" {
						_, err = run(ctx, c, sql)
					} else {
						err = c.PgConn().WaitForNotification(ctx) // silence
					}
				}
				wantError(t, err, m.code, m.message)
				// Its server is not left to work for nobody, nor given to anybody in that state.
				pgtest.Eventually(t, patience, func() error {
					n, err := pg.Value(ctx, "SELECT count(*) FROM pg_stat_activity WHERE usename = '"+user+"' AND state <> 'idle'")
					if err == nil && n != "0" {
						err = fmt.Errorf("%s sessions are busy", n)
					}
					return err
				})
				b.noLeaks(pg, user)
				mustRun(ctx, t, b.Connect(ctx, "db", user), "SELECT 1")
			})
		}
	}
	t.Run("query_timeout holds in the queue too", func(t *testing.T) {
		t.Parallel()
		ctx := testContext(t)
		b := newPool(t, pg, "default_pool_size = 1\nquery_timeout = 0.5", "")
		one, two := b.Connect(ctx, "db", "postgres"), b.Connect(ctx, "db", "postgres")
		mustRun(ctx, t, one, "BEGIN")
		_, err := run(ctx, two, "SELECT 1")
		wantError(t, err, "57014", "query_timeout")
		mustRun(ctx, t, one, "COMMIT")
	})
	t.Run("client_idle_timeout leaves a transaction alone", func(t *testing.T) {
		t.Parallel()
		ctx := testContext(t)
		b := newPool(t, pg, "client_idle_timeout = 0.2", "")
		one, two := b.Connect(ctx, "db", "postgres"), b.Connect(ctx, "db", "postgres")
		mustRun(ctx, t, one, "BEGIN")
		wantError(t, two.PgConn().WaitForNotification(ctx), "57P05", "client_idle_timeout")
		mustRun(ctx, t, one, "COMMIT")
	})
}

func TestClientLoginTimeout(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t)
	startup := func(user string) []byte {
		b, err := (&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersionNumber, Parameters: map[string]string{"user": user, "database": "db"}}).Encode(nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	b := startBouncer(t, "auth_type = \"scram-sha-256\"\nclient_login_timeout = 0.5", trustUsers+pgDatabase("db", pg, ""))
	for _, m := range []struct {
		name string
		say  []byte
	}{
		{"nothing", nil},
		{"half a length", []byte{0, 0}},
		{"half a startup packet", startup("app")[:12]},
		{"no SCRAM answer", startup("app")},
		{"no SCRAM answer for a user that does not exist", startup("ghost")},
		{"half a SCRAM answer", append(startup("app"), 'p', 0, 0, 0, 90, 'S', 'C')},
	} {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			nc, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.Port))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = nc.Close() }()
			if _, err := nc.Write(m.say); err != nil {
				t.Fatal(err)
			}
			_ = nc.SetReadDeadline(time.Now().Add(patience))
			said, err := io.ReadAll(nc)
			if err != nil && errors.As(err, new(net.Error)) {
				t.Fatalf("it was not closed: %v", err)
			}
			if len(m.say) > 12 && !strings.Contains(string(said), "client_login_timeout") {
				t.Errorf("it was closed with %q", said)
			}
		})
	}
}

func TestClientLoginTimeoutCoversTheWaitForAServer(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	ctx := testContext(t)
	proxy := pg.Proxy(t)
	proxy.Blackhole(true)
	b := startBouncer(t, "auth_type = \"trust\"\nclient_login_timeout = 0.5",
		trustUsers+fmt.Sprintf("[databases.db]\nhost = \"127.0.0.1\"\nport = %d\ndbname = \"postgres\"\n", proxy.Port))
	_, err := pgx.Connect(ctx, b.DSN("db", "postgres"))
	wantError(t, err, "08P01", "client_login_timeout (server down)")
	if got := len(b.Admin("SHOW WAITERS")); got != 0 {
		t.Errorf("%d clients still wait", got)
	}
}

func TestServerConnectTimeoutIsNamedInTheQueueTimeout(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	ctx := testContext(t)
	proxy := pg.Proxy(t)
	b := startBouncer(t, "auth_type = \"trust\"\npool_mode = \"transaction\"\nserver_connect_timeout = 0.3\nquery_wait_timeout = 2\nserver_lifetime = 0",
		trustUsers+fmt.Sprintf("[databases.db]\nhost = \"127.0.0.1\"\nport = %d\ndbname = \"postgres\"\n", proxy.Port))
	c := b.Connect(ctx, "db", "postgres")
	mustRun(ctx, t, c, "SELECT 1")
	proxy.Blackhole(true)
	_, err := run(ctx, c, "SELECT 1")
	e := wantError(t, err, "57014", "query_wait_timeout")
	for _, want := range []string{"no server connection could be opened", "connect timeout"} {
		if !strings.Contains(e.Detail, want) {
			t.Errorf("DETAIL %q does not say %q", e.Detail, want)
		}
	}
	proxy.Blackhole(false)
	mustRun(ctx, t, b.Connect(ctx, "db", "postgres"), "SELECT 1")
}

func TestServerThatRefusesTheLoginAnswersEveryWaiterInItsOwnWords(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithUser("app", "the right one"))
	proxy := pg.Proxy(t)
	for _, m := range []struct{ name, db, user, code, message string }{
		{"database does not exist", "dbname = \"nosuchdb\"\npassword = \"postgres\"", "postgres", "3D000", `database "nosuchdb" does not exist`},
		{"wrong password", "dbname = \"postgres\"\npassword = \"sesame-wrong\"", "app", "28P01", `password authentication failed for user "app"`},
		{"role does not exist", "dbname = \"postgres\"\npassword = \"sesame-wrong\"", "nobody_here", "28P01", `password authentication failed for user "nobody_here"`},
	} {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			ctx := testContext(t)
			db := m.db
			if m.user == "postgres" {
				db = "dbname = \"nosuchdb\"\npassword = \"" + pgtest.SuperuserPassword + "\""
			}
			b := startBouncer(t, "auth_type = \"trust\"\nserver_login_retry = 5\ndefault_pool_size = 2", trustUsers+
				fmt.Sprintf("[users.nobody_here]\npassword = \"sesame-wrong\"\n[databases.db]\nhost = \"127.0.0.1\"\nport = %d\n%s\n", proxy.Port, db))
			var all []<-chan error
			for range 5 {
				all = append(all, background(func() error {
					_, err := pgx.Connect(ctx, b.DSN("db", m.user))
					return err
				}))
			}
			for _, ch := range all {
				err := result(ctx, t, ch)
				wantError(t, err, m.code, m.message)
			}
			_, err := pgx.Connect(ctx, b.DSN("db", m.user))
			e := wantError(t, err, m.code, m.message)
			if !strings.HasPrefix(e.Message, "server login has been failing, cached error: ") || !strings.HasSuffix(e.Message, " (server_login_retry)") {
				t.Errorf("the cached error is %q", e.Message)
			}
			if got := b.row("POOLS", "database=db")["last_error"]; !strings.Contains(got, m.message) {
				t.Errorf("last_error of SHOW POOLS is %q", got)
			}
			if log := b.logText(); strings.Contains(log, "sesame-wrong") || !strings.Contains(log, "server connection failed") {
				t.Errorf("the log is\n%s", log)
			}
		})
	}
}

func TestServerLoginIsTriedAgainAfterServerLoginRetry(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	ctx := testContext(t)
	b := startBouncer(t, "auth_type = \"trust\"\nserver_login_retry = 0.3", trustUsers+
		fmt.Sprintf("[databases.db]\nhost = \"127.0.0.1\"\nport = %d\ndbname = \"later\"\n", pg.Port))
	_, err := pgx.Connect(ctx, b.DSN("db", "postgres"))
	wantError(t, err, "3D000", "later")
	pg.MustExec(t, "postgres", "CREATE DATABASE later")
	pgtest.Eventually(t, patience, func() error {
		c, err := pgx.Connect(ctx, b.DSN("db", "postgres"))
		if err != nil {
			return err
		}
		return c.Close(ctx)
	})
	if got := b.row("POOLS", "database=db")["last_error"]; got != "" {
		t.Errorf("last_error is still %q", got)
	}
}

func TestIdleDatabasesAndPoolsAreForgotten(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", ""))
	ctx := testContext(t)
	b := startBouncer(t, "auth_type = \"trust\"\npool_mode = \"transaction\"\nautodb_idle_timeout = 0.3\npool_idle_timeout = 0.3\nserver_idle_timeout = 0.1",
		trustUsers+fmt.Sprintf("[databases.\"*\"]\nhost = \"127.0.0.1\"\nport = %d\n", pg.Port)+pgDatabase("forced", pg, "user = \"app\"\nmin_pool_size = 1"))
	c := b.Connect(ctx, "postgres", "postgres")
	mustRun(ctx, t, c, "SELECT 1")
	if b.row("DATABASES", "name=postgres") == nil {
		t.Error("the database was not registered")
	}
	_ = c.Close(ctx)
	pgtest.Eventually(t, patience, func() error {
		if b.row("DATABASES", "name=postgres") != nil {
			return errors.New("the database is still there")
		}
		if b.row("POOLS", "database=postgres") != nil {
			return errors.New("the pool is still there")
		}
		return nil
	})
	b.awaitPool("forced", "app", "sv_idle=1")
	if got := b.row("STATS_TOTALS", "database=postgres")["query_count"]; got != "1" {
		t.Errorf("query_count is %q after the pool was forgotten, want 1", got)
	}
}

func TestNotices(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	ctx := testContext(t)
	b := newPool(t, pg, "default_pool_size = 1\nquery_wait_notify = 1\nlogin_notify_message = \"mind the gap\"", "")
	notices := make(chan string, 10)
	cfg, err := pgx.ParseConfig(b.DSN("db", "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { notices <- n.Severity + " " + n.Code + " " + n.Message }
	holder := b.Connect(ctx, "db", "postgres")
	mustRun(ctx, t, holder, "BEGIN")
	c, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(ctx) }()
	next := func() string {
		select {
		case n := <-notices:
			return n
		case <-ctx.Done():
			return "nothing"
		}
	}
	if got, want := next(), "NOTICE 00000 mind the gap"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	query := background(func() error { _, err := run(ctx, c, "SELECT 1"); return err })
	if got, want := next(), "NOTICE 00000 No server connection available in postgres backend, client being queued"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	mustRun(ctx, t, holder, "COMMIT")
	if err := result(ctx, t, query); err != nil {
		t.Error(err)
	}
	if len(notices) > 0 {
		t.Errorf("a further notice: %q", <-notices)
	}
}

func TestAuthQuery(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithUser("bob", "bobs-secret"), pgtest.WithUser("asker", "askers-secret"))
	pg.MustExec(t, "postgres", `CREATE FUNCTION lookup(name text) RETURNS TABLE(u text, p text) SECURITY DEFINER LANGUAGE sql
		AS $$ SELECT rolname::text, rolpassword FROM pg_authid WHERE rolname = name $$`, "CREATE DATABASE other")
	ctx := context.Background()
	b := startBouncer(t, "auth_type = \"scram-sha-256\"\nauth_user = \"asker\"\nauth_query = \"SELECT * FROM lookup($1)\"",
		"[users.asker]\npassword = \"askers-secret\"\n[users.admin]\npassword = \"admin\"\n"+pgDatabase("db", pg, "")+
			fmt.Sprintf("[databases.elsewhere]\nhost = \"127.0.0.1\"\nport = %d\ndbname = \"other\"\nauth_dbname = \"db\"\n", pg.Port)+
			fmt.Sprintf("[databases.nolookup]\nhost = \"127.0.0.1\"\nport = %d\ndbname = \"other\"\n", pg.Port))
	connect := func(db, password string) error {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		c, err := pgx.Connect(ctx, fmt.Sprintf("host=127.0.0.1 port=%d dbname=%s user=bob password=%s sslmode=disable", b.Port, db, password))
		if err != nil {
			return err
		}
		defer func() { _ = c.Close(ctx) }()
		who, err := run(ctx, c, "SELECT current_user || ' ' || current_database()")
		if want := map[string]string{"db": "bob postgres", "elsewhere": "bob other"}[db]; err == nil && who != want {
			err = fmt.Errorf("logged in as %q, want %q", who, want)
		}
		return err
	}
	for _, db := range []string{"db", "elsewhere"} {
		if err := connect(db, "bobs-secret"); err != nil {
			t.Errorf("%s: %v", db, err)
		}
		wantError(t, connect(db, "wrong-one"), "28P01", "SASL authentication failed")
	}
	wantError(t, connect("nolookup", "bobs-secret"), "08P01", "bouncer config error")
	if b.row("USERS", "name=bob") == nil {
		t.Error("SHOW USERS does not have bob")
	}
	for _, secret := range []string{"bobs-secret", "askers-secret", "wrong-one", "SCRAM-SHA-256$"} {
		if strings.Contains(b.logText(), secret) {
			t.Errorf("the log has %q", secret)
		}
	}
}

func TestApplicationNameAddHost(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	ctx := testContext(t)
	b := newPool(t, pg, "application_name_add_host = 1", "")
	for given, want := range map[string]string{"": "app - ", "application_name=shop": "shop - "} {
		c := b.Connect(ctx, "db", "postgres", given)
		want += c.PgConn().Conn().LocalAddr().String()
		if got := mustRun(ctx, t, c, "SHOW application_name"); got != want {
			t.Errorf("application_name is %q, want %q", got, want)
		}
		if got := c.PgConn().ParameterStatus("application_name"); got != want {
			t.Errorf("reported application_name is %q, want %q", got, want)
		}
	}
}

func TestServerFastCloseEndsSessionsWhoseServerIsToBeReplaced(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	ctx := testContext(t)
	b := newPool(t, pg, "pool_mode = \"session\"\nserver_fast_close = 1", "")
	idle, busy := b.Connect(ctx, "db", "postgres"), b.Connect(ctx, "db", "postgres")
	mustRun(ctx, t, idle, "SELECT 1")
	mustRun(ctx, t, busy, "BEGIN")
	b.Admin("RECONNECT db")
	wantError(t, idle.PgConn().WaitForNotification(ctx), "57P01", "database configuration changed")
	mustRun(ctx, t, busy, "SELECT 1")
	mustRun(ctx, t, busy, "COMMIT")
	wantError(t, busy.PgConn().WaitForNotification(ctx), "57P01", "database configuration changed")
	b.awaitPool("db", "postgres", "sv_active=0", "sv_idle=0")
}

func TestDisablePQExec(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	ctx := testContext(t)
	b := newPool(t, pg, "disable_pqexec = 1", "")
	c := b.Connect(ctx, "db", "postgres")
	var n int
	if err := c.QueryRow(ctx, "SELECT $1::int", 7).Scan(&n); err != nil || n != 7 {
		t.Errorf("got %d, %v", n, err)
	}
	_, err := run(ctx, c, "SELECT 1")
	wantError(t, err, "08P01", "PQexec disallowed")
	b.awaitPool("db", "postgres", "sv_idle=1", "sv_active=0", "cl_active=0")
}

func TestSlowWaitIsLogged(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	ctx := testContext(t)
	b := newPool(t, pg, "default_pool_size = 1\nlog_slow_wait = 0.1", "")
	one, two := b.Connect(ctx, "db", "postgres"), b.Connect(ctx, "db", "postgres")
	mustRun(ctx, t, one, "BEGIN; SELECT pg_sleep(0.2)")
	waiting := background(func() error { _, err := run(ctx, two, "SELECT 1"); return err })
	b.awaitWaiters(1)
	mustRun(ctx, t, one, "SELECT pg_sleep(0.2)")
	mustRun(ctx, t, one, "COMMIT")
	if err := result(ctx, t, waiting); err != nil {
		t.Error(err)
	}
	b.awaitLog("slow wait for a server", 1)
}
