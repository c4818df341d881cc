package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgdrover/internal/app"
	"pgdrover/internal/pgtest"
)

func (b *bouncer) source(setting string) string {
	b.tb.Helper()
	return b.value("SELECT source FROM config WHERE key = '" + setting + "'")
}

func TestAlterIsKeptAndSetIsNot(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", "app"))
	b := startBouncer(t, "auth_type = \"trust\"\npool_mode = \"transaction\"\nmax_client_conn = 50\n", trustUsers+pgDatabase("db", pg, "pool_size = 3"))
	ctx := testContext(t)
	conn := b.Connect(ctx, "db", "app")
	pid := mustRun(ctx, t, conn, "SELECT pg_backend_pid()")

	if got, want := b.source("max_client_conn"), b.Config+":9"; got != want {
		t.Errorf("source of a value from the file: got %s, want %s", got, want)
	}
	if got := b.source("query_timeout"); got != "default" {
		t.Errorf("source of a default: got %s", got)
	}
	b.Admin("SET query_timeout = 33", "SET max_client_conn = 77")
	if got := b.value("SHOW max_client_conn") + " " + b.source("max_client_conn"); got != "77 SET" {
		t.Errorf("after SET: got %s, want 77 SET", got)
	}
	b.Admin("RELOAD")
	if got := b.value("SHOW max_client_conn") + " " + b.value("SHOW query_timeout"); got != "50 0" {
		t.Errorf("after RELOAD: got %s, want the file's 50 and the default 0", got)
	}

	b.Admin(
		"ALTER SYSTEM SET max_client_conn = 88", "ALTER SYSTEM SET query_wait_timeout = '2min'",
		"ALTER DATABASE db SET pool_size = 7", "ALTER USER app SET pool_mode = 'session'",
	)
	check := func(when string) {
		t.Helper()
		if got := b.value("SHOW max_client_conn") + " " + b.source("max_client_conn"); got != "88 auto" {
			t.Errorf("%s: max_client_conn is %s, want 88 auto", when, got)
		}
		if got := b.value("SHOW query_wait_timeout"); got != "120" {
			t.Errorf("%s: query_wait_timeout is %s, want 120", when, got)
		}
		if got := b.value("SELECT pool_size FROM databases WHERE name = 'db'"); got != "7" {
			t.Errorf("%s: pool_size of db is %s, want 7", when, got)
		}
		if got := b.value("SELECT pool_mode FROM users WHERE name = 'app'"); got != "session" {
			t.Errorf("%s: pool_mode of app is %s, want session", when, got)
		}
	}
	check("after ALTER")
	if got := mustRun(ctx, t, conn, "SELECT pg_backend_pid()"); got != pid {
		t.Errorf("ALTER replaced the backend %s by %s", pid, got)
	}
	auto := filepath.Join(b.Dir, "config.auto.toml")
	st, err := os.Stat(auto)
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode().Perm() != 0o600 {
		t.Errorf("config.auto.toml has mode %o, want 600", st.Mode().Perm())
	}
	b.Admin("RELOAD")
	check("after RELOAD")

	b.Close()
	if b.Process, err = app.Start(b.Config, app.Options{Version: "test", Quiet: true}); err != nil {
		t.Fatal(err)
	}
	check("after a restart")

	b.Admin("ALTER SYSTEM RESET max_client_conn", "ALTER DATABASE db RESET ALL", "ALTER USER app RESET pool_mode")
	if got := b.value("SHOW max_client_conn") + " " + b.value("SELECT pool_size FROM databases WHERE name = 'db'"); got != "50 3" {
		t.Errorf("after RESET: got %s, want the file's 50 and 3", got)
	}
	for _, c := range []struct{ sql, detail string }{
		{"SET max_client_con = 1", "max_client_conn"},
		{"SET max_client_conn = lots", "max_client_conn"},
		{"ALTER SYSTEM SET query_timeout = -4", "query_timeout"},
		{"ALTER DATABASE dbb SET pool_size = 4", "db"},
		{"ALTER USER nobody SET pool_mode = 'session'", "no such user"},
		{"ALTER DATABASE pgdrover SET pool_size = 4", "admin database"},
	} {
		if pe := b.adminError(c.sql); !strings.Contains(pe.Detail, c.detail) {
			t.Errorf("%s: got %s, DETAIL %s; want a word of %q", c.sql, pe.Message, pe.Detail, c.detail)
		}
	}
}

// An ALTER that cannot be written must not be in force either: it would be lost with the process.
func TestAlterThatCannotBeKeptIsRefused(t *testing.T) {
	t.Parallel()
	b := startBouncer(t, "auth_type = \"trust\"\nauto_config_file = \"/nowhere/at/all/auto.toml\"\n", trustUsers)
	b.adminError("ALTER SYSTEM SET max_client_conn = 88")
	if got := b.value("SHOW max_client_conn"); got != "100" {
		t.Errorf("max_client_conn is %s, want 100", got)
	}
}
