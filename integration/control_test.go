package integration

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"pgdrover/internal/pgtest"
)

// admin opens a session on the admin database.
func (b *bouncer) admin(ctx context.Context) *pgx.Conn { return b.Connect(ctx, "pgdrover", "admin") }

func TestPauseWaitsForTransactionsAndHoldsClients(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", ""))
	for _, db := range []string{"", " db"} {
		t.Run("PAUSE"+db, func(t *testing.T) {
			t.Parallel()
			ctx := testContext(t)
			user := "paused" + strconv.Itoa(len(db))
			pg.MustExec(t, "postgres", "CREATE ROLE "+user+" LOGIN")
			b := newPool(t, pg, "", "", "[users."+user+"]\npassword = \"x\"\n", pgDatabase("other", pg, ""))
			busy, idle := b.Connect(ctx, "db", user), b.Connect(ctx, "db", user)
			other := b.Connect(ctx, "other", user)
			mustRun(ctx, t, idle, "SELECT 1")
			mustRun(ctx, t, busy, "BEGIN")
			ops := b.admin(ctx)
			pause := background(func() error { _, err := run(ctx, ops, "PAUSE"+db); return err })
			pgtest.Eventually(t, patience, func() error {
				if got := b.row("DATABASES", "name=db")["paused"]; got != "1" {
					return fmt.Errorf("paused is %q", got)
				}
				return nil
			})
			held := background(func() error { _, err := run(ctx, idle, "SELECT 1"); return err })
			b.awaitWaiters(1)
			if got := b.Admin("SHOW WAITERS")[0]["reason"]; got != "paused" {
				t.Errorf("reason is %q, want paused", got)
			}
			noResult(t, pause)
			if db != "" {
				mustRun(ctx, t, other, "SELECT 1")
			}
			mustRun(ctx, t, busy, "SELECT 1")
			mustRun(ctx, t, busy, "COMMIT")
			if err := result(ctx, t, pause); err != nil {
				t.Fatal(err)
			}
			noResult(t, held)
			b.awaitPool("db", user, "sv_idle=0", "sv_active=0", "sv_login=0")
			if n := pg.MustValue(t, "postgres", "SELECT count(*) FROM pg_stat_activity WHERE usename = '"+user+"' AND application_name NOT LIKE 'x%' AND datname = 'postgres'"); db == "" && n != "0" {
				t.Errorf("PostgreSQL has %s sessions of a paused pooler", n)
			}
			if db == "" {
				_, err := b.TryAdmin("PAUSE")
				wantError(t, err, "08P01", "already suspended/paused")
			} else {
				b.Admin("PAUSE db") // twice is fine
			}
			b.Admin("RESUME" + db)
			if err := result(ctx, t, held); err != nil {
				t.Error(err)
			}
			_, err := b.TryAdmin("RESUME" + db)
			wantError(t, err, "08P01", map[string]string{"": "pooler is not paused/suspended", " db": "database db is not paused"}[db])
			b.noLeaksAfter(ctx, pg, user, busy, idle, other)
		})
	}
}

func TestPauseIsUndoneByCancelAndByLeaving(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	ctx := testContext(t)
	b := newPool(t, pg, "", "")
	busy, waiting := b.Connect(ctx, "db", "postgres"), b.Connect(ctx, "db", "postgres")
	mustRun(ctx, t, busy, "BEGIN")
	for _, leave := range []bool{false, true} {
		ops := b.admin(ctx)
		pause := background(func() error { _, err := run(ctx, ops, "PAUSE"); return err })
		pgtest.Eventually(t, patience, func() error {
			if got := b.row("STATE", "key=paused")["value"]; got != "yes" {
				return fmt.Errorf("paused is %q", got)
			}
			return nil
		})
		held := background(func() error { _, err := run(ctx, waiting, "SELECT 1"); return err })
		b.awaitWaiters(1)
		if leave {
			_ = ops.PgConn().Conn().Close()
			<-pause
		} else {
			if err := ops.PgConn().CancelRequest(ctx); err != nil {
				t.Fatal(err)
			}
			if err := result(ctx, t, pause); err == nil {
				t.Error("PAUSE succeeded in spite of the cancel request")
			}
		}
		if err := result(ctx, t, held); err != nil {
			t.Error(err)
		}
	}
	mustRun(ctx, t, busy, "COMMIT")
}

// TestPauseIsEndedByAResumeOfAnotherSession has a PAUSE that still waits when somebody resumes, and what comes after it.
func TestPauseIsEndedByAResumeOfAnotherSession(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	for _, db := range []string{"", " db"} {
		t.Run("PAUSE"+db, func(t *testing.T) {
			t.Parallel()
			ctx := testContext(t)
			b := newPool(t, pg, "", "")
			busy := b.Connect(ctx, "db", "postgres")
			mustRun(ctx, t, busy, "BEGIN")
			first, second := b.admin(ctx), b.admin(ctx)
			paused := func() {
				pgtest.Eventually(t, patience, func() error {
					if got := b.row("DATABASES", "name=db")["paused"]; got != "1" {
						return fmt.Errorf("paused is %q", got)
					}
					return nil
				})
			}
			old := background(func() error { _, err := run(ctx, first, "PAUSE"+db); return err })
			paused()
			b.Admin("RESUME" + db)
			wantError(t, result(ctx, t, old), "57014", "PAUSE was ended by RESUME")
			next := background(func() error { _, err := run(ctx, second, "PAUSE"+db); return err })
			paused()
			noResult(t, next)
			mustRun(ctx, t, busy, "COMMIT")
			if err := result(ctx, t, next); err != nil {
				t.Error(err)
			}
			b.Admin("RESUME" + db)
			mustRun(ctx, t, busy, "SELECT 1")
		})
	}
}

// TestAdminSessionsAreToldWhyTheyEnd kills sessions of the admin database, plain and over TLS, where half a message would be garbage.
func TestAdminSessionsAreToldWhyTheyEnd(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	pair := mustKeyPair(t)(pgtest.StartCA(t, "ca").IssueServer())
	b := startBouncer(t, "auth_type = \"trust\"\n"+clientTLS("allow", pair, nil), trustUsers)
	for i := range 12 {
		mode := []string{"disable", "require"}[i%2]
		c, err := pgx.Connect(ctx, strings.Replace(b.DSN("pgdrover", "admin"), "sslmode=disable", "sslmode="+mode, 1))
		if err != nil {
			t.Fatal(err)
		}
		b.Admin("KILL_CLIENT " + mustRun(ctx, t, c, "SELECT pg_backend_pid()"))
		_, err = c.PgConn().ReceiveMessage(ctx)
		wantError(t, err, "57P01", "admin forced disconnect")
	}
}

func TestAnAdminWhoIsNoneAnyMoreMayNotChangeAnything(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	b := startBouncer(t, "auth_type = \"trust\"\n", trustUsers)
	ops := b.admin(ctx)
	mustRun(ctx, t, ops, "SET stats_users = 'admin'; SET admin_users = 'stats'")
	_, err := run(ctx, ops, "SET admin_users = 'admin'")
	wantError(t, err, "42501", "admin access needed")
	mustRun(ctx, t, ops, "SHOW POOLS")
}

func TestKillClosesClientsAndServersAndLeavesTheDatabasePaused(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	ctx := testContext(t)
	b := newPool(t, pg, "", "", pgDatabase("other", pg, ""))
	idle, inTx, running, other := b.Connect(ctx, "db", "postgres"), b.Connect(ctx, "db", "postgres"), b.Connect(ctx, "db", "postgres"), b.Connect(ctx, "other", "postgres")
	mustRun(ctx, t, inTx, "BEGIN")
	query := background(func() error { _, err := run(ctx, running, "SELECT pg_sleep(1000)"); return err })
	b.awaitPool("db", "postgres", "sv_active=2")
	awaitSleepers(t, pg, "postgres", 1)
	b.Admin("KILL db")
	wantError(t, result(ctx, t, query), "57P01", "database removed")
	for _, c := range []*pgx.Conn{idle, inTx} {
		wantError(t, c.PgConn().WaitForNotification(ctx), "57P01", "database removed")
	}
	mustRun(ctx, t, other, "SELECT 1")
	b.awaitPool("db", "postgres", "cl_active=0", "sv_active=0", "sv_idle=0")
	awaitSleepers(t, pg, "postgres", 0)
	again := background(func() error {
		c, err := pgx.Connect(ctx, b.DSN("db", "postgres"))
		if err != nil {
			return err
		}
		return c.Close(ctx)
	})
	b.awaitWaiters(1)
	noResult(t, again)
	b.Admin("RESUME db")
	if err := result(ctx, t, again); err != nil {
		t.Error(err)
	}
}

func TestKillClient(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", ""))
	ctx := testContext(t)
	b := newPool(t, pg, "default_pool_size = 2", "")
	for _, state := range []string{"idle", "in a transaction", "running", "waiting"} {
		t.Run(state, func(t *testing.T) {
			holders := []*pgx.Conn{b.Connect(ctx, "db", "app"), b.Connect(ctx, "db", "app")}
			c := b.Connect(ctx, "db", "app", "application_name=victim")
			var last <-chan error
			switch state {
			case "idle":
				last = background(func() error { return c.PgConn().WaitForNotification(ctx) })
			case "in a transaction":
				mustRun(ctx, t, c, "BEGIN")
				last = background(func() error { return c.PgConn().WaitForNotification(ctx) })
			case "running":
				last = background(func() error { _, err := run(ctx, c, "SELECT pg_sleep(1000)"); return err })
				b.awaitPool("db", "app", "sv_active=1")
			case "waiting":
				for _, h := range holders {
					mustRun(ctx, t, h, "BEGIN")
				}
				last = background(func() error { _, err := run(ctx, c, "SELECT 1"); return err })
				b.awaitWaiters(1)
			}
			row := b.row("CLIENTS", "application_name=victim")
			if row == nil {
				t.Fatal("SHOW CLIENTS does not have it")
			}
			b.Admin("KILL_CLIENT " + row["id"])
			wantError(t, result(ctx, t, last), "57P01", "admin forced disconnect")
			b.noLeaksAfter(ctx, pg, "app", append(holders, c)...)
		})
	}
	_, err := b.TryAdmin("KILL_CLIENT 999999")
	wantError(t, err, "08P01", "client not found")
	_, err = b.TryAdmin("KILL_CLIENT nobody")
	wantError(t, err, "08P01", "invalid client pointer supplied")
}

func TestReconnectReplacesServersBetweenTransactions(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	ctx := testContext(t)
	b := newPool(t, pg, "default_pool_size = 2", "")
	busy, idle := b.Connect(ctx, "db", "postgres"), b.Connect(ctx, "db", "postgres")
	mustRun(ctx, t, busy, "BEGIN")
	busyPID, idlePID := backend(ctx, t, busy), backend(ctx, t, idle)
	b.Admin("RECONNECT db")
	if got := b.row("SERVERS", "remote_pid="+busyPID)["close_needed"]; got != "1" {
		t.Errorf("close_needed is %q, want 1", got)
	}
	ops := b.admin(ctx)
	wait := background(func() error { _, err := run(ctx, ops, "WAIT_CLOSE db"); return err })
	if got := backend(ctx, t, idle); got == idlePID {
		t.Error("the idle server is still used")
	}
	if got := backend(ctx, t, busy); got != busyPID {
		t.Error("the transaction has moved")
	}
	noResult(t, wait)
	mustRun(ctx, t, busy, "COMMIT")
	if err := result(ctx, t, wait); err != nil {
		t.Error(err)
	}
	if got := backend(ctx, t, busy); got == busyPID {
		t.Error("the server was not replaced")
	}
}

func TestDisableRefusesNewClientsOnly(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	ctx := testContext(t)
	b := newPool(t, pg, "", "")
	c := b.Connect(ctx, "db", "postgres")
	b.Admin("DISABLE db")
	mustRun(ctx, t, c, "SELECT 1")
	_, err := pgx.Connect(ctx, b.DSN("db", "postgres"))
	wantError(t, err, "57P03", `database "db" is disabled`)
	b.Admin("ENABLE db")
	b.Connect(ctx, "db", "postgres")
}

func TestShowWaitersNamesTheHolder(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	ctx := testContext(t)
	b := newPool(t, pg, "default_pool_size = 1", "")
	holder := b.Connect(ctx, "db", "postgres", "application_name=batch")
	mustRun(ctx, t, holder, "BEGIN")
	mustRun(ctx, t, holder, "UPDATE pg_class SET relname = relname WHERE 'hush' = ''")
	mustRun(ctx, t, holder, "DELETE FROM pg_class WHERE false")
	var waiting []<-chan error
	for i := range 3 {
		c := b.Connect(ctx, "db", "postgres", fmt.Sprintf("application_name=w%d", i))
		waiting = append(waiting, background(func() error { _, err := run(ctx, c, "SELECT 1"); return err }))
		b.awaitWaiters(i + 1)
	}
	id := b.row("CLIENTS", "application_name=batch")["id"]
	for i, r := range b.Admin("SHOW WAITERS") {
		for column, want := range map[string]string{
			"database": "db", "user": "postgres", "application_name": fmt.Sprintf("w%d", i), "position": strconv.Itoa(i + 1),
			"reason": "pool_size", "holder_id": id, "holder_application_name": "batch", "holder_state": "idle in transaction", "holder_query": "DELETE",
		} {
			if got, ok := r[column]; !ok || got != want {
				t.Errorf("waiter %d: %s is %q, want %q; all of it: %v", i, column, got, want, r)
			}
		}
	}
	if got := b.row("POOLS", "database=db")["cl_waiting"]; got != "3" {
		t.Errorf("cl_waiting is %s, want 3", got)
	}
	mustRun(ctx, t, holder, "COMMIT")
	for _, w := range waiting {
		if err := result(ctx, t, w); err != nil {
			t.Error(err)
		}
	}
	b.awaitWaiters(0)
}

func TestCountersAddUp(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	ctx := testContext(t)
	b := newPool(t, pg, "stats_period = 1", "")
	c := b.Connect(ctx, "db", "postgres")
	for range 10 {
		mustRun(ctx, t, c, "SELECT 1")
	}
	for _, sql := range []string{"BEGIN", "SELECT pg_sleep(0.02)", "SELECT 2", "COMMIT"} {
		mustRun(ctx, t, c, sql)
	}
	for range 5 {
		if _, err := c.Exec(ctx, "SELECT $1::int", 1); err != nil {
			t.Fatal(err)
		}
	}
	mustRun(ctx, t, c, "SELECT repeat('x', 100000)")
	got := b.row("STATS_TOTALS", "database=db")
	pgtest.Eventually(t, patience, func() error { // an answer may arrive a moment before it is counted
		if got = b.row("STATS_TOTALS", "database=db"); intOf(t, got, "query_count") < 21 || intOf(t, got, "xact_count") < 18 {
			return fmt.Errorf("the last query has not been counted: %v", got)
		}
		return nil
	})
	for column, want := range map[string]int{
		"server_assignment_count": 10 + 1 + 5 + 1 + 1, "xact_count": 10 + 1 + 5 + 1 + 1, "query_count": 10 + 4 + 5 + 1 + 1,
		"client_login_count": 1, "client_parse_count": 1, "bind_count": 5, "server_parse_count": 1,
	} {
		if n := intOf(t, got, column); n != want {
			t.Errorf("%s is %d, want %d", column, n, want)
		}
	}
	for column, least := range map[string]int{"bytes_sent": 100000, "bytes_received": 300, "query_time": 20000, "xact_time": 20000} {
		if n := intOf(t, got, column); n < least {
			t.Errorf("%s is %d, want at least %d", column, n, least)
		}
	}
	all := b.row("TOTALS", "name=total_query_count")
	if n := intOf(t, all, "value"); n < 21 {
		t.Errorf("SHOW TOTALS has %d queries, want 21 or more", n)
	}
	for _, sql := range []string{"SELECT pg_sleep(0.05)", "SELECT pg_sleep(0.05)"} {
		mustRun(ctx, t, c, sql)
	}
	pool := b.row("POOLS", "database=db")
	for column, least := range map[string]float64{"query_p99": 45000, "xact_p99": 20000, "query_p50": 1, "connect_p50": 1} {
		n, err := strconv.ParseFloat(pool[column], 64)
		if err != nil || n < least {
			t.Errorf("%s of SHOW POOLS is %q, want at least %v", column, pool[column], least)
		}
	}
	b.awaitLog("stats: ", 1)
}

// logLine is PgBouncer's line: time, process, level, text.
var logLine = regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} UTC \[\d+\] (LOG|WARNING|ERROR|FATAL|NOISE|DEBUG) \S`)

func TestLog(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithUser("app", "swordfish"))
	ctx := testContext(t)
	b := startBouncer(t, "auth_type = \"scram-sha-256\"", "[users.admin]\npassword = \"admin\"\n[users.app]\npassword = \"swordfish\"\n"+pgDatabase("db", pg, ""))
	dsn := func(password string) string {
		return fmt.Sprintf("host=127.0.0.1 port=%d dbname=db user=app password=%s sslmode=disable application_name=shop", b.Port, password)
	}
	c, err := pgx.Connect(ctx, dsn("swordfish"))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = run(ctx, c, "SELECT 'credit-card-4711' FROM nosuchtable")
	_, _ = c.Exec(ctx, "SELECT $1::text", "credit-card-4712")
	_ = c.Close(ctx)
	_, err = pgx.Connect(ctx, dsn("guessed-wrong"))
	wantError(t, err, "28P01", "SASL authentication failed")
	b.Admin("SET verbose = 0", "RELOAD", "PAUSE db", "RESUME db", "ALTER USER app SET pool_size = 3")
	for _, want := range []string{
		"login attempt: successful", "new connection to server", "closing because: client close request",
		"pooler error: SASL authentication failed", "admin command", "PAUSE database=db", "RESUME database=db",
	} {
		b.awaitLog(want, 1)
	}
	text := b.logText()
	for _, secret := range []string{"swordfish", "guessed-wrong", "credit-card", "SCRAM-SHA-256$"} {
		if strings.Contains(text, secret) {
			t.Errorf("the log has %q", secret)
		}
	}
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		if !logLine.MatchString(line) {
			t.Errorf("not a line of PgBouncer's format: %s", line)
		}
	}
}
