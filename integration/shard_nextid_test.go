package integration

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"pgdrover/internal/catalog"
	"pgdrover/internal/pgtest"
)

// startDrawingShop starts a shop whose customers get their keys from pgdrover.next_id(), and whose shards refuse rows that are not theirs.
func startDrawingShop(t *testing.T, n int, settings, inDB string) *shop {
	t.Helper()
	s := startShop(t, n, settings, inDB)
	s.Admin("ALTER DATABASE shop INSTALL NEXT ID", "ALTER DATABASE shop INSTALL GUARD")
	for _, name := range s.shards {
		s.pg.MustExec(t, "shop_"+name, "ALTER TABLE customers ALTER id SET DEFAULT pgdrover.next_id()")
	}
	s.Admin("RELOAD")
	return s
}

// twin starts a second pgdrover with the same shards.
func (s *shop) twin(t *testing.T) *bouncer {
	t.Helper()
	text, err := os.ReadFile(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	_, settings, ok := strings.Cut(string(text), "stats_users = [\"stats\"]\n")
	if !ok {
		t.Fatal("the configuration has another beginning")
	}
	return startBouncer(t, "", settings)
}

// insertIDs runs a statement and returns the ids that it returns.
func insertIDs(ctx context.Context, q interface {
	Query(context.Context, string, ...any) (pgx.Rows, error)
}, sql string, args ...any,
) ([]int64, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int64])
}

// checkDrawn looks whether the customers are those with these ids, each once, and each found where its key is looked for.
func (s *shop) checkDrawn(ctx context.Context, t *testing.T, c *pgx.Conn, ids []int64) {
	t.Helper()
	all, used := s.customersOn(t)
	var want []string
	for _, id := range ids {
		want = append(want, strconv.FormatInt(id, 10))
	}
	slices.Sort(want)
	if !slices.Equal(all, want) || len(slices.Compact(want)) != len(ids) {
		t.Fatalf("the shards have %d customers, %d ids were given\n%v\n%v", len(all), len(ids), all, want)
	}
	if len(ids) > 20 && used != len(s.shards) {
		t.Errorf("%d customers are on %d shards of %d", len(ids), used, len(s.shards))
	}
	for _, id := range ids[:min(len(ids), 50)] {
		var n int
		if err := c.QueryRow(ctx, "SELECT count(*) FROM customers WHERE id = $1", id).Scan(&n); err != nil || n != 1 {
			t.Fatalf("customer %d: %d, %v", id, n, err)
		}
	}
}

func TestAKeyIsDrawnFromNextID(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	s := startDrawingShop(t, 3, "", "")
	var ids []int64
	for _, mode := range []string{"simple_protocol", "exec", "describe_exec", "cache_describe", "cache_statement"} {
		c := s.Connect(ctx, "shop", "app", "default_query_exec_mode="+mode)
		for range 3 { // the third time everything is known
			for sql, want := range map[string]int{
				"INSERT INTO customers (name) VALUES ($1) RETURNING id":                                                                                       1,
				"INSERT INTO customers VALUES (DEFAULT, $1) RETURNING id":                                                                                     1,
				"INSERT INTO customers (country, id, name) VALUES ('x', pgdrover.next_id(), $1) RETURNING id":                                                 1,
				"INSERT INTO customers (name) VALUES ($1), ('b'), ('c'), ('d'), ('e'), ('f'), ('g'), ('h') RETURNING id":                                      8,
				"INSERT INTO customers (name -- the name\n) VALUES ($1 -- it\n), (/* another */ 'b' /* one */) -- two\n RETURNING id":                         2,
				"INSERT INTO customers (name) VALUES ($1), ('b'), ('c') ON CONFLICT (id) DO UPDATE SET name = excluded.name RETURNING id":                     3,
				"INSERT INTO customers (name) VALUES ($1), ('b'), ('c') ON CONFLICT DO NOTHING RETURNING id":                                                  3,
				"INSERT INTO customers (name, country) VALUES ($1, (SELECT min(name) FROM countries)), ('b', (SELECT min(code) FROM countries)) RETURNING id": 2,
			} {
				got, err := insertIDs(ctx, c, sql, "a")
				if err != nil || len(got) != want {
					t.Fatalf("%s: %s: %d ids, want %d, %v", mode, sql, len(got), want, err)
				}
				ids = append(ids, got...)
			}
			got, err := insertIDs(ctx, c, "INSERT INTO customers DEFAULT VALUES RETURNING id")
			if err != nil || len(got) != 1 {
				t.Fatalf("%s: DEFAULT VALUES: %v, %v", mode, got, err)
			}
			ids = append(ids, got...)
			// Rows with keys of their own among them keep their place in RETURNING.
			own := int64(len(ids))
			got, err = insertIDs(ctx, c, "INSERT INTO customers VALUES ($1, 'own'), (DEFAULT, 'drawn'), ($2, 'own'), (pgdrover.next_id(), 'drawn') RETURNING id", own, own+1_000_000)
			if err != nil || len(got) != 4 || got[0] != own || got[2] != own+1_000_000 {
				t.Fatalf("%s: given and drawn: %v, %v", mode, got, err)
			}
			ids = append(ids, got...)
		}
		if tag, err := c.Exec(ctx, "INSERT INTO customers (name) VALUES ('tag')"); err != nil || tag.String() != "INSERT 0 1" {
			t.Errorf("%s: %s, %v", mode, tag, err)
		}
		if tag, err := c.Exec(ctx, "DELETE FROM customers WHERE name = 'tag'"); err != nil || tag.String() != "DELETE 1" {
			t.Errorf("%s: %s, %v", mode, tag, err)
		}
		var id int64
		if err := c.QueryRow(ctx, "SELECT pgdrover.next_id()").Scan(&id); err != nil || slices.Contains(ids, id) {
			t.Errorf("%s: SELECT pgdrover.next_id(): %d, %v", mode, id, err)
		}
	}
	c := s.Connect(ctx, "shop", "app")
	s.checkDrawn(ctx, t, c, ids)
	for _, p := range s.Admin("SELECT shape, kind, tier, shards FROM plans WHERE shape LIKE 'insert into customers default values%'") {
		if p["kind"] != "next id" {
			t.Errorf("SHOW PLANS: %v", p)
		}
	}
}

// A composite key may have a part that is drawn.
func TestAPartOfAKeyIsDrawn(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s := startShop(t, 3, "", "")
	s.Admin("ALTER DATABASE shop INSTALL NEXT ID")
	for _, name := range s.shards {
		s.pg.MustExec(t, "shop_"+name, "CREATE TABLE notes (tenant int, note text, id bigint DEFAULT pgdrover.next_id(), PRIMARY KEY (tenant, id))", "GRANT ALL ON notes TO app")
	}
	s.Admin("CREATE KEY note ON DATABASE shop TYPE (integer, bigint)", "CREATE TABLE notes ON DATABASE shop KEY note (tenant, id)", "ALTER DATABASE shop INSTALL GUARD")
	c := s.Connect(ctx, "shop", "app")
	for tenant := range 10 {
		if _, err := insertIDs(ctx, c, "INSERT INTO notes VALUES ($1, 'a'), (7, 'b'), ($1, 'c') RETURNING id", tenant); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.onShards(t, "SELECT count(*) > 0 FROM notes"); strings.Join(got, "") != "ttt" {
		t.Errorf("notes on shards: %v", got)
	}
	if _, err := c.Exec(ctx, "INSERT INTO notes (note) VALUES ('x')"); !strings.HasPrefix(codeOf(err), "23502") {
		t.Errorf("without a tenant: %v", err)
	}
}

func TestDrawnKeysInTransactions(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	s := startDrawingShop(t, 3, "", "")
	var ids []int64
	for _, mode := range []string{"simple_protocol", "exec", "cache_statement"} {
		c := s.Connect(ctx, "shop", "app", "default_query_exec_mode="+mode)
		insert := func(q interface {
			Query(context.Context, string, ...any) (pgx.Rows, error)
		}, n int,
		) []int64 {
			t.Helper()
			var out []int64
			for range n {
				got, err := insertIDs(ctx, q, "INSERT INTO customers (name) VALUES ($1) RETURNING id", "x")
				if err != nil {
					t.Fatalf("%s: %v", mode, err)
				}
				out = append(out, got...)
			}
			return out
		}
		if err := pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
			ids = append(ids, insert(tx, 10)...)
			sub, err := tx.Begin(ctx)
			if err != nil {
				return err
			}
			insert(sub, 5)
			if err := sub.Rollback(ctx); err != nil {
				return err
			}
			ids = append(ids, insert(tx, 2)...)
			var n int
			return tx.QueryRow(ctx, "SELECT count(*) FROM customers WHERE id = $1", ids[len(ids)-1]).Scan(&n)
		}); err != nil {
			t.Fatalf("%s: %v", mode, err)
		}
		tx, err := c.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		insert(tx, 5)
		if _, err := tx.Exec(ctx, "INSERT INTO customers (id, name) VALUES ($1, 'x')", ids[0]); !strings.HasPrefix(codeOf(err), "23505") {
			t.Errorf("%s: a key that is there: %v", mode, err)
		}
		if _, err := tx.Exec(ctx, "INSERT INTO customers (name) VALUES ('x')"); !strings.HasPrefix(codeOf(err), "25P02") {
			t.Errorf("%s: behind an error: %v", mode, err)
		}
		if err := tx.Rollback(ctx); err != nil {
			t.Fatal(err)
		}
		// A pipeline is atomic: all of it is there, or nothing.
		for _, last := range []string{"SELECT 1", "SELECT 1/0"} {
			batch := &pgx.Batch{}
			var drawn []int64
			for range 4 {
				batch.Queue("INSERT INTO customers (name) VALUES ('x') RETURNING id").QueryRow(func(row pgx.Row) error {
					var id int64
					err := row.Scan(&id)
					drawn = append(drawn, id)
					return err
				})
			}
			batch.Queue(last)
			err := c.SendBatch(ctx, batch).Close()
			if last == "SELECT 1" {
				if err != nil {
					t.Fatalf("%s: %v", mode, err)
				}
				ids = append(ids, drawn...)
			} else if err == nil {
				t.Errorf("%s: %s went well", mode, last)
			}
		}
	}
	c := s.Connect(ctx, "shop", "app")
	results, err := c.PgConn().Exec(ctx, "INSERT INTO customers (name) VALUES ('x') RETURNING id; INSERT INTO customers VALUES (DEFAULT, 'x'), (DEFAULT, 'y') RETURNING id").ReadAll()
	if err != nil || len(results) != 2 {
		t.Fatal(err)
	}
	for _, r := range results {
		for _, row := range r.Rows {
			id, err := strconv.ParseInt(string(row[0]), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
	}
	if _, err := c.PgConn().Exec(ctx, "INSERT INTO customers (name) VALUES ('x'); SELECT 1/0").ReadAll(); !strings.HasPrefix(codeOf(err), "22012") {
		t.Errorf("a text that fails: %v", err)
	}
	// The position of an error is that in the client's text, or there is none.
	for sql, known := range map[string]bool{
		"SELECT 'ä'; INSERT INTO customers (name, id) VALUES ('a'::text + 1, DEFAULT)":           true,
		"SELECT 'ä'; INSERT INTO customers (name, id) VALUES ('b', 5), ('a'::text + 1, DEFAULT)": true,
		"INSERT INTO customers (name) VALUES ('a'::text + 1)":                                    false,
		"INSERT INTO customers VALUES (DEFAULT, 'a'::text + 1)":                                  false,
	} {
		want := int32(0)
		if known {
			want = int32(utf8.RuneCountInString(sql[:strings.Index(sql, "+")]) + 1)
		}
		_, err := c.PgConn().Exec(ctx, sql).ReadAll()
		if pe := pgErrorOf(t, err); pe.Code != "42883" || pe.Position != want && !(strings.Contains(sql, "'b'") && pe.Position == 0) {
			t.Errorf("%s: %s, position %d, want %d", sql, pe.Code, pe.Position, want)
		}
	}
	if _, err := c.Exec(ctx, "INSERT INTO customers (name) VALUES (1/0)"); !strings.HasPrefix(codeOf(err), "22012") {
		t.Errorf("a row that fails: %v", err)
	}
	for _, sql := range []string{"BEGIN READ ONLY; INSERT INTO customers (name) VALUES ('x')", "ROLLBACK"} {
		if _, err := c.PgConn().Exec(ctx, sql).ReadAll(); sql != "ROLLBACK" && !strings.Contains(codeOf(err), "25006 cannot execute INSERT in a read-only transaction") {
			t.Errorf("%s: %v", sql, err)
		}
	}
	s.checkDrawn(ctx, t, c, ids)
}

// Two nodes, one of them restarted, and clients that all insert at once never get the same id twice.
func TestDrawnKeysAreUniqueOverNodesAndRestarts(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 3*time.Minute)
	defer stop()
	s := startDrawingShop(t, 2, "default_pool_size = 5", "")
	const clients, each = 6, 120
	given := make([][]int64, 2*2*clients)
	round := func(n int, nodes ...*bouncer) {
		var g errgroup.Group
		for i, b := range nodes {
			for k := range clients {
				own := &given[(n*2+i)*clients+k]
				g.Go(func() error {
					c, err := pgx.Connect(ctx, b.DSN("shop", "app"))
					if err != nil {
						return err
					}
					defer func() { _ = c.Close(ctx) }()
					for j := range each {
						sql, args := "INSERT INTO customers (name) VALUES ($1) RETURNING id", []any{fmt.Sprint(j)}
						if j%10 == 0 {
							sql, args = "INSERT INTO customers (name) VALUES ('a'), ('b'), ('c'), ('d') RETURNING id", nil
						}
						got, err := insertIDs(ctx, c, sql, args...)
						if err != nil {
							return err
						}
						*own = append(*own, got...)
					}
					return nil
				})
			}
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	other := s.twin(t)
	round(0, s.bouncer, other)
	other.Close()
	round(1, s.bouncer, s.twin(t))
	ids := slices.Concat(given...)
	if want := 2 * 2 * clients * (each + each/10*3); len(ids) != want {
		t.Errorf("%d ids, want %d", len(ids), want)
	}
	s.checkDrawn(ctx, t, s.Connect(ctx, "shop", "app"), ids)
}

func TestIDsAreDrawnWhereTheyCanBe(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	s := startShop(t, 2, "", "")
	for _, name := range s.shards {
		s.pg.MustExec(t, "shop_"+name, "CREATE FUNCTION pgdrover.next_id() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'",
			"ALTER TABLE customers ALTER id SET DEFAULT pgdrover.next_id()")
	}
	c := s.Connect(ctx, "shop", "app")
	mustRun(ctx, t, c, "SELECT 1 FROM customers WHERE id = 1") // the catalogs are read
	for _, name := range s.shards {
		s.pg.MustExec(t, "shop_"+name, "DROP FUNCTION pgdrover.next_id CASCADE")
	}
	_, err := c.Exec(ctx, "INSERT INTO customers (name) VALUES ('x')")
	if pe := pgErrorOf(t, err); pe.Code != "42883" || pe.Hint != `ALTER DATABASE "shop" INSTALL NEXT ID on the admin database installs it on every shard.` {
		t.Errorf("without the function: %+v", pe)
	}
	// One shard that has it is enough.
	sql, err := catalog.NextIDSQL(1)
	if err != nil {
		t.Fatal(err)
	}
	s.pg.MustExec(t, "shop_b", append([]string{"BEGIN"}, append(sql, "COMMIT")...)...)
	var ids []int64
	for range 30 {
		got, err := insertIDs(ctx, c, "INSERT INTO customers (name) VALUES ('x') RETURNING id")
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, got...)
	}
	s.checkDrawn(ctx, t, c, ids)
	if at := ids[0] >> 22 & catalog.MaxShardNumber; at != 1 {
		t.Errorf("id %d is of shard %d, want 1", ids[0], at)
	}
}

// A shard that is down keeps nobody from drawing ids, only from storing rows there.
func TestIDsAreDrawnWhileAShardIsDown(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	var tables strings.Builder
	tables.WriteString("[databases.shop]\nhost = \"127.0.0.1\"\ndbname = \"postgres\"\nquery_wait_timeout = 2\nrecovery_user = \"postgres\"\n")
	var servers []*pgtest.Cluster
	for i, name := range []string{"a", "b"} {
		pg := pgtest.Start(t, pgtest.WithAuth("trust"))
		servers = append(servers, pg)
		sql, err := catalog.NextIDSQL(i)
		if err != nil {
			t.Fatal(err)
		}
		pg.MustExec(t, "postgres", slices.Concat([]string{"CREATE ROLE app LOGIN"}, sql,
			[]string{"CREATE TABLE customers (id bigint PRIMARY KEY DEFAULT pgdrover.next_id(), name text)", "GRANT ALL ON customers TO app"})...)
		fmt.Fprintf(&tables, "[[databases.shop.shards]]\nname = %q\nport = %d\n", name, pg.Port)
	}
	tables.WriteString("[databases.shop.keys.customer]\ntype = \"bigint\"\ncolumns = { customers = \"id\" }\n")
	b := startBouncer(t, "auth_type = \"trust\"\npool_mode = \"transaction\"\nserver_login_retry = 1\n", trustUsers+tables.String())
	c := b.Connect(ctx, "shop", "app", "default_query_exec_mode=exec")
	mustRun(ctx, t, c, "SELECT 1 FROM customers WHERE id = 1")
	if err := servers[0].Stop(ctx, pgtest.Fast); err != nil {
		t.Fatal(err)
	}
	stored := 0
	for i := 0; i < 12 || stored == 0 && i < 40; i++ { // about every other row belongs to the shard that is down
		got, err := insertIDs(ctx, c, "INSERT INTO customers (name) VALUES ('x') RETURNING id")
		switch {
		case err == nil:
			stored++
			if at := got[0] >> 22 & catalog.MaxShardNumber; at != 1 {
				t.Fatalf("id %d is of shard %d, want 1", got[0], at)
			}
		case c.IsClosed():
			t.Fatal(err)
		case !strings.Contains(err.Error(), `"a"`) && !strings.Contains(err.Error(), "query_wait_timeout"):
			t.Errorf("a row of the shard that is down: %v", err)
		}
	}
	if n := servers[1].MustValue(t, "postgres", "SELECT count(*) FROM customers"); n != strconv.Itoa(stored) || stored == 0 {
		t.Errorf("%s customers, %d were stored", n, stored)
	}
}

// Symptom this keeps away: with all connections in use that a limit allows, INSERTs failed or waited for each other.
func TestIDsAreDrawnWithinLimits(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	s := startDrawingShop(t, 2, "query_wait_timeout = 2\n", "")
	one, two := s.Connect(ctx, "shop", "app"), s.Connect(ctx, "shop", "app")
	mustRun(ctx, t, one, "SELECT name FROM customers WHERE id = 1")
	s.Admin("ALTER DATABASE shop SET max_db_connections = 2", "RECONNECT shop")
	var ids []int64
	// Each of two transactions has one of the two connections that there may be: ids are drawn in the transaction itself.
	txs := []pgx.Tx{}
	for _, c := range []*pgx.Conn{one, two} {
		tx, err := c.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback(ctx) }()
		pgtest.Eventually(t, patience, func() error { // connections of before are closed
			_, err := tx.Exec(ctx, "SELECT name FROM customers WHERE id = 1")
			return err
		})
		txs = append(txs, tx)
	}
	for _, tx := range txs {
		if _, err := insertIDs(ctx, tx, "INSERT INTO customers (name) VALUES ('x') RETURNING id"); err != nil && !strings.Contains(err.Error(), "query_wait_timeout") { // for the other shard there is no room
			t.Errorf("%v", err)
		}
		if err := tx.Rollback(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []*pgx.Conn{one, two} {
		for range 10 {
			got, err := insertIDs(ctx, c, "INSERT INTO customers (name) VALUES ('x') RETURNING id")
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, got...)
		}
	}
	s.checkDrawn(ctx, t, one, ids)
}

// ROUTE and EXPLAIN cannot know the shard of a key that is not drawn yet, and say so. What would have to know it is refused.
func TestARowWhoseKeyIsNotDrawnYetHasNoShard(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s := startDrawingShop(t, 2, "", "")
	for _, mode := range []string{"simple_protocol", "exec", "cache_statement"} {
		c := s.Connect(ctx, "shop", "app", "default_query_exec_mode="+mode)
		got := mustRun(ctx, t, c, "EXPLAIN (COSTS OFF) INSERT INTO customers (name) VALUES ('x')")
		if !strings.HasPrefix(got, "Shard of pgdrover.next_id(), here ") {
			t.Errorf("%s: EXPLAIN: %s", mode, got)
		}
		for sql, want := range map[string]string{
			"EXPLAIN ANALYZE INSERT INTO customers (name) VALUES ('x')":                             "0A000 sharding key column id gets its value from the server",
			"WITH x AS (INSERT INTO customers (name) VALUES ('x') RETURNING id) SELECT id FROM x":   "0A000 sharding key column id gets its value from the server",
			"INSERT INTO customers (name) SELECT 'x'":                                               "0A000 INSERT … SELECT into table customers",
			"/* shard=b */ INSERT INTO customers (name) VALUES ('x')":                               "22023 the hint says shard \"b\"",
			"/* shard_key=1 */ INSERT INTO customers DEFAULT VALUES":                                "22023 the hint says shard",
			"INSERT INTO customers (name) VALUES ('x'), ('y', 'z')":                                 "0A000 a row with more or fewer values",
			"INSERT INTO customers (id, name) VALUES (pgdrover.next_id() + 1, 'x')":                 "0A000 the value of sharding key column id is not a constant",
			"INSERT INTO customers (name, country) VALUES ('x', (SELECT max(name) FROM customers))": "0A000",
		} {
			if _, err := c.Exec(ctx, sql); !strings.HasPrefix(codeOf(err), want) {
				t.Errorf("%s: %s: %q, want %q", mode, sql, codeOf(err), want)
			}
		}
		mustRun(ctx, t, c, "SET pgdrover.shard = 'a'")
		if _, err := c.Exec(ctx, "INSERT INTO customers (name) VALUES ('x')"); !strings.HasPrefix(codeOf(err), "22023") {
			t.Errorf("%s: with a shard that is set: %v", mode, err)
		}
		mustRun(ctx, t, c, "RESET pgdrover.shard")
		if _, err := c.CopyFrom(ctx, pgx.Identifier{"customers"}, []string{"name"}, pgx.CopyFromRows([][]any{{"x"}})); !strings.HasPrefix(codeOf(err), "0A000") {
			t.Errorf("%s: COPY without the key: %v", mode, err)
		}
	}
	for sql, want := range map[string]string{
		"INSERT INTO customers (name) VALUES (''x'')":              "1 next id  customer = pgdrover.next_id()",
		"INSERT INTO customers (name) VALUES (''x''), (''y'')":     "2 next id  customer = pgdrover.next_id()",
		"EXPLAIN INSERT INTO customers DEFAULT VALUES":             "1 explain  customer = pgdrover.next_id()",
		"INSERT INTO customers VALUES (pgdrover.next_id(), ''x'')": "1 next id  customer = pgdrover.next_id()",
	} {
		rows := s.Admin("ROUTE shop '" + sql + "'")
		if len(rows) != 1 {
			t.Fatalf("ROUTE %s: %v", sql, rows)
		}
		r := rows[0]
		if got := strings.Join([]string{r["tier"], r["kind"], r["shard"], r["key"]}, " "); got != want {
			t.Errorf("ROUTE %s: %q, want %q", sql, got, want)
		}
	}
	if n := s.onShards(t, "SELECT count(*) FROM customers"); n[0]+n[1] != "00" {
		t.Errorf("customers: %v", n)
	}
}

// While a database is paused, an INSERT waits for RESUME whether or not its ids are drawn already.
func TestIDsAreNotDrawnWhileTheDatabaseIsPaused(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s := startDrawingShop(t, 2, "", "")
	c := s.Connect(ctx, "shop", "app")
	mustRun(ctx, t, c, "SELECT name FROM customers WHERE id = 1")
	s.Admin("PAUSE shop")
	var ids []int64
	var g errgroup.Group
	g.Go(func() (err error) {
		ids, err = insertIDs(ctx, c, "INSERT INTO customers (name) VALUES ('a'), ('b'), ('c') RETURNING id")
		return err
	})
	pgtest.Eventually(t, patience, func() error {
		if got := s.Admin("SELECT 1 FROM clients WHERE database = 'shop' AND state = 'waiting'"); len(got) != 1 {
			return fmt.Errorf("%d clients wait", len(got))
		}
		return nil
	})
	s.Admin("RESUME shop")
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	s.checkDrawn(ctx, t, c, ids)
}
