package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"pgdrover/internal/pgtest"
)

// newShard makes the database of a further shard, with the tables of the shop, and without rows.
func (s *shop) newShard(tb testing.TB, name string) {
	tb.Helper()
	s.create(tb, "shop_"+name)
	s.shards = append(s.shards, name)
}

// addShard adds a shard that is there to the map.
func (s *shop) addShard(name string) {
	s.Admin(fmt.Sprintf("CREATE SHARD %s ON DATABASE shop (dbname 'shop_%s')", name, name))
}

// lacking expects SHOW CHECKS to name these copies of reference tables that lack rows, as "table.shard".
func (s *shop) lacking(tb testing.TB, want ...string) {
	tb.Helper()
	var got []string
	for _, r := range s.rows("CHECKS", "check=reference-empty") {
		if r["refuses"] != "1" {
			tb.Errorf("the check does not refuse: %v", r)
		}
		got = append(got, r["waiver"])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		tb.Errorf("SHOW CHECKS (-want +got):\n%s", diff)
	}
}

// used waits until a statement is not refused any more, and returns what it answers.
func used(ctx context.Context, tb testing.TB, c *pgx.Conn, sql string) (got string) {
	tb.Helper()
	pgtest.Eventually(tb, patience, func() (err error) {
		got, err = run(ctx, c, sql)
		return err
	})
	return got
}

// Symptom: behind CREATE SHARD, SELECT from a reference table answered without rows, and so did joins with rows of the new shard.
// Cause: the new shard's copy of the table was empty, and nothing compared it with the others'.
func TestAReferenceTableIsNotReadWhereItIsEmpty(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	s := startShop(t, 2, "", "")
	c := s.Connect(ctx, "shop", "app")
	mustRun(ctx, t, c, "INSERT INTO countries VALUES ('de', 'Germany'), ('fr', 'France')")
	mustRun(ctx, t, c, "INSERT INTO customers VALUES (1, 'x', 'de'), (2, 'x', 'de'), (3, 'x', 'de')")
	s.newShard(t, "c")
	s.addShard("c")
	s.Admin("ALTER KEY customer ON DATABASE shop PLACEMENT (c FOR VALUES WITH (MODULUS 1, REMAINDER 0)) WITHOUT MOVING ROWS")
	s.pg.MustExec(t, "shop_c", "INSERT INTO customers VALUES (1, 'x', 'de')")
	for range 5 {
		c := s.Connect(ctx, "shop", "app")
		for _, sql := range []string{
			countriesCount,
			"SELECT count(*) FROM customers JOIN countries ON code = country WHERE id = 1",
			"COPY countries TO STDOUT",
			"INSERT INTO countries VALUES ('it', 'Italy')",
			"EXPLAIN SELECT FROM countries",
		} {
			_, err := run(ctx, c, sql)
			pe := wantError(t, err, "0A000", "reference table public.countries has no rows on shard c, and has some on shard a")
			if !strings.Contains(pe.Hint, "SET pgdrover.shard = 'c'") || !strings.Contains(pe.Hint, `waive = ["countries.c"]`) {
				t.Errorf("the hint is %s", pe.Hint)
			}
		}
		if got := mustRun(ctx, t, c, "SELECT name FROM customers WHERE id = 1"); got != "x" {
			t.Errorf("the customer is %q", got)
		}
	}
	s.lacking(t, "countries.c")

	mustRun(ctx, t, c, "SET pgdrover.shard = 'c'") // as the hint says
	if got := mustRun(ctx, t, c, countriesCount); got != "0" {
		t.Errorf("shard c has %s countries", got)
	}
	if _, err := c.Exec(ctx, "INSERT INTO countries VALUES ($1, $2)", "de", "Germany"); err != nil {
		t.Fatal(err)
	}
	mustRun(ctx, t, c, "RESET pgdrover.shard")
	pgtest.MustPsql(t, s.DSN("shop", "app"), "SET pgdrover.shard = 'c';\n\\copy countries FROM STDIN\nfr\tFrance\n\\.\n", "-v", "ON_ERROR_STOP=1")
	mustRun(ctx, t, c, "/* shard=c */ INSERT INTO countries VALUES ('es', 'Spain')")
	mustRun(ctx, t, c, "/* shard=c */ DELETE FROM countries WHERE code = 'es'")
	if got := used(ctx, t, c, countriesCount); got != "2" {
		t.Errorf("there are %s countries", got)
	}
	s.lacking(t)
	mustRun(ctx, t, c, "INSERT INTO countries VALUES ('it', 'Italy')")
	if diff := cmp.Diff([]string{"3", "3", "3"}, s.onShards(t, "SELECT count(*) FROM countries")); diff != "" {
		t.Errorf("countries by shard (-want +got):\n%s", diff)
	}
	if n := strings.Count(s.logText(), "reference table public.countries has no rows"); n != 1 {
		t.Errorf("the log has it %d times, want once", n)
	}
}

func TestAReferenceTableIsUsedAgainWhenItHasBeenFilledThere(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	s := startShop(t, 1, "", "")
	for _, table := range []string{"odd\\'s", "parts", "parts_1", "tree"} {
		s.edit(t, `reference_tables = [`, fmt.Sprintf(`reference_tables = ['''%s''', `, table))
	}
	const schema = `CREATE TABLE "odd\'s" (i int); CREATE TABLE parts (i int) PARTITION BY LIST (i); CREATE TABLE parts_1 PARTITION OF parts DEFAULT;
		CREATE TABLE tree (i int); GRANT ALL ON ALL TABLES IN SCHEMA public TO app`
	const countries = "INSERT INTO countries VALUES ('de', 'Germany')"
	s.newShard(t, "b")
	for _, db := range []string{"shop_a", "shop_b"} {
		s.pg.MustExec(t, db, schema)
	}
	s.pg.MustExec(t, "shop_a", countries, `INSERT INTO "odd\'s" VALUES (1)`, "INSERT INTO parts VALUES (1)")
	s.Admin("RELOAD") // one shard: nothing to compare with
	c := s.Connect(ctx, "shop", "app")
	mustRun(ctx, t, c, countriesCount)
	s.lacking(t)

	s.edit(t, "[databases.shop.keys.customer]\n", "[[databases.shop.shards]]\nname = \"b\"\ndbname = \"shop_b\"\n[databases.shop.keys.customer]\n") // the new shard stands in the file
	s.Admin("RELOAD")
	for _, table := range []string{"countries", `"odd\'s"`, "parts"} {
		_, err := run(ctx, c, "SELECT count(*) FROM "+table)
		wantError(t, err, "0A000", "has no rows on shard b, and has some on shard a")
	}
	mustRun(ctx, t, c, "SELECT count(*) FROM tree") // empty on both
	s.lacking(t, "countries.b", `odd\'s.b`, "parts.b", "parts_1.b")

	s.Admin("ALTER DATABASE shop SET waive = 'parts.b, parts_1.b'")
	mustRun(ctx, t, c, "SELECT count(*) FROM parts")
	s.lacking(t, "countries.b", `odd\'s.b`)

	// It goes by itself, without a statement of a client, and with RELOAD at once.
	s.pg.MustExec(t, "shop_b", countries)
	pgtest.Eventually(t, patience, func() error {
		if len(s.rows("CHECKS", "waiver=countries.b")) > 0 {
			return fmt.Errorf("the check is still there")
		}
		return nil
	})
	if got := mustRun(ctx, t, c, countriesCount); got != "1" {
		t.Errorf("there are %s countries", got)
	}
	s.lacking(t, `odd\'s.b`)
	s.pg.MustExec(t, "shop_b", `INSERT INTO "odd\'s" VALUES (1)`)
	s.Admin("RELOAD")
	mustRun(ctx, t, c, `SELECT count(*) FROM "odd\'s"`)
	s.lacking(t)

	// The better order: first the tables with their rows, and then the shard.
	s.newShard(t, "c")
	s.pg.MustExec(t, "shop_c", schema, countries, `INSERT INTO "odd\'s" VALUES (1)`, "INSERT INTO parts VALUES (1)")
	s.addShard("c")
	for range 10 {
		if got := mustRun(ctx, t, c, countriesCount); got != "1" {
			t.Errorf("there are %s countries", got)
		}
	}
	s.lacking(t)
}

const countriesCount = "SELECT count(*) FROM countries"

// What two servers hold of a table can differ in size, and for a moment, without a difference between its rows.
func TestCopiesOfAReferenceTableThatOnlyLookDifferentAreNotRefused(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	s := startShop(t, 2, "", "")
	s.pg.MustExec(t, "postgres", "CREATE ROLE blind LOGIN")
	s.edit(t, "[users.app]", "[users.blind]\npassword = \"blind\"\n[users.app]")
	for _, name := range s.shards {
		s.pg.MustExec(t, "shop_"+name, "ALTER TABLE countries SET (autovacuum_enabled = off)")
	}
	s.Admin("RELOAD")
	c := s.Connect(ctx, "shop", "app")
	sizes := func(want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, s.onShards(t, "SELECT pg_relation_size('countries') > 0")); diff != "" {
			t.Fatalf("the copies have a size (-want +got):\n%s", diff)
		}
	}
	read := func() {
		t.Helper()
		s.Admin("RELOAD")
		if got := mustRun(ctx, t, c, countriesCount); got != "0" {
			t.Errorf("there are %s countries", got)
		}
		s.lacking(t)
	}
	// A row that is not committed yet, on the shard that is written first.
	direct := s.direct(ctx, t, "shop_a")
	mustRun(ctx, t, direct, "BEGIN; INSERT INTO countries VALUES ('de', 'Germany')")
	sizes("t", "f")
	read()
	mustRun(ctx, t, direct, "ROLLBACK")
	// Rows of a transaction through pgdrover.
	tx := s.Connect(ctx, "shop", "app")
	mustRun(ctx, t, tx, "BEGIN")
	mustRun(ctx, t, tx, "INSERT INTO countries VALUES ('de', 'Germany')")
	read()
	mustRun(ctx, t, tx, "COMMIT")
	// Rows that were deleted, and that one server has taken off the disk.
	mustRun(ctx, t, c, "DELETE FROM countries")
	s.pg.MustExec(t, "shop_b", "VACUUM countries")
	sizes("t", "f")
	read()
	// A role that may not read the table cannot tell; the sizes can.
	s.Admin("RELOAD")
	blind := s.Connect(ctx, "shop", "blind")
	_, err := run(ctx, blind, countriesCount)
	wantError(t, err, "0A000", "has no rows on shard b")
	s.pg.MustExec(t, "shop_a", "VACUUM countries")
	sizes("f", "f")
	if got := used(ctx, t, c, countriesCount); got != "0" {
		t.Errorf("there are %s countries", got)
	}
	// A table that is locked is not waited for long; the others are known.
	mustRun(ctx, t, c, "INSERT INTO countries VALUES ('de', 'Germany')")
	s.pg.MustExec(t, "shop_b", "TRUNCATE countries")
	mustRun(ctx, t, direct, "BEGIN; LOCK TABLE countries IN ACCESS EXCLUSIVE MODE")
	s.Admin("RELOAD")
	mustRun(ctx, t, c, "SELECT count(*) FROM customers WHERE id = 1")
	s.lacking(t)
	mustRun(ctx, t, direct, "ROLLBACK")
	pgtest.Eventually(t, patience, func() error {
		if len(s.rows("CHECKS", "waiver=countries.b")) == 0 {
			return fmt.Errorf("nobody has looked at it again")
		}
		return nil
	})
	_, err = run(ctx, c, countriesCount)
	wantError(t, err, "0A000", "has no rows on shard b")
}

// The first rows of a reference table come while the catalogs are read.
func TestTheFirstRowsOfAReferenceTableMayComeAtAnyTime(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	s := startShop(t, 3, "", "")
	writer, reader := s.Connect(ctx, "shop", "app"), s.Connect(ctx, "shop", "app")
	written := background(func() error {
		for i := range 40 {
			for _, sql := range []string{fmt.Sprintf("INSERT INTO countries VALUES ('%d', 'x')", i), "TRUNCATE countries"} {
				if _, err := run(ctx, writer, sql); err != nil {
					return fmt.Errorf("%s: %w", sql, err)
				}
			}
		}
		return nil
	})
	for {
		s.Admin("RELOAD")
		mustRun(ctx, t, reader, "SELECT count(*) <= 1 FROM countries")
		select {
		case err := <-written:
			if err != nil {
				t.Fatal(err)
			}
			s.lacking(t)
			return
		default:
		}
	}
}

// The order that docs/sharding.md recommends: no statement is refused on the way.
func TestAShardIsAddedWithItsTablesAndReferenceRows(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	s := startShop(t, 2, "", "")
	tools := newToolbox(t, s.pg, "pg_dump", "psql")
	s.Admin("ALTER DATABASE shop INSTALL NEXT ID", "ALTER DATABASE shop INSTALL GUARD")
	for _, name := range s.shards {
		s.pg.MustExec(t, "shop_"+name, "ALTER TABLE orders ALTER id SET DEFAULT pgdrover.next_id()")
	}
	s.Admin("RELOAD")
	c := s.Connect(ctx, "shop", "app")
	mustRun(ctx, t, c, "INSERT INTO countries VALUES ('de', 'Germany'), ('fr', 'France')")
	mustRun(ctx, t, c, "INSERT INTO customers VALUES (1, 'x', 'de'), (2, 'x', 'fr'), (3, 'x', 'de'), (4, 'x', 'fr')")
	read := func() {
		t.Helper()
		if got := mustRun(ctx, t, c, countriesCount); got != "2" {
			t.Errorf("there are %s countries", got)
		}
		for id := range 4 {
			if got := mustRun(ctx, t, c, fmt.Sprintf("SELECT count(*) FROM customers JOIN countries ON code = country WHERE id = %d", id+1)); got != "1" {
				t.Errorf("there are %s of customer %d", got, id+1)
			}
		}
	}
	from, to := s.pg.DSN("shop_a", pgtest.Superuser), s.pg.DSN("shop_c", pgtest.Superuser)
	s.pg.MustExec(t, "postgres", "CREATE DATABASE shop_c")
	for _, what := range [][]string{{"--schema-only"}, {"--data-only", "--table=countries"}} {
		pgtest.MustPsql(t, to, tools.dump(from, what...), "-v", "ON_ERROR_STOP=1", "-q")
		read()
	}
	s.shards = append(s.shards, "c")
	s.addShard("c")
	read()
	s.Admin("ALTER DATABASE shop INSTALL TWO PHASE FOR app", "ALTER DATABASE shop INSTALL NEXT ID")
	read()
	for _, name := range s.shards {
		s.pg.MustExec(t, "shop_"+name, "CREATE TABLE late (id bigint PRIMARY KEY, country text); GRANT ALL ON late TO app")
	}
	s.Admin("CREATE KEY late ON DATABASE shop TYPE bigint PLACEMENT (c FOR VALUES WITH (MODULUS 1, REMAINDER 0))", "CREATE TABLE late ON DATABASE shop KEY late (id)",
		"ALTER DATABASE shop INSTALL GUARD")
	mustRun(ctx, t, c, "INSERT INTO late VALUES (1, 'de')")
	if got := mustRun(ctx, t, c, "SELECT name FROM late JOIN countries ON code = country WHERE id = 1"); got != "Germany" {
		t.Errorf("the country is %q", got)
	}
	if diff := cmp.Diff([]string{"0", "1", "2"}, s.onShards(t, "SELECT substring(prosrc from '([0-9]+)::pg_catalog.int8 OPERATOR')::int8 >> 22 FROM pg_proc WHERE proname = 'next_id'")); diff != "" {
		t.Errorf("the numbers of the shards (-want +got):\n%s", diff)
	}
	read()
	s.lacking(t)
	if n := strings.Count(s.logText(), "reference-empty"); n != 0 {
		t.Errorf("tables were found empty %d times", n)
	}
}
