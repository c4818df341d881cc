package connect

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"pgdrover/internal/auth"
	"pgdrover/internal/config"
	"pgdrover/internal/pgtest"
)

// startPostgres starts a server whose roles each log in by a method of their own.
func startPostgres(t *testing.T) *pgtest.Cluster {
	t.Helper()
	c := pgtest.Start(t, pgtest.WithTLS(nil), pgtest.WithHBA(
		"local all socket trust",
		"host all trusted 127.0.0.1/32 trust",
		"host all clear 127.0.0.1/32 password",
		"host all md5 127.0.0.1/32 md5",
		"hostssl all certified 127.0.0.1/32 cert",
		"hostssl all onlytls 127.0.0.1/32 scram-sha-256",
		"hostnossl all onlyplain 127.0.0.1/32 scram-sha-256",
		"host all onlytls,onlyplain,rejected 127.0.0.1/32 reject",
	))
	for _, name := range []string{"socket", "trusted", "clear", "certified", "onlytls", "onlyplain", "rejected", "scram"} {
		c.MustExec(t, "postgres", `CREATE ROLE "`+name+`" LOGIN PASSWORD 's3cret'`)
	}
	c.MustExec(t, "postgres", "SET password_encryption = 'md5'; CREATE ROLE md5 LOGIN PASSWORD 's3cret'")
	return c
}

func target(c *pgtest.Cluster, user, mode string) Target {
	return Target{
		Hosts: []string{c.Host}, Port: c.Port, DBName: "postgres", User: user, SSLMode: mode,
		Credentials: auth.Credentials{User: user, Plain: "s3cret"}, TCPKeepalive: true,
		Params: []Param{{"application_name", "it's us"}, {"options", "-c statement_timeout=30s"}},
	}
}

func TestPostgres(t *testing.T) {
	t.Parallel()
	pg := startPostgres(t)
	md5 := auth.MD5Secret("s3cret", "md5").Reveal()
	client, err := pg.CA.IssueClient("certified")
	if err != nil {
		t.Fatal(err)
	}
	roots := &tls.Config{RootCAs: pg.CA.Pool()}
	other := pgtest.StartCA(t, "other")
	tests := []struct {
		name, user, mode string
		change           func(*Target)
		tls              bool
		code             string      // SQLSTATE of the server's refusal
		err              *auth.Error // ours
		reason           string
	}{
		{name: "scram", user: "scram", mode: SSLDisable},
		{name: "scram with channel binding", user: "scram", mode: SSLRequire, tls: true},
		{name: "scram, wrong password", user: "scram", mode: SSLPrefer, change: func(t *Target) { t.Credentials.Plain = "x" }, code: "28P01"},
		{name: "scram, no password", user: "scram", mode: SSLPrefer, change: func(t *Target) { t.Credentials.Plain = "" }, err: auth.ErrServerPasswordType},
		{name: "md5", user: "md5", mode: SSLDisable},
		{name: "md5 with the hash", user: "md5", mode: SSLPrefer, tls: true, change: func(t *Target) { t.Credentials.Plain, t.Credentials.MD5 = "", md5 }},
		{name: "md5, wrong password", user: "md5", change: func(t *Target) { t.Credentials.Plain = "x" }, code: "28P01"},
		{name: "password", user: "clear", mode: SSLPrefer, tls: true},
		{name: "password with a hash only", user: "clear", change: func(t *Target) { t.Credentials.Plain, t.Credentials.MD5 = "", md5 }, err: auth.ErrServerPasswordType},
		{name: "trust", user: "trusted", change: func(t *Target) { t.Credentials = auth.Credentials{} }},
		{name: "no such database", user: "trusted", change: func(t *Target) { t.DBName = "nowhere" }, code: "3D000"},
		{name: "no such user", user: "nobody", code: "28P01"},
		{name: "bad parameter", user: "trusted", change: func(t *Target) { t.Params = []Param{{"nonsense", "1"}} }, code: "42704"},
		{name: "protocol 3.0 at once", user: "scram", change: func(t *Target) { t.Protocol30 = true }},
		{name: "rejected", user: "rejected", mode: SSLPrefer, code: "28000"},
		{name: "allow goes without TLS", user: "scram", mode: SSLAllow},
		{name: "allow turns to TLS where it must", user: "onlytls", mode: SSLAllow, tls: true},
		{name: "prefer goes with TLS", user: "scram", mode: SSLPrefer, tls: true},
		{name: "prefer does without TLS where it must", user: "onlyplain", mode: SSLPrefer},
		{name: "require does not", user: "onlyplain", mode: SSLRequire, code: "28000"},
		{name: "disable does not", user: "onlytls", mode: SSLDisable, code: "28000"},
		{name: "verify-ca", user: "scram", mode: SSLVerifyCA, tls: true, change: func(t *Target) { t.TLS = roots }},
		{name: "verify-ca of another authority", user: "scram", mode: SSLVerifyCA, reason: ReasonTLS, change: func(t *Target) { t.TLS = &tls.Config{RootCAs: other.Pool()} }},
		{name: "verify-full by address", user: "scram", mode: SSLVerifyFull, tls: true, change: func(t *Target) { t.TLS = roots }},
		{name: "verify-full by name", user: "scram", mode: SSLVerifyFull, tls: true, change: func(t *Target) { t.TLS, t.Hosts = roots, []string{"localhost"} }},
		{name: "cert", user: "certified", mode: SSLVerifyFull, tls: true, change: func(t *Target) {
			t.TLS = &tls.Config{RootCAs: pg.CA.Pool(), Certificates: []tls.Certificate{client.Certificate}}
		}},
		{name: "cert without a certificate", user: "certified", mode: SSLRequire, code: "28000"},
		{name: "socket", user: "socket", mode: SSLRequire, change: func(t *Target) { t.Hosts, t.SocketDir = nil, pg.SocketDir }},
		{name: "the second host answers", user: "scram", change: func(t *Target) { t.Hosts = []string{"/nonexistent", "127.0.0.1"} }},
		{name: "no host answers", user: "scram", reason: ReasonConnect, change: func(t *Target) { t.Hosts = []string{"/nonexistent", "@nonexistent"} }},
		{name: "replication", user: "postgres", change: func(t *Target) { t.Credentials.Plain, t.Replication = pgtest.SuperuserPassword, "database" }},
	}
	hasher := auth.NewHasher(auth.HasherOptions{})
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			ta := target(pg, tc.user, tc.mode)
			ta.Hasher = hasher
			if tc.change != nil {
				tc.change(&ta)
			}
			s, err := Dial(testContext(t), ta)
			if s != nil {
				defer func() { _ = s.Conn.Close() }()
			}
			if tc.code != "" || tc.err != nil || tc.reason != "" {
				var refused *ServerError
				switch {
				case err == nil:
					t.Fatal("it connects")
				case tc.code != "" && (!errors.As(err, &refused) || refused.Code() != tc.code || len(refused.Body) == 0):
					t.Fatalf("got %v, want SQLSTATE %s", err, tc.code)
				case tc.err != nil && !errors.Is(err, tc.err):
					t.Fatalf("\n got %v\nwant %v", err, tc.err)
				case tc.reason != "" && !isReason(err, tc.reason):
					t.Fatalf("\n got %v\nwant %v", err, tc.reason)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if encrypted(s) != tc.tls {
				t.Errorf("encrypted: %t", encrypted(s))
			}
			checkUsable(t, s, pg)
		})
	}
}

// checkUsable checks what Dial promises of a server.
func checkUsable(t *testing.T, s *Server, pg *pgtest.Cluster) {
	t.Helper()
	if v, ok := s.Param("server_version"); !ok || v == "" {
		t.Errorf("no server_version in %v", s.Params)
	}
	if v, _ := s.Param("Application_Name"); v != "it's us" {
		t.Errorf("application_name is %q", v)
	}
	switch s.Raw.(type) {
	case *net.TCPConn, *net.UnixConn:
	default:
		t.Errorf("Raw is a %T", s.Raw)
	}
	want := 2
	if v, _ := s.Param("server_version"); strings.HasPrefix(v, "1") && v < "18" || s.tcp.Protocol30 {
		want = 0
	}
	if s.ProtocolMinor != want {
		t.Errorf("protocol 3.%d", s.ProtocolMinor)
	}
	got, err := query(s.Conn, "SELECT pg_backend_pid() || ' ' || current_setting('statement_timeout')")
	if err != nil || got != itoa(int(s.PID))+" 30s" {
		t.Errorf("got %q, %v; PID %d", got, err, s.PID)
	}
}

// Keys that a client proved to us open the server, without a password anywhere.
func TestSCRAMPassThrough(t *testing.T) {
	t.Parallel()
	pg := startPostgres(t)
	stored := auth.ParseSecret(pg.MustValue(t, "postgres", "SELECT rolpassword FROM pg_authid WHERE rolname = 'scram'"))
	if stored.Kind() != auth.KindSCRAM {
		t.Fatalf("the server stores a %v", stored.Kind())
	}
	m := &pipe{client: auth.NewLogin(auth.Credentials{User: "scram", Plain: "s3cret"}, auth.LoginOptions{})}
	res, err := auth.NewVerifier(auth.VerifierOptions{}).Authenticate(testContext(t), m, auth.Request{
		Method: auth.MethodSCRAM, User: "scram", Known: true, Secret: stored,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{SSLDisable, SSLRequire} {
		ta := target(pg, "scram", mode)
		ta.Credentials = auth.NewCredentials("scram", stored, &res)
		s, err := Dial(testContext(t), ta)
		if err != nil {
			t.Fatalf("%s: %v", mode, err)
		}
		checkUsable(t, s, pg)
		_ = s.Conn.Close()
	}
	pg.MustExec(t, "postgres", "ALTER ROLE scram PASSWORD 's3cret'") // the same password with another salt
	ta := target(pg, "scram", SSLDisable)
	ta.Credentials = auth.NewCredentials("scram", stored, &res)
	if _, err := Dial(testContext(t), ta); !errors.Is(err, auth.ErrServerPasswordType) {
		t.Errorf("got %v", err)
	}
}

// pipe joins a client's half to a server's.
type pipe struct {
	client *auth.Login
	reply  []byte
	err    error
}

func (p *pipe) SendAuth(code uint32, data []byte) error {
	p.reply, _, p.err = p.client.Answer(context.Background(), append([]byte{0, 0, 0, byte(code)}, data...))
	return nil
}

func (p *pipe) RecvPassword() ([]byte, error) { return p.reply, p.err }

// PostgreSQL must derive the same secrets from difficult passwords as we do.
func TestSASLprepAsPostgres(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t)
	for i, password := range []string{
		"plain", "I\u00adX", "\u00aa", "\u2168", "a\u00a0b", "\u200b", "\u00ad", "e\u0301", "\u0627\u0031", "\u0627\u2168",
		"\u2168\u0007", "\u2168\U0001f600", "\u0627\u0628\u00ad", "\ufb01 \u2126", "\u2168\ue000", "\u212b\u0300", "\u3000", "\ufeffbom",
		"\u0340x", "\u0627\ufe00\u2126", "\ufdfa", "\u1806\u180b\ufe00", "пароль", "密码", "mañana\u00a0", "\u05d0\u0627", "\u0627a\u0627", "\u2168\u0221", "\u037a", "tab\t\u2168",
	} {
		pg.MustExec(t, "postgres", "SET password_encryption = 'scram-sha-256'",
			"DROP ROLE IF EXISTS r", "CREATE ROLE r LOGIN PASSWORD '"+password+"'")
		stored := auth.ParseSecret(pg.MustValue(t, "postgres", "SELECT rolpassword FROM pg_authid WHERE rolname = 'r'"))
		ours, err := auth.NewSCRAMSecret(password, stored.Iterations(), stored.Salt())
		if err != nil || ours != stored {
			t.Errorf("%d: password %+q: we derive another secret than PostgreSQL (%v)", i, password, err)
		}
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	pg := startPostgres(t)
	for _, mode := range []string{SSLDisable, SSLRequire, "socket"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			ta := target(pg, "scram", mode)
			if mode == "socket" {
				ta.SSLMode, ta.Hosts, ta.User = "", []string{pg.SocketDir}, "socket"
			}
			s, err := Dial(testContext(t), ta)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Conn.Close() }()
			done := make(chan error, 1)
			go func() { _, err := query(s.Conn, "SELECT pg_sleep(20)"); done <- err }()
			pgtest.Eventually(t, 15*time.Second, func() error {
				if v := pg.MustValue(t, "postgres", "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND pid = "+itoa(int(s.PID))); v != "1" {
					return errors.New("the query does not run yet")
				}
				return nil
			})
			if err := s.Cancel(testContext(t)); err != nil {
				t.Error(err)
			}
			if err := <-done; !isRefusal(err, "57014") {
				t.Errorf("the query ended with %v", err)
			}
			if v, err := query(s.Conn, "SELECT 1"); err != nil || v != "1" {
				t.Errorf("afterwards: %q, %v", v, err)
			}
		})
	}
}

func TestServerGone(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t)
	ta := Target{Hosts: []string{pg.Host}, Port: pg.Port, User: pgtest.Superuser, DBName: "postgres"}
	ta.Credentials.Plain = pgtest.SuperuserPassword
	s, err := Dial(testContext(t), ta)
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Conn.Close()
	thaw := pg.Freeze()
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, ta); !isReason(err, ReasonTimeout) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("frozen: got %v", err)
	}
	thaw()
	if err := pg.Stop(testContext(t), pgtest.Immediate); err != nil {
		t.Fatal(err)
	}
	_, err = Dial(testContext(t), ta)
	if !isReason(err, ReasonConnect) || !strings.Contains(err.Error(), net.JoinHostPort(pg.Host, itoa(pg.Port))) {
		t.Errorf("stopped: got %v", err)
	}
	if err := s.Cancel(testContext(t)); !isReason(err, ReasonConnect) {
		t.Errorf("cancel: got %v", err)
	}
}

func TestServerSideTLSWithPostgres(t *testing.T) {
	t.Parallel()
	pg := startPostgres(t)
	client, err := pg.CA.IssueClient("certified")
	if err != nil {
		t.Fatal(err)
	}
	st := &config.Settings{ServerTLSSSLMode: "require", ServerTLSProtocols: "secure", ServerTLSCiphers: "default"}
	db := &config.Database{
		Name: "d", ServerTLSSSLMode: "verify-full", ServerTLSCAFile: pg.CA.CertFile,
		ServerTLSCertFile: client.CertFile, ServerTLSKeyFile: client.KeyFile,
	}
	cfg, mode, err := ServerSideTLS(st, db)
	if err != nil || mode != SSLVerifyFull {
		t.Fatal(mode, err)
	}
	// Files are read once: what happens to them later does not matter.
	if err := os.Remove(client.KeyFile); err != nil {
		t.Fatal(err)
	}
	ta := target(pg, "certified", mode)
	ta.TLS = cfg
	for _, protocols := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		ta.TLS = cfg.Clone()
		ta.TLS.MinVersion, ta.TLS.MaxVersion = protocols, protocols
		s, err := Dial(testContext(t), ta)
		if err != nil {
			t.Fatal(err)
		}
		if s.TLSState.Version != protocols {
			t.Errorf("version %x", s.TLSState.Version)
		}
		checkUsable(t, s, pg)
		_ = s.Conn.Close()
	}
}
