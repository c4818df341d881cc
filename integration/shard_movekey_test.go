package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

// keyShop is a shop with more tables, and the same in one database beside it, and a session of each.
type keyShop struct {
	*shop
	sharded, one *pgx.Conn
	each         []*pgx.Conn // of the shards, past pgdrover
}

// keyTables have a column for what a row that moves has to keep.
const keyTables = `
CREATE TYPE state AS ENUM ('open', 'paid');
CREATE TABLE things (k bigint NOT NULL, id int GENERATED ALWAYS AS IDENTITY, note varchar(8), state state, twice int GENERATED ALWAYS AS (n * 2) STORED, n int, j jsonb, at timestamptz, PRIMARY KEY (k, id));
CREATE TABLE seats (room text COLLATE "C" NOT NULL, seat int NOT NULL, who text, PRIMARY KEY (room, seat));
CREATE TABLE spans (k numeric(6,1) PRIMARY KEY, v int);
CREATE TABLE bonds (id bigint PRIMARY KEY);
CREATE TABLE bearers (id bigint REFERENCES bonds, n int);
`

func startKeyShop(ctx context.Context, tb testing.TB, n int) *keyShop {
	tb.Helper()
	s := &keyShop{}
	s.shop = startShop(tb, n, "", `waive = ["things.id"]
[databases.shop.keys.thing]
type = "bigint"
columns = { things = "k", bonds = "id", bearers = "id" }
[databases.shop.keys.seat]
type = ["text", "integer"]
columns = { seats = ["room", "seat"] }
[databases.shop.keys.span]
type = "numeric"
columns = { spans = "k" }
placement = [{ shard = "a", from = 0, to = 50 }, { shard = "`+string(rune('a'+n-1))+`", from = 50, to = 100 }]
`)
	for _, db := range append(s.databases(), "one") {
		s.pg.MustExec(tb, db, keyTables, "GRANT ALL ON ALL TABLES IN SCHEMA public TO app")
	}
	s.Admin("ALTER DATABASE shop INSTALL GUARD AS postgres") // no row may be on a wrong shard, not even for a moment
	s.sharded, s.one = s.direct(ctx, tb, "shop"), s.direct(ctx, tb, "one")
	for _, db := range s.databases() {
		s.each = append(s.each, s.direct(ctx, tb, db))
	}
	return s
}

// both runs a statement on the shards and on the one database, and compares what it returns. It says whether it was no error.
func (s *keyShop) both(ctx context.Context, tb testing.TB, mode pgx.QueryExecMode, sql string, args ...any) bool {
	tb.Helper()
	answer := func(c *pgx.Conn) (string, string) {
		rows, err := c.Query(ctx, sql, append([]any{mode}, args...)...)
		if err != nil {
			return "", codeOf(err)
		}
		var out []string
		for rows.Next() {
			values, err := rows.Values()
			if err != nil {
				tb.Fatalf("%s: %v", sql, err)
			}
			out = append(out, fmt.Sprint(values...))
		}
		if rows.Err() != nil {
			return "", codeOf(rows.Err())
		}
		slices.Sort(out)
		return rows.CommandTag().String() + "\n" + strings.Join(out, "\n"), ""
	}
	want, wantErr := answer(s.one)
	got, gotErr := answer(s.sharded)
	if got != want || strings.Split(gotErr, " ")[0] != strings.Split(wantErr, " ")[0] {
		tb.Errorf("%s %v\n got %s%s\nwant %s%s", sql, args, got, gotErr, want, wantErr)
	}
	return wantErr == ""
}

// same compares the rows of a table.
func (s *keyShop) same(ctx context.Context, tb testing.TB, table string) {
	tb.Helper()
	rows := func(conns ...*pgx.Conn) (out []string) {
		for _, c := range conns {
			if all := mustRun(ctx, tb, c, "SELECT string_agg(t::text, E'\\n') FROM "+table+" t"); all != "" {
				out = append(out, strings.Split(all, "\n")...)
			}
		}
		slices.Sort(out)
		return out
	}
	if d := cmp.Diff(rows(s.one), rows(s.each...)); d != "" {
		tb.Errorf("%s: %s", table, d)
	}
}

// placed checks that each row is where its key is looked for.
func (s *keyShop) placed(ctx context.Context, tb testing.TB, table, key string) {
	tb.Helper()
	for i, c := range s.each {
		for _, k := range strings.Fields(mustRun(ctx, tb, c, "SELECT string_agg(k, ' ') FROM (SELECT DISTINCT "+key+"::text AS k FROM "+table+") x")) {
			got := mustRun(ctx, tb, s.sharded, fmt.Sprintf("SELECT count(*) FROM %s WHERE %s = '%s'", table, key, k))
			if here := mustRun(ctx, tb, c, fmt.Sprintf("SELECT count(*) FROM %s WHERE %s = '%s'", table, key, k)); got != here {
				tb.Errorf("%s: %s rows of %s are on shard %s, where %s are found", table, here, k, s.shards[i], got)
			}
		}
	}
}

// moveModes are the protocols in which statements are sent.
var moveModes = []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeCacheStatement, pgx.QueryExecModeExec, pgx.QueryExecModeDescribeExec}

func TestAnUpdateThatComputesTheKeyMovesEachRowToItsShard(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprint(n, " shards"), func(t *testing.T) {
			t.Parallel()
			ctx, stop := context.WithTimeout(context.Background(), 3*time.Minute)
			defer stop()
			s := startKeyShop(ctx, t, n)
			for _, mode := range moveModes {
				for _, table := range []string{"orders", "things", "seats", "spans"} {
					s.both(ctx, t, pgx.QueryExecModeSimpleProtocol, "DELETE FROM "+table)
				}
				for i := range 40 {
					s.both(ctx, t, pgx.QueryExecModeSimpleProtocol, fmt.Sprintf("INSERT INTO orders VALUES (%d, %d, %d.25, nullif('n%[3]d', 'n3'))", i%13, i, i%7))
					s.both(ctx, t, pgx.QueryExecModeSimpleProtocol, fmt.Sprintf("INSERT INTO things (k, id, note, state, n, j, at) OVERRIDING SYSTEM VALUE VALUES (%d, %[1]d, 'n%[1]d', 'open', nullif(%[1]d, 4), '{\"a\": %[1]d}', '2024-02-03 04:05:06.78+00')", i))
					s.both(ctx, t, pgx.QueryExecModeSimpleProtocol, fmt.Sprintf("INSERT INTO seats VALUES ('r%d', %d, 'é%d')", i%3, i, i))
				}
				s.both(ctx, t, pgx.QueryExecModeSimpleProtocol, "INSERT INTO spans VALUES (1, 1), (20, 2), (49.5, 3), (50, 4), (99.9, 5)")
				for _, u := range []struct {
					sql  string
					args []any
				}{
					{"UPDATE orders SET customer_id = customer_id + 1", nil},
					{"UPDATE orders SET customer_id = customer_id + $1 WHERE customer_id = $2 RETURNING *", []any{int64(100), int64(3)}},
					{"UPDATE orders AS o SET total = o.total * 2, customer_id = o.id * 3, note = upper(o.note) || 'x' WHERE o.id > $1 RETURNING o.id, o.note AS \"n o\"", []any{int64(20)}},
					{"UPDATE orders SET customer_id = CASE WHEN id % 2 = 0 THEN customer_id ELSE 7 - customer_id END, note = NULL WHERE total > 1", nil},
					{"UPDATE orders SET customer_id = total * 1.5, total = NULL WHERE total IS NOT NULL RETURNING customer_id", nil},
					{"UPDATE orders SET customer_id = id, id = customer_id * 1000 + id", nil},
					{"UPDATE orders SET customer_id = coalesce(length(note), 5) + $1::int WHERE note = $2 OR id < 9", []any{int32(3), "N4x"}},
					{"UPDATE orders SET customer_id = customer_id + 1 WHERE id = -1 RETURNING customer_id", nil},
					{"UPDATE things SET k = k * 7, n = n + 1, note = left(note, 1) || 'ü', j = j || '{\"b\": null}', at = at + interval '1 day 00:00:00.000001' RETURNING *", nil},
					{"UPDATE things SET k = k + id, state = 'paid' WHERE n IS NULL OR k % 3 = 0 RETURNING state::text, twice, k", nil},
					{"UPDATE things SET k = k + 1, n = $1, note = $2 WHERE id < 10", []any{int32(8), nil}},
					{"UPDATE things SET k = k * 3, note = DEFAULT, twice = DEFAULT WHERE id > 30 RETURNING *", nil},
					{"UPDATE seats SET room = room || seat, seat = seat % 4 * 100 + seat RETURNING room, seat, who", nil},
					{"UPDATE seats SET room = 'x' WHERE who > 'é2'", nil},
					{"UPDATE seats SET seat = seat + $2 WHERE room = $1 RETURNING seat", []any{"x", int32(1000)}},
					{"UPDATE spans SET k = 99.94 - k RETURNING k, v", nil},
					{"UPDATE spans SET k = k / 3 + v", nil},
				} {
					if !s.both(ctx, t, mode, u.sql, u.args...) {
						t.Errorf("%s %v was no UPDATE at all", u.sql, u.args)
					}
					s.same(ctx, t, strings.Fields(u.sql)[1])
				}
				s.placed(ctx, t, "orders", "customer_id")
				s.placed(ctx, t, "things", "k")
				s.placed(ctx, t, "spans", "k")
			}
			s.atRest(t)
		})
	}
}

func TestKeysThatAreComputedAtRandomEndAsOnOneServer(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 3*time.Minute)
	defer stop()
	s := startKeyShop(ctx, t, 3)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range 60 {
		s.both(ctx, t, pgx.QueryExecModeSimpleProtocol, fmt.Sprintf("INSERT INTO orders VALUES (%d, %d, %d, nullif('%d', '3'))", r.IntN(20), i, r.IntN(50), r.IntN(5)))
	}
	for range 100 {
		var expr func(depth int) string
		expr = func(depth int) string {
			if depth == 0 {
				return []string{"customer_id", "id", "total", "length(note)", fmt.Sprint(r.IntN(40)), "7.5"}[r.IntN(6)]
			}
			l, m := expr(depth-1), expr(depth-1)
			return []string{
				"(" + l + " + " + m + ")", "coalesce(" + l + ", " + m + ")", "CASE WHEN " + l + " > " + m + " THEN " + m + " ELSE " + l + " END",
				"(" + l + " % nullif(" + m + ", 0))", "greatest(" + l + ", " + m + ")",
			}[r.IntN(5)]
		}
		sql := "UPDATE orders SET customer_id = (" + expr(1+r.IntN(2)) + ") % 1000"
		if r.IntN(2) == 0 {
			sql += ", total = (" + expr(1) + ") % 1000, note = nullif(note || 'é', '4éé')"
		}
		if r.IntN(3) > 0 {
			sql += " WHERE " + expr(1) + []string{" < ", " >= ", " <> "}[r.IntN(3)] + expr(1)
		}
		if r.IntN(2) == 0 {
			sql += " RETURNING *"
		}
		s.both(ctx, t, moveModes[r.IntN(len(moveModes))], sql)
		s.same(ctx, t, "orders")
	}
	s.placed(ctx, t, "orders", "customer_id")
	s.atRest(t)
}

// left returns a function that checks that the rows of a table are where they were and as they were.
func (s *keyShop) left(ctx context.Context, tb testing.TB, what, table string) func() {
	tb.Helper()
	state := func() (out string) {
		for _, c := range s.each {
			out += mustRun(ctx, tb, c, "SELECT string_agg(t::text, ' ' ORDER BY t::text) FROM "+table+" t") + "; "
		}
		return out
	}
	before := state()
	return func() {
		tb.Helper()
		if after := state(); after != before {
			tb.Errorf("%s: %s was\n%s\nand is\n%s", what, table, before, after)
		}
	}
}

func TestAnUpdateThatCannotMoveAllRowsChangesNone(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	s := startKeyShop(ctx, t, 3)
	at := s.keysOf(ctx, t)
	a, b, c := at["a"], at["b"], at["c"]
	mustRun(ctx, t, s.sharded, fmt.Sprintf("INSERT INTO orders VALUES (%d, 1, 1, 'x'), (%d, 1, 2, 'y'), (%d, 3, 3, NULL)", a, b, c))
	mustRun(ctx, t, s.sharded, fmt.Sprintf("INSERT INTO bonds VALUES (%d), (%d)", a, b))
	mustRun(ctx, t, s.sharded, fmt.Sprintf("INSERT INTO bearers VALUES (%d, 1)", a))
	mustRun(ctx, t, s.sharded, "INSERT INTO spans VALUES (1, 1), (70, 2)")
	swap := fmt.Sprintf("CASE customer_id WHEN %d THEN %d WHEN %[2]d THEN %[1]d ELSE %d END", a, b, c)
	for _, c := range []struct{ sql, want, message string }{
		{"UPDATE orders SET customer_id = " + swap, "23505", "orders_pkey"}, // two rows change places: so says one server too
		{fmt.Sprintf("UPDATE orders SET customer_id = %d + id * 0", b), "23505", "orders_pkey"},
		{fmt.Sprintf("UPDATE orders SET customer_id = nullif(customer_id, %d)", b), "23502", "sharding key column customer_id"},
		{"UPDATE orders SET customer_id = customer_id + 1000 / (id - 3)", "22012", "division by zero"},
		{"UPDATE orders SET customer_id = customer_id + 1000, total = 1 / (id - 3)", "22012", "division by zero"},
		{"UPDATE orders SET customer_id = customer_id + 1000, total = length(note) * 1e9", "22003", "numeric field overflow"},
		{"UPDATE orders SET customer_id = customer_id + 1000, id = nullif(id, 3)", "23502", `null value in column "id"`},
		{"UPDATE orders SET customer_id = customer_id + 1000 RETURNING 1 / (id - 3)", "22012", "division by zero"},
		{"UPDATE orders SET customer_id = note || 'x'", "42804", "is of type bigint but expression is of type text"},
		{"UPDATE orders SET customer_id = customer_id + 9223372036854775807", "22003", "out of range"},
		{"UPDATE orders SET customer_id = customer_id + (random() * 10)::int", "0A000", "moves rows"},
		{"UPDATE orders SET customer_id = (SELECT 5) + id", "0A000", "moves rows"},
		{"UPDATE orders SET customer_id = customers.id + 1 FROM customers WHERE customers.id = orders.customer_id", "0A000", "moves rows"},
		{"UPDATE orders SET customer_id = customer_id + 1 RETURNING ctid", "0A000", "system column"},
		{"UPDATE spans SET k = k + 50", "23514", "no shard is placed"},
		{"UPDATE spans SET k = -k", "23514", "no shard is placed"},
		{"UPDATE spans SET k = k || '5'", "42804", "is of type numeric but expression is of type text"},
		{"UPDATE spans SET k = k * 100000", "22003", "numeric field overflow"},
		{fmt.Sprintf("UPDATE bonds SET id = id + %d", b+c+100), "23503", "bearers"},
		{"UPDATE bearers SET id = id + 1000", "23503", "bearers_id_fkey"},
		{"UPDATE things SET id = k + 1, k = k + 1", "428C9", `column "id" can only be updated to DEFAULT`},
		{"UPDATE things SET twice = 1, k = k + 1", "428C9", `column "twice" can only be updated to DEFAULT`},
	} {
		unchanged := s.left(ctx, t, c.sql, strings.Fields(c.sql)[1])
		for _, block := range []bool{false, true} {
			if block {
				mustRun(ctx, t, s.sharded, "BEGIN")
			}
			for _, mode := range moveModes {
				if block {
					mustRun(ctx, t, s.sharded, "SAVEPOINT s")
				}
				_, err := s.sharded.Exec(ctx, c.sql, mode)
				if pe := wantError(t, err, c.want, c.message); c.want == "42804" && pe.Position == 0 {
					t.Errorf("%s: %q has no position", c.sql, pe.Message)
				}
				if block {
					mustRun(ctx, t, s.sharded, "ROLLBACK TO s")
				}
			}
			if block {
				mustRun(ctx, t, s.sharded, "COMMIT")
			}
			unchanged()
		}
	}
	s.atRest(t)
}

func TestAComputedKeyInATransaction(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	s := startKeyShop(ctx, t, 3)
	for i := range 3000 { // more than are inserted at once
		if i%500 == 0 {
			s.both(ctx, t, pgx.QueryExecModeSimpleProtocol, fmt.Sprintf("INSERT INTO orders SELECT %d, g, g, repeat('x', 40) FROM generate_series(%d, %d) g", i, i, i+499))
		}
	}
	unchanged := s.left(ctx, t, "ROLLBACK", "orders")
	mustRun(ctx, t, s.sharded, "BEGIN")
	tag, err := s.sharded.Exec(ctx, "UPDATE orders SET customer_id = id, total = total + 1")
	if err != nil || tag.String() != "UPDATE 3000" {
		t.Fatalf("%v, %v", tag, err)
	}
	if got := mustRun(ctx, t, s.sharded, "SELECT total FROM orders WHERE customer_id = 2999"); got != "3000.00" {
		t.Errorf("in the transaction: %q", got)
	}
	mustRun(ctx, t, s.sharded, "ROLLBACK")
	unchanged()
	for _, c := range []*pgx.Conn{s.sharded, s.one} {
		b := &pgx.Batch{}
		b.Queue("UPDATE orders SET customer_id = customer_id + id % 5 WHERE id < $1", 1000)
		b.Queue("UPDATE orders SET customer_id = id, total = $1 WHERE id % 3 = 0 RETURNING id", "5.5")
		b.Queue("SELECT note FROM orders WHERE customer_id = 0 AND id = 0")
		if err := c.SendBatch(ctx, b).Close(); err != nil {
			t.Error(err)
		}
	}
	s.same(ctx, t, "orders")
	for _, c := range []*pgx.Conn{s.sharded, s.one} {
		mustRun(ctx, t, c, "UPDATE orders SET customer_id = id + 1; UPDATE orders SET customer_id = customer_id * 3 WHERE id > 2000")
	}
	s.same(ctx, t, "orders")
	s.placed(ctx, t, "orders", "customer_id")
	mustRun(ctx, t, s.sharded, "BEGIN ISOLATION LEVEL REPEATABLE READ")
	_, err = run(ctx, s.sharded, "UPDATE orders SET customer_id = customer_id + 1")
	wantError(t, err, "0A000", "cannot use a second shard")
	mustRun(ctx, t, s.sharded, "ROLLBACK")
	mustRun(ctx, t, s.sharded, "BEGIN READ ONLY")
	_, err = run(ctx, s.sharded, "UPDATE orders SET customer_id = customer_id + 1")
	wantError(t, err, "25006", "read-only transaction")
	mustRun(ctx, t, s.sharded, "ROLLBACK")
	s.same(ctx, t, "orders")
	s.atRest(t)
}

func TestAComputedKeyIsThatOfTheRowAsItIsWhenItIsLocked(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	s := startKeyShop(ctx, t, 3)
	at := s.keysOf(ctx, t)
	holder := s.Connect(ctx, "shop", "app")
	mustRun(ctx, t, holder, fmt.Sprintf("INSERT INTO orders VALUES (%d, 1, 0, 'before'), (%[1]d, 2, 0, 'stays')", at["a"]))
	mustRun(ctx, t, holder, "BEGIN")
	// The row that waits is to go to b when the statement begins, and to c when it has the lock; the other one matches no more.
	mustRun(ctx, t, holder, fmt.Sprintf("UPDATE orders SET note = 'after', total = %d WHERE customer_id = %d AND id = 1", at["c"]-at["b"], at["a"]))
	mustRun(ctx, t, holder, fmt.Sprintf("UPDATE orders SET note = 'gone' WHERE customer_id = %d AND id = 2", at["a"]))
	var tag string
	moved := background(func() error {
		r, err := s.sharded.Exec(ctx, fmt.Sprintf("UPDATE orders SET customer_id = %d + total::bigint WHERE note <> 'gone'", at["b"]))
		tag = r.String()
		return err
	})
	awaitCount(t, s.pg, 1, "pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%FOR UPDATE'")
	mustRun(ctx, t, holder, "COMMIT")
	if err := result(ctx, t, moved); err != nil || tag != "UPDATE 1" {
		t.Fatal(tag, err)
	}
	if got := mustRun(ctx, t, holder, fmt.Sprintf("SELECT note FROM orders WHERE customer_id = %d", at["c"])); got != "after" {
		t.Errorf("the row that moved: %q", got)
	}
	if n := strings.Join(s.onShards(t, "SELECT count(*) FROM orders"), " "); n != "1 0 1" {
		t.Errorf("rows on the shards: %s", n)
	}
	s.atRest(t)
}

func TestSessionsThatMoveTheSameRowsLoseAndDoubleNone(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 3*time.Minute)
	defer stop()
	s := startKeyShop(ctx, t, 3)
	const rows, sessions, rounds = 12, 4, 25
	for i := range rows {
		mustRun(ctx, t, s.sharded, fmt.Sprintf("INSERT INTO orders VALUES (%d, %d, 0)", i, i))
	}
	done := make(chan error, sessions)
	for n := range sessions {
		c := s.Connect(ctx, "shop", "app")
		go func() {
			r := rand.New(rand.NewPCG(uint64(n), 0))
			var err error
			for range rounds {
				// One row by its key, which has one mover only, or some rows wherever they are. Deadlocks are broken.
				sql := fmt.Sprintf("UPDATE orders SET customer_id = (customer_id + %d) %% 50, total = total + 1 WHERE customer_id = %d", 1+r.IntN(20), r.IntN(50))
				if r.IntN(2) == 0 {
					sql = fmt.Sprintf("UPDATE orders SET customer_id = (customer_id + id) %% 50, total = total + 1 WHERE id %% %d = 0", 2+r.IntN(5))
				}
				if _, e := c.Exec(ctx, sql); e != nil && !strings.HasPrefix(codeOf(e), "40P01") {
					err = fmt.Errorf("%s: %w", sql, e)
					break
				}
			}
			done <- err
		}()
	}
	for range sessions {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	var ids []string
	for _, list := range s.onShards(t, "SELECT coalesce(string_agg(id::text, ' '), '') FROM orders") {
		ids = append(ids, strings.Fields(list)...)
	}
	slices.SortFunc(ids, func(a, b string) int {
		x, _ := strconv.Atoi(a)
		y, _ := strconv.Atoi(b)
		return x - y
	})
	if got := strings.Join(ids, " "); got != "0 1 2 3 4 5 6 7 8 9 10 11" {
		t.Errorf("rows: %s", got)
	}
	s.placed(ctx, t, "orders", "customer_id")
	s.atRest(t)
}

func TestOnlyOneOfTwoSessionsMovesARow(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	s := startKeyShop(ctx, t, 3)
	at := s.keysOf(ctx, t)
	first, second := s.sharded, s.Connect(ctx, "shop", "app")
	mustRun(ctx, t, first, fmt.Sprintf("INSERT INTO orders VALUES (%d, 1, 0)", at["a"]))
	move := fmt.Sprintf("UPDATE orders SET customer_id = customer_id + %d, total = total + 1 WHERE customer_id = %d", at["b"]-at["a"], at["a"])
	mustRun(ctx, t, first, "BEGIN")
	if tag, err := first.Exec(ctx, move); err != nil || tag.String() != "UPDATE 1" {
		t.Fatal(tag, err)
	}
	var tag string
	waits := background(func() error {
		r, err := second.Exec(ctx, move)
		tag = r.String()
		return err
	})
	awaitCount(t, s.pg, 1, "pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%FOR UPDATE'")
	mustRun(ctx, t, first, "COMMIT")
	if err := result(ctx, t, waits); err != nil || tag != "UPDATE 0" {
		t.Errorf("the second: %s, %v", tag, err)
	}
	if got := mustRun(ctx, t, first, fmt.Sprintf("SELECT total FROM orders WHERE customer_id = %d", at["b"])); got != "1.00" {
		t.Errorf("total is %q", got)
	}
	s.atRest(t)
}
