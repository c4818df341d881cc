package integration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestStatementsGoToTheShardOfTheirKey(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	s := startShop(t, 3, "", "")
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeCacheStatement,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			c := s.Connect(ctx, "shop", "app", "default_query_exec_mode="+strings.ReplaceAll(mode.String(), " ", "_"))
			base := int64(mode) * 1000
			for i := base; i < base+40; i++ {
				if _, err := c.Exec(ctx, "INSERT INTO customers (id, name) VALUES ($1, $2)", i, fmt.Sprint("customer ", i)); err != nil {
					t.Fatalf("customer %d: %v", i, err)
				}
			}
			for i := base; i < base+40; i++ {
				var name string
				if err := c.QueryRow(ctx, "SELECT name FROM customers WHERE id = $1", i).Scan(&name); err != nil || name != fmt.Sprint("customer ", i) {
					t.Fatalf("customer %d: %q, %v", i, name, err)
				}
				if tag, err := c.Exec(ctx, "UPDATE customers SET country = 'x' WHERE id = $1", i); err != nil || tag.RowsAffected() != 1 {
					t.Fatalf("customer %d: %v, %v", i, tag, err)
				}
			}
		})
	}
	var total int
	for _, n := range s.onShards(t, "SELECT count(*) FROM customers") {
		if n == "0" {
			t.Error("a shard has no customers")
		}
		var k int
		_, _ = fmt.Sscan(n, &k)
		total += k
	}
	if total != 200 {
		t.Errorf("the shards have %d customers, want 200", total)
	}
}

func TestReadsOfSeveralShardsAreOneResult(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	s := startShop(t, 3, "", "")
	c := s.Connect(ctx, "shop", "app")
	for i := range 50 {
		if _, err := c.Exec(ctx, "INSERT INTO customers (id, name) VALUES ($1, $2)", i, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	for _, sql := range []string{"SELECT id FROM customers", "SELECT id FROM customers WHERE name <> 'none'"} {
		rows, err := c.Query(ctx, sql)
		if err != nil {
			t.Fatal(err)
		}
		ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(ids)
		if len(ids) != 50 || ids[0] != 0 || ids[49] != 49 || rows.CommandTag().String() != "SELECT 50" {
			t.Errorf("%s: %v, %s", sql, ids, rows.CommandTag())
		}
	}
	rows, err := c.Query(ctx, "SELECT id FROM customers LIMIT 7 OFFSET 2")
	if err != nil {
		t.Fatal(err)
	}
	if ids, err := pgx.CollectRows(rows, pgx.RowTo[int64]); err != nil || len(ids) != 7 {
		t.Errorf("LIMIT 7: %v, %v", ids, err)
	}
	if got := mustRun(ctx, t, c, "SELECT id FROM customers WHERE id IN (1, 2, 3) LIMIT 1"); got == "" {
		t.Error("no row of three")
	}
}

func TestATransactionOverShardsIsAtomic(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	s := startShop(t, 3, "", "")
	c := s.Connect(ctx, "shop", "app")
	for i := range 30 {
		tx, err := c.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for j := range 6 {
			if _, err := tx.Exec(ctx, "INSERT INTO customers (id, name) VALUES ($1, 'x')", i*6+j); err != nil {
				t.Fatal(err)
			}
		}
		if i%2 == 0 {
			err = tx.Commit(ctx)
		} else {
			err = tx.Rollback(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	total := 0
	for _, n := range s.onShards(t, "SELECT count(*) FROM customers") {
		var k int
		_, _ = fmt.Sscan(n, &k)
		total += k
	}
	if total != 15*6 {
		t.Errorf("the shards have %d customers, want %d", total, 15*6)
	}
	if n := s.onShards(t, "SELECT count(*) FROM pg_prepared_xacts"); n[0] != "0" {
		t.Errorf("prepared transactions are left: %v", n)
	}
}

func TestWhatCannotBeRightIsRefused(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	s := startShop(t, 2, "", "")
	c := s.Connect(ctx, "shop", "app")
	for _, sql := range []string{
		"SELECT count(*) FROM customers",
		"SELECT id FROM customers ORDER BY id",
		"SELECT 1 FROM customers a JOIN customers b ON a.name = b.name",
		"SELECT id FROM customers WHERE id = 1 UNION SELECT id FROM customers WHERE id > 2",
		"INSERT INTO customers (name) VALUES ('no key')",
	} {
		_, err := run(ctx, c, sql)
		if code := codeOf(err); !strings.HasPrefix(code, "0A000") && !strings.HasPrefix(code, "23502") {
			t.Errorf("%s: %v", sql, err)
		}
	}
	if got := mustRun(ctx, t, c, "SELECT 1"); got != "1" {
		t.Errorf("the session is not well: %q", got)
	}
}
