package admin

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"pgdrover/internal/config"
	"pgdrover/shard"
)

// shardMap is a sharded database with its map.
type shardMap struct {
	*shard.Map
	db *config.Database
}

// shardMaps lists the sharded databases by name. Their maps were checked when the configuration was taken on.
func shardMaps(e *env) []shardMap {
	databases := e.cfg.Current().Databases
	var out []shardMap
	for _, name := range slices.Sorted(maps.Keys(databases)) {
		if m, err := shard.NewMap(databases[name]); err == nil && m != nil {
			out = append(out, shardMap{m, databases[name]})
		}
	}
	return out
}

type shardRow struct {
	database string
	number   int
	*config.Shard
	settings config.PoolSettings
}

func viewShards() *view {
	return viewOf("shards", "shards of the sharded databases", func(e *env) []shardRow {
		var out []shardRow
		cfg := e.cfg.Current()
		for _, m := range shardMaps(e) {
			for i := range m.db.Shards {
				s := &m.db.Shards[i]
				out = append(out, shardRow{m.db.Name, i, s, cfg.PoolSettings(&s.Database, s.User)})
			}
		}
		return out
	},
		fText("database", "database as clients know it", func(r shardRow) string { return r.database }),
		fText("shard", "name", func(r shardRow) string { return r.Shard.Name }),
		fInt4("number", "its place among the shards, from 0", func(r shardRow) int { return r.number }),
		fNull("host", "host, or several; a folder of Unix sockets, or NULL for the default one", func(r shardRow) string { return strings.Join(r.Hosts, ",") }),
		fInt4("port", "port", func(r shardRow) int { return r.Port }),
		fText("dbname", "database on the server", func(r shardRow) string { return r.DBName }),
		fNull("force_user", "user for all servers, if one is set", func(r shardRow) string { return r.User }),
		fInt4("pool_size", "servers for each pool of the shard", func(r shardRow) int { return r.settings.PoolSize }),
		fNull("replicas", "its replicas: host:port weight=…, separated by commas", func(r shardRow) string {
			parts := make([]string, len(r.Replicas))
			for i, p := range r.Replicas {
				parts[i] = fmt.Sprintf("%s:%d", p.Host, p.Port)
				if strings.Contains(p.Host, ":") {
					parts[i] = fmt.Sprintf("[%s]:%d", p.Host, p.Port)
				}
				if p.Weight != 1 {
					parts[i] += fmt.Sprintf(" weight=%d", p.Weight)
				}
			}
			return strings.Join(parts, ", ")
		}),
		fNull("source", "file:line of its declaration", func(r shardRow) string { return r.Shard.Source }),
	)
}

type keyRow struct {
	shardMap
	*shard.Key
}

func listKeys(e *env) []keyRow {
	var out []keyRow
	for _, m := range shardMaps(e) {
		for _, k := range m.Keys() {
			out = append(out, keyRow{m, k})
		}
	}
	return out
}

func viewKeys() *view {
	return viewOf("keys", "sharding keys", listKeys,
		fText("database", "database as clients know it", func(r keyRow) string { return r.db.Name }),
		fText("key", "name", func(r keyRow) string { return r.Key.Name }),
		fText("type", "type, or several for a key of several columns", func(r keyRow) string { return strings.Join(r.TypeNames(), ", ") }),
		fText("kind", "hash, range or list", func(r keyRow) string { return r.Key.Kind.String() }),
		fInt4("bounds", "bounds of its placement", func(r keyRow) int { return len(r.Bounds) }),
		fInt4("shards", "shards that have one of them", func(r keyRow) int { return len(r.Key.Shards()) }),
		fInt4("tables", "tables that carry it", func(r keyRow) int { return len(r.db.Keys[r.Key.Name].Columns) }),
		fNull("source", "file:line of its declaration", func(r keyRow) string { return r.db.Keys[r.Key.Name].Source }),
	)
}

type tableRow struct {
	shardMap
	*shard.Table
}

// listTables has the tables of the map, then the rules for all others.
func listTables(e *env) []tableRow {
	var out []tableRow
	for _, m := range shardMaps(e) {
		for _, t := range m.Tables() {
			out = append(out, tableRow{m, t})
		}
		schemas := m.Schemas()
		for _, schema := range slices.Sorted(maps.Keys(schemas)) {
			out = append(out, tableRow{m, &shard.Table{Schema: schema, Kind: shard.Single, Shard: schemas[schema]}})
		}
		if i, ok := m.DefaultShard(); ok {
			out = append(out, tableRow{m, &shard.Table{Kind: shard.Single, Shard: i}})
		}
	}
	return out
}

func viewTables() *view {
	return viewOf("tables", "tables of the sharded databases, and where their rows are", listTables,
		fText("database", "database as clients know it", func(r tableRow) string { return r.db.Name }),
		fNull("schema", "schema; NULL for the tables of all other schemas", func(r tableRow) string { return r.Schema }),
		fNull("name", "name; NULL for all tables that are not listed", func(r tableRow) string { return r.Table.Name }),
		fText("kind", "sharded, reference (the same rows on every shard) or single (all rows on one shard)", func(r tableRow) string {
			return [...]string{"sharded", "reference", "single"}[r.Kind]
		}),
		fNull("key", "sharding key", func(r tableRow) string {
			if r.Table.Key != nil {
				return r.Table.Key.Name
			}
			return ""
		}),
		fNull("columns", "columns that carry the key, in its order", func(r tableRow) string { return strings.Join(r.Columns, ", ") }),
		fNull("shard", "the shard of a single table", func(r tableRow) string {
			if r.Kind == shard.Single {
				return r.Map.Shards()[r.Table.Shard]
			}
			return ""
		}),
	)
}

type boundRow struct {
	keyRow
	shard.Bound
}

func viewPlacement() *view {
	v := viewOf("placement", "bounds of the sharding keys, and the shards that hold them", func(e *env) []boundRow {
		var out []boundRow
		for _, k := range listKeys(e) {
			for _, b := range k.Bounds {
				out = append(out, boundRow{k, b})
			}
		}
		return out
	},
		fText("database", "database as clients know it", func(r boundRow) string { return r.db.Name }),
		fText("key", "sharding key", func(r boundRow) string { return r.Key.Name }),
		fText("shard", "shard that holds the values", func(r boundRow) string { return r.Bound.Bound.Shard }),
		fText("bound", "the bound, as PostgreSQL writes those of partitions", func(r boundRow) string { return r.Bound.String() }),
		field[boundRow]{column{"share", tFloat8, "share of all values, if it is known: of hash bounds"}, func(r boundRow) any {
			if r.Bound.Kind != config.BoundHash {
				return nil
			}
			return 1 / float64(r.Modulus)
		}},
		fNull("source", "file:line of its declaration", func(r boundRow) string { return r.Source }),
	)
	return v
}
