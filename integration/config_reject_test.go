package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgdrover/internal/pgtest"
)

// adminError runs a command on the admin database that must fail, and returns how.
func (b *bouncer) adminError(sql string) *pgconn.PgError {
	b.tb.Helper()
	_, err := b.TryAdmin(sql)
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		b.tb.Fatalf("%s: got %v, want an error", sql, err)
	}
	return pe
}

// logged waits until the log has a text.
func (b *bouncer) logged(text string) {
	b.tb.Helper()
	pgtest.Eventually(b.tb, 10*time.Second, func() error {
		log, err := os.ReadFile(b.Log)
		if err != nil {
			return err
		}
		if !strings.Contains(string(log), text) {
			return fmt.Errorf("the log does not say %q", text)
		}
		return nil
	})
}

func TestABadFileChangesNothingAndIsToldUntilMended(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", "app"))
	set := "auth_type = \"trust\"\npool_mode = \"transaction\"\nmax_client_conn = 50\n"
	tables := trustUsers + pgDatabase("db", pg, "")
	b := startBouncer(t, set, tables)
	ctx := testContext(t)
	conn := b.Connect(ctx, "db", "app")
	pid := mustRun(ctx, t, conn, "SELECT pg_backend_pid()")

	// The valid change in the same file must not come through either.
	b.Write("auth_type = \"trust\"\npool_mode = \"transaction\"\nmax_client_conn = 60\nquery_tiemout = 4\n", tables)
	pe := b.adminError("RELOAD")
	where := fmt.Sprintf("%s:%d", b.Config, 10)
	if pe.Code != "F0000" || pe.Message != "RELOAD failed, see logs for additional details" {
		t.Errorf("RELOAD: %s %s", pe.Code, pe.Message)
	}
	if !strings.Contains(pe.Detail, where) || !strings.Contains(pe.Detail, "query_tiemout") || !strings.Contains(pe.Detail, "query_timeout") {
		t.Errorf("DETAIL %q does not have the place %s, the key and the nearest name", pe.Detail, where)
	}
	b.logged("config file loading failed")
	b.logged(where)
	if got := b.value("SELECT value FROM state WHERE key = 'config_error'"); !strings.Contains(got, where) {
		t.Errorf("SHOW STATE has the error %q", got)
	}
	if got := b.value("SHOW max_client_conn"); got != "50" {
		t.Errorf("max_client_conn is %s, want 50 as before", got)
	}
	if got := mustRun(ctx, t, conn, "SELECT pg_backend_pid()"); got != pid {
		t.Errorf("the backend changed from %s to %s", pid, got)
	}
	var notice string
	cfg, err := pgx.ParseConfig(b.DSN("pgdrover", "admin"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { notice += n.Message + n.Detail }
	admin, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = admin.Close(context.WithoutCancel(ctx)) }()
	mustRun(ctx, t, admin, "SHOW VERSION")
	if !strings.Contains(notice, where) {
		t.Errorf("an admin session was told %q, want the place of the mistake", notice)
	}

	b.Write("auth_type = \"trust\"\npool_mode = \"transaction\"\nmax_client_conn = 70\n", tables)
	b.eventuallyValue("70", "SHOW max_client_conn")
	b.eventuallyValue("", "SELECT value FROM state WHERE key = 'config_error'")
}

// What only a subscriber can find wrong (certificates, HBA rules) rejects the whole file as well.
func TestABadFileBehindTheFileRejectsTheReload(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", "app"))
	tables := trustUsers + pgDatabase("db", pg, "")
	b := startBouncer(t, "auth_type = \"trust\"\n", tables)
	hba := filepath.Join(b.Dir, "hba.conf")
	if err := os.WriteFile(hba, []byte("host all all 127.0.0.1/32 trust\nhost all all 300.0.0.1/32 trust\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(b.Dir, "userlist.txt")
	if err := os.WriteFile(list, []byte("\"a\" \"b\"\n\"c\" broken\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, settings, want string }{
		{"a certificate that is missing", "client_tls_sslmode = \"require\"\nclient_tls_cert_file = \"nowhere.crt\"\nclient_tls_key_file = \"nowhere.key\"\n", "nowhere.crt"},
		{"TLS without a certificate", "client_tls_sslmode = \"require\"\n", "client_tls_cert_file"},
		{"an HBA rule that nobody understands", fmt.Sprintf("auth_type = \"hba\"\nauth_hba_file = %q\n", hba), "hba.conf:2"},
		{"an HBA file that is missing", "auth_type = \"hba\"\nauth_hba_file = \"/nowhere/hba.conf\"\n", "/nowhere/hba.conf"},
		{"a userlist with a broken line", fmt.Sprintf("auth_file = %q\n", list), "userlist.txt:2"},
	} {
		settings := c.settings
		if !strings.Contains(settings, "auth_type") {
			settings = "auth_type = \"trust\"\n" + settings
		}
		b.Write(settings, tables)
		if pe := b.adminError("RELOAD"); pe.Code != "F0000" || !strings.Contains(pe.Detail, c.want) {
			t.Errorf("%s: got %s %q, want F0000 with %q", c.name, pe.Code, pe.Detail, c.want)
		}
		if got := b.value("SHOW client_tls_sslmode"); got != "disable" {
			t.Errorf("%s: client_tls_sslmode is %s", c.name, got)
		}
	}
	b.Write("auth_type = \"trust\"\n", tables)
	b.Admin("RELOAD")
	b.eventuallyValue("", "SELECT value FROM state WHERE key = 'config_error'")
}
