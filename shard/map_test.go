package shard

import (
	"strings"
	"testing"

	"pgdrover/internal/config"
	"pgdrover/shard/hash"
)

// sharded returns a database with shards a, b, c and d and one key, whose placement is written as in SQL; "" is none.
func sharded(t testing.TB, types, placement string) *config.Database {
	t.Helper()
	d := &config.Database{Name: "shop", Source: "config.toml:1"}
	for _, name := range []string{"a", "b", "c", "d"} {
		d.Shards = append(d.Shards, config.Shard{Name: name})
	}
	k := config.Key{Name: "customer", Source: "config.toml:9", Columns: map[config.TableName][]string{}}
	var err error
	if k.Types, err = config.ParseTypes(types); err != nil {
		t.Fatal(err)
	}
	if placement != "" {
		if k.Bounds, err = config.ParsePlacement("(" + placement + ")"); err != nil {
			t.Fatalf("%s: %v", placement, err)
		}
	}
	for i := range k.Bounds {
		k.Bounds[i].Source = "config.toml:10"
	}
	d.Keys = map[string]config.Key{"customer": k}
	return d
}

func newMap(t testing.TB, d *config.Database) *Map {
	t.Helper()
	m, err := NewMap(d)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestADatabaseWithoutShardsHasNoMap(t *testing.T) {
	t.Parallel()
	if m, err := NewMap(&config.Database{Name: "blog"}); m != nil || err != nil {
		t.Errorf("got %v, %v", m, err)
	}
}

func TestBadBounds(t *testing.T) {
	t.Parallel()
	const at = `config.toml:10: database "shop": key "customer": `
	for _, c := range []struct{ name, types, placement, want string }{
		{"a hole in hash bounds", "bigint", "a FOR VALUES WITH (MODULUS 2, REMAINDER 0)", at + "there is a gap: no shard has FOR VALUES WITH (MODULUS 2, REMAINDER 1)"},
		{
			"a hole in a split bound", "bigint", "a FOR VALUES WITH (MODULUS 2, REMAINDER 0), b FOR VALUES WITH (MODULUS 8, REMAINDER 1), c FOR VALUES WITH (MODULUS 8, REMAINDER 5), d FOR VALUES WITH (MODULUS 8, REMAINDER 7)",
			at + "there is a gap: no shard has FOR VALUES WITH (MODULUS 8, REMAINDER 3)",
		},
		{
			"a hole behind the largest moduli", "bigint", "a FOR VALUES WITH (MODULUS 2, REMAINDER 0), b FOR VALUES WITH (MODULUS 2147483646, REMAINDER 1)",
			at + "there is a gap: no shard has FOR VALUES WITH (MODULUS 2147483646, REMAINDER 3)",
		},
		{"hash bounds that overlap", "bigint", "a FOR VALUES WITH (MODULUS 1, REMAINDER 0), b FOR VALUES WITH (MODULUS 4, REMAINDER 3)", at + "FOR VALUES WITH (MODULUS 4, REMAINDER 3) on shard b would overlap FOR VALUES WITH (MODULUS 1, REMAINDER 0) on shard a"},
		{"a hash bound twice", "bigint", "a FOR VALUES WITH (MODULUS 1, REMAINDER 0), b FOR VALUES WITH (MODULUS 1, REMAINDER 0)", at + "FOR VALUES WITH (MODULUS 1, REMAINDER 0) on shard b is also on shard a"},
		{"moduli that do not divide", "bigint", "a FOR VALUES WITH (MODULUS 2, REMAINDER 0), b FOR VALUES WITH (MODULUS 3, REMAINDER 1)", at + "FOR VALUES WITH (MODULUS 3, REMAINDER 1) on shard b does not go with MODULUS 2: every modulus must divide the next larger one"},
		{"modulus zero", "bigint", "a FOR VALUES WITH (MODULUS 0, REMAINDER 0)", at + "FOR VALUES WITH (MODULUS 0, REMAINDER 0) on shard a must have a modulus greater than zero"},
		{"remainder too large", "bigint", "a FOR VALUES WITH (MODULUS 2, REMAINDER 2)", at + "FOR VALUES WITH (MODULUS 2, REMAINDER 2) on shard a must have a remainder from 0 to 1, less than its modulus"},
		{"remainder negative", "bigint", "a FOR VALUES WITH (MODULUS 2, REMAINDER -1)", at + "FOR VALUES WITH (MODULUS 2, REMAINDER -1) on shard a must have a remainder from 0 to 1, less than its modulus"},
		{"hash with DEFAULT", "bigint", "a FOR VALUES WITH (MODULUS 1, REMAINDER 0), b DEFAULT", at + "DEFAULT on shard b cannot stand beside hash bounds, which hold every value"},
		{"two kinds", "bigint", "a FOR VALUES IN (1), b FOR VALUES FROM (2) TO (3)", at + "FOR VALUES FROM (2) TO (3) on shard b is a bound of kind range, and others of the key are of kind list"},
		{"two DEFAULTs", "bigint", "a DEFAULT, b DEFAULT", at + "DEFAULT on shard b conflicts with another DEFAULT on shard a"},
		{"an unknown shard", "bigint", "e FOR VALUES IN (1)", at[:len(at)-2] + ", FOR VALUES IN (1): there is no shard \"e\""},
		{"a list value twice", "bigint", "a FOR VALUES IN (1, 2), b FOR VALUES IN ('3', '2')", at + "FOR VALUES IN ('3', '2') on shard b would overlap FOR VALUES IN (1, 2) on shard a: both have '2'"},
		{"NULL twice", "bigint", "a FOR VALUES IN (NULL), b FOR VALUES IN (NULL)", at + "FOR VALUES IN (NULL) on shard b would overlap FOR VALUES IN (NULL) on shard a: both have NULL"},
		{"a list of two columns", "(bigint, date)", "a FOR VALUES IN (1)", at + "FOR VALUES IN (1) needs a key of one column, and it has 2"},
		{"a list value of another type", "bigint", "a FOR VALUES IN ('x')", at + "FOR VALUES IN ('x') on shard a has the value 'x', which is no bigint"},
		{"a range value of another type", "date", "a FOR VALUES FROM ('2020-02-30') TO (MAXVALUE)", at + "FOR VALUES FROM ('2020-02-30') TO (MAXVALUE) on shard a has the value '2020-02-30', which is no date"},
		{"a value that depends on settings", "timestamptz", "a FOR VALUES FROM ('2020-02-20 00:00:00') TO (MAXVALUE)", at + "FOR VALUES FROM ('2020-02-20 00:00:00') TO (MAXVALUE) on shard a has the value '2020-02-20 00:00:00', which not every server reads as the same timestamp with time zone; write it in full, as PostgreSQL prints it"},
		{"an empty range", "bigint", "a FOR VALUES FROM (2) TO (2)", at + "FOR VALUES FROM (2) TO (2) on shard a is empty: FROM must be less than TO"},
		{"a range that runs backwards", "bigint", "a FOR VALUES FROM (MAXVALUE) TO (MINVALUE)", at + "FOR VALUES FROM (MAXVALUE) TO (MINVALUE) on shard a is empty: FROM must be less than TO"},
		{"ranges that overlap", "bigint", "a FOR VALUES FROM (0) TO (10), b FOR VALUES FROM (9) TO (20)", at + "FOR VALUES FROM (9) TO (20) on shard b would overlap FOR VALUES FROM (0) TO (10) on shard a"},
		{"a gap between ranges", "bigint", "a FOR VALUES FROM (1) TO (100), b FOR VALUES FROM (101) TO (200)", at + "FOR VALUES FROM (101) TO (200) on shard b leaves a gap after FOR VALUES FROM (1) TO (100) on shard a: add a bound for the values between them, or DEFAULT"},
		{"too few values", "(bigint, date)", "a FOR VALUES FROM (1) TO (2)", at + "FOR VALUES FROM (1) TO (2) on shard a must have 2 values after FROM, one for each type of the key, not 1\n" + at + "FOR VALUES FROM (1) TO (2) on shard a must have 2 values after TO, one for each type of the key, not 1"},
		{"a value after MINVALUE", "(bigint, bigint)", "a FOR VALUES FROM (MINVALUE, 1) TO (2, 2)", at + "FOR VALUES FROM (MINVALUE, 1) TO (2, 2) on shard a has 1 after MINVALUE in FROM: only MINVALUE may follow it"},
		{"an enum", "enum", "", `config.toml:9: database "shop": key "customer": type enum cannot be a sharding key: the hash of an enum is that of its label's OID, which differs from server to server; use text`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := NewMap(sharded(t, c.types, c.placement))
			if err == nil || err.Error() != c.want {
				t.Errorf("\n got: %v\nwant: %s", err, c.want)
			}
		})
	}
}

func TestBadTables(t *testing.T) {
	t.Parallel()
	const at = `config.toml:9: database "shop": `
	name := func(schema, table string) config.TableName { return config.TableName{Schema: schema, Name: table} }
	for _, c := range []struct {
		name, want string
		change     func(d *config.Database)
	}{
		{"in two keys", at + `table orders is a table of key "customer" as well as a table of key "other"`, func(d *config.Database) {
			d.Keys["customer"].Columns[name("public", "orders")] = []string{"x"}
			d.Keys["other"] = config.Key{Source: "config.toml:9", Types: []string{"bigint"}, Columns: map[config.TableName][]string{name("public", "orders"): {"y"}}}
		}},
		{"in a key and a reference table", `config.toml:1: database "shop": table orders is a table of key "customer" as well as a reference table`, func(d *config.Database) {
			d.Keys["customer"].Columns[name("public", "orders")] = []string{"x"}
			d.ReferenceTables = []config.TableName{name("public", "orders")}
		}},
		{"too many columns", at + `key "customer" has 1 columns of types ["bigint"], but table s.orders gives 2: ["x" "y"]`, func(d *config.Database) {
			d.Keys["customer"].Columns[name("s", "orders")] = []string{"x", "y"}
		}},
		{"PostgreSQL's own", at + `table pg_catalog.pg_class is PostgreSQL's own and cannot be a table of key "customer"`, func(d *config.Database) {
			d.Keys["customer"].Columns[name("pg_catalog", "pg_class")] = []string{"oid"}
		}},
		{"a schema on an unknown shard", `config.toml:1: database "shop": schema "s": there is no shard "e"`, func(d *config.Database) {
			d.Schemas = map[string]string{"s": "e"}
		}},
		{"an unknown default shard", `config.toml:1: database "shop": default_shard: there is no shard "e"`, func(d *config.Database) {
			d.DefaultShard = "e"
		}},
		{"a shard twice", `config.toml:5: database "shop": there are two shards of the name "a"`, func(d *config.Database) {
			d.Shards = append(d.Shards, config.Shard{Name: "a", Source: "config.toml:5"})
		}},
		{"a key without a type", at + `key "customer" has 0 types; it must have from 1 to 32`, func(d *config.Database) {
			d.Keys["customer"] = config.Key{Source: "config.toml:9"}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := sharded(t, "bigint", "")
			c.change(d)
			_, err := NewMap(d)
			if err == nil || err.Error() != c.want {
				t.Errorf("\n got: %v\nwant: %s", err, c.want)
			}
		})
	}
}

func TestTablesAreFoundByEntrySchemaOrDefault(t *testing.T) {
	t.Parallel()
	d := sharded(t, "bigint", "")
	d.Keys["customer"].Columns[config.TableName{Schema: "public", Name: "orders"}] = []string{"customer_id"}
	d.ReferenceTables = []config.TableName{{Schema: "s", Name: "countries"}}
	d.Schemas = map[string]string{"s": "b"}
	m := newMap(t, d)
	if o := m.Table("public", "orders"); o == nil || o.Kind != Sharded || o.Key != m.Key("customer") || o.Columns[0] != "customer_id" {
		t.Errorf("orders: %+v", o)
	}
	if c := m.Table("s", "countries"); c == nil || c.Kind != Reference {
		t.Errorf("countries: %+v", c)
	}
	if x := m.Table("s", "x"); x == nil || x.Kind != Single || x.Shard != 1 || x.Schema != "s" || x.Name != "x" {
		t.Errorf("s.x: %+v", x)
	}
	if x := m.Table("public", "x"); x != nil {
		t.Errorf("a table that is listed nowhere: %+v", x)
	}
	d.DefaultShard = "c"
	m = newMap(t, d)
	if x := m.Table("public", "x"); x == nil || x.Kind != Single || x.Shard != 2 {
		t.Errorf("public.x with a default shard: %+v", x)
	}
	if x := m.Table("pg_catalog", "pg_class"); x != nil {
		t.Errorf("pg_class: %+v", x)
	}
	if i, ok := m.ShardIndex("d"); i != 3 || !ok || m.Shards()[3] != "d" {
		t.Errorf("d is %d, %v", i, ok)
	}
	if n := len(m.Tables()); n != 2 {
		t.Errorf("%d tables", n)
	}
}

func TestWithoutAPlacementAKeyIsHashedOverTheShardsInOrder(t *testing.T) {
	t.Parallel()
	k := newMap(t, sharded(t, "bigint", "")).Key("customer")
	for i := range int64(100) {
		shard, ok := k.Locate([]hash.Value{hash.Int(i)})
		if !ok || !hash.Satisfies(hash.Row(hash.Int(i)), 4, shard) {
			t.Fatalf("%d is on %d, %v", i, shard, ok)
		}
	}
	if got := k.Shards(); len(got) != 4 {
		t.Errorf("shards %v", got)
	}
}

func TestLocateText(t *testing.T) {
	t.Parallel()
	k := newMap(t, sharded(t, "bigint", "a FOR VALUES FROM (MINVALUE) TO (10), b FOR VALUES FROM (10) TO (20)")).Key("customer")
	for text, want := range map[string]int{"9": 0, "10": 1, "-5": 0, "19": 1, "20": -1} {
		if got, ok, err := k.LocateText(text); got != want || ok != (want >= 0) || err != nil {
			t.Errorf("%s: %d, %v, %v", text, got, ok, err)
		}
	}
	for _, texts := range [][]string{{"x"}, {"1", "2"}, {}} {
		if _, _, err := k.LocateText(texts...); err == nil {
			t.Errorf("%q is accepted", texts)
		}
	}
	if _, ok := k.Locate([]hash.Value{hash.Null()}); ok {
		t.Error("NULL is in a range")
	}
}

func TestLocateDoesNotAllocate(t *testing.T) {
	values := []hash.Value{hash.Int(7)}
	for _, placement := range []string{"", "a FOR VALUES FROM (0) TO (10), b DEFAULT", "a FOR VALUES IN (1, 7), b FOR VALUES IN (2)"} {
		m := newMap(t, sharded(t, "bigint", placement))
		m.tables[config.TableName{Schema: "public", Name: "t"}] = &Table{}
		k := m.Key("customer")
		if n := testing.AllocsPerRun(100, func() {
			if _, ok := k.Locate(values); !ok || m.Table("public", "t") == nil {
				panic("not found")
			}
		}); n != 0 {
			t.Errorf("%q: %v allocations", placement, n)
		}
	}
}

// FuzzPlacement checks that no placement makes NewMap panic, and that of an accepted one every hash value has one shard.
func FuzzPlacement(f *testing.F) {
	f.Add("(a FOR VALUES WITH (MODULUS 2, REMAINDER 0), b FOR VALUES WITH (MODULUS 4, REMAINDER 1), c FOR VALUES WITH (MODULUS 4, REMAINDER 3))", "bigint")
	f.Add("(a FOR VALUES FROM (1, MINVALUE) TO (2, 'x'), b DEFAULT)", "(bigint, text)")
	f.Add("(a FOR VALUES IN ('x', NULL))", "text")
	f.Fuzz(func(t *testing.T, placement, types string) {
		bounds, err := config.ParsePlacement(placement)
		if err != nil {
			return
		}
		d := sharded(t, "bigint", "")
		k := d.Keys["customer"]
		if k.Types, err = config.ParseTypes(types); err != nil {
			return
		}
		k.Bounds = bounds
		d.Keys["customer"] = k
		m, err := NewMap(d)
		if err != nil {
			if !strings.Contains(err.Error(), "shop") {
				t.Errorf("an error that does not say where: %v", err)
			}
			return
		}
		key := m.Key("customer")
		values := make([]hash.Value, len(key.Types))
		if _, ok := key.Locate(values); !ok && key.Kind == config.BoundHash {
			t.Errorf("%s has no place for NULL", placement)
		}
		var again []string
		for _, b := range key.Bounds {
			again = append(again, b.Placed())
		}
		reread, err := config.ParsePlacement("(" + strings.Join(again, ", ") + ")")
		if err != nil || len(reread) != len(bounds) {
			t.Fatalf("%q reads differently: %v", again, err)
		}
		for i := range bounds {
			if !bounds[i].Same(reread[i]) || bounds[i].Shard != reread[i].Shard {
				t.Errorf("%v became %v", bounds[i], reread[i])
			}
		}
	})
}
