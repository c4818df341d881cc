package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgdrover/internal/pgtest"
)

// eventuallyValue waits until a query on the admin database has the wanted first column.
func (b *bouncer) eventuallyValue(want, sql string) {
	b.tb.Helper()
	pgtest.Eventually(b.tb, 15*time.Second, func() error {
		rows, err := b.TryAdmin(sql)
		if err != nil {
			return err
		}
		if len(rows) != 1 {
			return fmt.Errorf("%s: %d rows", sql, len(rows))
		}
		for _, got := range rows[0] {
			if got != want {
				return fmt.Errorf("%s: got %q, want %q", sql, got, want)
			}
		}
		return nil
	})
}

// value is one value of the admin database.
func (b *bouncer) value(sql string) string {
	b.tb.Helper()
	rows := b.Admin(sql)
	if len(rows) != 1 || len(rows[0]) != 1 {
		b.tb.Fatalf("%s: got %v, want one value", sql, rows)
	}
	for _, v := range rows[0] {
		return v
	}
	return ""
}

// serverPIDs are the backends that pgdrover holds for a database.
func (b *bouncer) serverPIDs(db string) []string {
	b.tb.Helper()
	var pids []string
	for _, r := range b.Admin("SHOW SERVERS") {
		if r["database"] == db {
			pids = append(pids, r["remote_pid"])
		}
	}
	slices.Sort(pids)
	return pids
}

// onServer is a [databases] entry that names the database on the server.
func onServer(name string, c *pgtest.Cluster, dbname, extra string) string {
	return fmt.Sprintf("[databases.%s]\nhost = \"127.0.0.1\"\nport = %d\ndbname = %q\n%s\n", name, c.Port, dbname, extra)
}

// ways are how programs replace a file.
var ways = []struct {
	name string
	save func(tb testing.TB, path, text string)
}{
	{"written in place", func(tb testing.TB, path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
	}},
	{"moved aside and written anew, as vim does", func(tb testing.TB, path, text string) {
		if err := os.Rename(path, path+"~"); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
		if err := os.Remove(path + "~"); err != nil {
			tb.Fatal(err)
		}
	}},
	{"renamed over", func(tb testing.TB, path, text string) {
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			tb.Fatal(err)
		}
	}},
	{"reached through a link that is swapped, as Kubernetes does", func(tb testing.TB, path, text string) {
		dir, err := os.MkdirTemp(filepath.Dir(path), "..version-")
		if err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(dir, "config.toml"), path+".link"); err != nil {
			tb.Fatal(err)
		}
		if err := os.Rename(path+".link", path); err != nil {
			tb.Fatal(err)
		}
	}},
}

func TestSavingTheFileIsEnoughHoweverItIsSaved(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", "app"))
	set := "auth_type = \"trust\"\npool_mode = \"transaction\"\n"
	tables := trustUsers + pgDatabase("db", pg, "")
	b := startBouncer(t, set, tables)
	ctx := testContext(t)
	conn := b.Connect(ctx, "db", "app")
	pid := mustRun(ctx, t, conn, "SELECT pg_backend_pid()")
	for i, w := range ways {
		want := fmt.Sprint(100 + i)
		w.save(t, b.Config, preamble(b.Port, b.Dir)+set+"query_wait_timeout = "+want+"\n"+tables)
		b.eventuallyValue(want, "SHOW query_wait_timeout")
		if got := mustRun(ctx, t, conn, "SELECT pg_backend_pid()"); got != pid {
			t.Errorf("%s: the backend changed from %s to %s", w.name, pid, got)
		}
	}
}

func TestReloadTouchesOnlyWhatHasChanged(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", "app"), pgtest.WithDatabase("one", ""), pgtest.WithDatabase("two", ""))
	set := "auth_type = \"trust\"\npool_mode = \"transaction\"\n"
	keep := onServer("keep", pg, "one", "") + onServer("held", pg, "one", "")
	b := startBouncer(t, set, trustUsers+keep+onServer("moved", pg, "one", "")+onServer("gone", pg, "one", ""))
	ctx := testContext(t)

	idle, busy := b.Connect(ctx, "keep", "app"), b.Connect(ctx, "keep", "app")
	mustRun(ctx, t, busy, "BEGIN")
	busyPID := mustRun(ctx, t, busy, "SELECT pg_backend_pid()")
	mustRun(ctx, t, idle, "SELECT 1")
	b.Admin("PAUSE held")
	moved, movedBusy := b.Connect(ctx, "moved", "app"), b.Connect(ctx, "moved", "app")
	mustRun(ctx, t, moved, "SELECT 1")
	mustRun(ctx, t, movedBusy, "BEGIN")
	victim := b.Connect(ctx, "gone", "app")
	mustRun(ctx, t, victim, "SELECT 1")
	pids := b.serverPIDs("keep")
	queries := b.value("SELECT total_query_count FROM stats WHERE database = 'keep'")
	if len(pids) != 2 {
		t.Fatalf("got servers %v of keep, want two", pids)
	}

	b.Write(set, trustUsers+keep+onServer("moved", pg, "two", "")+onServer("new", pg, "two", ""))
	b.Admin("RELOAD")

	if got := b.serverPIDs("keep"); !slices.Equal(got, pids) {
		t.Errorf("servers of a database that has not changed: got %v, want %v", got, pids)
	}
	if got := mustRun(ctx, t, busy, "SELECT pg_backend_pid()"); got != busyPID {
		t.Errorf("a transaction moved from backend %s to %s", busyPID, got)
	}
	mustRun(ctx, t, busy, "COMMIT")
	if got := b.value("SELECT paused FROM databases WHERE name = 'held'"); got != "1" {
		t.Errorf("PAUSE was lost: paused is %s", got)
	}
	if got := b.value(fmt.Sprintf("SELECT total_query_count >= %s FROM stats WHERE database = 'keep'", queries)); got != "1" && got != "t" {
		t.Errorf("the counters of keep went back (%s)", got)
	}
	if got := mustRun(ctx, t, moved, "SELECT current_database()"); got != "two" {
		t.Errorf("an idle client of a changed database is on %s, want two", got)
	}
	if got := mustRun(ctx, t, movedBusy, "SELECT current_database()"); got != "one" {
		t.Errorf("a transaction was moved to %s", got)
	}
	mustRun(ctx, t, movedBusy, "COMMIT")
	if got := mustRun(ctx, t, movedBusy, "SELECT current_database()"); got != "two" {
		t.Errorf("after its transaction a client of a changed database is on %s, want two", got)
	}
	_, err := run(ctx, victim, "SELECT 1")
	var pe *pgconn.PgError
	if !errors.As(err, &pe) || pe.Message != "database removed" || pe.Code != "57P01" {
		t.Errorf("a client of a removed database got %v, want 57P01 database removed", err)
	}
	if _, err := pgx.Connect(ctx, b.DSN("gone", "app")); err == nil || !strings.Contains(err.Error(), "no such database: gone") {
		t.Errorf("logging in to a removed database: %v", err)
	}
	if got := mustRun(ctx, t, b.Connect(ctx, "new", "app"), "SELECT current_database()"); got != "two" {
		t.Errorf("a new database leads to %s, want two", got)
	}
	if n := len(b.serverPIDs("gone")); n != 0 {
		t.Errorf("%d servers of a removed database are left", n)
	}
}

// A database that was taken out and put back is a new one: it must serve the clients that come after.
func TestADatabaseMayComeBack(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", "app"))
	set := "auth_type = \"trust\"\npool_mode = \"transaction\"\n"
	b := startBouncer(t, set, trustUsers+pgDatabase("db", pg, "")+pgDatabase("other", pg, ""))
	ctx := testContext(t)
	for range 3 {
		conn := b.Connect(ctx, "db", "app")
		mustRun(ctx, t, conn, "SELECT 1")
		b.Write(set, trustUsers+pgDatabase("other", pg, ""))
		b.Admin("RELOAD")
		if _, err := run(ctx, conn, "SELECT 1"); err == nil {
			t.Error("a client of a removed database went on")
		}
		b.Write(set, trustUsers+pgDatabase("db", pg, "")+pgDatabase("other", pg, ""))
		b.Admin("RELOAD")
	}
	mustRun(ctx, t, b.Connect(ctx, "db", "app"), "SELECT 1")
}

func TestPoolSizeChangesAtOnce(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", "app"))
	set := "auth_type = \"trust\"\npool_mode = \"transaction\"\n"
	at := func(size int) string { return trustUsers + pgDatabase("db", pg, fmt.Sprintf("pool_size = %d", size)) }
	b := startBouncer(t, set, at(1))
	ctx := testContext(t)
	first := b.Connect(ctx, "db", "app")
	mustRun(ctx, t, first, "BEGIN")
	const waiting = 4
	conns := make([]*pgx.Conn, waiting)
	done := make(chan error, waiting)
	for i := range conns {
		conns[i] = b.Connect(ctx, "db", "app")
		go func() {
			_, err := run(ctx, conns[i], "BEGIN")
			done <- err
		}()
	}
	b.eventuallyValue("4", "SELECT cl_waiting FROM pools WHERE database = 'db'")

	b.Write(set, at(5))
	b.Admin("RELOAD")
	for range waiting {
		if err := <-done; err != nil {
			t.Errorf("a client that waited when pool_size was raised: %v", err)
		}
	}
	if got := len(b.serverPIDs("db")); got != 5 {
		t.Errorf("%d servers, want 5", got)
	}
	for _, c := range append(conns[:3:3], first) {
		mustRun(ctx, t, c, "COMMIT")
	}

	b.Write(set, at(2))
	b.Admin("RELOAD")
	pgtest.Eventually(t, 10*time.Second, func() error {
		if n := len(b.serverPIDs("db")); n != 2 {
			return fmt.Errorf("%d servers after pool_size was lowered to 2", n)
		}
		return nil
	})
	mustRun(ctx, t, conns[3], "COMMIT") // the one that was busy meanwhile keeps its server
}

// All servers are busy while pool_size is lowered: those above it close as they come back.
func TestServersAbovePoolSizeCloseWhenReleased(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", "app"))
	set := "auth_type = \"trust\"\npool_mode = \"transaction\"\n"
	at := func(size int) string { return trustUsers + pgDatabase("db", pg, fmt.Sprintf("pool_size = %d", size)) }
	b := startBouncer(t, set, at(4))
	ctx := testContext(t)
	var conns []*pgx.Conn
	for range 4 {
		c := b.Connect(ctx, "db", "app")
		mustRun(ctx, t, c, "BEGIN")
		conns = append(conns, c)
	}
	b.Write(set, at(1))
	b.Admin("RELOAD")
	for _, c := range conns {
		mustRun(ctx, t, c, "COMMIT")
	}
	pgtest.Eventually(t, 10*time.Second, func() error {
		if n := len(b.serverPIDs("db")); n != 1 {
			return fmt.Errorf("%d servers after pool_size was lowered to 1", n)
		}
		return nil
	})
}

// TestAReloadIsTriedAtOnce mends what a server has refused a login for; nobody has to wait for server_login_retry then.
func TestAReloadIsTriedAtOnce(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	pg := pgtest.Start(t, pgtest.WithUser("app", "right"))
	const settings = "auth_type = \"trust\"\nserver_login_retry = 600\n"
	tables := func(password string) string {
		return "[users.admin]\npassword = \"admin\"\n[users.app]\npassword = \"" + password + "\"\n" + pgDatabase("db", pg, "")
	}
	b := startBouncer(t, settings, tables("wrong"))
	for _, want := range []string{"password authentication failed", "server_login_retry"} {
		_, err := pgx.Connect(ctx, b.DSN("db", "app"))
		wantError(t, err, "28P01", want)
	}
	b.Write(settings, tables("right"))
	b.Admin("RELOAD")
	mustRun(ctx, t, b.Connect(ctx, "db", "app"), "SELECT 1")
}
