package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// moveShop is a shop with rows of two customers on different shards.
func moveShop(ctx context.Context, tb testing.TB) (s *shop, from, to int, at map[string]int) {
	tb.Helper()
	s = startShop(tb, 3, "", "")
	at = s.keysOf(ctx, tb)
	return s, at["a"], at["b"], at
}

func TestAnUpdateOfTheKeyMovesRows(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	s, a, b, at := moveShop(ctx, t)
	modes := map[string]pgx.QueryExecMode{"simple": pgx.QueryExecModeSimpleProtocol, "extended": pgx.QueryExecModeCacheStatement, "unnamed": pgx.QueryExecModeExec}
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) {
			c := s.Connect(ctx, "shop", "app")
			mustRun(ctx, t, c, "DELETE FROM orders")
			for i := range 30 {
				mustRun(ctx, t, c, fmt.Sprintf("INSERT INTO orders VALUES (%d, %d, %d.5, 'n%[2]d')", []int{a, b, at["c"]}[i%3], i, i))
			}
			rows, err := c.Query(ctx, "UPDATE orders SET customer_id = $1, total = total + 1, note = $2 WHERE customer_id = $3 AND id < 20 RETURNING id, total::text, customer_id, note", mode, b, "moved", a)
			if err != nil {
				t.Fatal(err)
			}
			got := 0
			for rows.Next() {
				var id, customer int
				var total, note string
				if err := rows.Scan(&id, &total, &customer, &note); err != nil {
					t.Fatal(err)
				}
				if id%3 != 0 || customer != b || note != "moved" || total != fmt.Sprintf("%d.50", id+1) {
					t.Errorf("row %d, %s, %d, %s", id, total, customer, note)
				}
				got++
			}
			if err := rows.Err(); err != nil || got != 7 || rows.CommandTag().String() != "UPDATE 7" {
				t.Fatalf("%d rows, %v, %v", got, rows.CommandTag(), err)
			}
			if n := strings.Join(s.onShards(t, "SELECT count(*) FROM orders"), " "); n != "3 17 10" {
				t.Errorf("rows on the shards: %s", n)
			}
			// From every shard to one of them: its own rows are updated in place.
			tag, err := c.Exec(ctx, "UPDATE orders SET customer_id = $1, id = id + 100", mode, at["c"])
			if err != nil || tag.String() != "UPDATE 30" {
				t.Fatalf("%v, %v", tag, err)
			}
			if n := strings.Join(s.onShards(t, "SELECT count(*) FROM orders"), " "); n != "0 0 30" {
				t.Errorf("rows on the shards: %s", n)
			}
			if tag, err := c.Exec(ctx, "UPDATE orders SET customer_id = $1 WHERE customer_id = $2 AND id < 0", mode, a, at["c"]); err != nil || tag.String() != "UPDATE 0" {
				t.Errorf("no row: %v, %v", tag, err)
			}
		})
	}
}

func TestMovingRowsIsAtomicAndFailsAsAnUpdateDoes(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	s, a, b, _ := moveShop(ctx, t)
	c := s.Connect(ctx, "shop", "app")
	for _, k := range []int{a, b} {
		mustRun(ctx, t, c, fmt.Sprintf("INSERT INTO orders SELECT %d, 1, 5", k))
	}
	mustRun(ctx, t, c, fmt.Sprintf("INSERT INTO orders SELECT %d, 2, 5", a))
	for sql, want := range map[string]string{
		"UPDATE orders SET customer_id = %d WHERE customer_id = %d":                                "23505 0", // (b, 1) is there
		"UPDATE orders SET customer_id = %d, total = 'x' || note WHERE customer_id = %d":           "42804 36",
		"UPDATE orders SET customer_id = %d, total = 1 / (id - 2) WHERE customer_id = %d":          "22012 0",
		"UPDATE orders SET customer_id = %d, id = NULL WHERE customer_id = %d AND id = 2":          "23502 0",
		"UPDATE orders SET customer_id = %d WHERE customer_id = %d AND id = 2 RETURNING 1/(id-id)": "22012 0",
	} {
		_, err := c.Exec(ctx, fmt.Sprintf(sql, b, a), pgx.QueryExecModeSimpleProtocol)
		var pe *pgconn.PgError
		if !errors.As(err, &pe) || !strings.HasPrefix(want, pe.Code) || strings.HasSuffix(want, " 0") && pe.Position != 0 {
			t.Errorf("%s: got %v, want %s", sql, err, want)
		}
		if n := strings.Join(s.onShards(t, "SELECT count(*) FROM orders"), " "); n != "2 1 0" {
			t.Fatalf("%s: rows on the shards: %s", sql, n)
		}
	}
	mustRun(ctx, t, c, "BEGIN")
	mustRun(ctx, t, c, fmt.Sprintf("UPDATE orders SET customer_id = %d WHERE customer_id = %d AND id = 2", b, a))
	if got := mustRun(ctx, t, c, fmt.Sprintf("SELECT id FROM orders WHERE customer_id = %d AND id = 2", b)); got != "2" {
		t.Errorf("in the transaction: %q", got)
	}
	mustRun(ctx, t, c, "ROLLBACK")
	if n := strings.Join(s.onShards(t, "SELECT count(*) FROM orders"), " "); n != "2 1 0" {
		t.Errorf("rows on the shards after ROLLBACK: %s", n)
	}
	_, err := c.Exec(ctx, fmt.Sprintf("UPDATE orders SET customer_id = customer_id + random()::int WHERE customer_id = %d", a), pgx.QueryExecModeSimpleProtocol)
	if !strings.HasPrefix(codeOf(err), "0A000") {
		t.Errorf("a key by chance: %v", err)
	}
}

func TestMovingARowWaitsForWhoeverHasLockedIt(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	s, a, b, _ := moveShop(ctx, t)
	holder, mover := s.Connect(ctx, "shop", "app"), s.Connect(ctx, "shop", "app")
	mustRun(ctx, t, holder, fmt.Sprintf("INSERT INTO orders VALUES (%d, 1, 5, 'before')", a))
	mustRun(ctx, t, holder, "BEGIN")
	mustRun(ctx, t, holder, fmt.Sprintf("UPDATE orders SET note = 'after' WHERE customer_id = %d", a))
	moved := make(chan error, 1)
	go func() {
		_, err := mover.Exec(ctx, fmt.Sprintf("UPDATE orders SET customer_id = %d WHERE customer_id = %d", b, a), pgx.QueryExecModeSimpleProtocol)
		moved <- err
	}()
	awaitCount(t, s.pg, 1, "pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'DELETE FROM orders%'")
	mustRun(ctx, t, holder, "COMMIT")
	if err := <-moved; err != nil {
		t.Fatal(err)
	}
	if got := mustRun(ctx, t, holder, fmt.Sprintf("SELECT note FROM orders WHERE customer_id = %d", b)); got != "after" {
		t.Errorf("the moved row: %q", got)
	}
}

// Tables of one shard that the lead shard has not were said not to exist.
// Only the lead shard's relations were known.
// Now each is taken from the shard that has its rows.
func TestATableOfAnotherShardThanTheLeadIsFound(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	s := startShop(t, 2, "", "schemas = { billing = \"b\" }")
	s.pg.MustExec(t, "shop_b", "CREATE SCHEMA billing", "CREATE TYPE billing.state AS ENUM ('open', 'paid')", "CREATE TABLE billing.invoices (id bigint PRIMARY KEY, s billing.state)",
		"GRANT ALL ON SCHEMA billing TO app", "GRANT ALL ON ALL TABLES IN SCHEMA billing TO app")
	c := s.Connect(ctx, "shop", "app")
	mustRun(ctx, t, c, "INSERT INTO billing.invoices VALUES (1, 'open'), (2, 'paid')")
	if got := mustRun(ctx, t, c, "SELECT count(*) FROM billing.invoices WHERE s = 'paid'::billing.state"); got != "1" {
		t.Errorf("invoices: %s", got)
	}
	mustRun(ctx, t, c, "SET search_path = billing, public")
	if got := mustRun(ctx, t, c, "SELECT max(id) FROM invoices"); got != "2" {
		t.Errorf("invoices by search_path: %s", got)
	}
	if got := s.pg.MustValue(t, "shop_b", "SELECT count(*) FROM billing.invoices"); got != "2" {
		t.Errorf("on their shard: %s", got)
	}
}
