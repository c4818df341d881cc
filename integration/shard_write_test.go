package integration

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// customersOn returns the ids on each shard.
func (s *shop) customersOn(t *testing.T) (all []string, used int) {
	t.Helper()
	for _, list := range s.onShards(t, "SELECT coalesce(string_agg(id::text, ' '), '') FROM customers") {
		ids := strings.Fields(list)
		if len(ids) > 0 {
			used++
		}
		all = append(all, ids...)
	}
	slices.Sort(all)
	return all, used
}

func TestRowsOfCopyGoToTheirShards(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	s := startShop(t, 3, "", "")
	c := s.Connect(ctx, "shop", "app")
	var rows [][]any
	for i := range 1000 {
		rows = append(rows, []any{int64(i), fmt.Sprint("name ", i)})
	}
	if n, err := c.CopyFrom(ctx, pgx.Identifier{"customers"}, []string{"id", "name"}, pgx.CopyFromRows(rows)); err != nil || n != 1000 {
		t.Fatalf("binary: %d rows, %v", n, err)
	}
	var text, csv bytes.Buffer
	for i := 1000; i < 2000; i++ {
		fmt.Fprintf(&text, "%d\tna\\tme\t\\N\n", i)
		fmt.Fprintf(&csv, "\"two\nlines\",%d,\"de\"\n", i+1000)
	}
	pc := c.PgConn()
	if tag, err := pc.CopyFrom(ctx, &text, "COPY customers FROM STDIN"); err != nil || tag.String() != "COPY 1000" {
		t.Fatalf("text: %s, %v", tag, err)
	}
	if tag, err := pc.CopyFrom(ctx, &csv, "COPY customers (name, id, country) FROM STDIN WITH (FORMAT csv)"); err != nil || tag.String() != "COPY 1000" {
		t.Fatalf("csv: %s, %v", tag, err)
	}
	all, used := s.customersOn(t)
	if len(all) != 3000 || len(slices.Compact(slices.Clone(all))) != 3000 || used != 3 {
		t.Fatalf("%d customers on %d shards, want 3000 on 3", len(all), used)
	}
	for _, id := range []int{0, 999, 1000, 1999, 2000, 2999} {
		var n int
		if err := c.QueryRow(ctx, "SELECT count(*) FROM customers WHERE id = $1", id).Scan(&n); err != nil || n != 1 {
			t.Errorf("customer %d: %d, %v", id, n, err)
		}
	}
	for _, bad := range []string{"1\n", "x\ta\tb\n", "\\N\ta\tb\n", "5\ta\tb\n"} {
		before, _ := s.customersOn(t)
		_, err := pc.CopyFrom(ctx, strings.NewReader("900001\tgood\t\\N\n"+bad), "COPY customers FROM STDIN")
		if err == nil {
			t.Errorf("COPY of %q succeeded", bad)
		}
		if after, _ := s.customersOn(t); len(after) != len(before) {
			t.Errorf("COPY of %q failed and left rows", bad)
		}
	}
	for sql, want := range map[string]int{
		"COPY customers TO STDOUT": 3000, "COPY customers (id) TO STDOUT WITH (FORMAT csv, HEADER)": 3001,
	} {
		var out bytes.Buffer
		tag, err := pc.CopyTo(ctx, &out, sql)
		if err != nil || tag.String() != "COPY 3000" {
			t.Fatalf("%s: %s, %v", sql, tag, err)
		}
		if n := strings.Count(out.String(), "\n"); n < want {
			t.Errorf("%s: %d lines, want %d", sql, n, want)
		}
	}
	if got := mustRun(ctx, t, c, "SELECT 1"); got != "1" {
		t.Errorf("the session is not well: %q", got)
	}
}

func TestCopyInsideATransactionBlockIsUndoneWithIt(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	s := startShop(t, 2, "", "")
	c := s.Connect(ctx, "shop", "app")
	for _, end := range []string{"ROLLBACK", "COMMIT"} {
		mustRun(ctx, t, c, "BEGIN")
		var text strings.Builder
		for i := range 100 {
			fmt.Fprintf(&text, "%d\tx\tde\n", i)
		}
		if _, err := c.PgConn().CopyFrom(ctx, strings.NewReader(text.String()), "COPY customers FROM STDIN"); err != nil {
			t.Fatal(err)
		}
		mustRun(ctx, t, c, end)
		all, _ := s.customersOn(t)
		if want := map[string]int{"ROLLBACK": 0, "COMMIT": 100}[end]; len(all) != want {
			t.Errorf("%d customers after %s, want %d", len(all), end, want)
		}
	}
}

func TestInsertsOfManyRowsAreSplit(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	s := startShop(t, 3, "", "")
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec, pgx.QueryExecModeCacheStatement} {
		c := s.Connect(ctx, "shop", "app", "default_query_exec_mode="+strings.ReplaceAll(mode.String(), " ", "_"))
		base := int64(mode) * 100
		rows, err := c.Query(ctx, "INSERT INTO customers (id, name) VALUES ($1, $2), ($3, 'two'), ($4, $2), ($5, $6) RETURNING id",
			base+1, "one", base+2, base+3, base+4, "four")
		if err != nil {
			t.Fatal(err)
		}
		ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if err != nil || !slices.Equal(ids, []int64{base + 1, base + 2, base + 3, base + 4}) || rows.CommandTag().String() != "INSERT 0 4" {
			t.Errorf("%s: %v, %v, %s", mode, ids, err, rows.CommandTag())
		}
		var name string
		if err := c.QueryRow(ctx, "SELECT name FROM customers WHERE id = $1", base+3).Scan(&name); err != nil || name != "one" {
			t.Errorf("%s: %q, %v", mode, name, err)
		}
		if tag, err := c.Exec(ctx, "UPDATE customers SET country = 'fr' WHERE id IN ($1, $2, $3, $4)", base+1, base+2, base+3, base+4); err != nil || tag.RowsAffected() != 4 {
			t.Errorf("%s: %v, %v", mode, tag, err)
		}
	}
	c := s.Connect(ctx, "shop", "app")
	if tag, err := c.Exec(ctx, "DELETE FROM customers"); err != nil || tag.String() != "DELETE 12" {
		t.Errorf("%v, %v", tag, err)
	}
	if n := s.onShards(t, "SELECT count(*) FROM pg_prepared_xacts"); n[0] != "0" {
		t.Errorf("prepared transactions are left: %v", n)
	}
}

func TestReferenceTablesAndDDLAreTheSameOnEveryShard(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	s := startShop(t, 3, "", "")
	c := s.Connect(ctx, "shop", "postgres")
	mustRun(ctx, t, c, "INSERT INTO countries VALUES ('de', 'Germany'), ('fr', 'France')")
	if got := s.onShards(t, "SELECT count(*) FROM countries"); !slices.Equal(got, []string{"2", "2", "2"}) {
		t.Errorf("countries: %v", got)
	}
	if got := mustRun(ctx, t, c, "SELECT name FROM countries WHERE code = 'fr'"); got != "France" {
		t.Errorf("France is %q", got)
	}
	mustRun(ctx, t, c, "ALTER TABLE customers ADD COLUMN email text")
	mustRun(ctx, t, c, "CREATE INDEX CONCURRENTLY customers_email ON customers (email)")
	if got := s.onShards(t, "SELECT count(*) FROM pg_indexes WHERE indexname = 'customers_email'"); !slices.Equal(got, []string{"1", "1", "1"}) {
		t.Errorf("indexes: %v", got)
	}
	mustRun(ctx, t, c, "INSERT INTO customers (id, email) VALUES (1, 'a@b'), (2, 'c@d'), (3, 'e@f')")
	if got := mustRun(ctx, t, c, "SELECT email FROM customers WHERE id = 3"); got != "e@f" {
		t.Errorf("email is %q", got)
	}
	mustRun(ctx, t, c, "TRUNCATE customers")
	if all, _ := s.customersOn(t); len(all) != 0 {
		t.Errorf("customers after TRUNCATE: %v", all)
	}
	mustRun(ctx, t, c, "INSERT INTO settings VALUES ('x', 'y')")
	if got := s.onShards(t, "SELECT count(*) FROM settings"); !slices.Equal(got, []string{"1", "0", "0"}) {
		t.Errorf("settings: %v", got)
	}
}

// What runs on one shard after the other and fails on one of them says where it stands, and how to go on from there.
func TestAStatementThatFailsHalfWaySaysHowToGoOn(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	s := startShop(t, 3, "", "")
	s.pg.MustExec(t, "shop_b", "INSERT INTO customers (id, name) VALUES (-1, '')")
	c := s.Connect(ctx, "shop", "app")
	for _, db := range s.databases() {
		s.pg.MustExec(t, db, "ALTER TABLE customers OWNER TO app", "GRANT CREATE ON SCHEMA public TO app")
	}
	mustRun(ctx, t, c, "CREATE INDEX CONCURRENTLY by_name ON customers (name)")
	mustRun(ctx, t, c, "DROP INDEX by_name")
	const create = "CREATE INDEX CONCURRENTLY by_name ON customers ((1 / length(name)))"
	_, err := run(ctx, c, create)
	pe := wantError(t, err, "22012", `shard "b"`)
	if !strings.Contains(pe.Detail, `["a"]`) || !strings.Contains(pe.Hint, "/* shard=b */, /* shard=c */") {
		t.Fatalf("DETAIL %q, HINT %q", pe.Detail, pe.Hint)
	}
	s.pg.MustExec(t, "shop_b", "UPDATE customers SET name = 'x' WHERE id = -1")
	mustRun(ctx, t, c, "/* shard=b */ DROP INDEX by_name") // PostgreSQL leaves it there, invalid
	for _, at := range []string{"b", "c"} {
		mustRun(ctx, t, c, "/* shard="+at+" */ "+create)
	}
	if got := s.onShards(t, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'by_name'::regclass"); !slices.Equal(got, []string{"t", "t", "t"}) {
		t.Errorf("valid indexes: %v", got)
	}
}
