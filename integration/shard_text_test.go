package integration

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"pgdrover/internal/pgtest"
)

// said is what an error says, but for where in the source of PostgreSQL it was raised.
func said(err error) string {
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		return fmt.Sprint(err)
	}
	return fmt.Sprintf("%s %s %s at %d (%s, %s)", pe.Severity, pe.Code, pe.Message, pe.Position, pe.Detail, pe.Hint)
}

func TestASyntaxErrorIsWordedByPostgreSQL(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	s := startShop(t, 2, "", "")
	shop, one := s.Connect(ctx, "shop", "app").PgConn(), s.Connect(ctx, "one", "app").PgConn()
	texts := []string{
		"SELEC 1", "SELECT 1 FROM", "SELECT 'abc", "SELECT * FROM customers WHERE name = 'ä' AND AND id = 1", "SELECT 1 /* no end", "SELECT \"", "SELECT 1;;SELECT 2 3 4",
		"INSERT INTO customers VALUES (1, 2), (3", "UPDATE customers SET", "SELECT $$x", "SELECT E'\\u12'", "SELECT \"\"", "x", "BEGIN; SELECT )",
		"/* shard=b */ SELEC 1",
	}
	if s.pg.Installation.Major >= 15 { // before that it is SELECT 1 AS e
		texts = append(texts, "SELECT 1e")
	}
	simple := func(c *pgconn.PgConn, sql string) error { _, err := c.Exec(ctx, sql).ReadAll(); return err }
	extended := func(c *pgconn.PgConn, sql string) error { return c.ExecParams(ctx, sql, nil, nil, nil, nil).Read().Err }
	named := func(c *pgconn.PgConn, sql string) error { _, err := c.Prepare(ctx, "s", sql, nil); return err }
	for name, run := range map[string]func(*pgconn.PgConn, string) error{"simple": simple, "extended": extended, "named": named} {
		for _, begin := range []string{"", "BEGIN", "BEGIN; INSERT INTO customers VALUES (1)", "BEGIN; SELECT 1/0"} {
			for _, sql := range texts {
				if strings.HasPrefix(sql, "/*") && strings.HasSuffix(begin, "0") {
					continue // with a hint it has a plan, which a failed transaction refuses first
				}
				var got, want [3]string
				for c, out := range map[*pgconn.PgConn]*[3]string{shop: &got, one: &want} {
					_ = simple(c, begin)
					out[0] = said(run(c, sql))
					out[1] = string(c.TxStatus())
					out[2] = said(run(c, "SELECT 1 AS after"))
					_ = simple(c, "DEALLOCATE ALL")
					_ = simple(c, "ROLLBACK")
				}
				if !strings.Contains(want[0], "ERROR") {
					t.Fatalf("%s is no mistake", sql)
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("%s, %q then %q (-one PostgreSQL +shards):\n%s", name, begin, sql, d)
				}
			}
		}
	}
}

func TestAStatementOfANewerServerNeedsAHint(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 3*time.Minute)
	defer stop()
	s := startShopWith(t, 2, "", "", pgtest.WithVersion(18))
	c := s.Connect(ctx, "shop", "app").PgConn()
	at := s.keysOf(ctx, t)
	const table = "SELECT x FROM JSON_TABLE('[7]'::jsonb, '$[*]' COLUMNS (x int PATH '$')) AS t"
	merge := fmt.Sprintf("MERGE INTO customers c USING (SELECT 1) x ON c.id = %d WHEN MATCHED THEN UPDATE SET name = 'merged' RETURNING c.name", at["b"])
	for _, sql := range []string{table, merge, "SELECT 1; " + table} {
		_, err := c.Exec(ctx, sql).ReadAll()
		if !strings.HasPrefix(codeOf(err), "0A000 the servers understand") {
			t.Errorf("%s: %v", sql, err)
		}
		if strings.HasPrefix(sql, "SELECT 1;") {
			continue
		}
		if err := c.ExecParams(ctx, sql, nil, nil, nil, nil).Read().Err; !strings.HasPrefix(codeOf(err), "0A000 the servers understand") {
			t.Errorf("%s, extended: %v", sql, err)
		}
	}
	if n := strings.Join(s.onShards(t, "SELECT count(*) FROM customers WHERE name = 'merged'"), " "); n != "0 0" {
		t.Fatalf("a refused statement has run: %s", n)
	}
	for sql, want := range map[string]string{"/* shard=a */ " + table: "7", "/* shard=b */ " + merge: "merged"} {
		for i, res := range []*pgconn.Result{c.ExecParams(ctx, sql, nil, nil, nil, nil).Read(), first(c.Exec(ctx, sql).ReadAll())} {
			if res.Err != nil || len(res.Rows) != 1 || string(res.Rows[0][0]) != want {
				t.Errorf("%s (%d): %v, %v", sql, i, res.Rows, res.Err)
			}
		}
	}
	if _, err := c.Exec(ctx, "SET pgdrover.shard = 'b'").ReadAll(); err != nil {
		t.Fatal(err)
	}
	if res := c.ExecParams(ctx, merge, nil, nil, nil, nil).Read(); res.Err != nil || len(res.Rows) != 1 {
		t.Errorf("with SET pgdrover.shard: %v, %v", res.Rows, res.Err)
	}
}

func first(list []*pgconn.Result, err error) *pgconn.Result {
	if len(list) == 0 {
		return &pgconn.Result{Err: err}
	}
	return list[0]
}

func TestTextInAnotherEncodingIsRefusedByName(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	s := startShop(t, 2, "", "")
	at := s.keysOf(ctx, t)
	c := s.Connect(ctx, "shop", "app", "client_encoding=LATIN1").PgConn()
	for _, sql := range []string{"SELECT 'caf\xe9'", fmt.Sprintf("UPDATE customers SET name = 'caf\xe9' WHERE id = %d", at["b"])} {
		_, err := c.Exec(ctx, sql).ReadAll()
		if !strings.HasPrefix(codeOf(err), "0A000 text that is not UTF-8 cannot be routed") {
			t.Errorf("%q: %v", sql, err)
		}
		err = c.ExecParams(ctx, sql, nil, nil, nil, nil).Read().Err
		if !strings.HasPrefix(codeOf(err), "0A000 text that is not UTF-8 cannot be routed") {
			t.Errorf("%q, extended: %v", sql, err)
		}
	}
	if _, err := c.Exec(ctx, fmt.Sprintf("UPDATE customers SET name = 'cafe' WHERE id = %d", at["b"])).ReadAll(); err != nil {
		t.Fatal(err)
	}
	// A parameter is the server's business.
	if err := c.ExecParams(ctx, "UPDATE customers SET country = $1 WHERE id = $2", [][]byte{[]byte("caf\xe9"), fmt.Append(nil, at["b"])}, nil, nil, nil).Read().Err; err != nil {
		t.Fatal(err)
	}
	if got := s.pg.MustValue(t, "shop_b", "SELECT name || country FROM customers WHERE name = 'cafe'"); got != "cafecafé" {
		t.Errorf("%q", got)
	}
}

func TestRowLocksOfOneShard(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	s := startShop(t, 2, "", "")
	at := s.keysOf(ctx, t)
	a, b := s.Connect(ctx, "shop", "app"), s.Connect(ctx, "shop", "app")
	mustRun(ctx, t, a, "BEGIN")
	mustRun(ctx, t, a, fmt.Sprintf("SELECT name FROM customers WHERE id = %d FOR UPDATE", at["b"]))
	if _, err := run(ctx, b, fmt.Sprintf("SELECT name FROM customers WHERE id = %d FOR SHARE NOWAIT", at["b"])); !strings.HasPrefix(codeOf(err), "55P03") {
		t.Errorf("a locked row: %v", err)
	}
	mustRun(ctx, t, b, fmt.Sprintf("SELECT name FROM customers WHERE id = %d FOR UPDATE NOWAIT", at["a"]))
	mustRun(ctx, t, a, "COMMIT")
	mustRun(ctx, t, b, fmt.Sprintf("SELECT name FROM customers WHERE id = %d FOR SHARE NOWAIT", at["b"]))
	if _, err := run(ctx, b, "SELECT * FROM countries FOR UPDATE"); !strings.HasPrefix(codeOf(err), "0A000 FOR UPDATE or FOR SHARE on reference table") {
		t.Errorf("a reference table: %v", err)
	}
}

func TestHostileTextsAreErrorsAndNothingElse(t *testing.T) {
	ctx, stop := context.WithTimeout(context.Background(), 3*time.Minute)
	defer stop()
	s := startShop(t, 2, "", "")
	c := s.Connect(ctx, "shop", "app").PgConn()
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for name, sql := range map[string]string{
		"long list":   "SELECT name FROM customers WHERE id IN (" + strings.Repeat("1234567,", 10<<20/8) + "1)",
		"parentheses": "SELECT " + strings.Repeat("(", 100_000) + "1" + strings.Repeat(")", 100_000),
		"open":        "SELECT " + strings.Repeat("(", 100_000),
		"sum":         "SELECT 1" + strings.Repeat("+1", 100_000),
		"casts":       "SELECT 1" + strings.Repeat("::int", 100_000),
		"unions":      "SELECT 1" + strings.Repeat(" UNION SELECT 1", 50_000),
		"not":         "SELECT" + strings.Repeat(" NOT", 100_000) + " true",
		"quotes":      "SELECT '" + strings.Repeat("'", 1<<20),
		"operators":   "SELECT 1 " + strings.Repeat("<", 1<<20) + " 2",
		"statements":  strings.Repeat("SELEC 1;", 100_000),
	} {
		_, err := c.Exec(ctx, sql).ReadAll()
		var pe *pgconn.PgError
		if !errors.As(err, &pe) {
			t.Fatalf("%s: %.200v", name, err)
		}
		err = c.ExecParams(ctx, sql, nil, nil, nil, nil).Read().Err
		if !errors.As(err, &pe) {
			t.Fatalf("%s, extended: %.200v", name, err)
		}
		if res := c.ExecParams(ctx, "SELECT 1", nil, nil, nil, nil).Read(); res.Err != nil {
			t.Fatalf("after %s: %v", name, res.Err)
		}
	}
	if after := heap(); after > before+64<<20 {
		t.Errorf("heap: %d MB before, %d MB after", before>>20, after>>20)
	}
}
