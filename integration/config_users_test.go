package integration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"pgdrover/internal/pgtest"
)

// tryLogin logs in with a password and runs a query, if sql is not empty.
func (b *bouncer) tryLogin(ctx context.Context, db, user, password string, extra ...string) error {
	cfg, err := pgx.ParseConfig(b.DSN(db, user, extra...))
	if err != nil {
		return err
	}
	cfg.Password = password
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	_, err = run(ctx, conn, "SELECT 1")
	return err
}

// connectAs logs in with a password; the connection is closed at the end of the test.
func (b *bouncer) connectAs(ctx context.Context, db, user, password string, extra ...string) *pgx.Conn {
	b.tb.Helper()
	cfg, err := pgx.ParseConfig(b.DSN(db, user, extra...))
	if err != nil {
		b.tb.Fatal(err)
	}
	cfg.Password = password
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		b.tb.Fatalf("connecting to %s as %s: %v", db, user, err)
	}
	b.tb.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func save(tb testing.TB, path, text string) {
	tb.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
}

func TestUsersAndTheirPasswordsChangeLive(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithUser("app", "server"), pgtest.WithUser("late", "server"))
	set := "auth_type = \"scram-sha-256\"\npool_mode = \"transaction\"\n"
	admin := "[users.admin]\npassword = \"admin\"\n"
	db := pgDatabase("db", pg, "user = \"app\"\npassword = \"server\"")
	b := startBouncer(t, set, admin+"[users.app]\npassword = \"one\"\n"+db)
	ctx := testContext(t)
	conn := b.connectAs(ctx, "db", "app", "one")
	pid := mustRun(ctx, t, conn, "SELECT pg_backend_pid()")

	b.Write(set, admin+"[users.app]\npassword = \"two\"\n[users.late]\npassword = \"late\"\n"+db)
	b.Admin("RELOAD")
	if err := b.tryLogin(ctx, "db", "app", "one"); err == nil {
		t.Error("the old password still works")
	}
	if err := b.tryLogin(ctx, "db", "app", "two"); err != nil {
		t.Errorf("the new password: %v", err)
	}
	if err := b.tryLogin(ctx, "db", "late", "late"); err != nil {
		t.Errorf("a new user: %v", err)
	}
	b.Write(set, admin+db)
	b.Admin("RELOAD")
	if err := b.tryLogin(ctx, "db", "app", "two"); err == nil {
		t.Error("a user that was taken out can log in")
	}
	if got := mustRun(ctx, t, conn, "SELECT pg_backend_pid()"); got != pid {
		t.Errorf("a session moved from backend %s to %s", pid, got)
	}
}

func TestUserlistAndHBARulesChangeLive(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", "app"), pgtest.WithUser("late", "late"))
	dir := t.TempDir()
	list, hba := filepath.Join(dir, "userlist.txt"), filepath.Join(dir, "hba.conf")
	save(t, list, "; who may come in\n\"app\" \"app\"\n")
	rules := "host pgdrover admin 127.0.0.1/32 trust\n"
	save(t, hba, rules+"host db app 127.0.0.1/32 scram-sha-256\n")
	b := startBouncer(t, fmt.Sprintf("auth_type = \"hba\"\nauth_file = %q\nauth_hba_file = %q\n", list, hba),
		"[users.admin]\npassword = \"admin\"\n"+pgDatabase("db", pg, ""))
	ctx := testContext(t)
	if err := b.tryLogin(ctx, "db", "app", "app"); err != nil {
		t.Fatal(err)
	}
	if err := b.tryLogin(ctx, "db", "late", "late"); err == nil || !strings.Contains(err.Error(), "no authentication method is found") {
		t.Fatalf("no rule is for late, got %v", err)
	}
	save(t, list, "\"app\" \"app\"\n\"late\" \"late\"\n")
	save(t, hba, rules+"host db app 127.0.0.1/32 reject\nhost db all 127.0.0.1/32 md5\n")
	pgtest.Eventually(t, 10*time.Second, func() error { return b.tryLogin(ctx, "db", "late", "late") })
	if err := b.tryLogin(ctx, "db", "app", "app"); err == nil || !strings.Contains(err.Error(), "login rejected") {
		t.Errorf("a rejected user got %v", err)
	}
}
