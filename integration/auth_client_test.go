package integration

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"pgdrover/internal/pgtest"
)

// rolpassword is what the cluster stores for a user.
func rolpassword(tb testing.TB, c *pgtest.Cluster, user string) string {
	tb.Helper()
	return c.MustValue(tb, "postgres", "SELECT rolpassword FROM pg_authid WHERE rolname = '"+user+"'")
}

// md5Of is the hash that an old cluster would store.
func md5Of(tb testing.TB, c *pgtest.Cluster, password, user string) string {
	tb.Helper()
	return "md5" + c.MustValue(tb, "postgres", fmt.Sprintf("SELECT md5('%s' || '%s')", password, user))
}

func codeOf(err error) string {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return pe.Code + " " + pe.Message
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func TestClientsProveThemselvesByEachMethodAndSecret(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithUser("app", "secret"))
	users := "[users.admin]\npassword = \"admin\"\n"
	for name, secret := range map[string]string{
		"plain": "secret", "hash": md5Of(t, pg, "secret", "hash"), "scram": rolpassword(t, pg, "app"),
	} {
		users += fmt.Sprintf("[users.%s]\npassword = %q\n", name, secret)
	}
	db := pgDatabase("db", pg, "user = \"app\"\npassword = \"secret\"")
	const sasl, password = "28P01 SASL authentication failed", "28P01 password authentication failed"
	for method, users1 := range map[string]map[string]string{ // what a wrong password gets
		"plain":         {"plain": password, "hash": password, "scram": password},
		"md5":           {"plain": password, "hash": password, "scram": sasl},
		"scram-sha-256": {"plain": sasl, "scram": sasl},
	} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			b := startBouncer(t, "auth_type = \""+method+"\"\n", users+db)
			ctx := testContext(t)
			for user, wrong := range users1 {
				if err := b.tryLogin(ctx, "db", user, "secret"); err != nil {
					t.Errorf("%s with the right password: %v", user, err)
				}
				if got := codeOf(b.tryLogin(ctx, "db", user, "wrong")); got != wrong {
					t.Errorf("%s with a wrong password: got %s, want %s", user, got, wrong)
				}
			}
			if method == "scram-sha-256" {
				if got := codeOf(b.tryLogin(ctx, "db", "hash", "secret")); got != sasl {
					t.Errorf("SCRAM against an MD5 hash: got %s, want %s", got, sasl)
				}
			}
		})
	}
}

func TestTrustKnowsItsUsersAndAnyDoesNot(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", "app"))
	ctx := testContext(t)
	b := startBouncer(t, "auth_type = \"trust\"\n", trustUsers+pgDatabase("db", pg, ""))
	if err := b.tryLogin(ctx, "db", "app", ""); err != nil {
		t.Error(err)
	}
	if got, want := codeOf(b.tryLogin(ctx, "db", "stranger", "")), `28000 "trust" authentication failed`; got != want {
		t.Errorf("trust and an unknown user: got %s, want %s", got, want)
	}
	b = startBouncer(t, "auth_type = \"any\"\n", pgDatabase("db", pg, "user = \"app\"")+pgDatabase("open", pg, ""))
	if got := mustRun(ctx, t, b.Connect(ctx, "db", "stranger"), "SELECT current_user"); got != "app" {
		t.Errorf("any: got %s, want the forced user", got)
	}
	if got := codeOf(b.tryLogin(ctx, "open", "stranger", "")); got != "28000 no such user" {
		t.Errorf("any without a forced user: got %s", got)
	}
	// With "any" everybody may look at the admin database, and only admin_users may change something.
	admin := b.Connect(ctx, "pgdrover", "stranger")
	mustRun(ctx, t, admin, "SHOW VERSION")
	if _, err := run(ctx, admin, "RELOAD"); err == nil {
		t.Error("a stranger may RELOAD")
	}
}

func TestAdminDatabaseHasItsRoles(t *testing.T) {
	t.Parallel()
	b := startBouncer(t, "auth_type = \"trust\"\n", trustUsers)
	ctx := testContext(t)
	mustRun(ctx, t, b.Connect(ctx, "pgbouncer", "admin"), "RELOAD")
	stats := b.Connect(ctx, "pgdrover", "stats")
	mustRun(ctx, t, stats, "SHOW POOLS")
	if got := codeOf(second(run(ctx, stats, "RELOAD"))); !strings.Contains(got, "admin access needed") {
		t.Errorf("RELOAD by stats: got %s", got)
	}
	if got := codeOf(second(pgx.Connect(ctx, b.DSN("pgdrover", "app")))); got != "42501 not allowed" {
		t.Errorf("app: got %s, want 42501 not allowed", got)
	}
}

func second[T any](_ T, err error) error { return err }

func TestPeerOnTheUnixSocket(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", "app"), pgtest.WithUser("root", "root"))
	dir := t.TempDir()
	hba, ident := filepath.Join(dir, "hba.conf"), filepath.Join(dir, "ident.conf")
	me := strings.TrimSpace(pgtestUser(t))
	save(t, hba, "local db app peer map=m\nlocal db all peer\nhost all all 127.0.0.1/32 trust\n")
	save(t, ident, fmt.Sprintf("m %s app\n", me))
	b := startBouncer(t, fmt.Sprintf("auth_type = \"hba\"\nauth_hba_file = %q\nauth_ident_file = %q\n", hba, ident),
		trustUsers+fmt.Sprintf("[users.%q]\npassword = \"x\"\n", me)+pgDatabase("db", pg, ""))
	ctx := testContext(t)
	for user, want := range map[string]string{"app": "", me: "", "stats": "28000 unix socket login rejected"} {
		err := second(b.tryUnix(ctx, "db", user))
		if got := codeOf(err); got != want {
			t.Errorf("%s at the socket as %s: got %q, want %q", me, user, got, want)
		}
	}
	// PgBouncer's door for scripts: the user that pgdrover runs as is admin under this name, without a password.
	if err := second(b.tryUnix(ctx, "pgbouncer", "pgbouncer")); err != nil {
		t.Errorf("user pgbouncer at the socket: %v", err)
	}
	if err := b.tryLogin(ctx, "pgbouncer", "pgbouncer", ""); err == nil {
		t.Error("user pgbouncer came in by TCP")
	}
}

// tryUnix logs in at the Unix socket.
func (b *bouncer) tryUnix(ctx context.Context, db, user string) (struct{}, error) {
	conn, err := pgx.Connect(ctx, fmt.Sprintf("host=%s port=%d dbname=%s user=%s", b.Dir, b.Port, db, user))
	if err != nil {
		return struct{}{}, err
	}
	return struct{}{}, conn.Close(ctx)
}

// saslChallenge asks for a login by SCRAM and returns the mechanisms, salt and iteration count that it is answered
// with, and the error that a wrong proof gets.
func (b *bouncer) saslChallenge(ctx context.Context, db, user string) (challenge, refusal string) {
	b.tb.Helper()
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", b.Port))
	if err != nil {
		b.tb.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	f := pgproto3.NewFrontend(nc, nc)
	f.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": user, "database": db}})
	next := func() pgproto3.BackendMessage {
		b.tb.Helper()
		if err := f.Flush(); err != nil {
			b.tb.Fatal(err)
		}
		m, err := f.Receive()
		if err != nil {
			b.tb.Fatal(err)
		}
		return m
	}
	m := next()
	sasl, ok := m.(*pgproto3.AuthenticationSASL)
	if !ok {
		b.tb.Fatalf("%s: got %T, want AuthenticationSASL", user, m)
	}
	challenge = strings.Join(sasl.AuthMechanisms, ",")
	f.Send(&pgproto3.SASLInitialResponse{AuthMechanism: "SCRAM-SHA-256", Data: []byte("n,,n=,r=abcdefgh")})
	m = next()
	first, ok := m.(*pgproto3.AuthenticationSASLContinue)
	if !ok {
		b.tb.Fatalf("%s: got %T, want AuthenticationSASLContinue", user, m)
	}
	nonce, rest, _ := strings.Cut(string(first.Data), ",")
	challenge += " " + rest
	f.Send(&pgproto3.SASLResponse{Data: []byte("c=biws," + nonce + ",p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")})
	e, ok := next().(*pgproto3.ErrorResponse)
	if !ok {
		b.tb.Fatalf("%s: a wrong proof was not refused", user)
	}
	return challenge, fmt.Sprintf("%s %s %s %s %s", e.Severity, e.Code, e.Message, e.Detail, e.Hint)
}

// Whoever knows no password must not learn which users and databases there are.
func TestUnknownUsersAndDatabasesLookLikeKnownOnes(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithUser("app", "secret"), pgtest.WithUser("other", "secret"))
	secret := func(iterations string) string {
		return strings.Replace(rolpassword(t, pg, "app"), "$4096:", "$"+iterations+":", 1)
	}
	db := pgDatabase("db", pg, "")
	for _, iterations := range []string{"4096", "10000"} {
		b := startBouncer(t, "auth_type = \"scram-sha-256\"\n", fmt.Sprintf("[users.app]\npassword = %q\n[users.bob]\npassword = %q\n[users.admin]\npassword = \"admin\"\n", secret(iterations), secret(iterations))+db)
		ctx := testContext(t)
		known, knownRefusal := b.saslChallenge(ctx, "db", "app")
		if again, _ := b.saslChallenge(ctx, "db", "app"); again != known {
			t.Fatalf("the salt of a known user changes: %s, %s", known, again)
		}
		unknown, refusal := b.saslChallenge(ctx, "db", "nobody")
		for range 5 {
			if again, _ := b.saslChallenge(ctx, "db", "nobody"); again != unknown {
				t.Fatalf("the challenge of an unknown user changes: %s, %s", unknown, again)
			}
		}
		if other, _ := b.saslChallenge(ctx, "db", "somebody"); other == unknown {
			t.Error("two unknown users have the same salt")
		}
		_, iKnown, _ := strings.Cut(known, ",i=")
		_, iUnknown, _ := strings.Cut(unknown, ",i=")
		if iKnown != iUnknown || len(known) != len(unknown) {
			t.Errorf("a known user is asked %s, an unknown one %s", known, unknown)
		}
		if refusal != knownRefusal {
			t.Errorf("a known user is refused with %s, an unknown one with %s", knownRefusal, refusal)
		}
		if _, got := b.saslChallenge(ctx, "nowhere", "app"); got != knownRefusal {
			t.Errorf("an unknown database with a wrong password: got %s, want %s", got, knownRefusal)
		}
	}
}

func TestAnUnknownDatabaseIsToldAfterTheLogin(t *testing.T) {
	t.Parallel()
	b := startBouncer(t, "auth_type = \"scram-sha-256\"\n", "[users.app]\npassword = \"app\"\n")
	ctx := testContext(t)
	if got := codeOf(b.tryLogin(ctx, "nowhere", "app", "app")); got != "3D000 no such database: nowhere" {
		t.Errorf("got %s", got)
	}
	if got := codeOf(b.tryLogin(ctx, "nowhere", "app", "wrong")); got != "28P01 SASL authentication failed" {
		t.Errorf("got %s", got)
	}
}
