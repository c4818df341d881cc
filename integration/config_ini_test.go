package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgdrover/internal/app"
	"pgdrover/internal/pgtest"
)

// startINI starts pgdrover with a pgbouncer.ini. The text may say {port} and {dir}.
func startINI(tb testing.TB, text string, files map[string]string) *bouncer {
	tb.Helper()
	dir, err := os.MkdirTemp("", "pgdrover-ini-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	for name, content := range files {
		save(tb, filepath.Join(dir, name), content)
	}
	var lastErr error
	for range 5 {
		b := &bouncer{tb: tb, Port: freePort(tb), Dir: dir, Config: filepath.Join(dir, "pgbouncer.ini"), Log: filepath.Join(dir, "log")}
		b.WriteINI(text)
		if b.Process, lastErr = app.Start(b.Config, app.Options{Version: "test", Quiet: true}); lastErr == nil {
			tb.Cleanup(func() { b.Close() })
			return b
		}
		if !strings.Contains(lastErr.Error(), "address already in use") {
			break
		}
	}
	tb.Fatal(lastErr)
	return nil
}

// WriteINI replaces the configuration file.
func (b *bouncer) WriteINI(text string) {
	b.tb.Helper()
	save(b.tb, b.Config, strings.NewReplacer("{port}", fmt.Sprint(b.Port), "{dir}", b.Dir).Replace(text))
}

func TestAPgbouncerIniServesAsItIs(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithUser("app", "app"), pgtest.WithUser("shared", "sha'red"), pgtest.WithDatabase("one", ""), pgtest.WithDatabase("two", ""))
	list := "\"admin\" \"admin\"\n\"app\" \"app\"\n\"md5er\" \"md5ede8f5f1a24d1e1c5fdc65f7bcd1da35\" ignored\n"
	general := `;; a file as it is found on servers
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir = {dir}
logfile = {dir}/log
auth_type = md5
auth_file = {dir}/userlist.txt
admin_users = admin
pool_mode = transaction
max_client_conn = 0x40
`
	databases := func(extra string) string {
		return fmt.Sprintf(`
[databases]
forced = host=127.0.0.1 port=%[1]d dbname=one user=shared password='sha''red'
mapped = host=127.0.0.1 port=%[1]d dbname=one pool_size=3
* = host=127.0.0.1 port=%[1]d
%[2]s
[users]
app = pool_mode=session max_user_connections=9
`, pg.Port, extra)
	}
	b := startINI(t, general+databases(""), map[string]string{"userlist.txt": list})
	ctx := testContext(t)
	if got := mustRun(ctx, t, b.Connect(ctx, "mapped", "app"), "SELECT current_database() || ' ' || current_user"); got != "one app" {
		t.Errorf("mapped: got %s", got)
	}
	if got := mustRun(ctx, t, b.Connect(ctx, "forced", "app"), "SELECT current_database() || ' ' || current_user"); got != "one shared" {
		t.Errorf("forced: got %s", got)
	}
	wild := b.Connect(ctx, "two", "app")
	if got := mustRun(ctx, t, wild, "SELECT current_database() || ' ' || current_user"); got != "two app" {
		t.Errorf("*: got %s", got)
	}
	pid := mustRun(ctx, t, wild, "SELECT pg_backend_pid()")
	if got := b.value("SHOW max_client_conn"); got != "64" {
		t.Errorf("max_client_conn is %s, want 64", got)
	}
	if got := b.value("SELECT pool_mode FROM pools WHERE database = 'mapped'"); got != "session" {
		t.Errorf("pool_mode of user app is %s, want session", got)
	}

	// A change leaves alone what it does not concern; a mistake leaves everything alone.
	b.WriteINI(general + databases(fmt.Sprintf("fresh = host=127.0.0.1 port=%d dbname=two", pg.Port)))
	b.Admin("RELOAD")
	if got := mustRun(ctx, t, b.Connect(ctx, "fresh", "app"), "SELECT current_database()"); got != "two" {
		t.Errorf("fresh: got %s", got)
	}
	b.WriteINI(general + "max_client_conn = many\n" + databases(""))
	if pe := b.adminError("RELOAD"); pe.Code != "F0000" || !strings.Contains(pe.Detail, b.Config+":12") {
		t.Errorf("RELOAD: %s %q, want F0000 and the line", pe.Code, pe.Detail)
	}
	mustRun(ctx, t, b.Connect(ctx, "fresh", "app"), "SELECT 1")
	b.WriteINI(general + databases(""))
	b.eventuallyValue("", "SELECT value FROM state WHERE key = 'config_error'")
	if got := mustRun(ctx, t, wild, "SELECT pg_backend_pid()"); got != pid {
		t.Errorf("the client of * moved from backend %s to %s", pid, got)
	}

	save(t, filepath.Join(b.Dir, "userlist.txt"), "\"admin\" \"admin\"\n\"app\" \"changed\"\n")
	pgtest.Eventually(t, 10*time.Second, func() error { return b.tryLogin(ctx, "forced", "app", "changed") })
	if err := b.tryLogin(ctx, "forced", "app", "app"); err == nil {
		t.Error("the old password of userlist.txt still works")
	}
	b.Admin("ALTER DATABASE mapped SET pool_size = 6")
	if got := b.value("SELECT pool_size FROM databases WHERE name = 'mapped'"); got != "6" {
		t.Errorf("pool_size is %s after ALTER, want 6", got)
	}
}
