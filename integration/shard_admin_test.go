package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgdrover/internal/pgtest"
)

// adminColumn returns one column of what the admin database answers.
func (s *shop) adminColumn(tb testing.TB, sql, column string) []string {
	tb.Helper()
	var out []string
	for _, row := range s.Admin(sql) {
		out = append(out, row[column])
	}
	return out
}

// edit replaces a piece of the configuration file.
func (s *shop) edit(tb testing.TB, old, with string) {
	tb.Helper()
	text, err := os.ReadFile(s.Config)
	if err != nil {
		tb.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		tb.Fatalf("the configuration has no %s", old)
	}
	save(tb, s.Config, strings.Replace(string(text), old, with, 1))
}

func pgErrorOf(tb testing.TB, err error) *pgconn.PgError {
	tb.Helper()
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		tb.Fatalf("got %v, want an error of a server", err)
	}
	return pe
}

func TestTheGuardKeepsRowsOnTheirShard(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s := startShop(t, 2, "", "")
	c := s.Connect(ctx, "shop", "app")
	s.Admin("ALTER DATABASE shop INSTALL GUARD")
	for id := range 20 {
		if _, err := c.Exec(ctx, "INSERT INTO customers (id) VALUES ($1)", id); err != nil {
			t.Fatal(err)
		}
		refused := 0
		for _, name := range s.shards {
			if err := s.pg.ExecIn(ctx, "shop_"+name, fmt.Sprintf("INSERT INTO orders (customer_id, id) VALUES (%d, 1)", id)); err != nil {
				if !strings.Contains(err.Error(), "23514") {
					t.Fatal(err)
				}
				refused++
			}
		}
		if refused != 1 {
			t.Errorf("customer %d: %d of 2 shards refuse an order", id, refused)
		}
	}
	s.Admin("ALTER DATABASE shop REMOVE GUARD")
	s.pg.MustExec(t, "shop_a", "INSERT INTO order_items (customer_id, order_id, line) SELECT g, 1, 1 FROM generate_series(1, 20) g")
	_, err := s.TryAdmin("ALTER DATABASE shop INSTALL GUARD")
	if code := codeOf(err); !strings.HasPrefix(code, "23514") || !strings.Contains(code, `shard "a"`) {
		t.Errorf("with rows of another shard: %v", err)
	}
	// A table in use is waited for, but not for ever, because everybody else would wait behind the command.
	tx, err := c.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, "SELECT id FROM customers"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.TryAdmin("ALTER DATABASE shop REMOVE GUARD"); !strings.HasPrefix(codeOf(err), "55P03") {
		t.Errorf("while a table is in use: %v", err)
	}
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	for sql, want := range map[string]string{
		"ALTER DATABASE one INSTALL GUARD":            `55000 database "one" is not sharded`,
		"ALTER DATABASE nix INSTALL GUARD":            "3D000 no such database: nix",
		"ALTER DATABASE shop INSTALL TWO PHASE":       "22023 nobody is named who may commit in two phases",
		"ALTER DATABASE shop INSTALL GUARD AS nobody": `28000 shard "a": role "nobody" does not exist`,
		"SHOW TWO_PHASE ON DATABASE one FOR app":      `55000 database "one" is not sharded`,
		"ALTER DATABASE shop REMOVE GUARD AS app":     `42501 shard "a": must be owner of table`,
		"ALTER DATABASE shop INSTALL NEXT ID AS app":  `42501 shard "a": permission denied`,
	} {
		if _, err := s.TryAdmin(sql); !strings.Contains(codeOf(err), want) {
			t.Errorf("%s: %q, want %q", sql, codeOf(err), want)
		}
	}
}

// The refusal of a second writing shard names the commands that help, and they do.
func TestTwoPhaseCommitIsInstalledAsTheHintSays(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s := startShop(t, 2, "", "")
	s.pg.MustExec(t, "postgres", `CREATE ROLE "Web" LOGIN`)
	for _, name := range s.shards {
		s.pg.MustExec(t, "shop_"+name, `GRANT ALL ON ALL TABLES IN SCHEMA public TO "Web"`)
	}
	write := func(user string) error {
		c := s.Connect(ctx, "shop", user)
		return pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
			for id := range 10 {
				if _, err := tx.Exec(ctx, "UPDATE customers SET name = 'x' WHERE id = $1", id); err != nil {
					return err
				}
			}
			return nil
		})
	}
	s.edit(t, "[users.app]", "[users.Web]\npassword = \"Web\"\n[users.app]")
	s.Admin("RELOAD")
	err := write("Web")
	pe := pgErrorOf(t, err)
	want := `ALTER DATABASE "shop" INSTALL TWO PHASE FOR "Web" on the admin database installs it; SHOW TWO_PHASE ON DATABASE "shop" FOR "Web" prints the SQL for every shard.`
	if pe.Code != "0A000" || pe.Hint != want {
		t.Fatalf("got %+v\nwant the hint %s", pe, want)
	}
	show, _, _ := strings.Cut(strings.SplitAfter(pe.Hint, "; ")[1], " prints")
	sql := s.adminColumn(t, show, "sql")
	for _, name := range s.shards {
		s.pg.MustExec(t, "shop_"+name, append(append([]string{"BEGIN"}, sql...), "COMMIT")...)
	}
	if err := write("Web"); err != nil {
		t.Errorf("with what %s prints: %v", show, err)
	}
	for _, name := range s.shards {
		s.pg.MustExec(t, "shop_"+name, "DROP SCHEMA pgdrover CASCADE")
	}
	install, _, _ := strings.Cut(pe.Hint, " on the admin")
	s.Admin(install, install)
	s.Admin("RECONNECT shop")
	if err := write("Web"); err != nil {
		t.Errorf("after %s: %v", install, err)
	}
}

func TestNextIDIsADefaultThatIsUniqueOverShards(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s := startShop(t, 3, "", "")
	s.Admin("ALTER DATABASE shop INSTALL NEXT ID", "ALTER DATABASE shop INSTALL NEXT ID AS postgres")
	for _, name := range s.shards {
		s.pg.MustExec(t, "shop_"+name, "ALTER TABLE orders ALTER id SET DEFAULT pgdrover.next_id()")
	}
	s.Admin("RELOAD")
	c := s.Connect(ctx, "shop", "app")
	seen := map[int64]int64{}
	note := func(customer, id int64) {
		if other, ok := seen[id]; ok || id <= 0 {
			t.Fatalf("id %d of customer %d is not positive, or customer %d has it", id, customer, other)
		}
		seen[id] = customer
	}
	for customer := range int64(60) {
		var id int64
		if err := c.QueryRow(ctx, "INSERT INTO orders (customer_id, total) VALUES ($1, 1) RETURNING id", customer).Scan(&id); err != nil {
			t.Fatal(err)
		}
		note(customer, id)
	}
	rows, err := c.Query(ctx, "INSERT INTO orders (customer_id, total) VALUES (1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (6, 1) RETURNING customer_id, id")
	if err != nil {
		t.Fatal(err)
	}
	var customer, id int64
	n := int64(0)
	if _, err := pgx.ForEachRow(rows, []any{&customer, &id}, func() error {
		if n++; customer != n {
			t.Errorf("row %d of RETURNING is of customer %d", n, customer)
		}
		note(customer, id)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if n != 6 {
		t.Errorf("%d rows of RETURNING, want 6", n)
	}
	shards := map[int64]bool{}
	for id, customer := range seen {
		shards[id>>22&1023] = true
		var got int64
		if err := c.QueryRow(ctx, "SELECT id FROM orders WHERE customer_id = $1 AND id = $2", customer, id).Scan(&got); err != nil || got != id {
			t.Fatalf("order %d of customer %d: %v", id, customer, err)
		}
	}
	if len(shards) != 3 {
		t.Errorf("ids of shards %v, want three", shards)
	}
	// A new key is drawn first, because the row must be routed by it.
	if err := c.QueryRow(ctx, "SELECT pgdrover.next_id()").Scan(&id); err != nil {
		t.Fatal(err)
	}
	note(0, id)
	if _, err := c.Exec(ctx, "INSERT INTO customers (id, name) VALUES ($1, 'new')", id); err != nil {
		t.Error(err)
	}
}

func TestPoolsServersAndPlansNameTheirShard(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s := startShop(t, 2, "", "")
	if got := s.adminColumn(t, "SELECT message FROM checks", "message"); len(got) != 1 || !strings.Contains(got[0], "are read when") {
		t.Errorf("checks before anybody came: %q", got)
	}
	c := s.Connect(ctx, "shop", "app")
	for id := range 10 {
		if _, err := c.Exec(ctx, "SELECT name FROM customers WHERE id = $1", id); err != nil {
			t.Fatal(err)
		}
		mustRun(ctx, t, c, fmt.Sprintf("UPDATE customers SET name = 'x' WHERE id = %d", id))
	}
	mustRun(ctx, t, c, "SELECT name FROM customers")
	if _, err := run(ctx, c, "SELECT count(*) FROM customers"); err == nil {
		t.Error("count(*) over shards is answered")
	}
	for _, view := range []string{"pools", "servers"} {
		if got := s.adminColumn(t, "SELECT DISTINCT shard FROM "+view+" WHERE database = 'shop' ORDER BY 1", "shard"); strings.Join(got, " ") != "a b" {
			t.Errorf("shards of %s: %q", view, got)
		}
	}
	if got := s.Admin("SHOW CHECKS"); len(got) != 0 {
		t.Errorf("checks: %v", got)
	}
	plans := map[string]map[string]string{}
	for _, row := range s.Admin("SHOW PLANS") {
		plans[row["shape"]] = row
	}
	for shape, want := range map[string]string{
		"select name from customers where id = $1":   "1 forward customer 1 10",
		"update customers set name = ? where id = ?": "1 forward customer 1 10",
		"select name from customers":                 "2 gather customer 2 1",
		"select count ( * ) from customers":          "0 refused customer 0 0",
	} {
		p := plans[shape]
		if got := fmt.Sprintf("%s %s %s %s %s", p["tier"], p["kind"], p["key"], p["shards"], p["hits"]); p == nil || got != want {
			t.Errorf("%s: %q, want %q", shape, got, want)
		}
		if p != nil && p["hits"] != "0" && (intOf(t, p, "time") <= 0 || intOf(t, p, "bytes") <= 0) {
			t.Errorf("%s: time %s, bytes %s", shape, p["time"], p["bytes"])
		}
	}
	if t.Failed() {
		text, _ := json.MarshalIndent(plans, "", " ")
		t.Logf("%s", text)
	}
}

func TestChecksNameWhatStopsBeingGlobalAndItsWaiver(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s := startShop(t, 2, "", "")
	for _, name := range s.shards {
		s.pg.MustExec(t, "shop_"+name, "ALTER TABLE customers ADD CONSTRAINT customers_name_key UNIQUE (name)")
	}
	c := s.Connect(ctx, "shop", "app")
	if _, err := run(ctx, c, "SELECT name FROM customers WHERE id = 1"); !strings.HasPrefix(codeOf(err), "0A000") {
		t.Errorf("a table with a unique constraint that does not hold: %v", err)
	}
	got := s.Admin(`SELECT "schema", name, "check", object, refuses, waiver FROM checks`)
	want := map[string]string{"schema": "public", "name": "customers", "check": "unique-without-key", "object": "customers_name_key", "refuses": "1", "waiver": "customers.customers_name_key"}
	if len(got) != 1 || fmt.Sprint(got[0]) != fmt.Sprint(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	s.Admin("ALTER DATABASE shop SET waive = '" + got[0]["waiver"] + "'")
	mustRun(ctx, t, c, "SELECT name FROM customers WHERE id = 1")
	if got := s.Admin("SHOW CHECKS"); len(got) != 0 {
		t.Errorf("after it was waived: %v", got)
	}
}

// A session sees a new map between its transactions and not inside of one.
func TestAMapChangeIsSeenBetweenTransactions(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s := startShop(t, 2, "", "")
	c := s.Connect(ctx, "shop", "app")
	place := func() string { return s.Admin("ROUTE shop 'SELECT value FROM settings'")[0]["shard"] }
	for _, name := range s.shards {
		s.pg.MustExec(t, "shop_"+name, fmt.Sprintf("INSERT INTO settings VALUES ('where', '%s')", name), "CREATE TABLE late (id bigint PRIMARY KEY)", "GRANT ALL ON late TO app")
	}
	read := func(q interface {
		QueryRow(context.Context, string, ...any) pgx.Row
	},
	) (v string) {
		t.Helper()
		if err := q.QueryRow(ctx, "SELECT value FROM settings WHERE name = $1", "where").Scan(&v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	if got := read(c) + place(); got != "aa" {
		t.Fatalf("before the change: %s", got)
	}
	tx, err := c.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got := read(tx); got != "a" {
		t.Fatalf("in the transaction: %s", got)
	}
	s.Admin("ALTER DATABASE shop PLACE OTHER TABLES ON b WITHOUT MOVING ROWS")
	if got := read(tx); got != "a" {
		t.Errorf("after the change in the same transaction: %s, want a", got)
	}
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	if got := read(c) + place(); got != "bb" {
		t.Errorf("after the transaction: %s, want b", got)
	}
	// A transaction block that no shard has joined yet has begun as well.
	mustRun(ctx, t, c, "BEGIN")
	s.Admin("ALTER DATABASE shop PLACE OTHER TABLES ON a WITHOUT MOVING ROWS")
	if got := mustRun(ctx, t, c, "SELECT value FROM settings"); got != "b" {
		t.Errorf("in a block that had begun before the change: %s, want b", got)
	}
	mustRun(ctx, t, c, "COMMIT")
	if got := read(c); got != "a" {
		t.Errorf("behind it: %s, want a", got)
	}
	// RELOAD reads the catalogs again: a table that was made past pgdrover is known from then on.
	if got := s.Admin("ROUTE shop 'SELECT id FROM fresh'"); got[0]["construct"] != "unknown table" {
		t.Errorf("a table that is not there: %v", got)
	}
	for _, name := range s.shards {
		s.pg.MustExec(t, "shop_"+name, "CREATE TABLE fresh (id bigint)", "GRANT ALL ON fresh TO app")
	}
	s.Admin("RELOAD")
	if _, err := c.Exec(ctx, "SELECT id FROM fresh"); err != nil {
		t.Errorf("after RELOAD: %v", err)
	}
	// So does the file when it is saved, and what it says is in force for clients that are connected.
	s.edit(t, "reference_tables = [\"countries\"]", "reference_tables = [\"countries\", \"late\"]")
	pgtest.Eventually(t, 20*time.Second, func() error {
		if len(s.Admin("SELECT 1 FROM tables WHERE name = 'late'")) != 1 {
			return errors.New("the file has not been read")
		}
		return nil
	})
	if _, err := c.Exec(ctx, "INSERT INTO late VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	if n := s.onShards(t, "SELECT count(*) FROM late"); n[0]+n[1] != "11" {
		t.Errorf("rows of the new reference table: %v", n)
	}
}
