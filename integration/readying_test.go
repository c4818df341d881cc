package integration

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"pgdrover/internal/pgtest"
)

// TestWaitingEndsWhileAServerIsGotReady has the network die under what a server is asked before a client gets it. No limit and no request may
// wait for the answer.
func TestWaitingEndsWhileAServerIsGotReady(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", ""))
	for _, phase := range []struct{ name, settings, asked string }{
		{"server_check_query", "server_check_query = \"SELECT 'check'\"\nserver_check_delay = 0\n", "SELECT 'check'"},
		{"parameters", "server_check_query = \"\"\n", "set_config"},
	} {
		for _, end := range []struct {
			name, settings string
			now            func(ctx context.Context, b *bouncer, c *pgx.Conn, id string)
			code, message  string
		}{
			{name: "query_wait_timeout", settings: "query_wait_timeout = 1\n", code: "57014", message: "query_wait_timeout"},
			{name: "query_timeout", settings: "query_timeout = 1\n", code: "57014", message: "query_timeout"},
			{name: "cancel", code: "57014", message: "canceling statement", now: func(ctx context.Context, _ *bouncer, c *pgx.Conn, _ string) {
				if err := c.PgConn().CancelRequest(ctx); err != nil {
					t.Error(err)
				}
			}},
			{name: "KILL_CLIENT", code: "57P01", message: "admin forced disconnect", now: func(_ context.Context, b *bouncer, _ *pgx.Conn, id string) { b.Admin("KILL_CLIENT " + id) }},
			{name: "leave", now: func(_ context.Context, _ *bouncer, c *pgx.Conn, _ string) { _ = c.PgConn().Conn().Close() }},
		} {
			t.Run(phase.name+"/"+end.name, func(t *testing.T) {
				t.Parallel()
				ctx := testContext(t)
				w := startWiretap(t, pg)
				b := startBouncer(t, "auth_type = \"trust\"\npool_mode = \"transaction\"\n"+phase.settings+end.settings,
					trustUsers+fmt.Sprintf("[databases.db]\nhost = \"127.0.0.1\"\nport = %d\ndbname = \"postgres\"\npool_size = 1\n", w.Port))
				first, c := b.Connect(ctx, "db", "app", "application_name=first"), b.Connect(ctx, "db", "app", "application_name=second")
				mustRun(ctx, t, first, "SELECT 1")
				hit := w.set(trap{text: phase.asked, whole: true})
				waiting := background(func() error { _, err := run(ctx, c, "SELECT 2"); return err })
				hit.await(ctx, t)
				if end.now != nil {
					var id string
					pgtest.Eventually(t, patience, func() error {
						ws := b.Admin("SHOW WAITERS")
						if len(ws) != 1 || ws[0]["reason"] != "checking" || b.row("POOLS", "database=db")["cl_waiting"] != "1" {
							return fmt.Errorf("waiters are %v, the pool is %v", ws, b.row("POOLS", "database=db"))
						}
						id = ws[0]["client_id"]
						return nil
					})
					noResult(t, waiting)
					end.now(ctx, b, c, id)
				}
				err := result(ctx, t, waiting)
				if end.code != "" {
					wantError(t, err, end.code, end.message)
				}
				pgtest.Eventually(t, patience, func() error {
					if n := len(b.Admin("SHOW WAITERS")); n != 0 {
						return fmt.Errorf("%d clients still wait", n)
					}
					if n := len(b.Admin("SELECT * FROM clients WHERE application_name = 'second'")); end.code == "" && n != 0 {
						return errors.New("the client that has left is still there")
					}
					return nil
				})
				w.open(nil)
				mustRun(ctx, t, b.Connect(ctx, "db", "app"), "SELECT 3")
			})
		}
	}
}

// TestALoginEndsInTimeWhateverAuthQueryWaitsFor has the server of auth_query fall silent, and idle connections to it die unnoticed.
func TestALoginEndsInTimeWhateverAuthQueryWaitsFor(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", "app"))
	w := startWiretap(t, pg)
	b := startBouncer(t, "auth_type = \"md5\"\nauth_user = \"postgres\"\nclient_login_timeout = 2\nserver_check_query = \"\"\n",
		"[users.admin]\npassword = \"admin\"\n"+fmt.Sprintf("[databases.db]\nhost = \"127.0.0.1\"\nport = %d\ndbname = \"postgres\"\n", w.Port))
	pg.MustExec(t, "postgres", "SET password_encryption = md5", "ALTER ROLE app PASSWORD 'app'")
	first := b.Connect(ctx, "db", "app")
	mustRun(ctx, t, first, "SELECT 1")
	hit := w.set(trap{text: "pg_authid", whole: true})
	login := background(func() error {
		c, err := pgx.Connect(ctx, b.DSN("db", "app"))
		if err == nil {
			_ = c.Close(ctx)
		}
		return err
	})
	hit.await(ctx, t)
	wantError(t, result(ctx, t, login), "08P01", "client_login_timeout (server down)")
	w.open(nil)
	mustRun(ctx, t, b.Connect(ctx, "db", "app"), "SELECT 2")
}
