package catalog

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"pgdrover/internal/pgtest"
)

func nextID(t testing.TB, number int) []string {
	t.Helper()
	sql, err := NextIDSQL(number)
	if err != nil {
		t.Fatal(err)
	}
	return sql
}

func TestNextIDIsUniqueOverShardsAndSessions(t *testing.T) {
	t.Parallel()
	const shards, sessions, each = 3, 4, 17000
	options := []pgtest.Option{pgtest.WithUser("app", "secret")}
	for s := range shards {
		options = append(options, pgtest.WithDatabase(fmt.Sprintf("s%d", s), ""))
	}
	c := pgtest.Start(t, options...)
	var ids [shards * sessions][][][]byte
	var g errgroup.Group
	for s := range shards {
		db := fmt.Sprintf("s%d", s)
		admin := connect(t, c.SocketDSN(db, pgtest.Superuser))
		run(t, admin, nextID(t, s*500)...)
		run(t, admin, nextID(t, s*500)...)
		// The clock of each session goes back by half a minute every thousand ids.
		run(t, admin, `CREATE SEQUENCE ticks`, `GRANT ALL ON SEQUENCE ticks TO PUBLIC`, `CREATE FUNCTION stepping() RETURNS timestamptz LANGUAGE sql VOLATILE AS
$$ SELECT clock_timestamp() - interval '30 s' * ((nextval('public.ticks') / 1000) % 2) $$`)
		for _, stmt := range nextID(t, s*500) {
			run(t, admin, strings.ReplaceAll(stmt, "pg_catalog.clock_timestamp()", "public.stepping()"))
		}
		for n := range sessions {
			conn := connect(t, c.DSN(db, "app"))
			g.Go(func() error {
				r, err := conn.Exec(within(t), fmt.Sprintf(`SELECT pgdrover.next_id() FROM generate_series(1, %d)`, each)).ReadAll()
				if err == nil {
					ids[s*sessions+n] = r[0].Rows
				}
				return err
			})
		}
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	seen := make(map[int64]bool, shards*sessions*each)
	for i, rows := range ids {
		for _, r := range rows {
			id, err := strconv.ParseInt(string(r[0]), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			if seen[id] || id < 0 {
				t.Fatalf("id %d is negative or there twice", id)
			}
			seen[id] = true
			if shard := int(id>>22) & MaxShardNumber; shard != i/sessions*500 {
				t.Fatalf("id %d: shard number %d, want %d", id, shard, i/sessions*500)
			}
		}
	}
	if len(seen) != shards*sessions*each {
		t.Errorf("%d ids, want %d", len(seen), shards*sessions*each)
	}
}

func TestNextIDAsADefault(t *testing.T) {
	t.Parallel()
	for _, version := range versions {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			t.Parallel()
			c := startVersion(t, version, pgtest.WithUser("app", "secret"))
			admin := connect(t, c.SocketDSN("postgres", pgtest.Superuser))
			run(t, admin, nextID(t, 7)...)
			run(t, admin, `CREATE TABLE t (id bigint PRIMARY KEY DEFAULT pgdrover.next_id(), n int)`, `GRANT ALL ON t TO app`,
				// Operators and functions of a caller's own must not be taken for PostgreSQL's.
				`CREATE SCHEMA evil AUTHORIZATION app`, `CREATE FUNCTION evil.minus(bigint, bigint) RETURNS bigint LANGUAGE sql AS 'SELECT -1::bigint'`,
				`CREATE OPERATOR evil.- (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = evil.minus)`)
			app := connect(t, c.DSN("postgres", "app"))
			run(t, app, `SET search_path = evil, pg_catalog, public`, `INSERT INTO public.t (n) SELECT g FROM generate_series(1, 1000) g`)
			got := value(t, app, `SELECT concat(count(*), ' ', bool_and(id > 0), ' ', max((id >> 22) & 1023), ' ',
max(abs(extract(epoch FROM now()) OPERATOR(pg_catalog.-) (id >> 32) OPERATOR(pg_catalog.-) 1704067200))::int < 60) FROM public.t`)
			if got != "1000 t 7 t" {
				t.Errorf("got %s, want 1000 ids of shard 7 of this minute", got)
			}
			if got := value(t, admin, `SELECT bool_and(id > prev) FROM (SELECT id, lag(id) OVER (ORDER BY n) AS prev FROM t) x`); got != "t" {
				t.Error("ids of one session do not ascend")
			}
			cat := mustLoad(t, app)
			col := cat.Relations[Name{"public", "t"}].Column("id")
			if !col.DefaultVolatile || col.DefaultReaches || col.DefaultSequence {
				t.Errorf("the default is seen as %+v", col)
			}
		})
	}
}

func TestNextIDHasRoomForSoManyShards(t *testing.T) {
	t.Parallel()
	for _, n := range []int{-1, MaxShardNumber + 1} {
		if _, err := NextIDSQL(n); err == nil {
			t.Errorf("shard number %d is taken", n)
		}
	}
	if _, err := NextIDSQL(MaxShardNumber); err != nil {
		t.Error(err)
	}
}
