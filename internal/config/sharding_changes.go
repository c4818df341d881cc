package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// CreateShard adds a shard behind the others. It holds nothing until something is placed on it.
type CreateShard struct {
	Name    string
	Options []Option // keys of a shard, and replicas
}

func (c CreateShard) apply(e *shardingEdit) error {
	if e.hasShard(c.Name) == nil {
		return refuse(codeDuplicate, "shard %q of database %q already exists", c.Name, e.name)
	}
	// A placement that is not written down depends on the number of shards: it is written down before that changes.
	for _, name := range slices.Sorted(maps.Keys(e.Keys)) {
		if k := e.Keys[name]; len(k.Bounds) == 0 && len(e.Shards) > 0 {
			k.Bounds = e.Placement(k)
			e.setKey(k)
			e.notef("the placement of key %q stays as it is; nothing is on shard %q yet", name, c.Name)
		}
	}
	if len(e.Shards) == 0 {
		e.notef("database %q is sharded now: statements that use a table are refused until CREATE TABLE … ON DATABASE gives it a place", e.name)
	}
	shard := map[string]any{"name": c.Name}
	for _, o := range c.Options {
		if _, twice := shard[o.Name]; twice {
			return refuse(codeInvalid, "%s is given twice", o.Name)
		}
		if err := setShardKey(shard, c.Name, o.Name, o.Value); err != nil {
			return err
		}
	}
	e.raw = append(e.raw, shard)
	e.dirty[cfgShards] = true
	return nil
}

// setShardKey sets one key of a shard from the text of a command.
func setShardKey(shard map[string]any, name, key, text string) error {
	where := fmt.Sprintf("shard %q", name)
	if !utf8.ValidString(text) || !utf8.ValidString(name) {
		return refuse(codeInvalid, "%s in %s: not valid UTF-8", key, where)
	}
	if key == "replicas" {
		replicas, err := parseReplicas(text)
		if err != nil {
			return err
		}
		shard[key] = replicas
		return nil
	}
	r, ok := shardTable.byName[key]
	switch {
	case slices.Contains(sameForAllShards, databaseTable.canonical(key)):
		return refuse(codeInvalid, "%s in %s: it is the same for all shards", key, where).withHint("ALTER DATABASE … SET %s changes it.", key)
	case !ok:
		return refuse(codeInvalid, "%s", unknownKey(key, where, append(shardTable.names(), "replicas")))
	case key == "name":
		return refuse(codeInvalid, "the name of a shard cannot be changed")
	}
	parsed, err := r.parse(value{text, dialectSQL})
	if err != nil {
		return refuse(codeInvalid, "%s in %s: %v", key, where, err)
	}
	resetShardKey(shard, key)
	shard[r.Name] = tomlOf(parsed)
	return nil
}

// resetShardKey takes a key out, and those that say the same in another way.
func resetShardKey(shard map[string]any, key string) {
	maps.DeleteFunc(shard, func(k string, _ any) bool { return databaseGroup(k) == databaseGroup(key) })
}

// parseReplicas reads "host[:port] [weight=n], …".
func parseReplicas(text string) ([]any, error) {
	out := []any{}
	for _, part := range splitList(text) {
		words := strings.Fields(part)
		replica := map[string]any{"host": words[0]}
		if i := strings.LastIndexByte(words[0], ':'); i > 0 && (strings.Count(words[0], ":") == 1 || words[0][i-1] == ']') {
			port, err := replicaTable.byName["port"].parse(value{words[0][i+1:], dialectSQL})
			if err != nil {
				return nil, refuse(codeInvalid, "replica %q: port: %v", part, err)
			}
			replica["host"], replica["port"] = words[0][:i], port
		}
		replica["host"] = strings.Trim(replica["host"].(string), "[]")
		for _, w := range words[1:] {
			name, number, ok := strings.Cut(w, "=")
			if !ok || name != "weight" {
				return nil, refuse(codeInvalid, "replica %q: %q is not understood", part, w).withHint("Write host:port weight=2, host:port, ….")
			}
			weight, err := replicaTable.byName["weight"].parse(value{number, dialectSQL})
			if err != nil {
				return nil, refuse(codeInvalid, "replica %q: weight: %v", part, err)
			}
			replica["weight"] = weight
		}
		out = append(out, replica)
	}
	return out, nil
}

// AlterShard sets one key of a shard, or takes it out.
type AlterShard struct {
	Name, Key string
	Value     *string // nil: RESET
}

func (c AlterShard) apply(e *shardingEdit) error {
	if err := e.hasShard(c.Name); err != nil {
		return err
	}
	for _, s := range e.raw {
		shard, _ := s.(map[string]any)
		if shard["name"] != c.Name {
			continue
		}
		e.dirty[cfgShards] = true
		if c.Value != nil {
			return setShardKey(shard, c.Name, c.Key, *c.Value)
		}
		if _, ok := shardTable.byName[c.Key]; !ok && c.Key != "replicas" || c.Key == "name" {
			return refuse(codeInvalid, "%s", unknownKey(c.Key, fmt.Sprintf("shard %q", c.Name), append(shardTable.names()[1:], "replicas")))
		}
		resetShardKey(shard, c.Key)
	}
	return nil
}

// DropShard takes out a shard on which nothing is placed.
type DropShard struct{ Name string }

func (c DropShard) apply(e *shardingEdit) error {
	if err := e.hasShard(c.Name); err != nil {
		return err
	}
	inUse := func(format string, args ...any) *ChangeError {
		return refuse(codeDependent, "cannot drop shard %q of database %q: it holds %s", c.Name, e.name, fmt.Sprintf(format, args...))
	}
	for _, name := range slices.Sorted(maps.Keys(e.Keys)) {
		for _, b := range e.Placement(e.Keys[name]) {
			if b.Shard == c.Name {
				return inUse("%s of key %q", b, name).withHint("ALTER KEY %s ON DATABASE %s PLACE ON another shard %s, once the rows are there.", quoteName(name), quoteName(e.name), b)
			}
		}
	}
	for _, schema := range slices.Sorted(maps.Keys(e.Schemas)) {
		if e.Schemas[schema] == c.Name {
			return inUse("schema %q", schema)
		}
	}
	switch {
	case e.DefaultShard == c.Name:
		return inUse("all tables that are listed nowhere").withHint("ALTER DATABASE %s PLACE OTHER TABLES ON another shard.", quoteName(e.name))
	case len(e.Shards) == 1 && len(e.Keys)+len(e.ReferenceTables) > 0:
		return refuse(codeDependent, "cannot drop shard %q of database %q: it is the last one, and the database has keys or reference tables", c.Name, e.name)
	}
	e.raw = slices.DeleteFunc(e.raw, func(s any) bool { m, _ := s.(map[string]any); return m["name"] == c.Name })
	e.dirty[cfgShards] = true
	return nil
}

// CreateKey adds a sharding key without tables.
type CreateKey struct {
	Name   string
	Types  []string
	Bounds []Bound // none: hash over the shards in order
}

func (c CreateKey) apply(e *shardingEdit) error {
	if _, ok := e.Keys[c.Name]; ok {
		return refuse(codeDuplicate, "key %q of database %q already exists", c.Name, e.name)
	}
	if len(e.Shards) == 0 {
		return refuse(codeNotInState, "database %q has no shards", e.name).withHint("CREATE SHARD a ON DATABASE %s (host '…') comes first.", quoteName(e.name))
	}
	k := Key{Name: c.Name, Types: c.Types, Bounds: c.Bounds}
	k.Bounds = e.Placement(k) // written down, so that it does not depend on the shards to come
	e.setKey(k)
	return nil
}

// AlterKey changes the placement of a key.
type AlterKey struct {
	Name string
	// Place puts these values on its shard. A hash bound may be a part of one that is there, which is split, or consist of
	// several; a range or list bound must be new, or the same as one that is there.
	Place *Bound
	// Drop takes this bound away.
	Drop *Bound
	// Placement replaces all bounds.
	Placement []Bound
	// WithoutMovingRows accepts that rows are not where the change says.
	WithoutMovingRows bool
}

func (c AlterKey) apply(e *shardingEdit) error {
	k, err := e.key(c.Name)
	if err != nil {
		return err
	}
	bounds := e.Placement(k)
	harmless := false
	switch {
	case c.Placement != nil:
		bounds = c.Placement
	case c.Drop != nil:
		i := slices.IndexFunc(bounds, func(b Bound) bool { return b.Same(*c.Drop) && (c.Drop.Shard == "" || b.Shard == c.Drop.Shard) })
		if i < 0 {
			return refuse(codeUndefined, "key %q of database %q has no bound %s", c.Name, e.name, c.Drop).
				withHint("SHOW PLACEMENT lists them.")
		}
		bounds = slices.Delete(slices.Clone(bounds), i, i+1)
	default:
		if bounds, harmless, err = place(bounds, *c.Place); err != nil {
			return err
		}
	}
	if len(k.Columns) > 0 && !harmless {
		tables := slices.SortedFunc(maps.Keys(k.Columns), func(a, b TableName) int { return strings.Compare(a.String(), b.String()) })
		if err := e.movesNoRows(c.WithoutMovingRows, "key %q of database %q has tables (%s), whose rows would have to move", c.Name, e.name, namesOf(tables)); err != nil {
			return err
		}
	}
	k.Bounds = bounds
	e.setKey(k)
	return nil
}

func namesOf(tables []TableName) string {
	const most = 5
	names := make([]string, 0, most+1)
	for i, t := range tables {
		if i == most {
			names = append(names, "…")
			break
		}
		names = append(names, t.String())
	}
	return strings.Join(names, ", ")
}

// maxSplit bounds the parts into which a hash bound is split at once.
const maxSplit = 4096

// place puts a bound into a placement. It is harmless if the values had no place before.
func place(bounds []Bound, b Bound) (out []Bound, harmless bool, err error) {
	if b.Kind != BoundHash || b.Modulus < 1 || b.Remainder < 0 || b.Remainder >= b.Modulus {
		out = slices.Clone(bounds)
		for i := range out {
			if out[i].Same(b) {
				out[i].Shard = b.Shard
				return out, bounds[i].Shard == b.Shard, nil
			}
		}
		hasDefault := slices.ContainsFunc(bounds, func(o Bound) bool { return o.Kind == BoundDefault })
		return append(out, b), !hasDefault && b.Kind != BoundHash && b.Kind != BoundDefault, nil
	}
	done, same := false, true
	put := func() {
		if !done {
			out, done = append(out, b), true
		}
	}
	for _, o := range bounds {
		switch {
		case o.Kind != BoundHash || o.Modulus < 1:
			out = append(out, o)
		case o.Modulus%b.Modulus == 0 && o.Remainder%b.Modulus == b.Remainder: // a part of b, or b itself
			same = same && o.Shard == b.Shard
			put()
		case b.Modulus%o.Modulus == 0 && b.Remainder%o.Modulus == o.Remainder: // b is a part of it
			if b.Modulus/o.Modulus > maxSplit {
				return nil, false, refuse(codeInvalid, "%s would split %s into more than %d parts", b, o, maxSplit)
			}
			same = same && o.Shard == b.Shard
			for r := o.Remainder; r < b.Modulus; r += o.Modulus {
				if r == b.Remainder {
					put()
					continue
				}
				part := o
				part.Modulus, part.Remainder = b.Modulus, r
				out = append(out, part)
			}
		default:
			out = append(out, o)
		}
	}
	same = same && done
	put()
	return out, same, nil
}

// DropKey takes out a key that no table carries.
type DropKey struct{ Name string }

func (c DropKey) apply(e *shardingEdit) error {
	k, err := e.key(c.Name)
	if err != nil {
		return err
	}
	if len(k.Columns) > 0 {
		tables := slices.SortedFunc(maps.Keys(k.Columns), func(a, b TableName) int { return strings.Compare(a.String(), b.String()) })
		return refuse(codeDependent, "cannot drop key %q of database %q: tables carry it: %s", c.Name, e.name, namesOf(tables)).
			withHint("DROP TABLE … ON DATABASE %s takes a table out of the shard map.", quoteName(e.name))
	}
	delete(e.Keys, c.Name)
	e.dirty[cfgKeys] = true
	return nil
}

// PutTable says where the rows of a table are: spread by a key, or the same on every shard.
type PutTable struct {
	Table   TableName
	Key     string // "" for a reference table
	Columns []string
	// Alter is for a table that has an entry already, which is replaced.
	Alter             bool
	WithoutMovingRows bool
}

func (c PutTable) apply(e *shardingEdit) error {
	listed := e.isListed(c.Table)
	switch {
	case listed && !c.Alter:
		return refuse(codeDuplicate, "table %s of database %q already has a place: it is %s", c.Table, e.name, e.placeOf(c.Table)).
			withHint("ALTER TABLE … ON DATABASE changes it.")
	case !listed && c.Alter:
		return refuse(codeUndefined, "table %s is not in the shard map of database %q", c.Table, e.name).
			withHint("CREATE TABLE … ON DATABASE enters it; SHOW TABLES lists those that are in it.")
	case len(e.Shards) == 0:
		return refuse(codeNotInState, "database %q has no shards", e.name)
	}
	if c.Alter {
		if err := e.movesNoRows(c.WithoutMovingRows, "the rows of table %s are %s", c.Table, e.placeOf(c.Table)); err != nil {
			return err
		}
		e.removeTable(c.Table)
	} else if place := e.placeOf(c.Table); place != "" {
		e.notef("rows that table %s has are %s, and are not moved", c.Table, place)
		e.accepted = true
	}
	if c.Key == "" {
		e.ReferenceTables = append(e.ReferenceTables, c.Table)
		e.dirty[cfgReference] = true
		return nil
	}
	k, err := e.key(c.Key)
	if err != nil {
		return err
	}
	k.Columns[c.Table] = c.Columns
	e.setKey(k)
	return nil
}

func (e *shardingEdit) removeTable(t TableName) {
	for _, k := range e.Keys {
		if _, ok := k.Columns[t]; ok {
			delete(k.Columns, t)
			e.dirty[cfgKeys] = true
		}
	}
	if i := slices.Index(e.ReferenceTables, t); i >= 0 {
		e.ReferenceTables = slices.Delete(e.ReferenceTables, i, i+1)
		e.dirty[cfgReference] = true
	}
}

// DropTable takes a table out of the shard map; the table itself and its rows stay.
type DropTable struct {
	Table             TableName
	WithoutMovingRows bool
}

func (c DropTable) apply(e *shardingEdit) error {
	if !e.isListed(c.Table) {
		return refuse(codeUndefined, "table %s is not in the shard map of database %q", c.Table, e.name).withHint("SHOW TABLES lists those that are.")
	}
	before := e.placeOf(c.Table)
	e.removeTable(c.Table)
	if after := e.placeOf(c.Table); after != "" {
		return e.movesNoRows(c.WithoutMovingRows, "the rows of table %s are %s, and would be looked for %s", c.Table, before, after)
	}
	e.notef("statements that use table %s are refused from now on", c.Table)
	return nil
}

// PlaceTables says where the tables of a schema are that have no entry of their own, or all other tables.
type PlaceTables struct {
	Schema            string // "" for all others
	Shard             string // "" for nowhere
	WithoutMovingRows bool
}

func (c PlaceTables) apply(e *shardingEdit) error {
	if c.Shard != "" {
		if err := e.hasShard(c.Shard); err != nil {
			return err
		}
	}
	what, key, before := "tables that are listed nowhere", cfgDefaultShard, e.DefaultShard
	if c.Schema != "" {
		what, key, before = fmt.Sprintf("the tables of schema %q", c.Schema), cfgSchemas, e.Schemas[c.Schema]
		if before == "" && c.Shard == "" {
			return refuse(codeUndefined, "schema %q of database %q is not placed", c.Schema, e.name)
		}
		if before == "" {
			before = e.DefaultShard
		}
	}
	if before != "" && before != c.Shard {
		if err := e.movesNoRows(c.WithoutMovingRows, "%s are on shard %q", what, before); err != nil {
			return err
		}
	}
	switch {
	case c.Schema == "":
		e.DefaultShard = c.Shard
	case c.Shard == "":
		delete(e.Schemas, c.Schema)
	default:
		if e.Schemas == nil {
			e.Schemas = map[string]string{}
		}
		e.Schemas[c.Schema] = c.Shard
	}
	e.dirty[key] = true
	return nil
}

// ResetSharding takes back everything that commands have changed, so that the main file alone says how the database is sharded.
type ResetSharding struct{ WithoutMovingRows bool }

func (c ResetSharding) apply(e *shardingEdit) error {
	e.reset = true
	return e.movesNoRows(c.WithoutMovingRows, "the shards, keys and tables of database %q would be those of the main file", e.name)
}
