package integration

import (
	"fmt"
	"strings"
	"testing"

	"pgdrover/internal/catalog"
	"pgdrover/internal/pgtest"
)

// shopSchema is the schema of the sharded databases of these tests, on every shard and on the plain database beside them.
const shopSchema = `
CREATE TABLE customers (id bigint PRIMARY KEY, name text, country text);
CREATE TABLE orders (customer_id bigint NOT NULL, id bigint NOT NULL, total numeric(10,2), note text, PRIMARY KEY (customer_id, id));
CREATE TABLE order_items (customer_id bigint NOT NULL, order_id bigint NOT NULL, line int NOT NULL, sku text, PRIMARY KEY (customer_id, order_id, line));
CREATE TABLE countries (code text PRIMARY KEY, name text);
CREATE TABLE settings (name text PRIMARY KEY, value text);
`

// shop is a sharded database behind a pooler: "shop" with the shards a, b, …, and "one", a plain database with the same schema.
type shop struct {
	*bouncer
	pg               *pgtest.Cluster
	shards           []string
	settings, tables string // what it is configured with
}

// startShop starts a shop with n shards, which are databases of one cluster.
func startShop(tb testing.TB, n int, settings, inDB string) *shop {
	tb.Helper()
	return startShopWith(tb, n, settings, inDB)
}

// startShopWith is startShop with options for the cluster.
func startShopWith(tb testing.TB, n int, settings, inDB string, more ...pgtest.Option) *shop {
	tb.Helper()
	dbs := []pgtest.Option{pgtest.WithAuth("trust"), pgtest.WithSetting("max_prepared_transactions", "50"), pgtest.WithSetting("max_connections", "200")}
	pg := pgtest.Start(tb, append(dbs, more...)...)
	s := &shop{pg: pg}
	pg.MustExec(tb, "postgres", "CREATE ROLE app LOGIN")
	var toml strings.Builder
	fmt.Fprintf(&toml, "[databases.shop]\nhost = \"127.0.0.1\"\nport = %d\nreference_tables = [\"countries\"]\ndefault_shard = \"a\"\nrecovery_user = \"postgres\"\n%s\n", pg.Port, inDB)
	for i := range n {
		name := string(rune('a' + i))
		s.shards = append(s.shards, name)
		fmt.Fprintf(&toml, "[[databases.shop.shards]]\nname = %q\ndbname = %q\n", name, "shop_"+name)
		s.create(tb, "shop_"+name)
	}
	s.create(tb, "one")
	toml.WriteString("[databases.shop.keys.customer]\ntype = \"bigint\"\ncolumns = { customers = \"id\", orders = \"customer_id\", order_items = \"customer_id\" }\n")
	fmt.Fprintf(&toml, "[databases.one]\nhost = \"127.0.0.1\"\nport = %d\n", pg.Port)
	s.settings, s.tables = "auth_type = \"trust\"\npool_mode = \"transaction\"\n"+settings, trustUsers+toml.String()
	s.bouncer = s.node(tb)
	return s
}

// node starts a pgdrover in front of the shards.
func (s *shop) node(tb testing.TB) *bouncer {
	tb.Helper()
	return startBouncer(tb, s.settings, s.tables)
}

// create makes a database with the schema of the shop and what committing in two phases needs.
func (s *shop) create(tb testing.TB, db string) {
	tb.Helper()
	s.pg.MustExec(tb, "postgres", "CREATE DATABASE "+db)
	s.pg.MustExec(tb, db, shopSchema, "GRANT ALL ON ALL TABLES IN SCHEMA public TO app")
	s.pg.MustExec(tb, db, catalog.TwoPhaseSQL("postgres", []string{"app"})...)
}

// onShards returns what a query says on each shard.
func (s *shop) onShards(tb testing.TB, sql string) []string {
	tb.Helper()
	var out []string
	for _, name := range s.shards {
		out = append(out, s.pg.MustValue(tb, "shop_"+name, sql))
	}
	return out
}
