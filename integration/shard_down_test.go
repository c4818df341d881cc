package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"pgdrover/internal/pgtest"
)

// startOneDown starts two servers, stops the second, and starts a pooler in front of them: item 1 is on shard "down", and item 2 on shard "up".
func startOneDown(ctx context.Context, tb testing.TB, inDB string) (up, down *pgtest.Cluster, b *bouncer) {
	tb.Helper()
	up, down = pgtest.Start(tb, pgtest.WithAuth("trust")), pgtest.Start(tb, pgtest.WithAuth("trust"))
	for _, pg := range []*pgtest.Cluster{up, down} {
		pg.MustExec(tb, "postgres", "CREATE ROLE app LOGIN", "CREATE TABLE items (id int PRIMARY KEY, n int)", "GRANT ALL ON items TO app", "INSERT INTO items VALUES (1, 11), (2, 22)")
	}
	if err := down.Stop(ctx, pgtest.Fast); err != nil {
		tb.Fatal(err)
	}
	b = startBouncer(tb, "auth_type = \"trust\"\npool_mode = \"transaction\"\nclient_login_timeout = 3\nserver_login_retry = 1\n", trustUsers+fmt.Sprintf(`
[databases.shop]
host = "127.0.0.1"
dbname = "postgres"
%s
[[databases.shop.shards]]
name = "down"
port = %d
[[databases.shop.shards]]
name = "up"
port = %d
[databases.shop.keys.item]
type = "integer"
columns = { items = "id" }
placement = [{ shard = "down", in = [1] }, { shard = "up", in = [2] }]
`, inDB, down.Port, up.Port))
	pgtest.Eventually(tb, patience, func() error { // the first login may be the one that finds out
		first, err := pgx.Connect(ctx, b.DSN("shop", "app"))
		if err == nil {
			err = first.Close(ctx)
		}
		return err
	})
	return up, down, b
}

// Symptom: with one shard of two down, no client could log in, and no statement ran: the catalogs of every shard were wanted first.
// Cause: they were read in order, and a failure was everybody's.
func TestAShardThatIsDownFailsOnlyStatementsThatNeedIt(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	_, down, b := startOneDown(ctx, t, "query_wait_timeout = 2\n")
	conn := b.Connect(ctx, "shop", "app")
	if got := mustRun(ctx, t, conn, "SELECT n FROM items WHERE id = 2"); got != "22" {
		t.Errorf("item 2 has %q", got)
	}
	if _, err := run(ctx, conn, "SELECT n FROM items WHERE id = 1"); err == nil || !strings.Contains(err.Error(), `"down"`) && !strings.Contains(err.Error(), "query_wait_timeout") {
		t.Errorf("item 1: %v", err)
	}
	if err := down.Start(ctx); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, patience, func() error {
		other, err := pgx.Connect(ctx, b.DSN("shop", "app"))
		if err != nil {
			return err
		}
		defer func() { _ = other.Close(ctx) }()
		_, err = run(ctx, other, "SELECT n FROM items WHERE id = 1")
		return err
	})
}
