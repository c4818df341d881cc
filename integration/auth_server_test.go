package integration

import (
	"context"
	"fmt"
	osuser "os/user"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"pgdrover/internal/pgtest"
)

func pgtestUser(tb testing.TB) string {
	tb.Helper()
	u, err := osuser.Current()
	if err != nil {
		tb.Fatal(err)
	}
	return u.Username
}

func TestServersAreLoggedInToByEachMethod(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"trust", "password", "md5", "scram-sha-256"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			pg := pgtest.Start(t, pgtest.WithAuth(method), pgtest.WithUser("app", "secret"))
			b := startBouncer(t, "auth_type = \"plain\"\nserver_login_retry = 1\n", "[users.app]\npassword = \"secret\"\n[users.admin]\npassword = \"admin\"\n"+
				pgDatabase("db", pg, "")+pgDatabase("forced", pg, "user = \"app\"\npassword = \"secret\"")+pgDatabase("wrong", pg, "user = \"app\"\npassword = \"wrong\""))
			ctx := testContext(t)
			for _, db := range []string{"db", "forced"} {
				if err := b.tryLogin(ctx, db, "app", "secret"); err != nil {
					t.Errorf("%s: %v", db, err)
				}
			}
			if method == "trust" {
				return
			}
			if got, want := codeOf(b.tryLogin(ctx, "wrong", "app", "secret")), `28P01 password authentication failed for user "app"`; got != want {
				t.Errorf("a wrong password of ours: got %s, want the server's own words %s", got, want)
			}
		})
	}
}

// Only the SCRAM secret is stored, the same as in pg_authid: nobody but the client knows the password.
func TestSCRAMSecretsPassThrough(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithUser("app", "secret"), pgtest.WithUser("other", "secret"))
	ctx := testContext(t)
	secret := rolpassword(t, pg, "app")
	admin := "[users.admin]\npassword = \"admin\"\n"
	list := filepath.Join(t.TempDir(), "userlist.txt")
	save(t, list, fmt.Sprintf("%q %q\n", "app", secret))
	for name, b := range map[string]*bouncer{
		"TOML":         startBouncer(t, "auth_type = \"scram-sha-256\"\n", fmt.Sprintf("[users.app]\npassword = %q\n", secret)+admin+pgDatabase("db", pg, "")),
		"userlist.txt": startBouncer(t, fmt.Sprintf("auth_type = \"md5\"\nauth_file = %q\n", list), admin+pgDatabase("db", pg, "")),
	} {
		if err := b.tryLogin(ctx, "db", "app", "secret"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		b.Admin("RECONNECT")
		if err := b.tryLogin(ctx, "db", "app", "secret"); err != nil {
			t.Errorf("%s, after RECONNECT: %v", name, err)
		}
	}
	// Another salt is another secret, which proves nothing to this server.
	b := startBouncer(t, "auth_type = \"scram-sha-256\"\n", fmt.Sprintf("[users.app]\npassword = %q\n", rolpassword(t, pg, "other"))+admin+pgDatabase("db", pg, ""))
	if err := b.tryLogin(ctx, "db", "app", "secret"); err == nil {
		t.Error("a secret with another salt passed through")
	}
}

// A client that logs in without proving anything has nothing to pass on, and takes nothing from those who had.
func TestALoginWithoutProofLeavesTheKeysOfOthers(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithUser("app", "secret"))
	hba := filepath.Join(t.TempDir(), "hba.conf")
	save(t, hba, "local all all trust\nhost pgdrover admin 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
	b := startBouncer(t, fmt.Sprintf("auth_type = \"hba\"\nauth_hba_file = %q\npool_mode = \"transaction\"\n", hba),
		fmt.Sprintf("[users.app]\npassword = %q\n[users.admin]\n", rolpassword(t, pg, "app"))+pgDatabase("db", pg, ""))
	ctx := testContext(t)
	proved := b.connectAs(ctx, "db", "app", "secret")
	mustRun(ctx, t, proved, "SELECT 1")
	trusted, err := pgx.Connect(ctx, fmt.Sprintf("host=%s port=%d dbname=db user=app", b.Dir, b.Port))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = trusted.Close(context.Background()) }()
	mustRun(ctx, t, trusted, "SELECT 1")
	b.Admin("RECONNECT")
	mustRun(ctx, t, proved, "SELECT 1")
	mustRun(ctx, t, trusted, "SELECT 1")
}

// A rotated password: the new secret is in both places, sessions go on, new ones use it.
func TestARotatedSecretPassesThrough(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithUser("app", "one"))
	ctx := testContext(t)
	tables := func() string {
		return fmt.Sprintf("[users.app]\npassword = %q\n[users.admin]\npassword = \"admin\"\n", rolpassword(t, pg, "app")) + pgDatabase("db", pg, "")
	}
	set := "auth_type = \"scram-sha-256\"\npool_mode = \"transaction\"\nserver_login_retry = 1\n"
	b := startBouncer(t, set, tables())
	if err := b.tryLogin(ctx, "db", "app", "one"); err != nil {
		t.Fatal(err)
	}
	pg.MustExec(t, "postgres", "ALTER ROLE app PASSWORD 'two'")
	b.Write(set, tables())
	b.Admin("RELOAD", "RECONNECT db")
	if err := b.tryLogin(ctx, "db", "app", "two"); err != nil {
		t.Errorf("the new password: %v", err)
	}
	if err := b.tryLogin(ctx, "db", "app", "one"); err == nil {
		t.Error("the old password still works")
	}
}

func TestAuthQueryFindsUsersThatAreListedNowhere(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithUser("app", "secret"), pgtest.WithUser("other", "secret"))
	b := startBouncer(t, "auth_type = \"scram-sha-256\"\nauth_user = \"postgres\"\n",
		"[users.admin]\npassword = \"admin\"\n[users.postgres]\npassword = \"postgres\"\n"+pgDatabase("db", pg, ""))
	ctx := testContext(t)
	if err := b.tryLogin(ctx, "db", "app", "secret"); err != nil {
		t.Errorf("app: %v", err)
	}
	if got := codeOf(b.tryLogin(ctx, "db", "app", "wrong")); got != "28P01 SASL authentication failed" {
		t.Errorf("a wrong password: got %s", got)
	}
	if got := codeOf(b.tryLogin(ctx, "db", "nobody", "wrong")); got != "28P01 SASL authentication failed" {
		t.Errorf("an unknown user: got %s", got)
	}
	pg.MustExec(t, "postgres", "ALTER ROLE other PASSWORD 'changed'")
	if err := b.tryLogin(ctx, "db", "other", "changed"); err != nil {
		t.Errorf("a password that was changed on the server: %v", err)
	}
}

// A [users] entry without a password is settings: auth_query says whether the user exists and what its password is.
func TestAuthQueryFindsUsersThatHaveOnlySettings(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithUser("app", "secret"), pgtest.WithUser("other", "secret"))
	for _, method := range []string{"scram-sha-256", "plain", "md5"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			b := startBouncer(t, "auth_type = \""+method+"\"\nauth_user = \"postgres\"\n",
				"[users.admin]\npassword = \"admin\"\n[users.postgres]\npassword = \"postgres\"\n"+
					"[users.app]\nmax_user_client_connections = 1\n[users.nobody]\npool_size = 2\n[users.locked]\npassword = \"\"\n"+pgDatabase("db", pg, ""))
			ctx := testContext(t)
			first := b.connectAs(ctx, "db", "app", "secret")
			mustRun(ctx, t, first, "SELECT 1")
			if got := codeOf(b.tryLogin(ctx, "db", "app", "secret")); got != "53300 client connections exceeded (max_user_client_connections)" {
				t.Errorf("a second client of a user who may have one: got %s", got)
			}
			unknown := codeOf(b.tryLogin(ctx, "db", "stranger", "wrong"))
			for user, password := range map[string]string{"app": "wrong", "nobody": "wrong", "locked": "secret"} {
				if got := codeOf(b.tryLogin(ctx, "db", user, password)); got != unknown {
					t.Errorf("%s: got %s, want what an unknown user gets, %s", user, got, unknown)
				}
			}
			b.Admin("ALTER USER other SET max_user_client_connections = 1")
			second := b.connectAs(ctx, "db", "other", "secret")
			mustRun(ctx, t, second, "SELECT 1")
			if got := codeOf(b.tryLogin(ctx, "db", "other", "secret")); got != "53300 client connections exceeded (max_user_client_connections)" {
				t.Errorf("a second client after ALTER USER: got %s", got)
			}
		})
	}
}

// Where no password is asked for, an entry makes the user known, and what ALTER USER keeps alone does not.
func TestTrustKnowsUsersThatHaveOnlySettings(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", "secret"), pgtest.WithUser("other", "secret"))
	b := startBouncer(t, "auth_type = \"trust\"\nauth_user = \"postgres\"\n", "[users.admin]\n[users.absent]\npool_size = 2\n"+pgDatabase("db", pg, "")+
		pgDatabase("forced", pg, "user = \"app\""))
	ctx := testContext(t)
	b.Admin("ALTER USER other SET pool_size = 2", "ALTER USER stranger SET pool_size = 2")
	for user, want := range map[string]string{"absent": "", "other": "", "stranger": `28000 "trust" authentication failed`} {
		err := b.tryLogin(ctx, "forced", user, "")
		if err == nil && want == "" {
			continue
		}
		if got := codeOf(err); got != want {
			t.Errorf("%s: got %s, want %s", user, got, want)
		}
	}
}

// A wrong password against a SCRAM secret costs milliseconds of CPU. Sessions that are in already must get their turn
// all the same.
func TestALoginStormDoesNotBlockQueries(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithUser("app", "secret"))
	users := fmt.Sprintf("[users.app]\npassword = %q\n[users.admin]\npassword = \"admin\"\n", rolpassword(t, pg, "app"))
	b := startBouncer(t, "auth_type = \"plain\"\npool_mode = \"transaction\"\nmax_client_conn = 500\n", users+pgDatabase("db", pg, "password = \"secret\""))
	ctx := testContext(t)
	conn := b.connectAs(ctx, "db", "app", "secret")
	mustRun(ctx, t, conn, "SELECT 1")
	storm, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	var refused atomic.Int64
	for i := range 40 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := 0; storm.Err() == nil; n++ {
				if err := b.tryLogin(storm, "db", "app", fmt.Sprint("wrong", i, n)); codeOf(err) == "28P01 password authentication failed" {
					refused.Add(1)
				}
			}
		}()
	}
	// A queue with the logins in front would let one query through for every 40 of them. One for ten is far from that, on a
	// machine that does other things too.
	done := int64(0)
	for ; (done < 50 || refused.Load() < 50) && ctx.Err() == nil; done++ {
		mustRun(ctx, t, conn, "SELECT 1")
	}
	stop()
	wg.Wait()
	if n := refused.Load(); 10*done < n {
		t.Errorf("%d queries were answered while %d logins were refused", done, n)
	}
}

// TestWhoIsNotLetInRegistersNoDatabase tries names that only "*" stands for.
func TestWhoIsNotLetInRegistersNoDatabase(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", "app"))
	b := startBouncer(t, "auth_type = \"scram-sha-256\"\n", "[users.admin]\npassword = \"admin\"\n[users.app]\npassword = \"app\"\n"+pgDatabase("\"*\"", pg, ""))
	count := func() string {
		return b.Admin("SELECT count(*) AS n FROM databases WHERE name LIKE 'made_up_%'")[0]["n"]
	}
	for i := range 5 {
		for _, who := range []string{"user=nobody password=x", "user=app password=wrong"} {
			_, err := pgx.Connect(ctx, fmt.Sprintf("host=127.0.0.1 port=%d sslmode=disable dbname=made_up_%d %s", b.Port, i, who))
			wantError(t, err, "28P01", "")
		}
	}
	if n := count(); n != "0" {
		t.Errorf("%s databases are there that nobody may use", n)
	}
	mustRun(ctx, t, b.Connect(ctx, "made_up_1", "app"), "SELECT 1")
	if n := count(); n != "1" {
		t.Errorf("%s databases are there, want the one that is used", n)
	}
}
