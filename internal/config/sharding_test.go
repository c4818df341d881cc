package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const shopTOML = `auth_type = "trust"
[users.app]

[databases.shop]
user = "app"
password = "hunter2"
reference_tables = ["countries"]
default_shard = "a"
schemas = { tenant_a = "a" }
pool_size = 7

[[databases.shop.shards]]
name = "a"
host = "10.0.1.1"
replicas = [{ host = "10.0.1.2" }, { host = "10.0.1.3", port = 5433, weight = 2 }]

[[databases.shop.shards]]
name = "b"
url = "postgres://b@10.0.2.1:5434/shop_b"
pool_size = 9

[databases.shop.keys.customer]
type = "bigint"
columns = { customers = "id", "sales.orders" = "customer_id", '"odd.schema"."odd""name"' = "x" }

[databases.shop.keys.day]
type = ["date", "text"]
columns = { hits = ["day", "host"] }
placement = [
  { shard = "a", to = [2026-01-01, "m"] },
  { shard = "b", from = ["2026-01-01", "m"], to = ["2027-01-01", "m"] },
  "b DEFAULT",
]

[databases.shop.keys.country]
type = "text"
placement = [
  { shard = "a", in = ["DE", "it's"] },
  "b FOR VALUES IN ('FR', NULL)",
]

[databases.shop.keys.mixed]
type = "uuid"
placement = [
  { shard = "a", modulus = 2, remainder = 0 },
  "b FOR VALUES WITH (REMAINDER 1, modulus 2)",
]
`

func TestShardingIsRead(t *testing.T) {
	t.Parallel()
	path := folder(t, map[string]string{"config.toml": shopTOML})
	cfg, warnings, err := Load(path)
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	d := cfg.Databases["shop"]
	public := func(name string) TableName { return TableName{"public", name} }
	if diff := cmp.Diff([]TableName{public("countries")}, d.ReferenceTables); diff != "" {
		t.Error(diff)
	}
	if d.DefaultShard != "a" || d.Schemas["tenant_a"] != "a" || len(d.Shards) != 2 || !d.Sharded() {
		t.Errorf("%+v", d.Sharding)
	}
	a, b := d.ShardServer("a"), d.ShardServer("b")
	if a.Name != "shop" || a.ShardName != "a" || a.Hosts[0] != "10.0.1.1" || a.Port != 5432 || a.DBName != "shop" || a.User != "app" || a.Password != "hunter2" || *a.PoolSize != 7 {
		t.Errorf("a: %+v", a)
	}
	if b.Hosts[0] != "10.0.2.1" || b.Port != 5434 || b.DBName != "shop_b" || b.User != "b" || b.Password != "hunter2" || *b.PoolSize != 9 || b.Sharded() {
		t.Errorf("b: %+v", b)
	}
	if d.ShardServer("c") != nil {
		t.Error("there is a shard c")
	}
	if diff := cmp.Diff([]Replica{{"10.0.1.2", 5432, 1}, {"10.0.1.3", 5433, 2}}, d.Shards[0].Replicas); diff != "" {
		t.Error(diff)
	}
	customer := d.Keys["customer"]
	if diff := cmp.Diff(map[TableName][]string{public("customers"): {"id"}, {"sales", "orders"}: {"customer_id"}, {"odd.schema", `odd"name`}: {"x"}}, customer.Columns); diff != "" {
		t.Error(diff)
	}
	for key, want := range map[string][]string{
		"customer": {"a FOR VALUES WITH (MODULUS 2, REMAINDER 0)", "b FOR VALUES WITH (MODULUS 2, REMAINDER 1)"},
		"day": {
			"a FOR VALUES FROM (MINVALUE, MINVALUE) TO ('2026-01-01', 'm')", "b FOR VALUES FROM ('2026-01-01', 'm') TO ('2027-01-01', 'm')", "b DEFAULT",
		},
		"country": {"a FOR VALUES IN ('DE', 'it''s')", "b FOR VALUES IN ('FR', NULL)"},
		"mixed":   {"a FOR VALUES WITH (MODULUS 2, REMAINDER 0)", "b FOR VALUES WITH (MODULUS 2, REMAINDER 1)"},
	} {
		var got []string
		for _, bound := range d.Placement(d.Keys[key]) {
			got = append(got, bound.Placed())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", key, diff)
		}
	}
	if got, want := d.Keys["day"].Bounds[1].Source, path+":31"; got != want {
		t.Errorf("the bound is at %s, want %s", got, want)
	}
	if got, want := d.Shards[1].Source, path+":17"; got != want {
		t.Errorf("shard b is at %s, want %s", got, want)
	}
}

func TestAShardStaysTheSameServerWhileItsPoolsMayChange(t *testing.T) {
	t.Parallel()
	load := func(old, replacement string) *Database {
		cfg, _, err := Load(folder(t, map[string]string{"config.toml": strings.Replace(shopTOML, old, replacement, 1)}))
		if err != nil {
			t.Fatal(err)
		}
		return cfg.Databases["shop"]
	}
	d := load("", "")
	same := load("pool_size = 9", "pool_size = 10")
	moved := load("10.0.2.1", "10.0.2.2")
	if !d.ShardServer("a").SameServer(moved.ShardServer("a")) || !d.ShardServer("b").SameServer(same.ShardServer("b")) {
		t.Error("a shard that did not change is another server")
	}
	if d.ShardServer("b").SameServer(moved.ShardServer("b")) {
		t.Error("a shard with another host is the same server")
	}
}

// change is a command with what must come of it: an error, or what must be in config.auto.toml.
type shardingTest struct {
	name    string
	change  ShardingChange
	err     string
	hint    string
	notes   string
	persist []string // parts of config.auto.toml
}

func bound(t *testing.T, text string) *Bound {
	t.Helper()
	b, err := parsePlaced(text)
	if err != nil {
		t.Fatal(err)
	}
	return &b
}

const notMoved = "The command changes where rows are looked for; it does not move them. If the rows are there already, or there are none, add WITHOUT MOVING ROWS."

func TestAlterSharding(t *testing.T) {
	t.Parallel()
	host := "10.9.9.9"
	table := func(name string) TableName { return TableName{"public", name} }
	for _, c := range []shardingTest{
		{
			name: "a new shard leaves placements as they are", change: CreateShard{"c", []Option{{"host", "10.0.3.1"}, {"port", "5555"}, {"replicas", "r1, [::1]:6000 weight=3"}}},
			notes:   `the placement of key "customer" stays as it is; nothing is on shard "c" yet`,
			persist: []string{`placement = ["a FOR VALUES WITH (MODULUS 2, REMAINDER 0)", "b FOR VALUES WITH (MODULUS 2, REMAINDER 1)"]`, `host = ["10.0.3.1"]`, `port = 5555`, `replicas = [{ host = "r1" }, { host = "::1", port = 6000, weight = 3 }]`, `url = "postgres://b@10.0.2.1:5434/shop_b"`},
		},
		{name: "a shard twice", change: CreateShard{"a", nil}, err: `shard "a" of database "shop" already exists`},
		{name: "an unknown option", change: CreateShard{"c", []Option{{"hots", "x"}}}, err: `unknown key "hots" in shard "c"; did you mean "host"?`},
		{name: "an option that all shards share", change: CreateShard{"c", []Option{{"timezone", "UTC"}}}, err: `timezone in shard "c": it is the same for all shards`, hint: "ALTER DATABASE … SET timezone changes it."},
		{name: "an option twice", change: CreateShard{"c", []Option{{"host", "x"}, {"host", "y"}}}, err: `host is given twice`},
		{name: "a bad port", change: CreateShard{"c", []Option{{"port", "x"}}}, err: `port in shard "c": "x": not an integer`},
		{name: "a bad replica", change: CreateShard{"c", []Option{{"replicas", "h:0"}}}, err: `replica "h:0": port: must be from 1 to 65535`},
		{name: "the same server twice", change: CreateShard{"c", []Option{{"host", "10.0.1.1"}}}, err: `config.auto.toml: shards "a" and "c" in [databases.shop] are the same database: 10.0.1.1 port 5432, database "shop"`},
		{name: "another host", change: AlterShard{"a", "host", &host}, persist: []string{`host = ["10.9.9.9"]`}},
		{name: "a setting reset", change: AlterShard{"b", "pool_size", nil}, persist: []string{`url = "postgres://b@10.0.2.1:5434/shop_b"`}},
		{name: "an unknown shard", change: AlterShard{"z", "host", &host}, err: `shard "z" of database "shop" does not exist`},
		{
			name: "a shard that holds a bound cannot go", change: DropShard{"b"}, err: `cannot drop shard "b" of database "shop": it holds FOR VALUES IN ('FR', NULL) of key "country"`,
			hint: "ALTER KEY country ON DATABASE shop PLACE ON another shard FOR VALUES IN ('FR', NULL), once the rows are there.",
		},
		{name: "a key", change: CreateKey{"tenant", []string{"integer"}, nil}, persist: []string{`[databases.shop.keys.tenant]`, `type = "integer"`, `placement = ["a FOR VALUES WITH (MODULUS 2, REMAINDER 0)", "b FOR VALUES WITH (MODULUS 2, REMAINDER 1)"]`}},
		{name: "a key twice", change: CreateKey{"customer", []string{"integer"}, nil}, err: `key "customer" of database "shop" already exists`},
		{
			name: "placing needs the words", change: AlterKey{Name: "customer", Place: bound(t, "b FOR VALUES WITH (MODULUS 4, REMAINDER 2)")},
			err: `key "customer" of database "shop" has tables ("odd.schema"."odd""name", customers, sales.orders), whose rows would have to move`, hint: notMoved,
		},
		{
			name: "placing a part of a hash bound splits it", change: AlterKey{Name: "customer", Place: bound(t, "b FOR VALUES WITH (MODULUS 4, REMAINDER 2)"), WithoutMovingRows: true},
			persist: []string{`placement = ["a FOR VALUES WITH (MODULUS 4, REMAINDER 0)", "b FOR VALUES WITH (MODULUS 4, REMAINDER 2)", "b FOR VALUES WITH (MODULUS 2, REMAINDER 1)"]`},
		},
		{
			name: "placing a hash bound that has parts joins them", change: AlterKey{Name: "mixed", Place: bound(t, "b FOR VALUES WITH (MODULUS 1, REMAINDER 0)")},
			persist: []string{`placement = ["b FOR VALUES WITH (MODULUS 1, REMAINDER 0)"]`},
		},
		{name: "a split into very many", change: AlterKey{Name: "mixed", Place: bound(t, "b FOR VALUES WITH (MODULUS 100000, REMAINDER 0)")}, err: "FOR VALUES WITH (MODULUS 100000, REMAINDER 0) would split FOR VALUES WITH (MODULUS 2, REMAINDER 0) into more than 4096 parts"},
		{name: "a new list bound", change: AlterKey{Name: "country", Place: bound(t, "a FOR VALUES IN ('IT')")}, persist: []string{`placement = ["a FOR VALUES IN ('DE', 'it''s')", "b FOR VALUES IN ('FR', NULL)", "a FOR VALUES IN ('IT')"]`}},
		{name: "a list bound to another shard", change: AlterKey{Name: "country", Place: bound(t, "a FOR VALUES IN ('FR', NULL)")}, persist: []string{`placement = ["a FOR VALUES IN ('DE', 'it''s')", "a FOR VALUES IN ('FR', NULL)"]`}},
		{name: "a bound taken away", change: AlterKey{Name: "country", Drop: &Bound{Kind: BoundList, In: []BoundValue{{Text: "FR"}, {Word: "NULL"}}}}, persist: []string{`placement = ["a FOR VALUES IN ('DE', 'it''s')"]`}},
		{name: "a bound that is not there", change: AlterKey{Name: "country", Drop: &Bound{Kind: BoundDefault}}, err: `key "country" of database "shop" has no bound DEFAULT`, hint: "SHOW PLACEMENT lists them."},
		{name: "a whole placement", change: AlterKey{Name: "country", Placement: []Bound{*bound(t, "a DEFAULT")}}, persist: []string{`placement = ["a DEFAULT"]`}},
		{name: "an unknown key", change: DropKey{"costumer"}, err: `key "costumer" of database "shop" does not exist; did you mean "customer"?`},
		{name: "a key that is carried", change: DropKey{"day"}, err: `cannot drop key "day" of database "shop": tables carry it: hits`, hint: "DROP TABLE … ON DATABASE shop takes a table out of the shard map."},
		{name: "a key that is not", change: DropKey{"mixed"}, persist: []string{"[databases.shop.keys.country]", "[databases.shop.keys.customer]", "[databases.shop.keys.day]"}},
		{
			name: "a table by its key", change: PutTable{Table: table("invoices"), Key: "customer", Columns: []string{"customer_id"}},
			notes: `rows that table invoices has are on shard "a", the default, and are not moved`, persist: []string{`invoices = "customer_id"`},
		},
		{name: "a table by two columns", change: PutTable{Table: table("visits"), Key: "day", Columns: []string{"d", "h"}}, notes: "not moved", persist: []string{`visits = ["d", "h"]`}},
		{name: "a reference table", change: PutTable{Table: table("currencies")}, notes: "not moved", persist: []string{`reference_tables = ["countries", "currencies"]`}},
		{name: "a table twice", change: PutTable{Table: table("countries")}, err: `table countries of database "shop" already has a place: it is on every shard`, hint: "ALTER TABLE … ON DATABASE changes it."},
		{name: "a table moved needs the words", change: PutTable{Table: table("countries"), Key: "country", Columns: []string{"code"}, Alter: true}, err: `the rows of table countries are on every shard`, hint: notMoved},
		{name: "a table moved", change: PutTable{Table: table("countries"), Key: "country", Columns: []string{"code"}, Alter: true, WithoutMovingRows: true}, persist: []string{`countries = "code"`, "reference_tables = []"}},
		{name: "a table that is not there", change: PutTable{Table: table("x"), Alter: true}, err: `table x is not in the shard map of database "shop"`, hint: "CREATE TABLE … ON DATABASE enters it; SHOW TABLES lists those that are in it."},
		{name: "a table dropped into the default shard", change: DropTable{Table: table("hits")}, err: `the rows of table hits are spread by key "day", and would be looked for on shard "a", the default`, hint: notMoved},
		{name: "a table dropped", change: DropTable{Table: table("hits"), WithoutMovingRows: true}, persist: []string{`columns = {}`}},
		{name: "a schema", change: PlaceTables{Schema: "audit", Shard: "a"}, persist: []string{`schemas = { audit = "a", tenant_a = "a" }`}},
		{name: "a schema elsewhere", change: PlaceTables{Schema: "tenant_a", Shard: "b"}, err: `the tables of schema "tenant_a" are on shard "a"`, hint: notMoved},
		{name: "a schema on an unknown shard", change: PlaceTables{Schema: "tenant_b", Shard: "z"}, err: `shard "z" of database "shop" does not exist`},
		{name: "no default shard", change: PlaceTables{WithoutMovingRows: true}, persist: []string{`default_shard = ""`}},
		{name: "back to the file needs the words", change: ResetSharding{}, err: `the shards, keys and tables of database "shop" would be those of the main file`, hint: notMoved},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := folder(t, map[string]string{"config.toml": shopTOML})
			m := open(t, path)
			asked := 0
			m.Subscribe(func(_, _ *Config) (func(), error) { asked++; return nil, nil })
			notes, err := m.AlterSharding("shop", c.change)
			auto, readErr := os.ReadFile(filepath.Join(filepath.Dir(path), autoFileName))
			if c.err != "" {
				got, hint := "", ""
				if err != nil {
					got = strings.TrimPrefix(err.Error(), filepath.Dir(path)+"/")
				}
				var refused *ChangeError
				if errors.As(err, &refused) {
					hint = refused.Hint
				}
				if i := strings.Index(got, "; did you mean"); i >= 0 && !strings.Contains(c.err, "did you mean") {
					got = got[:i]
				}
				if got != c.err || hint != c.hint {
					t.Errorf("\n got: %s (%s)\nwant: %s (%s)", got, hint, c.err, c.hint)
				}
				if readErr == nil || asked > 0 {
					t.Errorf("a refused change left something: %s", auto)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(notes, "\n"); !strings.Contains(got, c.notes) || got != "" && c.notes == "" {
				t.Errorf("notes %q, want %q", got, c.notes)
			}
			for _, line := range c.persist {
				if !strings.Contains(string(auto), line) {
					t.Errorf("%s does not have\n%s\nbut\n%s", autoFileName, line, auto)
				}
			}
			// What is in force is what the next start reads.
			again := open(t, path)
			if diff := cmp.Diff(withoutPlaces(m.Current().Databases["shop"]), withoutPlaces(again.Current().Databases["shop"])); diff != "" {
				t.Errorf("the next start reads something else:\n%s", diff)
			}
			if asked != 1 {
				t.Errorf("subscribers were asked %d times", asked)
			}
			must(t, m.AlterDatabase("shop", "ALL", nil))
			if _, err := m.AlterSharding("shop", ResetSharding{WithoutMovingRows: true}); err != nil {
				t.Fatal(err)
			}
			fresh := open(t, folder(t, map[string]string{"config.toml": shopTOML}))
			if diff := cmp.Diff(withoutPlaces(fresh.Current().Databases["shop"]), withoutPlaces(m.Current().Databases["shop"])); diff != "" {
				t.Errorf("after going back to the file:\n%s", diff)
			}
		})
	}
}

// withoutPlaces leaves out what differs between files that say the same.
func withoutPlaces(d *Database) *Database {
	c := *d
	c.Source = ""
	c.Shards = append([]Shard(nil), d.Shards...)
	for i := range c.Shards {
		c.Shards[i].Source, c.Shards[i].Database.Source = "", ""
	}
	c.Keys = map[string]Key{}
	for name, k := range d.Keys {
		k.Source = ""
		k.Bounds = append([]Bound(nil), k.Bounds...)
		for i := range k.Bounds {
			k.Bounds[i].Source = ""
		}
		c.Keys[name] = k
	}
	return &c
}

func TestADatabaseIsShardedByCommandsAlone(t *testing.T) {
	t.Parallel()
	path := folder(t, map[string]string{"config.toml": "[users.a]\n[databases.blog]\nhost = \"h\"\n"})
	m := open(t, path)
	table := TableName{"public", "posts"}
	for _, c := range []ShardingChange{
		CreateShard{"a", nil},
		CreateShard{"b", []Option{{"dbname", "blog_b"}}},
		CreateKey{Name: "author", Types: []string{"bigint"}},
		PutTable{Table: table, Key: "author", Columns: []string{"author_id"}},
		DropTable{Table: table},
		DropKey{"author"},
		DropShard{"a"},
		DropShard{"b"},
	} {
		if _, err := m.AlterSharding("blog", c); err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		if _, ok := c.(PutTable); ok {
			d := open(t, path).Current().Databases["blog"]
			if len(d.Shards) != 2 || d.Keys["author"].Columns[table][0] != "author_id" {
				t.Errorf("%+v", d.Sharding)
			}
		}
	}
	if text, err := os.ReadFile(filepath.Join(filepath.Dir(path), autoFileName)); err != nil || strings.Contains(string(text), "[") {
		t.Errorf("something is left: %s, %v", text, err)
	}
	for database, want := range map[string]string{"blob": `no such database: blob; did you mean "blog"?`, "*": "no such database: *", "pgdrover": "no such database: pgdrover"} {
		if _, err := m.AlterSharding(database, CreateShard{"a", nil}); err == nil || err.Error() != want {
			t.Errorf("%s: %v", database, err)
		}
	}
	wantError(t, m.AlterDatabase("blog", "shards", nil), "shards is changed with CREATE, ALTER and DROP of SHARD, KEY and TABLE, and ALTER DATABASE … PLACE")
}

// FuzzBoundText checks that what is written is read back as it was, whatever the text.
func FuzzBoundText(f *testing.F) {
	for _, s := range []string{
		"a FOR VALUES WITH (MODULUS 4, REMAINDER 0)", `"a""b" for values from ('it''s', MINVALUE) to (-1.5e3, MAXVALUE)`, "a DEFAULT", "x FOR VALUES IN (NULL, TRUE, .5)", "a FOR VALUES IN (1,", "'",
		`bigint`, `(numeric(10, 2), "My".type)`, `(host '10.0.0.1', port = 5432)`, `"S"."t.x"`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if b, err := parsePlaced(text); err == nil {
			again, err := parsePlaced(b.Placed())
			if err != nil || !b.Same(again) || b.Shard != again.Shard {
				t.Errorf("%q is written %q, which reads as %+v, %v", text, b.Placed(), again, err)
			}
		}
		if n, err := ParseTableName(text); err == nil {
			again, err := ParseTableName(n.String())
			plain, err2 := plainTableName(n.plain())
			if err != nil || err2 != nil || again != n || plain != n {
				t.Errorf("%q is written %s and %s: %v, %v", text, n, n.plain(), err, err2)
			}
		}
		_, _ = ParsePlacement(text)
		_, _ = ParseTypes(text)
		_, _ = ParseOptions(text)
		_, _ = ParseNames(text)
		_, _ = plainTableName(text)
	})
}
