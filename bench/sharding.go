package main

import (
	"context"
	"fmt"
	"strings"

	"pgdrover/internal/catalog"
	"pgdrover/internal/config"
	"pgdrover/internal/pgtest"
)

// layout is what stands behind the name of the database that a load asks for.
type layout uint8

const (
	layoutINI     layout = iota // one PostgreSQL, by the pgbouncer.ini that all poolers read
	layoutPlain                 // one PostgreSQL
	layoutBeside                // one PostgreSQL, and a sharded database that nobody uses
	layoutSharded               // shardCount shards
	layoutDirect                // one PostgreSQL, and no pooler
)

func (l layout) String() string {
	return [...]string{"pgbouncer.ini", "plain", "plain, a sharded one beside", "sharded", "direct"}[l]
}

// Sizes of the sharded database.
const (
	shardCount  = 4
	accountRows = 20_000 // keys 1 to so many
	insertRows  = 1000   // of one INSERT
)

// The statements by key. pgbench puts literals in place of its variables in the simple protocol, parameters in the others.
const (
	selectByKey = "\\set aid random(1, 20000)\nSELECT abalance FROM accounts WHERE aid = :aid;"
	updateByKey = "\\set aid random(1, 20000)\n\\set delta random(-5000, 5000)\nUPDATE accounts SET abalance = abalance + :delta WHERE aid = :aid;"
)

// shardingScenarios compare a sharded database with plain pooling by the same program.
func shardingScenarios() []scenario {
	transactions := []metric{perSecond("tps"), p50(), p99(), cpuPer("µs/txn", 1e-6)}
	var all []scenario
	for _, s := range []struct{ name, script string }{{"SELECT", selectByKey}, {"UPDATE", updateByKey}} {
		for _, p := range []struct {
			protocol string
			cpu      float64
		}{{"simple", 1.3}, {"extended", 1.15}, {"prepared", 1.15}} {
			all = append(all, scenario{
				name:    fmt.Sprintf("sharded: %s by key, %s", s.name, p.protocol),
				load:    &pgbenchLoad{protocol: p.protocol, script: s.script},
				clients: 16,
				metrics: transactions,
				goals:   []goal{{metric: "CPU", ratio: true, limit: p.cpu}},
				// A transaction costs less processor time the more of them there are at a time, so both sides do equally many.
				share:   0.5,
				against: layoutPlain,
				layout:  layoutSharded,
				quick:   s.name == "SELECT",
			})
		}
	}
	for _, protocol := range []string{"simple", "prepared"} {
		all = append(all, scenario{
			name:    fmt.Sprintf("not sharded, beside a sharded database: SELECT by key, %s", protocol),
			load:    &pgbenchLoad{protocol: protocol, script: selectByKey},
			clients: 16,
			metrics: transactions,
			goals:   []goal{{metric: "CPU", ratio: true, limit: 1.03}},
			share:   0.5,
			against: layoutPlain,
			layout:  layoutBeside,
		})
	}
	return append(all, scenario{
		name:    fmt.Sprintf("sharded: INSERT of %d rows over %d shards", insertRows, shardCount),
		load:    insertLoad{},
		clients: 1,
		metrics: []metric{perSecond("rows"), cpuPer("µs/row", 1e-6)},
		goals:   []goal{{metric: "rows", ratio: true, limit: 0.7, more: true}},
		against: layoutDirect,
		layout:  layoutSharded,
		turns:   true,
		quick:   true,
	})
}

// as is pgdrover in front of a layout.
func (c contender) as(l layout) contender {
	if l == layoutDirect {
		return contender{name: "PostgreSQL alone", layout: l}
	}
	c.name += ", " + l.String()
	c.layout = l
	return c
}

// shardDatabase is the name of a shard's database.
func shardDatabase(i int) string { return benchDB + "_" + shardName(i) }

func shardName(i int) string { return string(rune('a' + i)) }

// layoutConfig is the configuration of a layout: like poolerConfig, in our own format.
func layoutConfig(l layout, pgPort, port int) string {
	var s strings.Builder
	fmt.Fprintf(&s, `listen_addr = %q
listen_port = %d
unix_socket_dir = ""
auth_type = "trust"
pool_mode = "transaction"
default_pool_size = 20
max_client_conn = 5000
server_tls_sslmode = "disable"
log_connections = false
log_disconnections = false
log_stats = false
[users.%s]
`, loopback, port, benchUser)
	sharded := ""
	switch l {
	case layoutSharded:
		sharded = benchDB
	case layoutBeside:
		sharded = "other"
	}
	if sharded != benchDB {
		fmt.Fprintf(&s, "[databases.%s]\nhost = %q\nport = %d\nuser = %q\n", benchDB, loopback, pgPort, benchUser)
	}
	if sharded == "" {
		return s.String()
	}
	fmt.Fprintf(&s, "[databases.%s]\nhost = %q\nport = %d\nuser = %q\nrecovery_user = %q\n", sharded, loopback, pgPort, benchUser, benchUser)
	for i := range shardCount {
		fmt.Fprintf(&s, "[[databases.%s.shards]]\nname = %q\ndbname = %q\n", sharded, shardName(i), shardDatabase(i))
	}
	fmt.Fprintf(&s, "[databases.%s.keys.account]\ntype = \"bigint\"\ncolumns = { accounts = \"aid\", inserted = \"id\" }\n", sharded)
	return s.String()
}

// accountTables are the tables of the statements by key, in the plain database and on every shard.
const accountTables = `CREATE TABLE accounts (aid bigint PRIMARY KEY, bid int, abalance int, filler character(84)) WITH (fillfactor = 50);
CREATE TABLE inserted (id bigint PRIMARY KEY, name text, amount int)`

// fillShards creates the shards, and the same in one database.
func fillShards(ctx context.Context, c *pgtest.Cluster) error {
	key := catalog.GuardKey{Name: "account", Types: []string{"bigint"}, Tables: []catalog.GuardTable{
		{Name: catalog.Name{Schema: "public", Name: "accounts"}, Columns: []string{"aid"}},
	}}
	for i := range shardCount {
		key.Bounds = append(key.Bounds, config.Bound{Shard: shardName(i), Modulus: shardCount, Remainder: i})
	}
	rows := fmt.Sprintf("INSERT INTO accounts SELECT n, 1, 0, '' FROM generate_series(1::bigint, %d) n", accountRows)
	own := []string{"SET ROLE " + benchUser, accountTables, "RESET ROLE"}
	for i := range shardCount {
		guard, validate, err := catalog.GuardSQL(shardName(i), []catalog.GuardKey{key})
		if err != nil {
			return fmt.Errorf("fill the shards: %w", err)
		}
		sql := append(append(append(append([]string{}, own...), guard...), validate...), catalog.TwoPhaseSQL(benchUser, nil)...)
		sql = append(sql, fmt.Sprintf("%s WHERE satisfies_hash_partition('pgdrover.key_account'::regclass, %d, %d, n)", rows, shardCount, i))
		// The comparison is about routing: the reference has no such check either.
		sql = append(append(sql, catalog.RemoveGuardSQL()...),
			"GRANT USAGE ON SCHEMA pgdrover TO "+benchUser, "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA pgdrover TO "+benchUser, "VACUUM ANALYZE")
		if err := c.Exec(ctx, fmt.Sprintf("CREATE DATABASE %s OWNER %s", shardDatabase(i), benchUser)); err != nil {
			return fmt.Errorf("fill the shards: %w", err)
		}
		if err := c.ExecIn(ctx, shardDatabase(i), sql...); err != nil {
			return fmt.Errorf("fill shard %s: %w", shardName(i), err)
		}
	}
	if err := c.ExecIn(ctx, benchDB, append(own, rows, "VACUUM ANALYZE")...); err != nil {
		return fmt.Errorf("fill the database beside the shards: %w", err)
	}
	return nil
}
