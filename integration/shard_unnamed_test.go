package integration

import (
	"context"
	"strings"
	"testing"
	"time"
)

// A statement without a name that was described at the start of a transaction, before a shard had joined it, went astray when it was
// bound: its plan read the key from the session's buffer, where the next message stood by then.
func TestAnUnnamedStatementKeepsItsKeyUntilItIsBound(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	s := startShop(t, 3, "", "")
	c := s.Connect(ctx, "shop", "app").PgConn()
	if _, err := c.Exec(ctx, "INSERT INTO customers (id, name) VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd'), (5, 'e')").ReadAll(); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"a", "b", "c", "d", "e"} {
		if _, err := c.Exec(ctx, "BEGIN").ReadAll(); err != nil {
			t.Fatal(err)
		}
		id := string(rune('1' + i))
		if _, err := c.Prepare(ctx, "", "SELECT name FROM customers WHERE id = "+id+" AND name <> $1", nil); err != nil {
			t.Fatal(err)
		}
		res := c.ExecPrepared(ctx, "", [][]byte{[]byte(strings.Repeat("7", 200))}, nil, nil).Read()
		if res.Err != nil || len(res.Rows) != 1 || string(res.Rows[0][0]) != want {
			t.Errorf("customer %s: %q, %v, want %q", id, res.Rows, res.Err, want)
		}
		if _, err := c.Exec(ctx, "COMMIT").ReadAll(); err != nil {
			t.Fatal(err)
		}
	}
}
