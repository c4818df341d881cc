package catalog

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgdrover/internal/pgtest"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t)
	conn := connect(t, c.SocketDSN("postgres", pgtest.Superuser))
	run(t, conn, `
CREATE DOMAIN ids AS bigint;
CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE COLLATION icu (provider = icu, locale = 'de');
CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE FUNCTION peek() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TABLE countries (code text PRIMARY KEY, capital bigint);
CREATE TABLE settings (name text PRIMARY KEY);
CREATE TABLE customers (id ids PRIMARY KEY, email text UNIQUE, country text REFERENCES countries, setting text REFERENCES settings, boss bigint REFERENCES customers);
ALTER TABLE countries ADD CONSTRAINT capital_of FOREIGN KEY (capital) REFERENCES customers;
CREATE TABLE orders (id bigserial, customer int, number int GENERATED ALWAYS AS IDENTITY, customer_of bigint, PRIMARY KEY (id, customer),
  CONSTRAINT orders_number_key UNIQUE (number),
  CONSTRAINT twice EXCLUDE USING btree (customer WITH =, number WITH =), CONSTRAINT apart EXCLUDE USING btree (number WITH =),
  CONSTRAINT good FOREIGN KEY (customer) REFERENCES customers ON DELETE CASCADE, CONSTRAINT bad FOREIGN KEY (customer_of) REFERENCES customers,
  CONSTRAINT nulled FOREIGN KEY (customer) REFERENCES customers ON DELETE SET NULL ON UPDATE CASCADE);
CREATE UNIQUE INDEX orders_lower ON orders (customer, (number + 1));
CREATE TABLE texts (k text COLLATE blind PRIMARY KEY); CREATE TABLE icus (k text COLLATE icu NOT NULL); CREATE TABLE plains (k varchar NOT NULL);
CREATE TABLE wrong (customer numeric NOT NULL); CREATE TABLE made (a bigint, customer bigint GENERATED ALWAYS AS (a + 1) STORED NOT NULL);
CREATE TABLE noted (customer bigint NOT NULL CHECK (peek() = 1));
CREATE TRIGGER note BEFORE INSERT ON noted FOR EACH ROW EXECUTE FUNCTION noted();
CREATE RULE quiet AS ON DELETE TO noted DO INSTEAD NOTHING; ALTER TABLE noted ENABLE ROW LEVEL SECURITY;
CREATE TABLE parts (customer bigint NOT NULL, at date) PARTITION BY RANGE (at);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE VIEW seen AS SELECT 1;
CREATE TABLE nowhere (id serial)`)
	cat := mustLoad(t, conn)
	cat = Combine(nil, cat, Shard{"b", func() *Catalog { other := *cat; other.Encoding = "LATIN1"; return &other }()})
	for _, table := range []string{"countries", "missing"} {
		cat.Differences = append(cat.Differences, Difference{Shard: "b", Kind: DiffEmpty, Relation: Name{"public", table}, Lead: "a"})
	}

	customer := func(columns ...string) Placement {
		return Placement{Kind: Sharded, Key: "customer", Types: []string{"bigint"}, Columns: columns}
	}
	text := Placement{Kind: Sharded, Key: "text", Types: []string{"text"}, Columns: []string{"k"}}
	tables := map[Name]Placement{}
	for name, p := range map[string]Placement{
		"countries": {Kind: Reference}, "settings": {Kind: Single, Shard: 1}, "customers": customer("id"), "orders": customer("customer"),
		"texts": text, "icus": text, "plains": text, "wrong": customer("customer"), "made": customer("customer"), "noted": customer("customer"),
		"parts": customer("customer"), "parts_1": customer("at"), "seen": {Kind: Reference}, "missing": {Kind: Reference},
	} {
		tables[Name{"public", name}] = p
	}
	var listed []Name
	for n := range tables {
		listed = append(listed, n)
	}
	place := func(n Name) (Placement, bool) { p, ok := tables[n]; return p, ok }

	got := map[string]string{}
	for _, p := range Check(cat, listed, place, []string{"customers_email_key", "orders.number", "public.noted.note", "parts", "parts", "missing", "missing.b"}) {
		if p.Message == "" || p.Hint == "" {
			t.Errorf("%+v: no message or no hint", p)
		}
		s := p.Waiver
		if p.Warning {
			s = "warning " + s
		}
		got[p.Relation.Name+" "+p.Object+" "+p.Code] = s
	}
	want := map[string]string{
		"  differs":                                    "",
		" parts unused-waiver":                         "warning ",
		" missing unused-waiver":                       "warning ",
		"missing  missing-table":                       "",
		"seen  not-a-table":                            "",
		"countries b reference-empty":                  "countries.b",
		"countries capital_of foreign-key":             "countries.capital_of",
		"customers customers_setting_fkey foreign-key": "customers.customers_setting_fkey",
		"customers customers_boss_fkey foreign-key":    "customers.customers_boss_fkey",
		"orders id sequence-outside-key":               "orders.id",
		"orders orders_number_key unique-without-key":  "orders.orders_number_key",
		"orders apart exclusion-without-key":           "orders.apart",
		"orders bad foreign-key":                       "orders.bad",
		"orders nulled foreign-key-action":             "orders.nulled",
		"texts k key-collation":                        "",
		"icus k key-collation":                         "",
		"texts texts_pkey unique-without-key":          "texts.texts_pkey",
		"wrong customer key-type":                      "",
		"made customer key-generated":                  "",
		"noted quiet rules":                            "warning noted.quiet",
		"noted row_security row-security":              "warning noted.row_security",
		"noted check check-reaches":                    "warning noted.check",
		"parts parts_1 inheritance":                    "",
		"parts parts_2 inheritance":                    "warning parts.parts_2",
		"parts_1 at key-type":                          "",
		"parts_1 at key-nullable":                      "warning parts_1.at",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	slices.Reverse(listed)
	first, second := Check(cat, listed, place, nil), Check(cat, listed, place, nil)
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("the order of problems changes: %s", diff)
	}
}
