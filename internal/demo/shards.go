package demo

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"pgdrover/internal/catalog"
	"pgdrover/internal/config"
	"pgdrover/internal/pgtest"
)

// sharded is the name of the sharded database, and the prefix of its shards' databases.
const sharded = "shop"

// shardNames are the shards: the configuration has all but the last, which is for CREATE SHARD.
var shardNames = [...]string{"a", "b", "c"}

// shardDatabases are the databases of the shards.
func shardDatabases() []pgtest.Database {
	var out []pgtest.Database
	for _, name := range shardNames {
		out = append(out, pgtest.Database{Name: sharded + "_" + name, Owner: demoUser})
	}
	return out
}

// fillShards makes the shop on every shard: what pgdrover needs there, the tables, the guard, and the rows that the shard map has there.
func fillShards(ctx context.Context, server *pgtest.Cluster, conf *config.Database) error {
	for i, name := range shardNames {
		if err := fillShard(ctx, server, conf, name, i); err != nil {
			return fmt.Errorf("creating shard %s: %w", name, err)
		}
	}
	return nil
}

func fillShard(ctx context.Context, server *pgtest.Cluster, conf *config.Database, name string, number int) error {
	nextID, err := catalog.NextIDSQL(number)
	if err != nil {
		return err
	}
	guard, validate, err := catalog.GuardSQL(name, guardKeys(conf))
	if err != nil {
		return err
	}
	sql := slices.Concat(
		catalog.TwoPhaseSQL(recoveryUser, []string{demoUser, appUser}), nextID,
		[]string{"SET ROLE " + demoUser, shardTables, "RESET ROLE"}, guard, validate)
	if number < len(shardNames)-1 {
		r := strings.NewReplacer("$modulus", strconv.Itoa(len(shardNames)-1), "$remainder", strconv.Itoa(number))
		sql = append(sql, r.Replace(shardRows))
	}
	return server.ExecIn(ctx, sharded+"_"+name, sql...)
}

// guardKeys describes the sharding keys of the configuration to the guard.
func guardKeys(conf *config.Database) []catalog.GuardKey {
	var out []catalog.GuardKey
	for name, key := range conf.Keys {
		g := catalog.GuardKey{Name: name, Types: key.Types, Bounds: conf.Placement(key)}
		for _, t := range slices.SortedFunc(maps.Keys(key.Columns), func(a, b config.TableName) int { return strings.Compare(a.String(), b.String()) }) {
			g.Tables = append(g.Tables, catalog.GuardTable{Name: catalog.Name{Schema: t.Schema, Name: t.Name}, Columns: key.Columns[t]})
		}
		out = append(out, g)
	}
	return out
}

// shardTables are the tables of every shard. A unique constraint has the sharding key in it, and what refers to another table
// does it with the key, or refers to a reference table: so they hold over all shards.
const shardTables = `
CREATE TABLE countries (code text PRIMARY KEY, name text NOT NULL);
INSERT INTO countries VALUES ('de', 'Germany'), ('fr', 'France'), ('jp', 'Japan'), ('br', 'Brazil'), ('ke', 'Kenya');

CREATE TABLE customers (
	id      bigint PRIMARY KEY DEFAULT pgdrover.next_id(),
	name    text NOT NULL,
	country text NOT NULL REFERENCES countries
);

CREATE TABLE orders (
	customer_id bigint NOT NULL REFERENCES customers,
	id          bigint NOT NULL DEFAULT pgdrover.next_id(),
	placed_at   timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (customer_id, id)
);

CREATE TABLE order_items (
	customer_id bigint NOT NULL,
	order_id    bigint NOT NULL,
	product     text NOT NULL,
	quantity    int NOT NULL DEFAULT 1 CHECK (quantity > 0),
	price       numeric(10, 2) NOT NULL,
	PRIMARY KEY (customer_id, order_id, product),
	FOREIGN KEY (customer_id, order_id) REFERENCES orders
);
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO app;
`

// shardRows are a shard's rows: those of the customers whose key PostgreSQL would put into this partition.
const shardRows = `
INSERT INTO customers
SELECT n, 'Customer ' || n, (ARRAY['de', 'fr', 'jp', 'br', 'ke'])[1 + n % 5] FROM generate_series(1, 200) n
WHERE satisfies_hash_partition('pgdrover.key_customer'::regclass, $modulus, $remainder, n::bigint);

INSERT INTO orders SELECT c.id, n, now() - n * interval '37 minutes' FROM generate_series(1, 1000) n JOIN customers c ON c.id = 1 + n * 7 % 200;

INSERT INTO order_items
SELECT o.customer_id, o.id, p.name, 1 + (o.id + i) % 4, p.price
FROM orders o, generate_series(0, 2) i, (VALUES
	(0, 'Staff of ash', 24.90), (1, 'Water bottle', 9.50), (2, 'Felt hat', 39.00), (3, 'Cow bell', 14.20), (4, 'Rope, 20 m', 17.80)) p (n, name, price)
WHERE i <= o.id % 3 AND p.n = (o.id * 3 + i) % 5;
ANALYZE;
`
