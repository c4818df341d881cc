package integration

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"pgdrover/internal/pgtest"
)

// step is a statement of a client, and the error that it is to get.
type step struct {
	sql, code, text string
}

// take runs the steps.
func take(ctx context.Context, tb testing.TB, c *pgx.Conn, steps []step) {
	tb.Helper()
	for _, st := range steps {
		_, err := run(ctx, c, st.sql)
		if err == nil != (st.code == "") || !strings.HasPrefix(codeOf(err), st.code) || st.text != "" && !strings.Contains(textOf(err), st.text) {
			tb.Errorf("%s: %s, want %s %q", st.sql, textOf(err), st.code, st.text)
		}
	}
}

func TestWhatCannotBePreparedMakesItsShardTheDecider(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	s := startShop(t, 3, "", "")
	keys := s.keysOf(ctx, t)
	a, b, c := update(keys["a"]), update(keys["b"]), update(keys["c"])
	s.pg.MustExec(t, "shop_c", `CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_notify('told', 'by a trigger'); RETURN NEW; END $$`,
		`CREATE TRIGGER tell AFTER UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION tell()`)
	for _, m := range []struct {
		name  string
		steps []step
		left  string // how often each of the customers was changed
	}{
		{"NOTIFY", []step{{sql: "BEGIN"}, {sql: a}, {sql: "/* shard=b */ NOTIFY x, 'y'"}, {sql: b}, {sql: "COMMIT"}}, "110"},
		{"NOTIFY on a shard that writes nothing", []step{{sql: "BEGIN"}, {sql: "/* shard=c */ NOTIFY x, 'y'"}, {sql: a}, {sql: b}, {sql: "COMMIT"}}, "110"},
		{"pg_notify", []step{{sql: "BEGIN"}, {sql: a}, {sql: "/* shard=b */ SELECT pg_notify('x', 'y')"}, {sql: b}, {sql: "COMMIT"}}, "110"},
		{"NOTIFY on two", []step{
			{sql: "BEGIN"}, {sql: "/* shard=a */ NOTIFY x"}, {sql: a}, {sql: "/* shard=b */ NOTIFY x"}, {sql: b}, {"COMMIT", "0A000", "cannot be prepared"}, {sql: a},
		}, "100"},
		{"a trigger that notifies, on a participant", []step{{sql: "BEGIN"}, {sql: a}, {sql: c}, {"COMMIT", "0A000", "NOTIFY"}, {sql: a}}, "100"},
		{"a trigger that notifies, and NOTIFY there", []step{{sql: "BEGIN"}, {sql: a}, {sql: c}, {sql: "/* shard=c */ NOTIFY x"}, {sql: "COMMIT"}}, "101"},
		{"a temporary table", []step{
			{sql: "BEGIN"},
			{sql: a},
			{sql: "/* shard=b */ CREATE TEMP TABLE mine (i int)"},
			{sql: b},
			{sql: "/* shard=b */ INSERT INTO mine VALUES (1)"},
			{sql: "COMMIT"},
			{a, "0A000", `held on shard "b"`},
			{sql: b},
			{sql: "DISCARD ALL"},
			{sql: a},
		}, "220"},
		{"a temporary table ON COMMIT DROP", []step{
			{sql: "BEGIN"}, {sql: "/* shard=b */ CREATE TEMP TABLE mine (i int) ON COMMIT DROP"}, {sql: a}, {sql: b}, {sql: "COMMIT"}, {sql: a},
		}, "210"},
		{"temporary tables on two", []step{
			{sql: "BEGIN"},
			{sql: "/* shard=b */ CREATE TEMP TABLE mine (i int)"},
			{sql: b},
			{sql: "/* shard=a */ CREATE TEMP TABLE mine (i int)"},
			{sql: a},
			{"COMMIT", "0A000", "cannot be prepared"},
			{sql: a},
			{sql: b},
		}, "110"},
		{"a temporary table and NOTIFY elsewhere", []step{
			{sql: "BEGIN"}, {sql: "/* shard=b */ CREATE TEMP TABLE mine (i int)"}, {sql: b}, {sql: "/* shard=a */ NOTIFY x"}, {sql: a}, {"COMMIT", "0A000", "cannot be prepared"},
		}, "000"},
		{"a temporary table that ROLLBACK TO has undone", []step{
			{sql: "BEGIN"}, {sql: b}, {sql: "SAVEPOINT s"}, {sql: "/* shard=b */ CREATE TEMP TABLE mine (i int)"}, {sql: "ROLLBACK TO s"}, {sql: a}, {sql: "COMMIT"}, {sql: a},
		}, "210"},
		{"a temporary table of before", []step{
			{sql: "/* shard=b */ CREATE TEMP TABLE mine (i int)"}, {sql: "BEGIN"}, {sql: b}, {a, "0A000", `held on shard "b"`}, {sql: "ROLLBACK"}, {sql: b}, {sql: "DISCARD ALL"}, {sql: a},
		}, "110"},
		{"a session-level advisory lock", []step{
			{sql: "BEGIN"},
			{sql: a},
			{sql: "/* shard=b */ SELECT pg_advisory_lock(1)"},
			{sql: b},
			{sql: "COMMIT"},
			{a, "0A000", `held on shard "b"`},
			{sql: "/* shard=b */ SELECT pg_advisory_unlock(1)"},
			{sql: a},
		}, "210"},
		{"a transaction-level advisory lock", []step{{sql: "BEGIN"}, {sql: a}, {sql: "/* shard=b */ SELECT pg_advisory_xact_lock(1)"}, {sql: b}, {sql: "COMMIT"}, {sql: a}}, "210"},
		{"both levels of one advisory lock", []step{
			{sql: "BEGIN"}, {sql: a}, {sql: "/* shard=b */ SELECT pg_advisory_lock(1), pg_advisory_xact_lock(1)"}, {sql: b}, {sql: "COMMIT"}, {sql: "/* shard=b */ SELECT pg_advisory_unlock(1)"}, {sql: a},
		}, "210"},
		{"session-level advisory locks on two, which ROLLBACK does not undo", []step{
			{sql: "BEGIN"}, {sql: "/* shard=a */ SELECT pg_advisory_lock(1)"}, {sql: a}, {sql: "/* shard=b */ SELECT pg_advisory_lock(1)"}, {sql: b}, {"COMMIT", "0A000", "would have to be held"},
		}, "000"},
	} {
		t.Run(m.name, func(t *testing.T) {
			for _, db := range s.databases() {
				s.pg.MustExec(t, db, "SET session_replication_role = replica; UPDATE customers SET name = ''")
			}
			conn := s.Connect(ctx, "shop", "app")
			take(ctx, t, conn, m.steps)
			_ = conn.Close(ctx)
			s.atRest(t)
			left := ""
			for _, name := range []string{"a", "b", "c"} {
				left += strconv.Itoa(len(s.pg.MustValue(t, "shop_"+name, fmt.Sprintf("SELECT name FROM customers WHERE id = %d", keys[name]))))
			}
			if left != m.left {
				t.Errorf("the customers were changed %s times, want %s", left, m.left)
			}
			if n := s.pg.MustValue(t, "postgres", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"); n != "0" {
				t.Errorf("%s advisory locks are left", n)
			}
		})
	}
}

func TestASecondWritingShardIsRefusedWithWhatIsMissing(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	s := startShopWith(t, 2, "", "", pgtest.WithSetting("max_prepared_transactions", "0"))
	keys := s.keysOf(ctx, t)
	a, b := update(keys["a"]), update(keys["b"])
	refused := func(t *testing.T, node *bouncer, detail, hint string) {
		t.Helper()
		for _, db := range s.databases() {
			s.pg.MustExec(t, db, "UPDATE customers SET name = ''")
		}
		c := node.Connect(ctx, "shop", "app")
		take(ctx, t, c, []step{
			{sql: "BEGIN"},
			{sql: a},
			{b, "0A000", detail},
			{sql: "ROLLBACK"},
			{sql: "BEGIN"},
			{sql: a},
			{b, "0A000", hint},
			{sql: "COMMIT"}, // which rolls back
			{"UPDATE customers SET name = 'all'", "0A000", detail},
			{"INSERT INTO customers VALUES (1001,'n'),(1002,'n'),(1003,'n'),(1004,'n'),(1005,'n'),(1006,'n')", "0A000", detail},
			{sql: "BEGIN"},
			{sql: a},
			{sql: fmt.Sprintf("SELECT name FROM customers WHERE id = %d", keys["b"])},
			{sql: a},
			{sql: "COMMIT"},
			{sql: b},
		})
		_ = c.Close(ctx)
		if got := strings.Join(s.onShards(t, "SELECT string_agg(DISTINCT length(name)::text, ',' ORDER BY length(name)::text DESC) FROM customers WHERE name <> ''"), " "); got != "2 1" {
			t.Errorf("stored is %q, want %q", got, "2 1")
		}
	}
	t.Run("max_prepared_transactions", func(t *testing.T) {
		refused(t, s.bouncer, "Max_prepared_transactions is 0", "Set max_prepared_transactions of the shard's server")
	})
	s.pg.MustExec(t, "postgres", "ALTER SYSTEM SET max_prepared_transactions = 1", "CREATE ROLE silent", "CREATE ROLE stranger LOGIN")
	if err := s.pg.Restart(ctx, pgtest.Fast); err != nil {
		t.Fatal(err)
	}
	text := string(read(t, s.Config))
	for _, m := range []struct{ name, user, detail, hint string }{
		{"no recovery_user", ``, "Recovery_user of the database is not set", "SET recovery_user"},
		{"a recovery_user that does not exist", `recovery_user = "nobody"`, "Role nobody, which is recovery_user, does not exist", `INSTALL TWO PHASE FOR "app"`},
		{"a recovery_user that may not log in", `recovery_user = "silent"`, "may not log in", "LOGIN"},
		{"a recovery_user that is no member", `recovery_user = "stranger"`, "is not a member of role app", `INSTALL TWO PHASE FOR "app"`},
	} {
		t.Run(m.name, func(t *testing.T) {
			node := startBouncer(t, tapSettings, trustUsers)
			save(t, node.Config, strings.NewReplacer(`recovery_user = "postgres"`, m.user, s.Dir, node.Dir, fmt.Sprint(s.Port), fmt.Sprint(node.Port)).Replace(text))
			node.Admin("RELOAD")
			refused(t, node, m.detail, m.hint)
		})
	}
	t.Run("all prepared transactions are in use", func(t *testing.T) {
		s.pg.MustExec(t, "shop_b", "BEGIN; SELECT pg_current_xact_id(); PREPARE TRANSACTION 'foreign'")
		c := s.Connect(ctx, "shop", "app")
		for _, db := range s.databases() {
			s.pg.MustExec(t, db, "UPDATE customers SET name = ''")
		}
		take(ctx, t, c, []step{{sql: "BEGIN"}, {sql: a}, {sql: b}, {"COMMIT", "53", "maximum number of prepared transactions"}})
		s.pg.MustExec(t, "shop_b", "ROLLBACK PREPARED 'foreign'")
		if got := s.onShards(t, "SELECT max(name) FROM customers"); got[0] != "" || got[1] != "" {
			t.Errorf("stored is %q, want nothing", got)
		}
		take(ctx, t, c, []step{{sql: "BEGIN"}, {sql: a}, {sql: b}, {sql: "COMMIT"}})
	})
	t.Run("it is taken away before COMMIT", func(t *testing.T) {
		c := s.Connect(ctx, "shop", "app")
		take(ctx, t, c, []step{{sql: "BEGIN"}, {sql: a}, {sql: b}})
		s.pg.MustExec(t, "shop_a", "ALTER FUNCTION pgdrover.decide RENAME TO away")
		take(ctx, t, c, []step{{"COMMIT", "42883", "pgdrover.decide"}})
		s.pg.MustExec(t, "shop_a", "ALTER FUNCTION pgdrover.away RENAME TO decide")
		take(ctx, t, c, []step{{sql: "BEGIN"}, {sql: a}, {sql: b}, {sql: "COMMIT"}})
	})
	s.atRest(t)
	if got := s.onShards(t, "SELECT max(name) FROM customers"); got[0] != "!!" || got[1] != "!!" {
		t.Errorf("stored is %q", got)
	}
}

func TestAClientThatVanishesDuringCommit(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	s := startTappedShop(ctx, t)
	b, taps := s.tap(t, "")
	for i, m := range []struct {
		shard string
		trap  trap
	}{
		{"b", trap{text: "txid_current_if_assigned"}},
		{"b", trap{text: "txid_current_if_assigned", behind: true}},
		{"a", trap{text: "pgdrover.decide"}},
		{"a", trap{text: "pgdrover.decide", behind: true}},
		{"b", trap{text: "PREPARE TRANSACTION"}},
		{"b", trap{text: "PREPARE TRANSACTION", behind: true}},
		{"a", trap{text: "COMMIT\x00"}},
		{"a", trap{text: "COMMIT\x00", behind: true}},
		{"b", trap{text: "COMMIT PREPARED"}},
		{"b", trap{text: "COMMIT PREPARED", behind: true}},
	} {
		t.Run(fmt.Sprintf("%s %v", strings.TrimRight(m.trap.text, "\x00"), m.trap.behind), func(t *testing.T) {
			c := b.Connect(ctx, "shop", "app", "application_name=victim")
			take(ctx, t, c, []step{{sql: "BEGIN"}, {sql: s.update("a", i)}, {sql: s.update("b", i)}})
			tr := taps[m.shard].set(m.trap)
			done := background(func() error { _, err := run(ctx, c, "COMMIT"); return err })
			select {
			case <-tr.hit:
			case <-ctx.Done():
				t.Fatal("COMMIT does not come there")
			}
			raw := c.PgConn().Conn().(*net.TCPConn)
			_ = raw.SetLinger(0)
			_ = raw.Close()
			_ = result(ctx, t, done)
			taps[m.shard].open(tr)
			if names := s.settled(t, i, "a", "b"); names[0] != names[1] {
				t.Errorf("half of it is stored: %q", names)
			}
			pgtest.Eventually(t, patience, func() error {
				if r := b.row("CLIENTS", "application_name=victim"); r != nil {
					return fmt.Errorf("the client is still there: %v", r)
				}
				return nil
			})
		})
	}
	b.serversRest()
	s.atRest(t)
}

func TestIdleTransactionTimeoutHoldsBehindAStatementOverShards(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	s := startShop(t, 2, "idle_transaction_timeout = 1\n", "")
	s.keysOf(ctx, t)
	c := s.Connect(ctx, "shop", "app")
	take(ctx, t, c, []step{{sql: "BEGIN"}, {sql: "UPDATE customers SET country = 'x'"}})
	wantError(t, c.PgConn().WaitForNotification(ctx), "25P03", "idle transaction timeout")
	s.atRest(t)
}
