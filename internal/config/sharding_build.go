package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// maxShards bounds the number of shards of a database, each of which has pools of its own.
const maxShards = 1024

// splitSharding takes the keys that say how a database is sharded out of its entries.
func splitSharding(entries []entry) (plain []entry, sharding map[string]entry) {
	sharding = map[string]entry{}
	for _, e := range entries {
		if isShardingKey(e.key) && e.value.dialect == dialectTOML {
			sharding[e.key] = e
		} else {
			plain = append(plain, e)
		}
	}
	return plain, sharding
}

// buildSharding fills in d.Sharding. Whether bounds and keys make sense together is not looked at here: that takes their types,
// which package shard knows.
func (b *builder) buildSharding(d *databaseKeys, sharding map[string]entry, where string) {
	if len(sharding) == 0 {
		return
	}
	if d.Name == "*" {
		for _, s := range shardingRows {
			if e, ok := sharding[s.Name]; ok {
				b.errorf(e.at, "%s in %s: the entry that stands for every other database cannot be sharded", e.key, where)
				return
			}
		}
	}
	parent := d.Database
	if e, ok := sharding[cfgShards]; ok {
		d.Shards = b.buildShards(&parent, e.node(), where)
	}
	if e, ok := sharding[cfgKeys]; ok {
		d.Keys = b.buildKeys(e.node(), where)
	}
	if e, ok := sharding[cfgReference]; ok {
		d.ReferenceTables = b.buildReferenceTables(e.node(), where)
	}
	if e, ok := sharding[cfgSchemas]; ok {
		d.Schemas = b.buildSchemas(e.node(), where)
	}
	if e, ok := sharding[cfgDefaultShard]; ok {
		if name, isText := e.value.raw.(string); isText {
			d.DefaultShard = name
		} else {
			b.errorf(e.at, "%s in %s must be a string, not %s", e.key, where, tomlTypeName(e.value.raw))
		}
	}
	b.shardNames(d, sharding, where)
}

// isEmptyValue tells values that take back what the main file says.
func isEmptyValue(raw any) bool {
	switch v := raw.(type) {
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	case string:
		return v == ""
	}
	return false
}

// shardNames checks that the shards that keys name exist.
func (b *builder) shardNames(d *databaseKeys, sharding map[string]entry, where string) {
	if len(d.Shards) == 0 {
		if _, tried := sharding[cfgShards]; tried && len(b.problems) > 0 {
			return // they are there, but wrong
		}
		for _, s := range shardingRows {
			if e, ok := sharding[s.Name]; ok && !isEmptyValue(e.value.raw) {
				b.errorf(e.at, "%s in %s: the database has no shards; write [[databases.%s.shards]] for each", e.key, where, tomlKey(d.Name))
				return
			}
		}
	}
	names := make([]string, len(d.Shards))
	for i := range d.Shards {
		names[i] = d.Shards[i].Name
	}
	check := func(at position, what, shard string) {
		if !slices.Contains(names, shard) {
			b.errorf(at, "%s in %s: there is no shard %q%s", what, where, shard, didYouMean(shard, names))
		}
	}
	if e := sharding[cfgDefaultShard]; d.DefaultShard != "" {
		check(e.at, e.key, d.DefaultShard)
	}
	if fields, ok := sharding[cfgSchemas].node().fields(); ok {
		for _, f := range fields {
			if shard, placed := d.Schemas[f.key]; placed {
				check(f.at, "schemas", shard)
			}
		}
	}
}

func (b *builder) buildShards(parent *Database, n node, where string) []Shard {
	list, ok := n.raw.([]any)
	if !ok {
		b.errorf(n.at, "shards in %s must be an array of tables: write [[%s.shards]] for each", where, strings.Trim(where, "[]"))
		return nil
	}
	if len(list) > maxShards {
		b.errorf(n.at, "%s has %d shards, more than %d", where, len(list), maxShards)
		return nil
	}
	var shards []Shard
	for _, e := range n.elements() {
		if _, ok := e.raw.(map[string]any); !ok {
			b.errorf(e.at, "shards in %s must be tables, not %s", where, tomlTypeName(e.raw))
			continue
		}
		s, ok := b.buildShard(parent, e, where)
		if !ok {
			continue
		}
		for i := range shards {
			o := &shards[i]
			switch {
			case o.Name == s.Name:
				b.errorf(e.at, "shard %q in %s is also at %s", s.Name, where, o.Source)
			case slices.Equal(o.Hosts, s.Hosts) && o.Port == s.Port && o.DBName == s.DBName:
				b.errorf(e.at, "shards %q and %q in %s are the same database: %s", o.Name, s.Name, where, serverOf(&s.Database))
			}
		}
		shards = append(shards, s)
	}
	return shards
}

// serverOf names a server for messages.
func serverOf(d *Database) string {
	host := strings.Join(d.Hosts, ",")
	if host == "" {
		host = "(Unix socket)"
	}
	return fmt.Sprintf("%s port %d, database %q", host, d.Port, d.DBName)
}

// shardSection is where keyAt looks for the keys of a shard.
func shardSection(database string) string { return "databases\x00" + database + "\x00" + cfgShards }

func (b *builder) buildShard(parent *Database, n node, where string) (Shard, bool) {
	d := &shardKeys{databaseKeys: databaseKeys{Database: *parent}}
	d.Source, d.Sharding = n.at.String(), Sharding{}
	entries := n.entries()
	inside := fmt.Sprintf("[[%s.shards]]", strings.Trim(where, "[]"))
	if name, ok := n.raw.(map[string]any)["name"].(string); ok {
		inside = fmt.Sprintf("shard %q of %s", name, where)
	}
	var replicas *node
	plain := entries[:0:0]
	for _, e := range entries {
		switch {
		case e.key == "replicas":
			r := e.node()
			replicas = &r
		case slices.Contains(sameForAllShards, databaseTable.canonical(e.key)):
			b.errorf(e.at, "%s in %s: it is the same for all shards; set it in %s", e.key, inside, where)
		default:
			plain = append(plain, e)
		}
	}
	seen := applyWith(b, shardTable, d, plain, inside, "replicas")
	b.note(shardSection(parent.Name), object{name: d.name, at: n.at}, seen)
	b.connectStrings(&d.databaseKeys, seen, inside)
	b.login(&d.loginKeys, &d.Password, seen, inside)
	if d.ServerLifetime != nil && *d.ServerLifetime == 0 {
		d.ServerLifetime = nil
	}
	switch {
	case d.name == "":
		if _, given := seen["name"]; given || !hasKey(entries, "name") {
			b.errorf(n.at, "%s has no name", inside)
		}
		return Shard{}, false
	case len(d.name) > maxDatabaseName:
		b.errorf(seen["name"].at, "shard name %q is longer than %d bytes", d.name, maxDatabaseName)
		return Shard{}, false
	}
	d.ShardName = d.name
	s := Shard{Name: d.name, Source: d.Source, Database: d.Database}
	if replicas != nil {
		s.Replicas = b.buildReplicas(&s.Database, *replicas, inside)
	}
	return s, true
}

func hasKey(entries []entry, key string) bool {
	return slices.ContainsFunc(entries, func(e entry) bool { return e.key == key })
}

func (b *builder) buildReplicas(shard *Database, n node, where string) []Replica {
	if _, ok := n.raw.([]any); !ok {
		b.errorf(n.at, "replicas in %s must be an array of tables: [{ host = \"…\" }]", where)
		return nil
	}
	var out []Replica
	for _, e := range n.elements() {
		if _, ok := e.raw.(map[string]any); !ok {
			b.errorf(e.at, "replicas in %s must be tables, not %s", where, tomlTypeName(e.raw))
			continue
		}
		r := Replica{Port: shard.Port, Weight: 1}
		entries := e.entries()
		apply(b, replicaTable, &r, entries, "a replica of "+where)
		if r.Host == "" {
			if raw, given := e.raw.(map[string]any)["host"]; !given || raw == "" {
				b.errorf(e.at, "a replica of %s has no host", where)
			}
			continue
		}
		if strings.ContainsAny(r.Host, blanks+",") {
			b.errorf(e.at, "host in a replica of %s contains a blank or a comma; each replica is a table of its own", where)
			continue
		}
		out = append(out, r)
	}
	return out
}

func (b *builder) buildKeys(n node, where string) map[string]Key {
	fields, ok := n.fields()
	if !ok {
		b.errorf(n.at, "keys in %s must be a table: write [%s.keys.KEY] for each", where, strings.Trim(where, "[]"))
		return nil
	}
	keys := map[string]Key{}
	for _, f := range fields {
		if _, ok := f.raw.(map[string]any); !ok {
			b.errorf(f.at, "%q in keys of %s must be a table, not %s", f.key, where, tomlTypeName(f.raw))
			continue
		}
		if f.key == "" || strings.IndexByte(f.key, 0) >= 0 || len(f.key) > maxDatabaseName {
			b.errorf(f.at, "the name of a sharding key in %s must be from 1 to %d bytes, without a zero byte", where, maxDatabaseName)
			continue
		}
		keys[f.key] = b.buildKey(f.key, f.node, where)
	}
	return keys
}

func (b *builder) buildKey(name string, n node, where string) Key {
	inside := fmt.Sprintf("key %q of %s", name, where)
	k := Key{Name: name, Source: n.at.String(), Columns: map[TableName][]string{}}
	seen := apply(b, keyTable, &keyKeys{}, n.withoutTables("columns"), inside)
	if e, ok := seen["type"]; ok {
		k.Types = b.texts(e.node(), "type in "+inside)
	} else if !hasKey(n.entries(), "type") {
		b.errorf(n.at, "%s has no type", inside)
	}
	for _, e := range n.entries() {
		if e.key == "columns" {
			b.buildColumns(&k, e.node(), inside)
		}
	}
	if e, ok := seen["placement"]; ok {
		if list, isList := e.value.raw.([]any); !isList || len(list) == 0 {
			b.errorf(e.at, "placement in %s must be an array of bounds, with at least one", inside)
			return k
		}
		for _, el := range e.node().elements() {
			if bound, ok := b.buildBound(el, inside); ok {
				bound.Source = el.at.String()
				k.Bounds = append(k.Bounds, bound)
			}
		}
	}
	return k
}

// withoutTables returns the entries of n except the one key whose value is a table, which apply does not take.
func (n node) withoutTables(key string) []entry {
	return slices.DeleteFunc(n.entries(), func(e entry) bool { return e.key == key })
}

// texts reads a string or an array of strings, none of them empty.
func (b *builder) texts(n node, what string) []string {
	var out []string
	elements := n.elements()
	if len(elements) == 0 {
		b.errorf(n.at, "%s must not be empty", what)
	}
	for _, e := range elements {
		text, ok := e.raw.(string)
		switch {
		case !ok:
			b.errorf(e.at, "%s must be a string or an array of strings, not %s", what, tomlTypeName(e.raw))
		case strings.TrimSpace(text) == "" || strings.IndexByte(text, 0) >= 0:
			b.errorf(e.at, "%s must not be empty or contain a zero byte", what)
		default:
			out = append(out, text)
		}
	}
	return out
}

// tableName reads the name of a table.
func (b *builder) tableName(at position, text, what string) (TableName, bool) {
	t, err := plainTableName(text)
	if err == nil && strings.IndexByte(text, 0) >= 0 {
		err = fmt.Errorf("must not contain a zero byte")
	}
	if err != nil {
		b.errorf(at, "%s: %q %v", what, text, err)
	}
	return t, err == nil
}

func (b *builder) buildColumns(k *Key, n node, inside string) {
	fields, ok := n.fields()
	if !ok {
		b.errorf(n.at, "columns in %s must be a table: { table = \"column\" }", inside)
		return
	}
	for _, f := range fields {
		t, ok := b.tableName(f.at, f.key, "columns in "+inside)
		if !ok {
			continue
		}
		if _, twice := k.Columns[t]; twice {
			b.errorf(f.at, "columns in %s name table %s twice", inside, t)
			continue
		}
		k.Columns[t] = b.texts(f.node, fmt.Sprintf("the column of %s in %s", t, inside))
	}
}

func (b *builder) buildReferenceTables(n node, where string) []TableName {
	var out []TableName
	elements := n.elements()
	if text, ok := n.raw.(string); ok {
		elements = nil
		for _, name := range splitList(text) {
			elements = append(elements, node{raw: name, at: n.at})
		}
	}
	for _, e := range elements {
		text, ok := e.raw.(string)
		if !ok {
			b.errorf(e.at, "reference_tables in %s must be an array of strings, not %s", where, tomlTypeName(e.raw))
			continue
		}
		t, ok := b.tableName(e.at, text, "reference_tables in "+where)
		switch {
		case !ok:
		case slices.Contains(out, t):
			b.errorf(e.at, "reference_tables in %s name %s twice", where, t)
		default:
			out = append(out, t)
		}
	}
	return out
}

func (b *builder) buildSchemas(n node, where string) map[string]string {
	fields, ok := n.fields()
	if !ok {
		b.errorf(n.at, "schemas in %s must be a table: { schema = \"shard\" }", where)
		return nil
	}
	out := map[string]string{}
	for _, f := range fields {
		shard, ok := f.raw.(string)
		switch {
		case !ok:
			b.errorf(f.at, "schema %q in %s must have the name of a shard, not %s", f.key, where, tomlTypeName(f.raw))
		case f.key == "" || strings.IndexByte(f.key, 0) >= 0:
			b.errorf(f.at, "the name of a schema in %s must not be empty or contain a zero byte", where)
		default:
			out[f.key] = shard
		}
	}
	return out
}

// shardServers calls f with each shard of the configuration, in order.
func (c *Config) shardServers(f func(d *Database, s *Shard)) {
	for _, name := range slices.Sorted(maps.Keys(c.Databases)) {
		d := c.Databases[name]
		for i := range d.Shards {
			f(d, &d.Shards[i])
		}
	}
}
