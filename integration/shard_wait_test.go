package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// keysOf returns a customer of each shard.
func (s *shop) keysOf(ctx context.Context, tb testing.TB) map[string]int {
	tb.Helper()
	c := s.Connect(ctx, "shop", "app")
	out := map[string]int{}
	for i := 1; i < 100 && len(out) < len(s.shards); i++ {
		mustRun(ctx, tb, c, fmt.Sprintf("INSERT INTO customers VALUES (%d, 'x')", i))
		for _, name := range s.shards {
			if s.pg.MustValue(tb, "shop_"+name, fmt.Sprintf("SELECT count(*) FROM customers WHERE id = %d", i)) == "1" && out[name] == 0 {
				out[name] = i
			}
		}
	}
	_ = c.Close(ctx)
	return out
}

func update(key int) string {
	return fmt.Sprintf("UPDATE customers SET name = name || '!' WHERE id = %d", key)
}

// atRest waits until no transaction is open on any shard, nor prepared.
func (s *shop) atRest(tb testing.TB) {
	tb.Helper()
	atRest(tb, s.pg)
}

func TestDeadlocksOverShardsAreBroken(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	s := startShop(t, 2, "deadlock_timeout = \"200ms\"\n", "")
	keys := s.keysOf(ctx, t)
	older, younger := s.Connect(ctx, "shop", "app"), s.Connect(ctx, "shop", "app")
	mustRun(ctx, t, older, "BEGIN")
	mustRun(ctx, t, older, update(keys["a"]))
	mustRun(ctx, t, younger, "BEGIN")
	mustRun(ctx, t, younger, update(keys["b"]))
	first := background(func() error { _, err := run(ctx, older, update(keys["b"])); return err })
	second := background(func() error { _, err := run(ctx, younger, update(keys["a"])); return err })
	pe := wantError(t, result(ctx, t, second), "40P01", "deadlock detected")
	if !strings.Contains(pe.Detail, `shard "a"`) || !strings.Contains(pe.Detail, `shard "b"`) {
		t.Errorf("detail %q does not name the shards", pe.Detail)
	}
	mustRun(ctx, t, younger, "ROLLBACK")
	if err := result(ctx, t, first); err != nil {
		t.Fatal(err)
	}
	mustRun(ctx, t, older, "COMMIT")
	if got := mustRun(ctx, t, younger, fmt.Sprintf("SELECT name FROM customers WHERE id = %d", keys["b"])); got != "x!" {
		t.Errorf("the survivor's row is %q, want x!", got)
	}
	s.atRest(t)
}

// Each of two nodes knows one half of the circle. In the second case the circle also leads through a session that passes by both.
func TestDeadlocksOverShardsOfTwoNodesAreBroken(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	s := startShop(t, 2, "deadlock_timeout = \"200ms\"\n", "")
	other := s.node(t)
	keys := s.keysOf(ctx, t)
	for _, name := range []string{"two nodes", "past the nodes"} {
		t.Run(name, func(t *testing.T) {
			between := keys["b"]
			c := s.Connect(ctx, "shop", "app")
			older, younger := s.Connect(ctx, "shop", "app"), other.Connect(ctx, "shop", "app")
			mustRun(ctx, t, older, "BEGIN")
			mustRun(ctx, t, older, update(keys["a"]))
			mustRun(ctx, t, younger, "BEGIN")
			mustRun(ctx, t, younger, update(keys["b"]))
			var past func() error
			if name == "past the nodes" {
				direct, err := s.pg.Connect(ctx, "shop_b")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = direct.Close(context.Background()) })
				for between = 100; s.pg.MustValue(t, "shop_b", fmt.Sprintf("SELECT count(*) FROM customers WHERE id = %d", between)) == "0"; between++ {
					mustRun(ctx, t, c, fmt.Sprintf("INSERT INTO customers VALUES (%d, 'x')", between+1))
				}
				mustRun(ctx, t, direct, "BEGIN")
				mustRun(ctx, t, direct, update(between))
				waiting := background(func() error { _, err := run(ctx, direct, update(keys["b"])+"; COMMIT"); return err })
				past = func() error { return result(ctx, t, waiting) }
			}
			first := background(func() error { _, err := run(ctx, older, update(between)); return err })
			second := background(func() error { _, err := run(ctx, younger, update(keys["a"])); return err })
			pe := wantError(t, result(ctx, t, second), "40P01", "deadlock detected")
			for _, want := range []string{`shard "a"`, `shard "b"`, "another pgdrover"} {
				if !strings.Contains(pe.Detail, want) {
					t.Errorf("detail %q does not say %s", pe.Detail, want)
				}
			}
			mustRun(ctx, t, younger, "ROLLBACK")
			if past != nil {
				if err := past(); err != nil {
					t.Fatal(err)
				}
			}
			if err := result(ctx, t, first); err != nil {
				t.Fatal(err)
			}
			mustRun(ctx, t, older, "COMMIT")
			s.atRest(t)
		})
	}
}

func TestCancelReachesEveryShard(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	s := startShop(t, 3, "", "")
	c := s.Connect(ctx, "shop", "app")
	for _, db := range s.databases() {
		holder, err := s.pg.Connect(ctx, db)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = holder.Close(context.Background()) })
		mustRun(ctx, t, holder, "BEGIN; LOCK TABLE customers")
	}
	for name, sql := range map[string]string{"a write": "UPDATE customers SET name = 'y'", "a read": "SELECT id FROM customers"} {
		for _, block := range []bool{false, true} {
			if block {
				mustRun(ctx, t, c, "BEGIN")
			}
			done := background(func() error { _, err := run(ctx, c, sql); return err })
			awaitCount(t, s.pg, 3, "pg_stat_activity WHERE wait_event_type = 'Lock'")
			if err := c.PgConn().CancelRequest(ctx); err != nil {
				t.Fatal(err)
			}
			err := result(ctx, t, done)
			if !strings.HasPrefix(codeOf(err), "57014") {
				t.Errorf("%s: %v, want 57014", name, err)
			}
			if block {
				mustRun(ctx, t, c, "ROLLBACK")
			}
		}
	}
	s.atRest(t)
}

func TestALimitAtTheSecondShardIsAnErrorOfTheTransaction(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	s := startShop(t, 2, "query_wait_timeout = 1\n", "pool_size = 1")
	keys := s.keysOf(ctx, t)
	holder, c := s.Connect(ctx, "shop", "app"), s.Connect(ctx, "shop", "app")
	mustRun(ctx, t, holder, "BEGIN")
	mustRun(ctx, t, holder, update(keys["b"]))
	mustRun(ctx, t, c, "BEGIN")
	mustRun(ctx, t, c, update(keys["a"]))
	_, err := run(ctx, c, update(keys["b"]))
	pe := wantError(t, err, "57014", "query_wait_timeout")
	if pe.Severity != "ERROR" || !strings.Contains(pe.Message, `shard "b"`) {
		t.Errorf("%s %q, want an ERROR that names the shard", pe.Severity, pe.Message)
	}
	if c.PgConn().TxStatus() != 'E' {
		t.Errorf("the status is %c, want E", c.PgConn().TxStatus())
	}
	mustRun(ctx, t, c, "ROLLBACK")
	mustRun(ctx, t, c, update(keys["a"]))
	mustRun(ctx, t, holder, "COMMIT")
	s.atRest(t)
}

func TestNothingIsLeftOfASessionThatEnds(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	s := startShop(t, 3, "", "pool_size = 2")
	keys := s.keysOf(ctx, t)
	for name, end := range map[string]func(id string){
		"it disconnects": nil,
		"KILL":           func(id string) { s.Admin("KILL_CLIENT " + id) },
	} {
		for range 4 { // more than there are servers
			c := s.Connect(ctx, "shop", "app", "application_name=victim")
			mustRun(ctx, t, c, "BEGIN")
			for _, key := range keys {
				mustRun(ctx, t, c, update(key))
			}
			if end == nil {
				_ = c.Close(ctx)
			} else {
				end(s.row("CLIENTS", "application_name=victim")["id"])
				if _, err := run(ctx, c, "SELECT 1"); err == nil {
					t.Errorf("%s: the session goes on", name)
				}
			}
			s.atRest(t)
		}
	}
	// The server of a shard that is not linked dies while the client is silent.
	c := s.Connect(ctx, "shop", "app")
	mustRun(ctx, t, c, "BEGIN")
	mustRun(ctx, t, c, update(keys["a"]))
	mustRun(ctx, t, c, update(keys["b"]))
	s.pg.MustExec(t, "postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'shop_a' AND usename = 'app'")
	awaitCount(t, s.pg, 0, "pg_stat_activity WHERE datname = 'shop_a' AND usename = 'app'")
	if _, err := run(ctx, c, "COMMIT"); !strings.HasPrefix(codeOf(err), "08006") && !strings.HasPrefix(codeOf(err), "40000") {
		t.Errorf("COMMIT behind a lost shard: %v", err)
	}
	if got := s.pg.MustValue(t, "shop_b", fmt.Sprintf("SELECT name FROM customers WHERE id = %d", keys["b"])); got != "x" {
		t.Errorf("half of a transaction is committed: %q", got)
	}
	mustRun(ctx, t, c, update(keys["a"]))
	s.atRest(t)
}

func TestPrepareTransactionWorksOnOneShard(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	s := startShop(t, 2, "", "")
	keys := s.keysOf(ctx, t)
	c := s.Connect(ctx, "shop", "app")
	mustRun(ctx, t, c, "BEGIN")
	mustRun(ctx, t, c, update(keys["a"]))
	mustRun(ctx, t, c, "PREPARE TRANSACTION 'mine'")
	_, err := run(ctx, c, "COMMIT PREPARED 'mine'")
	wantError(t, err, "0A000", "not known which shard")
	mustRun(ctx, t, c, "/* shard=a */ COMMIT PREPARED 'mine'")
	if got := mustRun(ctx, t, c, fmt.Sprintf("SELECT name FROM customers WHERE id = %d", keys["a"])); got != "x!" {
		t.Errorf("the row is %q, want x!", got)
	}
	mustRun(ctx, t, c, "BEGIN")
	mustRun(ctx, t, c, update(keys["a"]))
	mustRun(ctx, t, c, update(keys["b"]))
	_, err = run(ctx, c, "PREPARE TRANSACTION 'both'")
	wantError(t, err, "0A000", "several shards")
	mustRun(ctx, t, c, "ROLLBACK")
	mustRun(ctx, t, c, "BEGIN")
	mustRun(ctx, t, c, update(keys["a"]))
	_, err = run(ctx, c, "PREPARE TRANSACTION 'pgdrover/x/a/b'")
	wantError(t, err, "42939", "own")
	mustRun(ctx, t, c, "ROLLBACK")
	s.atRest(t)
}
