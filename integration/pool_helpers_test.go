package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgdrover/internal/pgtest"
)

// patience is how long a state may take to come about on a busy machine.
const patience = 20 * time.Second

// newPool starts a pooler with trust towards everybody and one database "db" on pg; in transaction mode unless
// settings say otherwise. tables may add databases and users.
func newPool(tb testing.TB, pg *pgtest.Cluster, settings, inDB string, tables ...string) *bouncer {
	tb.Helper()
	all := "auth_type = \"trust\"\n"
	if !strings.Contains(settings, "pool_mode") {
		all += "pool_mode = \"transaction\"\n"
	}
	return startBouncer(tb, all+settings, trustUsers+pgDatabase("db", pg, inDB)+strings.Join(tables, "\n"))
}

// run runs one simple query and returns the first column of its first row.
func run(ctx context.Context, c *pgx.Conn, sql string) (string, error) {
	results, err := c.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil {
		return "", err
	}
	for _, r := range results {
		if len(r.Rows) > 0 && len(r.Rows[0]) > 0 {
			return string(r.Rows[0][0]), nil
		}
	}
	return "", nil
}

func mustRun(ctx context.Context, tb testing.TB, c *pgx.Conn, sql string) string {
	tb.Helper()
	v, err := run(ctx, c, sql)
	if err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	return v
}

// backend returns the process that served a query of c.
func backend(ctx context.Context, tb testing.TB, c *pgx.Conn) string {
	tb.Helper()
	return mustRun(ctx, tb, c, "SELECT pg_backend_pid()")
}

// background runs f beside the test.
func background(f func() error) <-chan error {
	ch := make(chan error, 1)
	go func() { ch <- f() }()
	return ch
}

// result waits for what background has started.
func result(ctx context.Context, tb testing.TB, ch <-chan error) error {
	tb.Helper()
	select {
	case err := <-ch:
		return err
	case <-ctx.Done():
		tb.Fatal("it does not end")
		return nil
	}
}

// noResult checks that what background has started has not ended.
func noResult(tb testing.TB, ch <-chan error) {
	tb.Helper()
	select {
	case err := <-ch:
		tb.Fatalf("it has ended (%v) and should still wait", err)
	default:
	}
}

// wantError checks an error that came over the wire.
func wantError(tb testing.TB, err error, code, message string) *pgconn.PgError {
	tb.Helper()
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		tb.Fatalf("got error %v, want %s %q", err, code, message)
	}
	if pe.Code != code || !strings.Contains(pe.Message, message) {
		tb.Fatalf("got error %s %q (%s), want %s %q", pe.Code, pe.Message, pe.Detail, code, message)
	}
	return pe
}

// row returns the row of SHOW view whose columns have the given values ("database=db"), nil without one.
func (b *bouncer) row(view string, where ...string) map[string]string {
	b.tb.Helper()
	rows := b.rows(view, where...)
	if len(rows) == 0 {
		return nil
	}
	return rows[0]
}

func (b *bouncer) rows(view string, where ...string) []map[string]string {
	b.tb.Helper()
	return slices.DeleteFunc(b.Admin("SHOW "+view), func(r map[string]string) bool {
		for _, w := range where {
			k, v, _ := strings.Cut(w, "=")
			if r[k] != v {
				return true
			}
		}
		return false
	})
}

// awaitPool waits until columns of SHOW POOLS have values ("sv_idle=1").
func (b *bouncer) awaitPool(db, user string, want ...string) {
	b.tb.Helper()
	pgtest.Eventually(b.tb, patience, func() error {
		r := b.row("POOLS", "database="+db, "user="+user)
		if r == nil {
			r = map[string]string{}
		}
		for _, w := range want {
			k, v, _ := strings.Cut(w, "=")
			if got := r[k]; got != v && !(got == "" && v == "0") {
				return fmt.Errorf("pool %s/%s: %s is %q, want %s; all of it: %v", db, user, k, got, v, r)
			}
		}
		return nil
	})
}

// awaitWaiters waits until n clients wait for a server.
func (b *bouncer) awaitWaiters(n int) {
	b.tb.Helper()
	pgtest.Eventually(b.tb, patience, func() error {
		if got := len(b.Admin("SHOW WAITERS")); got != n {
			return fmt.Errorf("%d clients wait, want %d", got, n)
		}
		return nil
	})
}

// noLeaks checks that every server of a user is idle, that PostgreSQL has exactly those sessions of the user and that none
// is in a transaction. No other pooler may use the same user.
func (b *bouncer) noLeaks(pg *pgtest.Cluster, user string) {
	b.tb.Helper()
	pgtest.Eventually(b.tb, patience, func() error {
		known := map[string]bool{}
		for _, s := range b.rows("SERVERS") {
			if s["user"] != user {
				continue
			}
			if s["state"] != "idle" && s["state"] != "used" || s["link"] != "" && s["link"] != "0" {
				return fmt.Errorf("server %s is %s, linked to %q", s["remote_pid"], s["state"], s["link"])
			}
			known[s["remote_pid"]] = true
		}
		list, err := pg.Value(context.Background(), "SELECT coalesce(string_agg(pid || ':' || state, ' '), '') FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename = '"+user+"'")
		if err != nil {
			return err
		}
		for _, f := range strings.Fields(list) {
			pid, state, _ := strings.Cut(f, ":")
			if !known[pid] {
				return fmt.Errorf("PostgreSQL has a session %s (%s) that is not in SHOW SERVERS", pid, state)
			}
			if state != "idle" {
				return fmt.Errorf("session %s is %s", pid, state)
			}
			delete(known, pid)
		}
		if len(known) > 0 {
			return fmt.Errorf("PostgreSQL does not have sessions %v of SHOW SERVERS", known)
		}
		return nil
	})
}

// awaitLog waits until the log has text n times or more.
func (b *bouncer) awaitLog(text string, n int) {
	b.tb.Helper()
	pgtest.Eventually(b.tb, patience, func() error {
		if got := strings.Count(b.logText(), text); got < n {
			return fmt.Errorf("the log has %q %d times, want %d", text, got, n)
		}
		return nil
	})
}

func (b *bouncer) logText() string {
	b.tb.Helper()
	text, err := os.ReadFile(b.Log)
	if err != nil {
		b.tb.Fatal(err)
	}
	return string(text)
}

// noLeaksAfter closes clients and then checks that nothing is left of them.
func (b *bouncer) noLeaksAfter(ctx context.Context, pg *pgtest.Cluster, user string, clients ...*pgx.Conn) {
	b.tb.Helper()
	for _, c := range clients {
		_ = c.Close(ctx)
	}
	b.awaitPool("db", user, "cl_active=0", "cl_waiting=0", "sv_active=0")
	b.noLeaks(pg, user)
}

// awaitCount waits until as many rows as wanted are in what stands behind FROM.
func awaitCount(tb testing.TB, pg *pgtest.Cluster, want int, from string) {
	tb.Helper()
	pgtest.Eventually(tb, time.Minute, func() error {
		if n := pg.MustValue(tb, "postgres", "SELECT count(*) FROM "+from); n != strconv.Itoa(want) {
			return fmt.Errorf("%s rows of %s, want %d", n, from, want)
		}
		return nil
	})
}

// atRest waits until nothing is prepared, and no client of the shards has a transaction open.
func atRest(tb testing.TB, pg *pgtest.Cluster) {
	tb.Helper()
	awaitCount(tb, pg, 0, "pg_prepared_xacts")
	awaitCount(tb, pg, 0, "pg_stat_activity WHERE usename = 'app' AND state <> 'idle'")
}
