package pgtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

func TestClusterHasWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	c := Start(t,
		WithUser("app", `se'cr\et`), WithDatabase("shop", "app"),
		WithSetting("wal_level", "logical"), WithSetting("max_prepared_transactions", "7"))
	got := map[string]string{}
	for _, name := range []string{"wal_level", "max_prepared_transactions", "fsync", "port"} {
		got[name] = c.MustValue(t, "shop", "SHOW "+name)
	}
	want := map[string]string{"wal_level": "logical", "max_prepared_transactions": "7", "fsync": "off", "port": fmt.Sprint(c.Port)}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("settings (-want +got):\n%s", d)
	}
	conn, err := pgx.Connect(t.Context(), c.DSN("shop", "app", "application_name=it's me"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var user, app string
	if err := conn.QueryRow(t.Context(), "SELECT current_user, current_setting('application_name')").Scan(&user, &app); err != nil {
		t.Fatal(err)
	}
	if user != "app" || app != "it's me" {
		t.Errorf("logged in as %q with application_name %q", user, app)
	}
}

func TestAuthMethods(t *testing.T) {
	t.Parallel()
	tests := []struct {
		method, verifier string // what pg_authid holds
		wrongPassword    string // SQLSTATE, "" = gets in
	}{
		{"scram-sha-256", "SCRAM-SHA-256$", "28P01"},
		{"md5", "md5", "28P01"},
		{"password", "SCRAM-SHA-256$", "28P01"},
		{"trust", "SCRAM-SHA-256$", ""},
	}
	for _, tt := range tests {
		t.Run(tt.method, func(t *testing.T) {
			t.Parallel()
			c := Start(t, WithAuth(tt.method), WithUser("app", "secret"))
			for _, user := range []string{"app", Superuser} {
				if err := tryConnect(t, c.DSN("postgres", user)); err != nil {
					t.Errorf("%s with the right password: %v", user, err)
				}
				v := c.MustValue(t, "postgres", "SELECT rolpassword FROM pg_authid WHERE rolname = "+quoteLiteral(user))
				if !strings.HasPrefix(v, tt.verifier) {
					t.Errorf("stored password of %s: got %q, want %s…", user, v, tt.verifier)
				}
			}
			err := tryConnect(t, c.DSN("postgres", "app", "password=wrong"))
			if got := sqlState(err); got != tt.wrongPassword {
				t.Errorf("wrong password: got SQLSTATE %q (%v), want %q", got, err, tt.wrongPassword)
			}
		})
	}
}

func TestTLSAndClientCertificates(t *testing.T) {
	t.Parallel()
	c := Start(t, WithAuth("cert"), WithUser("app", ""))
	app, err := c.CA.IssueClient("app")
	if err != nil {
		t.Fatal(err)
	}
	full := []string{"sslmode=verify-full", "sslrootcert=" + c.CA.CertFile}
	mine := append(full, "sslcert="+app.CertFile, "sslkey="+app.KeyFile)
	if err := tryConnect(t, c.DSN("postgres", "app", mine...)); err != nil {
		t.Errorf("with its certificate: %v", err)
	}
	if err := tryConnect(t, c.DSN("postgres", Superuser, mine...)); sqlState(err) != "28000" {
		t.Errorf("with somebody else's certificate: got %v, want SQLSTATE 28000", err)
	}
	if err := tryConnect(t, c.DSN("postgres", "app", full...)); sqlState(err) != "28000" {
		t.Errorf("without a certificate: got %v, want SQLSTATE 28000", err)
	}
	other := StartCA(t, "other")
	if err := tryConnect(t, c.DSN("postgres", "app", "sslmode=verify-full", "sslrootcert="+other.CertFile)); err == nil {
		t.Error("a server whose CA is not trusted was accepted")
	}
	if out := MustPsql(t, c.DSN("postgres", "app", mine...), "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", "-At"); out != "t\n" {
		t.Errorf("psql: got ssl = %q, want t", out)
	}
}

func TestCreateUserLater(t *testing.T) {
	t.Parallel()
	c := Start(t)
	if err := c.CreateUser(t.Context(), User{Name: "late comer", Password: "pw", Grants: "CREATEDB"}); err != nil {
		t.Fatal(err)
	}
	if err := tryConnect(t, c.DSN("postgres", "late comer")); err != nil {
		t.Error(err)
	}
}

func TestCustomHBAComesFirst(t *testing.T) {
	t.Parallel()
	c := Start(t, WithUser("app", "secret"), WithHBA("host all app all reject"), WithIdent("m /^(.*)$ app"))
	if err := tryConnect(t, c.DSN("postgres", "app")); sqlState(err) != "28000" {
		t.Errorf("got %v, want SQLSTATE 28000 (pg_hba.conf rejects)", err)
	}
}

func TestStopStartRestartKill(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := Start(t)
	port := c.Port
	c.MustExec(t, "postgres", "CREATE TABLE t (n int)", "INSERT INTO t VALUES (1)")
	steps := []struct {
		name string
		do   func() error
	}{
		{"fast", func() error { return c.Stop(ctx, Fast) }},
		{"immediate", func() error { return c.Stop(ctx, Immediate) }},
		{"smart", func() error { return c.Stop(ctx, Smart) }},
		{"kill -9", c.Kill},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if c.Running() || c.PID() != 0 {
			t.Errorf("%s: the server still runs", s.name)
		}
		if pids := serverProcesses(c.DataDir); len(pids) > 0 {
			t.Errorf("%s: processes %v are left", s.name, pids)
		}
		if err := tryConnect(t, c.DSN("postgres", Superuser)); err == nil {
			t.Errorf("%s: connections are still accepted", s.name)
		}
		if err := c.Start(ctx); err != nil {
			t.Fatalf("start after %s: %v", s.name, err)
		}
		if got := c.MustValue(t, "postgres", "SELECT n FROM t"); got != "1" || c.Port != port {
			t.Errorf("after %s: n = %q on port %d, want 1 on port %d", s.name, got, c.Port, port)
		}
	}
	c.MustExec(t, "postgres", "ALTER SYSTEM SET max_connections = 33")
	if err := c.Restart(ctx, Fast); err != nil {
		t.Fatal(err)
	}
	if got := c.MustValue(t, "postgres", "SHOW max_connections"); got != "33" {
		t.Errorf("max_connections after ALTER SYSTEM and a restart: got %s, want 33", got)
	}
	if !strings.Contains(c.Log(), "database system is ready to accept connections") {
		t.Errorf("log: %s", c.Log())
	}
}

func TestSmartStopWaitsForClients(t *testing.T) {
	t.Parallel()
	c := Start(t)
	conn, err := c.Connect(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.Stop(short, Smart); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a client: got %v, want a deadline error", err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Stop(t.Context(), Smart); err != nil {
		t.Errorf("without clients: %v", err)
	}
}

func TestFreezeStopsAnswers(t *testing.T) {
	t.Parallel()
	c := Start(t)
	conn, err := c.Connect(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	thaw := c.Freeze()
	answered := make(chan error, 1)
	go func() { answered <- conn.Ping(t.Context()) }()
	select {
	case err := <-answered:
		t.Errorf("a frozen server answered: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	thaw()
	if err := <-answered; err != nil {
		t.Errorf("after the thaw: %v", err)
	}
}

func TestReplicaStreamsAndIsPromoted(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	primary := Start(t, WithUser("app", "secret"), WithDatabase("shop", "app"))
	primary.MustExec(t, "shop", "CREATE TABLE before AS SELECT 1 AS n")
	replica := StartReplica(t, primary)
	primary.MustExec(t, "shop", "CREATE TABLE after AS SELECT 2 AS n")
	if err := primary.WaitForReplica(ctx, replica); err != nil {
		t.Fatal(err)
	}
	if got := replica.MustValue(t, "shop", "SELECT before.n + after.n FROM before, after"); got != "3" {
		t.Errorf("on the replica: got %q, want 3", got)
	}
	err := replica.ExecIn(ctx, "shop", "CREATE TABLE mine ()")
	if sqlState(err) != "25006" {
		t.Errorf("write on the replica: got %v, want SQLSTATE 25006", err)
	}
	if err := tryConnect(t, replica.DSN("shop", "app")); err != nil {
		t.Errorf("a user of the primary on the replica: %v", err)
	}
	if err := replica.Promote(ctx); err != nil {
		t.Fatal(err)
	}
	replica.MustExec(t, "shop", "CREATE TABLE mine ()")
}

func TestBadOptionsAreRefusedAndLeaveNothing(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		o    Options
		want string
	}{
		{"unknown method", Options{Auth: "kerberos"}, `unknown auth method "kerberos"`},
		{"old version", Options{Version: 9}, "the supported major versions are 14 to 18"},
		{"port out of range", Options{Port: 70000}, "port 70000"},
		{"setting that is no name", Options{Settings: map[string]string{"a b": "1"}}, `setting "a b": not a name`},
		{"setting that PostgreSQL refuses", Options{Settings: map[string]string{"max_connections": "many"}}, "max_connections"},
		{"nameless user", Options{Users: []User{{}}}, "a user has no name"},
		{"owner that does not exist", Options{Databases: []Database{{Name: "d", Owner: "nobody"}}}, `role "nobody" does not exist`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := New(t.Context(), tt.o)
			if err == nil {
				_ = c.Close()
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant …%s…", err, tt.want)
			}
		})
	}
}

func TestCloseRemovesEverything(t *testing.T) {
	t.Parallel()
	c, err := New(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if _, err := os.Stat(c.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the cluster's folder is still there: %v", err)
	}
	if err := c.Start(t.Context()); !errors.Is(err, errClosed) {
		t.Errorf("Start after Close: got %v, want %v", err, errClosed)
	}
}

// A test binary that is killed cannot clean up. Its server must die all the same, and its folder must be
// removed by whoever comes next.
func TestOwnerKilled(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), ownerEnv+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	dir, readErr := bufio.NewReader(out).ReadString('\n')
	dir = strings.TrimSpace(dir)
	if readErr == nil && len(serverProcesses(filepath.Join(dir, "data"))) == 0 {
		t.Error("the server does not run")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // reports that it was killed
	if readErr != nil {
		t.Fatal(readErr)
	}
	Eventually(t, 30*time.Second, func() error {
		if pids := serverProcesses(filepath.Join(dir, "data")); len(pids) > 0 {
			return fmt.Errorf("processes %v outlive their owner", pids)
		}
		return nil
	})
	Eventually(t, 30*time.Second, func() error {
		sweep()
		if _, err := os.Stat(dir); err == nil {
			return fmt.Errorf("%s is still there", dir)
		}
		return nil
	})
}

func tryConnect(t *testing.T, dsn string) error {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		return err
	}
	return conn.Close(t.Context())
}

// sqlState returns the SQLSTATE in err, "" for none and "?" for an error without one.
func sqlState(err error) string {
	if err == nil {
		return ""
	}
	if pg := new(pgconn.PgError); errors.As(err, &pg) {
		return pg.Code
	}
	return "?"
}
