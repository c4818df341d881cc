package shard

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"pgdrover/internal/config"
)

// Map says which shard holds which rows of a database. It is immutable.
type Map struct {
	database string
	shards   []string
	keys     []*Key // by name
	tables   map[config.TableName]*Table
	schemas  map[string]int // shard of the tables that are listed nowhere
	rest     int            // shard of all others; -1 for none
}

// NewMap checks the shards, keys and tables of d and returns its map. A database without shards has none: nil, nil. The error is a
// config.Problems that names every key and bound that is wrong.
func NewMap(d *config.Database) (*Map, error) {
	if !d.Sharded() {
		return nil, nil
	}
	b := &mapBuilder{db: d, m: &Map{
		database: d.Name, tables: map[config.TableName]*Table{}, schemas: map[string]int{}, rest: -1,
	}}
	for i := range d.Shards {
		s := &d.Shards[i]
		if slices.Contains(b.m.shards, s.Name) {
			b.problem(s.Source, "there are two shards of the name %q", s.Name)
		}
		b.m.shards = append(b.m.shards, s.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(d.Keys)) {
		k := d.Keys[name]
		k.Name = name
		b.addKey(k)
	}
	for _, t := range d.ReferenceTables {
		b.addTable(d.Source, &Table{Schema: t.Schema, Name: t.Name, Kind: Reference})
	}
	for _, schema := range slices.Sorted(maps.Keys(d.Schemas)) {
		if systemSchema(schema) {
			b.problem(d.Source, "schema %q is PostgreSQL's own and has no place", schema)
		}
		b.m.schemas[schema] = b.shard(d.Source, fmt.Sprintf("schema %q", schema), d.Schemas[schema])
	}
	if d.DefaultShard != "" {
		b.m.rest = b.shard(d.Source, "default_shard", d.DefaultShard)
	}
	if len(b.problems) > 0 {
		return nil, b.problems
	}
	return b.m, nil
}

// Database returns the name of the database.
func (m *Map) Database() string { return m.database }

// Shards returns the names of the shards. A shard is known by its index in them.
func (m *Map) Shards() []string { return m.shards }

// ShardIndex returns the index of the shard of that name.
func (m *Map) ShardIndex(name string) (int, bool) {
	i := slices.Index(m.shards, name)
	return i, i >= 0
}

// Keys returns the sharding keys, by name.
func (m *Map) Keys() []*Key { return m.keys }

// Key returns the sharding key of that name, or nil.
func (m *Map) Key(name string) *Key {
	if i := slices.IndexFunc(m.keys, func(k *Key) bool { return k.Name == name }); i >= 0 {
		return m.keys[i]
	}
	return nil
}

// Table returns where the rows of a table are: its own entry, or one shard by its schema or default_shard. It is nil for a table that
// has no place, and for PostgreSQL's own tables, which every shard has.
func (m *Map) Table(schema, name string) *Table {
	if t := m.tables[config.TableName{Schema: schema, Name: name}]; t != nil {
		return t
	}
	if systemSchema(schema) {
		return nil
	}
	shard, ok := m.schemas[schema]
	if !ok {
		shard = m.rest
	}
	if shard < 0 {
		return nil
	}
	return &Table{Schema: schema, Name: name, Kind: Single, Shard: shard}
}

// Tables returns the tables that are listed, by schema and name.
func (m *Map) Tables() []*Table {
	return slices.SortedFunc(maps.Values(m.tables), func(a, b *Table) int {
		if c := strings.Compare(a.Schema, b.Schema); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
}

// Schemas returns the shard of each schema that is placed as a whole.
func (m *Map) Schemas() map[string]int { return maps.Clone(m.schemas) }

// DefaultShard returns the shard of tables that are listed nowhere.
func (m *Map) DefaultShard() (int, bool) { return m.rest, m.rest >= 0 }

// systemSchema reports whether the tables of a schema belong to PostgreSQL. Users cannot make schemas with names of that kind.
func systemSchema(name string) bool {
	return strings.HasPrefix(name, "pg_") || name == "information_schema"
}

// mapBuilder collects a map and what is wrong with it.
type mapBuilder struct {
	db       *config.Database
	m        *Map
	problems config.Problems
}

func (b *mapBuilder) problem(source, format string, args ...any) {
	b.problems = append(b.problems, config.ProblemAt(source, "database %q: %s", b.db.Name, fmt.Sprintf(format, args...)))
}

// shard looks a shard up; what says who names it.
func (b *mapBuilder) shard(source, what, name string) int {
	i, ok := b.m.ShardIndex(name)
	if !ok {
		b.problem(source, "%s: there is no shard %q", what, name)
	}
	return i
}

func (b *mapBuilder) addTable(source string, t *Table) {
	name := config.TableName{Schema: t.Schema, Name: t.Name}
	what := func(t *Table) string {
		if t.Kind == Reference {
			return "a reference table"
		}
		return fmt.Sprintf("a table of key %q", t.Key.Name)
	}
	switch before := b.m.tables[name]; {
	case systemSchema(t.Schema):
		b.problem(source, "table %s is PostgreSQL's own and cannot be %s", name, what(t))
	case before != nil:
		b.problem(source, "table %s is %s as well as %s", name, what(before), what(t))
	}
	b.m.tables[name] = t
}
