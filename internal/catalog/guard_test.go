package catalog

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"pgdrover/internal/sqlparse"

	"github.com/jackc/pgx/v5/pgconn"

	"pgdrover/internal/config"
	"pgdrover/internal/pgtest"
)

func text(values ...string) []config.BoundValue {
	var list []config.BoundValue
	for _, v := range values {
		switch v {
		case "MINVALUE", "MAXVALUE", "NULL":
			list = append(list, config.BoundValue{Word: v})
		default:
			list = append(list, config.BoundValue{Text: v})
		}
	}
	return list
}

func hashed(shard string, modulus, remainder int) config.Bound {
	return config.Bound{Shard: shard, Kind: config.BoundHash, Modulus: modulus, Remainder: remainder}
}

func ranged(shard string, from, to []config.BoundValue) config.Bound {
	return config.Bound{Shard: shard, Kind: config.BoundRange, From: from, To: to}
}

func in(shard string, values ...string) config.Bound {
	return config.Bound{Shard: shard, Kind: config.BoundList, In: text(values...)}
}

// A table on which the guard is installed takes the rows that PostgreSQL would put into the partitions of the same bounds, and no others.
func TestGuardIsThePartitionConstraint(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t)
	for name, test := range map[string]struct {
		types, columns []string // of the key, of the table
		bounds         []config.Bound
		values         string // a query of key columns
	}{
		"hash": {
			[]string{"bigint"},
			[]string{"bigint"},
			[]config.Bound{hashed("a", 2, 0), hashed("b", 4, 1), hashed("a", 4, 3)},
			`SELECT g FROM generate_series(-50, 50) g`,
		},
		"hash of a smaller integer": {
			[]string{"bigint"}, []string{"integer"}, []config.Bound{hashed("a", 2, 0), hashed("b", 2, 1)}, `SELECT g FROM generate_series(-50, 50) g`,
		},
		"hash of two columns": {
			[]string{"uuid", "text"},
			[]string{"uuid", "varchar(20)"},
			[]config.Bound{hashed("a", 3, 0), hashed("b", 3, 1), hashed("b", 3, 2)},
			`SELECT md5(g::text)::uuid, g || 'ä' FROM generate_series(1, 60) g`,
		},
		"range": {
			[]string{"bigint"},
			[]string{"bigint"},
			[]config.Bound{ranged("a", text("MINVALUE"), text("0")), ranged("b", text("0"), text("10")), ranged("a", text("20"), text("MAXVALUE"))},
			`SELECT g FROM generate_series(-5, 30) g WHERE g NOT BETWEEN 10 AND 19`,
		},
		"range with a default": {
			[]string{"text"},
			[]string{"text"},
			[]config.Bound{ranged("a", text("b'\\"), text("c")), ranged("b", text("x"), text("MAXVALUE")), {Shard: "b", Kind: config.BoundDefault}},
			`SELECT * FROM (VALUES ('a'), ('b'), ('b''\'), ('bz'), ('c'), ('x'), ('z'), (''), (NULL)) v`,
		},
		"range of two columns": {
			[]string{"integer", "date"},
			[]string{"integer", "date"},
			[]config.Bound{
				ranged("a", text("MINVALUE", "MINVALUE"), text("1", "MINVALUE")), ranged("b", text("1", "MINVALUE"), text("1", "2024-01-01")),
				ranged("a", text("1", "2024-01-01"), text("2", "2024-01-01")), ranged("b", text("2", "2024-01-01"), text("2", "MAXVALUE")),
				ranged("a", text("2", "MAXVALUE"), text("MAXVALUE", "MAXVALUE")),
			},
			`SELECT a, d::date FROM generate_series(0, 4) a, (VALUES ('1999-01-01'), ('2024-01-01'), ('2023-12-31'), ('2030-01-01')) v (d)`,
		},
		"list": {
			[]string{"text"},
			[]string{"text"},
			[]config.Bound{in("a", "de", "NULL"), in("b", "fr", "o'h\\"), in("a", "it"), {Shard: "b", Kind: config.BoundDefault}},
			`SELECT * FROM (VALUES ('de'), ('fr'), ('it'), ('o''h\'), ('xx'), (NULL)) v`,
		},
		"list whose default takes NULL": {
			[]string{"smallint"},
			[]string{"smallint"},
			[]config.Bound{in("a", "1", "2"), {Shard: "b", Kind: config.BoundDefault}},
			`SELECT * FROM (VALUES (1), (2), (3), (NULL)) v`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := strings.ReplaceAll(name, " ", "_")
			c.MustExec(t, "postgres", `CREATE DATABASE `+sqlparse.QuoteIdent(db))
			conn := connect(t, c.SocketDSN(db, pgtest.Superuser))
			var columns, names []string
			for i, typ := range test.columns {
				columns, names = append(columns, fmt.Sprintf(`"K %d" %s`, i, typ)), append(names, fmt.Sprintf(`K %d`, i))
			}
			key := GuardKey{Name: "the \"key'", Types: test.types, Bounds: test.bounds}
			keys := []GuardKey{key}
			keys[0].Tables = []GuardTable{{Name{"public", `T "1'`}, names}}
			run(t, conn, `CREATE TABLE "T ""1'" (`+strings.Join(columns, ", ")+`)`)

			// PostgreSQL's own: a partitioned table of the key's types with one partition for each bound.
			var native []string
			for i, typ := range test.types {
				native = append(native, fmt.Sprintf(`"K %d" %s`, i, typ))
			}
			kind, err := key.strategy()
			if err != nil {
				t.Fatal(err)
			}
			run(t, conn, fmt.Sprintf(`CREATE TABLE native (%s) PARTITION BY %s ("%s")`, strings.Join(native, ", "), kind, strings.Join(names, `", "`)))
			for i, b := range test.bounds {
				run(t, conn, fmt.Sprintf(`CREATE TABLE %s_%d PARTITION OF native %s`, b.Shard, i, boundSQL(b)))
			}
			run(t, conn, `INSERT INTO native `+test.values)

			for _, shard := range []string{"a", "b"} {
				install, validate, err := GuardSQL(shard, keys)
				if err != nil {
					t.Fatal(err)
				}
				run(t, conn, install...) // the second time in place of the first
				run(t, conn, validate...)
				rows, err := conn.Exec(within(t), `SELECT n.tableoid::regclass, `+rowText(names)+` FROM native n`).ReadAll()
				if err != nil {
					t.Fatal(err)
				}
				if len(rows[0].Rows) == 0 {
					t.Fatal("no rows")
				}
				for _, r := range rows[0].Rows {
					partition, values := string(r[0]), string(r[1])
					err := try(t, conn, fmt.Sprintf(`INSERT INTO "T ""1'" VALUES (%s)`, values))
					checkGuard(t, err, strings.HasPrefix(partition, shard+"_"), shard+": row "+values+" of "+partition)
				}
				run(t, conn, `TRUNCATE "T ""1'"`)
			}
			run(t, conn, append(RemoveGuardSQL(), RemoveGuardSQL()...)...)
			if n := value(t, conn, `SELECT count(*) FROM pg_constraint WHERE conname = 'pgdrover_key'`); n != "0" {
				t.Errorf("%s constraints are left", n)
			}
		})
	}
}

// rowText is an expression for the literals of a row, separated by commas.
func rowText(names []string) string {
	parts := make([]string, len(names))
	for i, n := range names {
		parts[i] = fmt.Sprintf("quote_nullable(n.%s)", sqlparse.QuoteIdent(n))
	}
	return strings.Join(parts, " || ',' || ")
}

func checkGuard(t *testing.T, err error, fits bool, what string) {
	t.Helper()
	var pg *pgconn.PgError
	switch {
	case fits && err != nil:
		t.Errorf("%s is refused: %v", what, err)
	case !fits && (!errors.As(err, &pg) || pg.Code != "23514" || pg.ConstraintName != "pgdrover_key"):
		t.Errorf("%s: got %v, want 23514 of pgdrover_key", what, err)
	}
}

// boundSQL writes a bound as CREATE TABLE … PARTITION OF does.
func boundSQL(b config.Bound) string {
	list := func(values []config.BoundValue) string {
		var s []string
		for _, v := range values {
			if v.Word != "" {
				s = append(s, v.Word)
			} else {
				s = append(s, sqlparse.QuoteLiteral(v.Text))
			}
		}
		return "(" + strings.Join(s, ", ") + ")"
	}
	switch b.Kind {
	case config.BoundHash:
		return fmt.Sprintf("FOR VALUES WITH (MODULUS %d, REMAINDER %d)", b.Modulus, b.Remainder)
	case config.BoundRange:
		return "FOR VALUES FROM " + list(b.From) + " TO " + list(b.To)
	case config.BoundList:
		return "FOR VALUES IN " + list(b.In)
	}
	return "DEFAULT"
}

func TestGuardOnTablesWithRows(t *testing.T) {
	t.Parallel()
	for _, version := range versions {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			t.Parallel()
			c := startVersion(t, version, pgtest.WithUser("app", "secret"), pgtest.WithDatabase("copy", ""))
			conn := connect(t, c.SocketDSN("postgres", pgtest.Superuser))
			run(t, conn, `CREATE TABLE orders (customer int, number int); CREATE TABLE parts (customer bigint, at int) PARTITION BY RANGE (at);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10); CREATE TABLE stale (customer bigint);
GRANT ALL ON orders, parts TO app; CREATE VIEW right_one AS SELECT g FROM generate_series(1, 100) g`)
			key := GuardKey{Name: "customer", Types: []string{"bigint"}, Bounds: []config.Bound{hashed("a", 2, 0), hashed("b", 2, 1)}}
			columns := []string{"customer"}
			key.Tables = []GuardTable{{Name{"public", "stale"}, columns}}
			install, _, err := GuardSQL("a", []GuardKey{key})
			if err != nil {
				t.Fatal(err)
			}
			run(t, conn, install...)
			key.Tables = []GuardTable{{Name{"public", "parts_1"}, columns}, {Name{"public", "parts"}, columns}, {Name{"public", "orders"}, columns}}
			install, validate, err := GuardSQL("a", []GuardKey{key})
			if err != nil {
				t.Fatal(err)
			}
			run(t, conn, install...)
			if tables := value(t, conn, `SELECT string_agg(conrelid::regclass::text, ' ' ORDER BY conrelid::regclass::text) FROM pg_constraint WHERE conname = 'pgdrover_key'`); tables != "orders parts parts_1" {
				t.Errorf("tables with a guard: %s", tables)
			}
			here := value(t, conn, `SELECT g FROM right_one WHERE satisfies_hash_partition('pgdrover.key_customer'::regclass, 2, 0, g::bigint) LIMIT 1`)
			there := value(t, conn, `SELECT g FROM right_one WHERE NOT satisfies_hash_partition('pgdrover.key_customer'::regclass, 2, 0, g::bigint) LIMIT 1`)
			run(t, conn, validate...)

			// Roles that have no privilege on the schema are guarded too.
			app := connect(t, c.DSN("postgres", "app"))
			for _, table := range []string{"orders", "parts"} {
				checkGuard(t, try(t, app, fmt.Sprintf(`INSERT INTO %s VALUES (%s, 1)`, table, here)), true, table+" here")
				checkGuard(t, try(t, app, fmt.Sprintf(`INSERT INTO %s VALUES (%s, 1)`, table, there)), false, table+" there")
				checkGuard(t, try(t, app, fmt.Sprintf(`UPDATE %s SET customer = %s`, table, there)), false, table+" moved")
				checkGuard(t, try(t, app, fmt.Sprintf(`INSERT INTO %s VALUES (NULL, 1)`, table)), false, table+" without a key")
			}
			run(t, conn, RemoveGuardSQL()...)
			run(t, conn, fmt.Sprintf(`INSERT INTO parts VALUES (%s, 1)`, there))
			run(t, conn, install...)
			checkGuard(t, try(t, conn, validate...), false, "validation with a row of another shard")
			run(t, conn, fmt.Sprintf(`DELETE FROM parts WHERE customer = %s`, there))

			if version == 0 {
				program, err := c.Installation.ProgramFor(within(t), "pg_dump", c.Installation.Major)
				if errors.Is(err, pgtest.ErrOlder) {
					t.Skipf("restoring a dump was not run: %v", err)
				}
				if err != nil {
					t.Fatal(err)
				}
				dump, err := exec.CommandContext(within(t), program, "-d", c.SocketDSN("postgres", pgtest.Superuser)).Output()
				if err != nil {
					t.Fatal(err)
				}
				pgtest.MustPsql(t, c.SocketDSN("copy", pgtest.Superuser), string(dump), "-q", "-v", "ON_ERROR_STOP=1")
				restored := connect(t, c.SocketDSN("copy", pgtest.Superuser))
				checkGuard(t, try(t, restored, fmt.Sprintf(`INSERT INTO orders VALUES (%s, 1)`, there)), false, "restored")
				checkGuard(t, try(t, restored, fmt.Sprintf(`INSERT INTO orders VALUES (%s, 1)`, here)), true, "restored")
			}
		})
	}
}

func TestGuardRefusesWhatCannotBe(t *testing.T) {
	t.Parallel()
	table := []GuardTable{{Name{"public", "t"}, []string{"k"}}}
	ok := []config.Bound{hashed("a", 1, 0)}
	for name, test := range map[string]struct {
		keys []GuardKey
		want string
	}{
		"no type":         {[]GuardKey{{Name: "k", Bounds: ok}}, "no type"},
		"no bound":        {[]GuardKey{{Name: "k", Types: []string{"int"}}}, "no bound"},
		"kinds":           {[]GuardKey{{Name: "k", Types: []string{"int"}, Bounds: append(ok, in("a", "1"))}}, "kind"},
		"hash default":    {[]GuardKey{{Name: "k", Types: []string{"int"}, Bounds: append(ok, config.Bound{Kind: config.BoundDefault})}}, "DEFAULT"},
		"list of two":     {[]GuardKey{{Name: "k", Types: []string{"int", "int"}, Bounds: []config.Bound{in("a", "1")}}}, "one column"},
		"columns":         {[]GuardKey{{Name: "k", Types: []string{"int", "int"}, Bounds: ok, Tables: table}}, "1 columns for 2 types"},
		"range of one":    {[]GuardKey{{Name: "k", Types: []string{"int"}, Bounds: []config.Bound{ranged("a", text("1", "2"), text("3"))}, Tables: table}}, "a range"},
		"modulus":         {[]GuardKey{{Name: "k", Types: []string{"int"}, Bounds: []config.Bound{hashed("a", 2, 2)}, Tables: table}}, "modulus 2"},
		"a long name":     {[]GuardKey{{Name: strings.Repeat("k", 60), Types: []string{"int"}, Bounds: ok}}, "too long"},
		"two keys, table": {[]GuardKey{{Name: "k", Types: []string{"int"}, Bounds: ok, Tables: table}, {Name: "l", Types: []string{"int"}, Bounds: ok, Tables: table}}, "two keys"},
	} {
		if _, _, err := GuardSQL("a", test.keys); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, test.want)
		}
	}
}
