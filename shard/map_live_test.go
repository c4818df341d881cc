package shard

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgdrover/internal/config"
	"pgdrover/internal/pgtest"
	"pgdrover/shard/hash"
)

// The same bounds are declared to PostgreSQL as partitions, and each value must be found where PostgreSQL puts it.
func TestPostgreSQLPicksTheSameShard(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t)
	number := func(r *rand.Rand) string { return fmt.Sprint(r.IntN(60) - 20) }
	large := func(r *rand.Rand) string { return fmt.Sprint(int64(r.Uint64())) }
	date := func(r *rand.Rand) string {
		return time.Date(2020, 1, r.IntN(900), 0, 0, 0, 0, time.UTC).Format("2006-01-02")
	}
	text := func(r *rand.Rand) string {
		words := []string{"", "a", "A", "b", "ba", "é", "z", "Z", "ß", "日本", "m", "mm", "DE", "FR"}
		return words[r.IntN(len(words))] + strings.Repeat("x", r.IntN(2))
	}
	numeric := func(r *rand.Rand) string {
		return []string{"1", "1.0", "1.00", "-0.5", "10", "1e1", "NaN", "Infinity", "-Infinity", "0", "0.000", "99.99"}[r.IntN(12)]
	}
	for i, c := range []struct {
		name, columns, types, placement string
		values                          []func(*rand.Rand) string
	}{
		{"hash", "a bigint", "bigint", "", []func(*rand.Rand) string{large}},
		{
			"hash with mixed moduli", "a bigint", "bigint",
			"a FOR VALUES WITH (MODULUS 2, REMAINDER 0), b FOR VALUES WITH (MODULUS 4, REMAINDER 1), c FOR VALUES WITH (MODULUS 12, REMAINDER 3), d FOR VALUES WITH (MODULUS 12, REMAINDER 7), a FOR VALUES WITH (MODULUS 12, REMAINDER 11)",
			[]func(*rand.Rand) string{large},
		},
		{"hash of two columns", "a text, b date", "(text, date)", "", []func(*rand.Rand) string{text, date}},
		{"range", "a bigint", "bigint", "b FOR VALUES FROM (10) TO (20), a FOR VALUES FROM ('-10') TO (10), c FOR VALUES FROM (20) TO (25)", []func(*rand.Rand) string{number}},
		{"range with DEFAULT", "a int", "integer", "a FOR VALUES FROM (MINVALUE) TO (0), b FOR VALUES FROM (10) TO (MAXVALUE), c DEFAULT", []func(*rand.Rand) string{number}},
		{
			"range of two columns", "a int, b date", "(integer, date)",
			"a FOR VALUES FROM (MINVALUE, MINVALUE) TO (5, '2020-06-01'), b FOR VALUES FROM (5, '2020-06-01') TO (5, MAXVALUE), c FOR VALUES FROM (5, MAXVALUE) TO (30, MINVALUE)",
			[]func(*rand.Rand) string{number, date},
		},
		{"range of text", `a text COLLATE "C"`, "text", "a FOR VALUES FROM (MINVALUE) TO ('a'), b FOR VALUES FROM ('a') TO ('m'), c FOR VALUES FROM ('m') TO ('é'), d FOR VALUES FROM ('é') TO (MAXVALUE)", []func(*rand.Rand) string{text}},
		{"range of numeric", "a numeric", "numeric", "a FOR VALUES FROM ('-Infinity') TO ('0.00'), b FOR VALUES FROM (0) TO (1.0), c FOR VALUES FROM (1) TO ('NaN')", []func(*rand.Rand) string{numeric}},
		{"range of timestamptz", "a timestamptz", "timestamptz", "a FOR VALUES FROM (MINVALUE) TO ('2020-06-01 02:00:00+02'), b FOR VALUES FROM ('2020-06-01 00:00:00+00') TO ('infinity')", []func(*rand.Rand) string{
			func(r *rand.Rand) string { return date(r) + " 00:00:00+00" },
		}},
		{"list", "a text", "text", "a FOR VALUES IN ('DE', 'a'), b FOR VALUES IN ('FR', NULL), c FOR VALUES IN ('')", []func(*rand.Rand) string{text}},
		{"list with DEFAULT", "a numeric", "numeric", "a FOR VALUES IN (1, 10), b FOR VALUES IN ('NaN', 0.0), c DEFAULT", []func(*rand.Rand) string{numeric}},
		{"list of booleans", "a boolean", "boolean", "a FOR VALUES IN (TRUE), b FOR VALUES IN ('false')", []func(*rand.Rand) string{
			func(r *rand.Rand) string { return []string{"t", "false", "on", "no", "1"}[r.IntN(5)] },
		}},
		{"only DEFAULT", "a bigint", "bigint", "d DEFAULT", []func(*rand.Rand) string{large}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			conn, err := pg.Connect(ctx, "postgres")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(ctx)
			k := newMap(t, sharded(t, c.types, c.placement)).Key("customer")
			var names []string
			for _, column := range strings.Split(c.columns, ", ") {
				name, _, _ := strings.Cut(column, " ")
				names = append(names, name)
			}
			table := fmt.Sprintf("t%d", i)
			strategy := map[config.BoundKind]string{config.BoundHash: "HASH", config.BoundRange: "RANGE", config.BoundList: "LIST"}[k.Kind]
			ddl := []string{fmt.Sprintf("CREATE TABLE %s (%s) PARTITION BY %s (%s)", table, c.columns, strategy, strings.Join(names, ", "))}
			shardOf := map[string]int{}
			for j, b := range k.Bounds {
				partition := fmt.Sprintf("%s_p%d", table, j)
				shardOf[partition] = b.Shard
				bound := "PARTITION OF " + table + " " + b.String()
				ddl = append(ddl, "CREATE TABLE "+partition+" "+bound)
			}
			for _, sql := range ddl {
				if _, err := conn.Exec(ctx, sql); err != nil {
					t.Fatalf("%s: %v", sql, err)
				}
			}
			comparePlaces(ctx, t, conn, k, table, shardOf, c.values)
		})
	}
}

// comparePlaces inserts rows and compares the partition that they go to with Locate.
func comparePlaces(ctx context.Context, t *testing.T, conn *pgx.Conn, k *Key, table string, shardOf map[string]int, generate []func(*rand.Rand) string) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		texts := make([]*string, len(generate))
		values := make([]hash.Value, len(generate))
		args := make([]string, len(generate))
		for i := range generate {
			args[i] = "NULL"
			if r.IntN(20) == 0 {
				continue
			}
			text := generate[i](r)
			texts[i], args[i] = &text, "'"+strings.ReplaceAll(text, "'", "''")+"'"
			var err error
			if values[i], err = k.Type(i).ParseString(text); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
		}
		want := -1
		var partition string
		err := conn.QueryRow(ctx, fmt.Sprintf("INSERT INTO %s VALUES (%s) RETURNING tableoid::regclass::text", table, strings.Join(args, ", "))).Scan(&partition)
		var pe *pgconn.PgError
		switch {
		case err == nil:
			want = shardOf[partition]
		case !errors.As(err, &pe) || pe.Code != "23514":
			t.Fatal(err)
		}
		if got, ok := k.Locate(values); got != want || ok != (want >= 0) {
			t.Errorf("%v: PostgreSQL says %s (shard %d), we say %d, %v", args, partition, want, got, ok)
		}
	}
}

// PostgreSQL must refuse the bounds that we refuse, and say the same thing; what we refuse beyond that is in the other table.
func TestPostgreSQLRefusesTheSameBounds(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t)
	for i, c := range []struct{ strategy, types, placement string }{
		{"HASH (a)", "integer", "a FOR VALUES WITH (MODULUS 1, REMAINDER 0), b FOR VALUES WITH (MODULUS 4, REMAINDER 3)"},
		{"HASH (a)", "integer", "a FOR VALUES WITH (MODULUS 2, REMAINDER 0), b FOR VALUES WITH (MODULUS 3, REMAINDER 1)"},
		{"HASH (a)", "integer", "a FOR VALUES WITH (MODULUS 4, REMAINDER 0), b FOR VALUES WITH (MODULUS 8, REMAINDER 1), c FOR VALUES WITH (MODULUS 12, REMAINDER 2)"},
		{"HASH (a)", "integer", "a FOR VALUES WITH (MODULUS 0, REMAINDER 0)"},
		{"HASH (a)", "integer", "a FOR VALUES WITH (MODULUS 2, REMAINDER 2)"},
		{"HASH (a)", "integer", "a DEFAULT, b FOR VALUES WITH (MODULUS 1, REMAINDER 0)"},
		{"LIST (a)", "integer", "a DEFAULT, b DEFAULT"},
		{"LIST (a)", "integer", "a FOR VALUES IN (1, 2), b FOR VALUES IN (3, 2)"},
		{"LIST (a)", "integer", "a FOR VALUES IN (NULL), b FOR VALUES IN (1, NULL)"},
		{"LIST (a)", "integer", "a FOR VALUES IN ('x')"},
		{"LIST (a)", "integer", "a FOR VALUES IN (1), b FOR VALUES FROM (2) TO (3)"},
		{"RANGE (a)", "integer", "a FOR VALUES FROM (2) TO (2)"},
		{"RANGE (a)", "integer", "a FOR VALUES FROM (2) TO (MINVALUE)"},
		{"RANGE (a)", "integer", "a FOR VALUES FROM (0) TO (10), b FOR VALUES FROM (9) TO (20)"},
		{"RANGE (a)", "integer", "a FOR VALUES FROM (1, 2) TO (10, 11)"},
		{"RANGE (a, b)", "(integer, integer)", "a FOR VALUES FROM (1, 2) TO (1, 2)"},
		{"RANGE (a, b)", "(integer, integer)", "a FOR VALUES FROM (MINVALUE, 2) TO (1, 2)"},
		{"RANGE (a, b)", "(integer, integer)", "a FOR VALUES FROM (1, 2) TO (1, MAXVALUE), b FOR VALUES FROM (1, 3) TO (2, MINVALUE)"},
	} {
		if _, err := NewMap(sharded(t, c.types, c.placement)); err == nil {
			t.Errorf("%s: accepted", c.placement)
		}
		bounds, err := config.ParsePlacement("(" + c.placement + ")")
		if err != nil {
			t.Fatal(err)
		}
		table := fmt.Sprintf("r%d", i)
		pg.MustExec(t, "postgres", fmt.Sprintf("CREATE TABLE %s (a int, b int) PARTITION BY %s", table, c.strategy))
		refused := false
		for j, b := range bounds {
			err := pg.ExecIn(t.Context(), "postgres", fmt.Sprintf("CREATE TABLE %s_p%d PARTITION OF %s %s", table, j, table, b))
			refused = refused || err != nil
		}
		if !refused {
			t.Errorf("%s: PostgreSQL accepts it", c.placement)
		}
	}
}
