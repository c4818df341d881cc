package catalog

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"pgdrover/internal/pgtest"
)

// shop has one of everything that Load reads.
const shop = `
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TYPE pair AS (a int, b text);
CREATE FUNCTION peek() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1';
CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE FUNCTION same(mood, mood) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT $1::text = $2::text';
CREATE OPERATOR === (LEFTARG = mood, RIGHTARG = mood, FUNCTION = same);
CREATE CAST (pair AS text) WITH INOUT AS ASSIGNMENT;
CREATE DOMAIN customer_id AS bigint DEFAULT peek() CHECK (VALUE > 0);
CREATE DOMAIN vip AS customer_id CHECK (peek() = 1);
CREATE COLLATION public.blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE customers (id vip PRIMARY KEY, gone int, name varchar(20) COLLATE "C", nick text COLLATE blind, plain text, mood mood NOT NULL DEFAULT 'sad',
  made timestamptz DEFAULT now(), serial bigserial, ident int GENERATED ALWAYS AS IDENTITY, upper text GENERATED ALWAYS AS (lower(plain)) STORED,
  odd int DEFAULT peek(), literal date DEFAULT '2024-01-01', "Quoted ""name" int[] DEFAULT '{1,2}', CONSTRAINT fine CHECK (odd > peek()));
ALTER TABLE customers DROP COLUMN gone;
CREATE UNIQUE INDEX lower_name ON customers (id, lower(name));
CREATE UNIQUE INDEX by_nick ON customers (nick) WHERE odd > 1;
CREATE TABLE orders (customer bigint NOT NULL, at tsrange, number int, place point, CONSTRAINT orders_pkey PRIMARY KEY (customer, number) INCLUDE (at),
  CONSTRAINT no_overlap EXCLUDE USING gist (at WITH &&, place WITH ~=),
  CONSTRAINT of_customer FOREIGN KEY (customer) REFERENCES customers ON DELETE CASCADE ON UPDATE SET NULL DEFERRABLE);
CREATE TRIGGER touch BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touched();
CREATE RULE nothing AS ON DELETE TO orders DO INSTEAD NOTHING;
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
CREATE TABLE events (id bigint, at date) PARTITION BY RANGE (at);
CREATE TABLE events_2024 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE VIEW happy AS SELECT id FROM customers WHERE mood = 'happy';
CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM orders;
CREATE UNLOGGED TABLE notes (t text);
CREATE TEMPORARY TABLE mine (i int);
`

func TestLoad(t *testing.T) {
	t.Parallel()
	for _, version := range versions {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			t.Parallel()
			c := startVersion(t, version, pgtest.WithUser("app", "secret"))
			setup := connect(t, c.SocketDSN("postgres", pgtest.Superuser))
			run(t, setup, shop)
			run(t, setup, "ALTER ROLE app SET search_path = app, public", "ALTER DATABASE postgres SET search_path = public", "ALTER ROLE app SET quote_all_identifiers = on")
			if version == 18 {
				run(t, setup, "CREATE TABLE booked (room int4range, during tsrange, PRIMARY KEY (room, during WITHOUT OVERLAPS))")
			}
			app := connect(t, c.DSN("postgres", "app"))
			cat := mustLoad(t, app)
			checkShop(t, cat)
			if got := value(t, app, "SELECT current_setting('search_path') || ' ' || current_setting('transaction_isolation')"); got != "app, public read committed" {
				t.Errorf("the session afterwards has %q", got)
			}
		})
	}
}

func checkShop(t *testing.T, cat *Catalog) {
	t.Helper()
	if cat.Version < 140000 || cat.Encoding != "UTF8" || cat.Collate != "C" || cat.LocaleProvider != 'c' {
		t.Errorf("database: got %d, %s, %s", cat.Version, cat.Encoding, cat.locale())
	}
	if cat.SearchPath != "public" || cat.SearchPathOf("app") != "app, public" || cat.SearchPathOf("postgres") != "public" {
		t.Errorf("search_path: got %q, of app %q", cat.SearchPath, cat.SearchPathOf("app"))
	}
	for _, s := range []string{"public", "pg_catalog", "information_schema"} {
		if !cat.Schemas[s] {
			t.Errorf("schema %s is missing", s)
		}
	}
	customers := cat.Relations[Name{"public", "customers"}]
	type column struct {
		Type, Base, Default, Flags, Collation string
	}
	got := map[string]column{}
	var order []string
	for _, c := range customers.Columns {
		var flags []string
		for name, on := range map[string]bool{
			"notnull": c.NotNull, "volatile": c.DefaultVolatile, "reaches": c.DefaultReaches, "sequence": c.DefaultSequence,
			"domain": c.DomainReaches, "identity": c.Identity == 'a', "generated": c.Generated == 's',
		} {
			if on {
				flags = append(flags, name)
			}
		}
		slices.Sort(flags)
		base := ""
		if b := cat.Types[c.Base]; b != nil {
			base = b.Name.Name
		}
		got[c.Name] = column{c.TypeName, base, c.Default, strings.Join(flags, " "), describeCollation(&c)}
		order = append(order, c.Name)
	}
	want := map[string]column{
		"id":           {"public.vip", "int8", "public.peek()", "domain notnull reaches volatile", ""},
		"name":         {"character varying(20)", "varchar", "", "", "C, provider c"},
		"nick":         {"text", "text", "", "", `"public"."blind", provider i, not deterministic`},
		"plain":        {"text", "text", "", "", "default, provider c"},
		"mood":         {"public.mood", "mood", "'sad'::public.mood", "notnull", ""},
		"made":         {"timestamp with time zone", "timestamptz", "now()", "volatile", ""},
		"serial":       {"bigint", "int8", "nextval('public.customers_serial_seq'::regclass)", "notnull sequence volatile", ""},
		"ident":        {"integer", "int4", "", "identity notnull", ""},
		"upper":        {"text", "text", "lower(plain)", "generated", "default, provider c"},
		"odd":          {"integer", "int4", "public.peek()", "reaches volatile", ""},
		"literal":      {"date", "date", "'2024-01-01'::date", "", ""},
		`Quoted "name`: {"integer[]", "_int4", "'{1,2}'::integer[]", "", ""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("columns of customers (-want +got):\n%s", diff)
	}
	if order[0] != "id" || order[1] != "name" {
		t.Errorf("order of columns: %v", order)
	}
	if !customers.CheckReaches {
		t.Error("the CHECK of customers calls a function of a user's")
	}
	wantKeys := []Constraint{
		{Name: "by_nick", Kind: 'i', Columns: []string{"nick"}, Loose: []string{"nick"}},
		{Name: "customers_pkey", Kind: 'p', Columns: []string{"id"}, Exact: true},
		{Name: "fine", Kind: 'c', Columns: []string{"odd"}, Exact: true},
		{Name: "lower_name", Kind: 'i', Columns: []string{"id"}},
	}
	byName := cmpopts.SortSlices(func(a, b Constraint) bool { return a.Name < b.Name })
	if diff := cmp.Diff(wantKeys, customers.Constraints, byName); diff != "" {
		t.Errorf("constraints of customers (-want +got):\n%s", diff)
	}
	orders := cat.Relations[Name{"public", "orders"}]
	wantKeys = []Constraint{
		{Name: "no_overlap", Kind: 'x', Columns: []string{"at", "place"}, Exact: true, Loose: []string{"at", "place"}},
		{
			Name: "of_customer", Kind: 'f', Columns: []string{"customer"}, Exact: true, Foreign: Name{"public", "customers"},
			ForeignColumns: []string{"id"}, OnDelete: 'c', OnUpdate: 'n', Deferrable: true,
		},
		{Name: "orders_pkey", Kind: 'p', Columns: []string{"customer", "number"}, Exact: true},
	}
	if diff := cmp.Diff(wantKeys, orders.Constraints, byName); diff != "" {
		t.Errorf("constraints of orders (-want +got):\n%s", diff)
	}
	if len(orders.Triggers) != 1 || orders.Triggers[0] != (Trigger{"touch", Name{"public", "touched"}, 'O'}) {
		t.Errorf("triggers: %+v", orders.Triggers)
	}
	if !slices.Equal(orders.Rules, []string{"nothing"}) || !orders.RowSecurity {
		t.Errorf("rules %v, row security %v", orders.Rules, orders.RowSecurity)
	}
	events, part := cat.Relations[Name{"public", "events"}], cat.Relations[Name{"public", "events_2024"}]
	if events.PartitionKey != "RANGE (at)" || len(events.Children) != 1 || events.Children[0] != part.Name || part.Parent == nil || *part.Parent != events.Name {
		t.Errorf("partitions: %+v and %+v", events, part)
	}
	if def := cat.Relations[Name{"public", "happy"}].Definition; !strings.Contains(def, "public.customers") || strings.Contains(def, `"customers"`) {
		t.Errorf("definition of a view: %s", def)
	}
	for name, want := range map[Name]string{
		{"public", "counted"}: "mp", {"public", "notes"}: "ru", {"public", "customers_serial_seq"}: "Sp", {"public", "pair"}: "cp",
		{"pg_catalog", "pg_class"}: "rp", {"pg_catalog", "pg_stat_activity"}: "vp", {"information_schema", "tables"}: "vp",
	} {
		r := cat.Relations[name]
		if r == nil || string([]byte{r.Kind, r.Persistence}) != want {
			t.Errorf("%s: got %+v, want kind and persistence %s", name, r, want)
		}
	}
	for name := range cat.Relations {
		if name.Name == "mine" {
			t.Error("a temporary table is in the catalog")
		}
	}
	if m := cat.TypeNames[Name{"public", "mood"}]; m == nil || !slices.Equal(m.Labels, []string{"sad", "happy"}) || m.Kind != 'e' {
		t.Errorf("enum: %+v", m)
	}
	if cat.TypeNames[Name{"public", "orders"}] != nil {
		t.Error("the row type of a table that nothing uses is in the catalog")
	}
	if ops := cat.Operators["==="]; len(ops) != 1 || len(cat.Operators["="]) != 0 || ops[0].Left != cat.TypeNames[Name{"public", "mood"}].OID {
		t.Errorf("operators: %+v", cat.Operators)
	}
	if len(cat.Casts) != 1 || cat.Casts[0].Target != 25 || cat.Casts[0].Context != 'a' {
		t.Errorf("casts: %+v", cat.Casts)
	}
	for _, f := range cat.Functions[Name{"public", "peek"}] {
		if !f.Reaches || f.Language != "sql" || f.Volatility != 's' || f.Returns != 23 {
			t.Errorf("function: %+v", f)
		}
	}
}

func TestTypeByName(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t)
	conn := connect(t, c.SocketDSN("postgres", pgtest.Superuser))
	run(t, conn, `CREATE SCHEMA "Odd.one"`, `CREATE TYPE "Odd.one"."My ""type" AS ENUM ()`, `CREATE DOMAIN ids AS int`)
	cat := mustLoad(t, conn)
	for s, want := range map[string]string{
		"bigint": "int8", "BIGINT": "int8", "int8": "int8", "numeric(10, 2)": "numeric", "character  varying(3)": "varchar",
		"timestamp(3) with time zone": "timestamptz", "pg_catalog.int4": "int4", "ids": "ids", "public.ids": "ids",
		`"Odd.one"."My ""type"`: `My "type`, "nothing": "", "": "", `"`: "", "public.nothing": "", "a.b.c": "",
	} {
		got := ""
		if typ := cat.TypeByName(s); typ != nil {
			got = typ.Name.Name
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", s, got, want)
		}
	}
}

func TestLoadAfterAnError(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t)
	conn := connect(t, c.SocketDSN("postgres", pgtest.Superuser))
	other := connect(t, c.SocketDSN("postgres", pgtest.Superuser))
	if _, err := other.Exec(within(t), "BEGIN; LOCK TABLE pg_catalog.pg_collation IN ACCESS EXCLUSIVE MODE").ReadAll(); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(within(t), "SET lock_timeout = 1").ReadAll(); err != nil { // of no concern to the ROLLBACK behind the error
		t.Fatal(err)
	}
	if _, err := Load(within(t), conn); err == nil {
		t.Fatal("no error in spite of the lock")
	}
	if s := conn.TxStatus(); s != 'I' {
		t.Errorf("transaction status %c after an error, want I", s)
	}
}

// BenchmarkLoad is the time for a large schema: 5,000 tables of ten columns with keys and references.
func BenchmarkLoad(b *testing.B) {
	c := pgtest.Start(b, pgtest.WithSetting("max_locks_per_transaction", "4096"))
	conn := connect(b, c.SocketDSN("postgres", pgtest.Superuser))
	run(b, conn, `CREATE TABLE t0 (id bigint PRIMARY KEY)`, `DO $$ BEGIN FOR i IN 1..5000 LOOP
EXECUTE format('CREATE TABLE t%s (id bigserial PRIMARY KEY, parent bigint REFERENCES t%s, c int, d text NOT NULL, e timestamptz DEFAULT now(),
f numeric(10,2), g text UNIQUE, h jsonb, i date, j uuid)', i, i - 1); END LOOP; END $$`)
	b.ReportAllocs()
	for b.Loop() {
		mustLoad(b, conn)
	}
}
