package config

import (
	"slices"
	"strings"
)

// The keys of a database that say how it is sharded. Their values are tables, or name things that those tables declare, so
// that they are built together by sharding_build.go.
const (
	cfgShards       = "shards"
	cfgKeys         = "keys"
	cfgReference    = "reference_tables"
	cfgSchemas      = "schemas"
	cfgDefaultShard = "default_shard"
)

// shardingRows describes them, in the order of the documentation.
var shardingRows = []Setting{
	{Name: cfgShards, Kind: KindTables, Meaning: "The shards, in order: [[databases.NAME.shards]] for each.", Own: true},
	{Name: cfgKeys, Kind: KindTable, Meaning: "The sharding keys: [databases.NAME.keys.KEY] for each.", Own: true},
	{Name: cfgReference, Kind: KindList, Meaning: "Tables (table or schema.table) whose rows are the same on every shard.", Own: true},
	{Name: cfgSchemas, Kind: KindTable, Meaning: "The shard that holds all tables of a schema that are listed nowhere else: { schema = \"shard\" }.", Own: true},
	{Name: cfgDefaultShard, Kind: KindString, Meaning: "The shard of all other tables; without it, statements that use them are refused.", Own: true},
}

func shardingNames() []string {
	names := make([]string, len(shardingRows))
	for i, s := range shardingRows {
		names[i] = s.Name
	}
	return names
}

func isShardingKey(name string) bool {
	return slices.ContainsFunc(shardingRows, func(s Setting) bool { return s.Name == name })
}

// shardKeys is a Shard with the keys that do not become fields of their own.
type shardKeys struct {
	databaseKeys
	name string
}

// sameForAllShards are the keys of a database that a shard cannot have: what concerns clients, and what must not differ, or else
// shards would read and write the same values differently.
var sameForAllShards = []string{
	"auth_user", "auth_query", "auth_dbname", "pool_mode", "max_db_client_connections", "query_wait_timeout",
	"connect_query", "client_encoding", "datestyle", "timezone", "application_name", "recovery_user", "shard_local", "waive",
}

// shardTable has one row per key of a shard: its name, and the keys of a database that say what server it is.
var shardTable = newTable(shardRows())

func shardRows() []*row[shardKeys] {
	rows := []*row[shardKeys]{
		textRow("name", "", Live, "Name of the shard. Required.", func(s *shardKeys) *string { return &s.name }).own(),
	}
	for _, r := range databaseTable.rows {
		if slices.Contains(sameForAllShards, r.Name) {
			continue
		}
		own := &row[shardKeys]{Setting: r.Setting, field: func(s *shardKeys) any { return r.field(&s.databaseKeys) }}
		own.Meaning = strings.ReplaceAll(own.Meaning, "this database", "the pools of this shard")
		if own.Name == "dbname" {
			own.Meaning = "Database on the server; the sharded database's unless set."
		}
		rows = append(rows, own)
	}
	return rows
}

// replicaTable has one row per key of a replica.
var replicaTable = newTable([]*row[Replica]{
	textRow("host", "", Live, "Host name, address or socket folder of the replica. Required.", func(r *Replica) *string { return &r.Host }),
	intRow("port", "", Live, "Port of the replica; the shard's unless set.", func(r *Replica) *int { return &r.Port }).within(1, 65535),
	intRow("weight", "1", Live, "Share of the reads that the replica takes.", func(r *Replica) *int { return &r.Weight }).within(0, 1000),
})

// keyKeys is what an entry of keys may say.
type keyKeys struct{ types, columns, placement any }

// keyTable has one row per key of a sharding key.
var keyTable = newTable([]*row[keyKeys]{
	newRow(KindValue, "type", "", Live, "Type of the key as PostgreSQL names it, or an array of types for a key of several columns. Required.",
		func(k *keyKeys) *any { return &k.types }),
	newRow(KindValue, "columns", "", Live, "The tables that carry the key, each with its column, or an array of columns: { orders = \"customer_id\" }. A table without a schema is in public.",
		func(k *keyKeys) *any { return &k.columns }),
	newRow(KindValue, "placement", "", Live, "The bounds, an array of tables or of strings such as \"a FOR VALUES WITH (MODULUS 4, REMAINDER 0)\"; hash over the shards in order unless set.",
		func(k *keyKeys) *any { return &k.placement }),
})

// boundKeys is what a table in placement may say.
type boundKeys struct {
	shard              string
	modulus, remainder *int
	from, to, in       any
	isDefault          bool
}

// boundTable has one row per key of a bound.
var boundTable = newTable([]*row[boundKeys]{
	textRow("shard", "", Live, "The shard that holds the values. Required.", func(b *boundKeys) *string { return &b.shard }),
	intRowOpt("modulus", Live, "Hash: the modulus. It must divide the next larger one of the key.", func(b *boundKeys) **int { return &b.modulus }),
	intRowOpt("remainder", Live, "Hash: the remainder.", func(b *boundKeys) **int { return &b.remainder }),
	newRow(KindValue, "from", "", Live, "Range: the least value, or an array of one for each type; MINVALUE unless set.", func(b *boundKeys) *any { return &b.from }),
	newRow(KindValue, "to", "", Live, "Range: the value at which it ends, which is not part of it; MAXVALUE unless set.", func(b *boundKeys) *any { return &b.to }),
	newRow(KindValue, "in", "", Live, "List: an array of values.", func(b *boundKeys) *any { return &b.in }),
	boolRow("default", "", Live, "Range and list: true for all values that no other bound holds.", func(b *boundKeys) *bool { return &b.isDefault }),
})

// ShardingKeys returns the keys of a database that say how it is sharded.
func ShardingKeys() []Setting { return slices.Clone(shardingRows) }

// ShardKeys returns the keys of a shard.
func ShardKeys() []Setting { return shardTable.settings() }
