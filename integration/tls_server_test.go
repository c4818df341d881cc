package integration

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"pgdrover/internal/pgtest"
)

func TestServersAreVerifiedAsSSLModeSays(t *testing.T) {
	t.Parallel()
	ca, wrong := pgtest.StartCA(t, "ca"), pgtest.StartCA(t, "wrong")
	secure := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithTLS(ca), pgtest.WithUser("app", "app"))
	plain := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", "app"))
	named := mustKeyPair(t)(ca.IssueServer("db.example"))
	other := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithTLS(ca), pgtest.WithUser("app", "app"))
	useCertificate(t, other, named)

	cases := []struct {
		mode    string
		server  *pgtest.Cluster
		ca      *pgtest.CA
		tls     bool
		refused string // "" is let in
	}{
		{"disable", secure, nil, false, ""},
		{"allow", secure, nil, false, ""},
		{"prefer", secure, nil, true, ""},
		{"require", secure, nil, true, ""},
		{"verify-ca", secure, ca, true, ""},
		{"verify-full", secure, ca, true, ""},
		{"disable", plain, nil, false, ""},
		{"allow", plain, nil, false, ""},
		{"prefer", plain, nil, false, ""},
		{"require", plain, nil, false, "server refused SSL"},
		{"verify-full", plain, ca, false, "server refused SSL"},
		{"verify-ca", secure, wrong, false, "certificate"},
		{"verify-full", secure, wrong, false, "certificate"},
		{"require", other, nil, true, ""},
		{"verify-ca", other, ca, true, ""},
		{"verify-full", other, ca, false, "certificate"},
	}
	tables := trustUsers
	for i, c := range cases {
		extra := fmt.Sprintf("server_tls_sslmode = %q\n", c.mode)
		if c.ca != nil {
			extra += fmt.Sprintf("server_tls_ca_file = %q\n", c.ca.CertFile)
		}
		tables += pgDatabase(fmt.Sprint("c", i), c.server, extra)
	}
	b := startBouncer(t, "auth_type = \"trust\"\nquery_wait_timeout = 1\nserver_login_retry = 1\n", tables)
	ctx := testContext(t)
	for i, c := range cases {
		name := fmt.Sprintf("%s (case %d)", c.mode, i)
		conn, err := pgx.Connect(ctx, b.DSN(fmt.Sprint("c", i), "app"))
		if c.refused != "" {
			if err == nil {
				t.Errorf("%s: the login went through", name)
				_ = conn.Close(ctx)
				continue
			}
			last := b.value(fmt.Sprintf("SELECT last_error FROM pools WHERE database = 'c%d'", i))
			if !strings.Contains(last, c.refused) {
				t.Errorf("%s: SHOW POOLS has the error %q, want %q", name, last, c.refused)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := mustRun(ctx, t, conn, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
		if got != map[bool]string{true: "t", false: "f"}[c.tls] {
			t.Errorf("%s: TLS is %s, want %t", name, got, c.tls)
		}
		_ = conn.Close(ctx)
	}
}

// useCertificate gives a running cluster another certificate.
func useCertificate(tb testing.TB, c *pgtest.Cluster, pair pgtest.KeyPair) {
	tb.Helper()
	for from, to := range map[string]string{pair.CertFile: "server.crt", pair.KeyFile: "server.key"} {
		overwrite(tb, from, c.DataDir+"/"+to)
	}
	c.MustExec(tb, "postgres", "SELECT pg_reload_conf()")
	ctx := testContext(tb)
	pgtest.Eventually(tb, 10e9, func() error {
		conn, err := pgx.Connect(ctx, c.DSN("postgres", "app", "sslmode=verify-full", "sslrootcert="+c.CA.CertFile))
		if err != nil {
			return nil //nolint:nilerr // the new certificate does not name 127.0.0.1
		}
		_ = conn.Close(ctx)
		return fmt.Errorf("the server still shows its old certificate")
	})
}

func TestClientCertificateToServers(t *testing.T) {
	t.Parallel()
	ca := pgtest.StartCA(t, "ca")
	pg := pgtest.Start(t, pgtest.WithAuth("cert"), pgtest.WithTLS(ca), pgtest.WithUser("app", ""))
	pair := mustKeyPair(t)(ca.IssueClient("app"))
	b := startBouncer(t, "auth_type = \"trust\"\nserver_login_retry = 1\nserver_tls_sslmode = \"verify-full\"\n"+fmt.Sprintf("server_tls_ca_file = %q\n", ca.CertFile),
		trustUsers+pgDatabase("with", pg, fmt.Sprintf("server_tls_cert_file = %q\nserver_tls_key_file = %q\n", pair.CertFile, pair.KeyFile))+pgDatabase("without", pg, ""))
	ctx := testContext(t)
	if got := mustRun(ctx, t, b.Connect(ctx, "with", "app"), "SELECT current_user"); got != "app" {
		t.Errorf("got %s", got)
	}
	if got := codeOf(b.tryLogin(ctx, "without", "app", "")); !strings.HasPrefix(got, "28000 ") {
		t.Errorf("without a certificate: got %s", got)
	}
}

// Every pair of plain and TLS sides carries queries, COPY in both directions, results larger than any buffer and a cancel.
func TestEveryPairOfSidesCarriesEverything(t *testing.T) {
	t.Parallel()
	ca := pgtest.StartCA(t, "ca")
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithTLS(ca), pgtest.WithUser("app", "app"))
	pair := mustKeyPair(t)(ca.IssueServer())
	b := startBouncer(t, "auth_type = \"trust\"\npool_mode = \"transaction\"\n"+clientTLS("allow", pair, nil),
		trustUsers+pgDatabase("plain", pg, "server_tls_sslmode = \"disable\"")+pgDatabase("secure", pg, "server_tls_sslmode = \"require\""))
	pg.MustExec(t, "postgres", "CREATE TABLE c (db text, tls text, n int, t text)", "GRANT ALL ON c TO app")
	for _, db := range []string{"plain", "secure"} {
		for _, mode := range []string{"disable", "require"} {
			t.Run("client "+mode+", server "+db, func(t *testing.T) {
				t.Parallel()
				ctx := testContext(t)
				conn := b.Connect(ctx, db, "app", "sslmode="+mode)
				var ssl bool
				if err := conn.QueryRow(ctx, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").Scan(&ssl); err != nil || ssl != (db == "secure") {
					t.Errorf("TLS to the server is %t (%v)", ssl, err)
				}
				var big string
				if err := conn.QueryRow(ctx, "SELECT repeat('abcdefgh', 1 << 20)").Scan(&big); err != nil || len(big) != 8<<20 {
					t.Errorf("a value of 8 MiB: %d bytes, %v", len(big), err)
				}
				var length int
				if err := conn.QueryRow(ctx, "SELECT length($1::text)", big).Scan(&length); err != nil || length != 8<<20 {
					t.Errorf("a parameter of 8 MiB: %d bytes, %v", length, err)
				}
				rows := make([][]any, 20000)
				for i := range rows {
					rows[i] = []any{db, mode, i, strings.Repeat("z", 100)}
				}
				if n, err := conn.CopyFrom(ctx, pgx.Identifier{"c"}, []string{"db", "tls", "n", "t"}, pgx.CopyFromRows(rows)); err != nil || n != 20000 {
					t.Errorf("COPY in: %d rows, %v", n, err)
				}
				var out bytes.Buffer
				if _, err := conn.PgConn().CopyTo(ctx, &out, fmt.Sprintf("COPY (SELECT n FROM c WHERE db = '%s' AND tls = '%s') TO STDOUT", db, mode)); err != nil || strings.Count(out.String(), "\n") != 20000 {
					t.Errorf("COPY out: %d rows, %v", strings.Count(out.String(), "\n"), err)
				}
				batch := &pgx.Batch{}
				for i := range 500 {
					batch.Queue("SELECT $1::int, repeat('y', 2000)", i)
				}
				br := conn.SendBatch(ctx, batch)
				for i := range 500 {
					var n int
					var s string
					if err := br.QueryRow().Scan(&n, &s); err != nil || n != i || len(s) != 2000 {
						t.Fatalf("statement %d of a pipeline: %d, %d bytes, %v", i, n, len(s), err)
					}
				}
				if err := br.Close(); err != nil {
					t.Error(err)
				}
				query, over := context.WithCancel(ctx)
				defer over()
				ended := make(chan struct{})
				go func() { defer close(ended); cancelUntil(query, conn) }()
				if _, err := run(ctx, conn, "SELECT pg_sleep(50)"); !strings.HasPrefix(codeOf(err), "57014 ") {
					t.Errorf("a cancel: got %v", err)
				}
				over()
				<-ended
				mustRun(ctx, t, conn, "SELECT 1")
			})
		}
	}
}

// cancelUntil sends cancel requests until ctx is done: one that comes before the query has begun reaches nothing.
func cancelUntil(ctx context.Context, conn *pgx.Conn) {
	for ctx.Err() == nil {
		_ = conn.PgConn().CancelRequest(ctx) // done again if it has failed
	}
}

// overwrite replaces the content of a file and keeps its owner and mode.
func overwrite(tb testing.TB, from, to string) {
	tb.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		tb.Fatal(err)
	}
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := f.Write(content); err != nil {
		tb.Fatal(err)
	}
	if err := f.Close(); err != nil {
		tb.Fatal(err)
	}
}

// TestBatchesOverTLSKeepTheirConnection sends batches that go both ways at once to a server over TLS, where the two goroutines of a session
// wake each other by a deadline.
func TestBatchesOverTLSKeepTheirConnection(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithTLS(pgtest.StartCA(t, "ca")))
	pg.MustExec(t, "postgres", "CREATE UNLOGGED TABLE b (a int, t text)")
	b := startBouncer(t, "auth_type = \"trust\"\nserver_tls_sslmode = \"require\"\n",
		trustUsers+pgDatabase("tx", pg, "pool_mode = \"transaction\"\npool_size = 3")+pgDatabase("session", pg, "pool_mode = \"session\""))
	var running []<-chan error
	for _, db := range []string{"tx", "session"} {
		for range 4 {
			c := b.Connect(ctx, db, "postgres")
			running = append(running, background(func() error {
				for i := range 60 {
					var batch pgx.Batch
					for j := range 1000 {
						batch.Queue("INSERT INTO b VALUES ($1, $2)", i*1000+j, "some text that takes a little room")
					}
					if err := c.SendBatch(ctx, &batch).Close(); err != nil {
						return fmt.Errorf("%s, batch %d: %w", db, i, err)
					}
				}
				return nil
			}))
		}
	}
	for _, r := range running {
		if err := result(ctx, t, r); err != nil {
			t.Error(err)
		}
	}
}
