package integration

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"pgdrover/internal/pgtest"
)

// A server_check_query that always fails had servers opened and closed in a loop until query_wait_timeout. Now a fresh server
// that does not pass counts as a failed login: clients hear the server's own words, and server_login_retry holds.
func TestAServerCheckQueryThatAlwaysFailsIsToldAndRetriedSlowly(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithUser("app", ""))
	ctx := testContext(t)
	const settings = "default_pool_size = 2\nserver_check_delay = 0\nserver_login_retry = 1.5\n"
	b := newPool(t, pg, settings+"server_check_query = \"SELECT 1/0\"", "")
	var clients []*pgx.Conn
	for range 4 {
		clients = append(clients, b.Connect(ctx, "db", "app"))
	}
	opened := pg.Log()
	var running []<-chan error
	for _, c := range clients {
		running = append(running, background(func() error { _, err := run(ctx, c, "SELECT 1"); return err }))
	}
	for _, ch := range running {
		e := wantError(t, result(ctx, t, ch), "22012", "division by zero")
		if !strings.Contains(e.Detail, "server_check_query failed") {
			t.Errorf("DETAIL is %q", e.Detail)
		}
	}
	_, err := run(ctx, b.Connect(ctx, "db", "app"), "SELECT 1")
	wantError(t, err, "22012", "server_login_retry")
	if n := strings.Count(strings.TrimPrefix(pg.Log(), opened), "SELECT 1/0"); n == 0 || n > 4 {
		t.Errorf("the query was tried %d times", n)
	}
	b.Write("auth_type = \"trust\"\npool_mode = \"transaction\"\n"+settings+"server_check_query = \"SELECT 1\"", trustUsers+pgDatabase("db", pg, ""))
	b.Admin("RELOAD")
	pgtest.Eventually(t, patience, func() error {
		c, err := pgx.Connect(ctx, b.DSN("db", "app"))
		if err != nil {
			return err
		}
		defer func() { _ = c.Close(ctx) }()
		_, err = run(ctx, c, "SELECT 1")
		return err
	})
	b.noLeaksAfter(ctx, pg, "app", clients...)
}
