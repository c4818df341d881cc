package integration

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"pgdrover/internal/pgtest"
)

func mustKeyPair(tb testing.TB) func(pgtest.KeyPair, error) pgtest.KeyPair {
	return func(k pgtest.KeyPair, err error) pgtest.KeyPair {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return k
	}
}

// clientTLS are the settings of a listener with a certificate.
func clientTLS(mode string, pair pgtest.KeyPair, ca *pgtest.CA) string {
	s := fmt.Sprintf("client_tls_sslmode = %q\nclient_tls_cert_file = %q\nclient_tls_key_file = %q\n", mode, pair.CertFile, pair.KeyFile)
	if ca != nil {
		s += fmt.Sprintf("client_tls_ca_file = %q\n", ca.CertFile)
	}
	return s
}

func TestChannelBindingProtectsTheLogin(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithUser("app", "app"))
	ca := pgtest.StartCA(t, "ca")
	pair := mustKeyPair(t)(ca.IssueServer())
	b := startBouncer(t, "auth_type = \"scram-sha-256\"\n"+clientTLS("require", pair, nil),
		fmt.Sprintf("[users.app]\npassword = %q\n[users.admin]\npassword = \"admin\"\n", rolpassword(t, pg, "app"))+pgDatabase("db", pg, ""))
	dsn := func(extra ...string) string {
		return pgtest.ConnString([][2]string{
			{"host", "127.0.0.1"},
			{"port", fmt.Sprint(b.Port)},
			{"dbname", "db"},
			{"user", "app"},
			{"password", "app"},
			{"sslmode", "verify-full"},
			{"sslrootcert", ca.CertFile},
		}, extra...)
	}
	for _, binding := range []string{"require", "prefer", "disable"} {
		if got := pgtest.MustPsql(t, dsn("channel_binding="+binding), "SELECT current_user", "-At"); got != "app\n" {
			t.Errorf("psql, channel_binding=%s: got %q", binding, got)
		}
		conn, err := pgx.Connect(t.Context(), dsn("channel_binding="+binding))
		if err != nil {
			t.Errorf("pgx, channel_binding=%s: %v", binding, err)
			continue
		}
		_ = conn.Close(t.Context())
	}
	if got := pgtest.Psql(t, dsn("sslmode=disable"), "SELECT 1"); !strings.Contains(got.Stderr, "SSL required") {
		t.Errorf("without TLS: got %q, want SSL required", got.Stderr)
	}
}

func TestCertificatesProveWhoTheClientIs(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", "app"))
	ca, stranger := pgtest.StartCA(t, "ca"), pgtest.StartCA(t, "stranger")
	pair := mustKeyPair(t)(ca.IssueServer())
	app, machine, forged := mustKeyPair(t)(ca.IssueClient("app")), mustKeyPair(t)(ca.IssueClient("machine-7")), mustKeyPair(t)(stranger.IssueClient("app"))
	dir := t.TempDir()
	save(t, dir+"/hba.conf", "hostssl db app all cert map=m\nhostssl pgdrover admin all trust\nhost pgdrover admin all trust\n")
	save(t, dir+"/ident.conf", "m machine-7 app\n")
	plain := startBouncer(t, "auth_type = \"cert\"\n"+clientTLS("verify-full", pair, ca), trustUsers+pgDatabase("db", pg, ""))
	mapped := startBouncer(t, fmt.Sprintf("auth_type = \"hba\"\nauth_hba_file = %q\nauth_ident_file = %q\n", dir+"/hba.conf", dir+"/ident.conf")+clientTLS("allow", pair, ca),
		trustUsers+pgDatabase("db", pg, ""))
	login := func(b *bouncer, user string, cert *pgtest.KeyPair) string {
		extra := []string{"sslmode=require"}
		if cert != nil {
			extra = append(extra, "sslcert="+cert.CertFile, "sslkey="+cert.KeyFile)
		}
		r := pgtest.Psql(t, pgtest.ConnString([][2]string{
			{"host", "127.0.0.1"},
			{"port", fmt.Sprint(b.Port)},
			{"dbname", "db"},
			{"user", user},
		}, extra...), "SELECT current_user", "-At")
		return r.Stdout + r.Stderr
	}
	const refused = "certificate authentication failed"
	for _, c := range []struct {
		name string
		b    *bouncer
		user string
		cert *pgtest.KeyPair
		want string
	}{
		{"the user's own", plain, "app", &app, "app\n"},
		{"of another user", plain, "postgres", &app, refused},
		{"of nobody's user", plain, "app", &machine, refused},
		{"of a stranger's CA", plain, "app", &forged, "error"},
		{"none where one is demanded", plain, "app", nil, "error"},
		{"mapped", mapped, "app", &machine, "app\n"},
		{"not in the map", mapped, "app", &app, refused},
		{"none where one is asked for", mapped, "app", nil, refused},
	} {
		if got := login(c.b, c.user, c.cert); !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// dialTLS opens a TLS connection without asking for it first, as sslnegotiation=direct does.
func (b *bouncer) dialTLS(ctx context.Context, roots *x509.CertPool, protocols ...string) (*tls.Conn, error) {
	d := tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: "localhost", NextProtos: protocols}}
	nc, err := d.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", b.Port))
	if err != nil {
		return nil, err
	}
	return nc.(*tls.Conn), nil
}

func TestDirectTLSNeedsALPN(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", "app"))
	ca := pgtest.StartCA(t, "ca")
	pair := mustKeyPair(t)(ca.IssueServer())
	b := startBouncer(t, "auth_type = \"trust\"\n"+clientTLS("require", pair, nil), trustUsers+pgDatabase("db", pg, ""))
	ctx := testContext(t)
	nc, err := b.dialTLS(ctx, ca.Pool(), "postgresql")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	if err := nc.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	f := pgproto3.NewFrontend(nc, nc)
	f.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "app", "database": "db"}})
	f.Send(&pgproto3.Query{String: "SELECT repeat('x', 100000)"})
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	size := 0
	for ready := 0; ready < 2; {
		m, err := f.Receive()
		if err != nil {
			t.Fatal(err)
		}
		switch m := m.(type) {
		case *pgproto3.DataRow:
			size = len(m.Values[0])
		case *pgproto3.ReadyForQuery:
			ready++
		case *pgproto3.ErrorResponse:
			t.Fatal(m.Message)
		}
	}
	if size != 100000 {
		t.Errorf("got %d bytes, want 100000", size)
	}
	without, err := b.dialTLS(ctx, ca.Pool())
	if err != nil {
		return // refused in the handshake: as good
	}
	defer func() { _ = without.Close() }()
	if err := without.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 500)
	n, _ := without.Read(buf)
	if !strings.Contains(string(buf[:n]), "ALPN") {
		t.Errorf("direct TLS without ALPN: got %q", buf[:n])
	}
}

// serial is the certificate that a new connection is shown.
func (b *bouncer) serial(ctx context.Context, roots *x509.CertPool) (string, error) {
	nc, err := b.dialTLS(ctx, roots, "postgresql")
	if err != nil {
		return "", err
	}
	defer func() { _ = nc.Close() }()
	return nc.ConnectionState().PeerCertificates[0].SerialNumber.String(), nil
}

func TestRotatedCertificatesServeNewConnectionsOnly(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", "app"))
	ca := pgtest.StartCA(t, "ca")
	pair := mustKeyPair(t)(ca.IssueServer())
	b := startBouncer(t, "auth_type = \"trust\"\npool_mode = \"transaction\"\n"+clientTLS("allow", pair, nil), trustUsers+pgDatabase("db", pg, ""))
	ctx := testContext(t)
	conn := b.Connect(ctx, "db", "app", "sslmode=require")
	pid := mustRun(ctx, t, conn, "SELECT pg_backend_pid()")
	before, err := b.serial(ctx, ca.Pool())
	if err != nil {
		t.Fatal(err)
	}
	next := mustKeyPair(t)(ca.IssueServer())
	want := next.Certificate.Leaf.SerialNumber.String()
	if want == before {
		t.Fatal("the certificate was not replaced")
	}
	if _, err := b.TryAdmin("RELOAD"); err != nil {
		t.Fatal(err)
	}
	if got, err := b.serial(ctx, ca.Pool()); err != nil || got != want {
		t.Errorf("a new connection is shown %s (%v), want %s", got, err, want)
	}
	if got := mustRun(ctx, t, conn, "SELECT pg_backend_pid()"); got != pid {
		t.Errorf("an old connection moved from backend %s to %s", pid, got)
	}
	// A broken pair changes nothing.
	if err := os.WriteFile(pair.KeyFile, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if pe := b.adminError("RELOAD"); !strings.Contains(pe.Detail, "client_tls_key_file") {
		t.Errorf("RELOAD with a broken key: %s", pe.Detail)
	}
	if got, err := b.serial(ctx, ca.Pool()); err != nil || got != want {
		t.Errorf("after a broken rotation a new connection is shown %s (%v), want %s", got, err, want)
	}
}
