package integration

import (
	"testing"

	"pgdrover/internal/pgtest"
)

func TestQueryThroughPool(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	b := startBouncer(t, `auth_type = "trust"
pool_mode = "transaction"`, trustUsers+pgDatabase("db", pg, ""))
	ctx := testContext(t)
	conn := b.Connect(ctx, "db", "postgres")
	var n int
	if err := conn.QueryRow(ctx, "SELECT $1::int + 1", 41).Scan(&n); err != nil || n != 42 {
		t.Fatalf("got %d, %v; want 42", n, err)
	}
	if got := b.Admin("SHOW POOLS")[0]["database"]; got != "db" {
		t.Errorf("first pool is of database %q, want db", got)
	}
}
