package integration

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"pgdrover/internal/pgtest"
)

// Symptom: with one shard of two down, no client could log in, and no statement ran: the catalogs of every shard were wanted first.
// Cause: they were read in order, and a failure was everybody's.
func TestAShardThatIsDownFailsOnlyStatementsThatNeedIt(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	up := pgtest.Start(t, pgtest.WithAuth("trust"))
	down := pgtest.Start(t, pgtest.WithAuth("trust"))
	for _, pg := range []*pgtest.Cluster{up, down} {
		pg.MustExec(t, "postgres", "CREATE ROLE app LOGIN", "CREATE TABLE items (id int PRIMARY KEY, name text)", "GRANT ALL ON items TO app",
			"INSERT INTO items VALUES (1, 'one'), (2, 'two')")
	}
	if err := down.Stop(ctx, pgtest.Fast); err != nil {
		t.Fatal(err)
	}
	tables := strings.NewReplacer("UP", strconv.Itoa(up.Port), "DOWN", strconv.Itoa(down.Port)).Replace(`
[databases.shop]
host = "127.0.0.1"
dbname = "postgres"
query_wait_timeout = 2
[[databases.shop.shards]]
name = "a"
port = DOWN
[[databases.shop.shards]]
name = "b"
port = UP
[databases.shop.keys.item]
type = "integer"
columns = { items = "id" }
placement = [{ shard = "a", in = [1] }, { shard = "b", in = [2] }]
`)
	b := startBouncer(t, "auth_type = \"trust\"\npool_mode = \"transaction\"\nclient_login_timeout = 3\nserver_login_retry = 1\n", trustUsers+tables)
	pgtest.Eventually(t, patience, func() error { // the first login may be the one that finds out
		first, err := pgx.Connect(ctx, b.DSN("shop", "app"))
		if err == nil {
			err = first.Close(ctx)
		}
		return err
	})
	conn := b.Connect(ctx, "shop", "app")
	if got := mustRun(ctx, t, conn, "SELECT name FROM items WHERE id = 2"); got != "two" {
		t.Errorf("item 2 is %q", got)
	}
	if _, err := run(ctx, conn, "SELECT name FROM items WHERE id = 1"); err == nil || !strings.Contains(err.Error(), `"a"`) && !strings.Contains(err.Error(), "query_wait_timeout") {
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
		_, err = run(ctx, other, "SELECT name FROM items WHERE id = 1")
		return err
	})
}
