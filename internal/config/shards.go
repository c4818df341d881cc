package config

import "strings"

// Sharding is the part of a database that says on which shards its rows are.
type Sharding struct {
	Shards          []Shard           // in order of declaration; none: the database is not sharded
	Keys            map[string]Key    // by name
	ReferenceTables []TableName       // in order of declaration
	Schemas         map[string]string // schema to the shard that holds all its tables
	DefaultShard    string            // of tables that are listed nowhere; "" = they are refused
}

// Shard is one server of a sharded database.
type Shard struct {
	Name   string
	Source string // "file:line" of its declaration
	// Database is the server with everything that the shard inherits. Its Name is the sharded database's, its ShardName
	// the shard's.
	Database
	Replicas []Replica
}

// Replica is a standby of a shard.
type Replica struct {
	Host   string
	Port   int // the shard's unless set
	Weight int // share of the reads, from 0; 1 unless set
}

// Key is a sharding key.
type Key struct {
	Name    string
	Source  string                 // "file:line" of its declaration
	Types   []string               // as PostgreSQL writes them; several for a composite key
	Columns map[TableName][]string // by table: the columns that carry the key, in its order
	Bounds  []Bound                // none: hash over the shards in order
}

// TableName is a table with its schema.
type TableName struct{ Schema, Name string }

// String writes the name as SQL does, without the schema if it is public.
func (t TableName) String() string {
	if t.Schema == defaultSchema {
		return quoteName(t.Name)
	}
	return quoteName(t.Schema) + "." + quoteName(t.Name)
}

// defaultSchema is where a table is that is written without a schema. It does not depend on anybody's search_path.
const defaultSchema = "public"

// BoundKind is the kind of a partition bound.
type BoundKind uint8

// Kinds of bounds, PostgreSQL's.
const (
	BoundHash    BoundKind = iota // WITH (MODULUS m, REMAINDER r)
	BoundRange                    // FROM (…) TO (…)
	BoundList                     // IN (…)
	BoundDefault                  // DEFAULT
)

// String returns PostgreSQL's word for the kind.
func (k BoundKind) String() string { return [...]string{"hash", "range", "list", "default"}[k] }

// Bound places a part of a key's values on a shard.
type Bound struct {
	Shard              string
	Kind               BoundKind
	Modulus, Remainder int
	From, To           []BoundValue // range: one for each type of the key; From is part of the range, To is not
	In                 []BoundValue
	Source             string // "file:line"
}

// BoundValue is a value of a bound in text form, or one of its keywords.
type BoundValue struct {
	Text string
	// Word is "", "MINVALUE", "MAXVALUE" (range) or "NULL" (list).
	Word string
	// Bare says that it was written without quotes: a number, TRUE or FALSE. It makes no difference to its meaning.
	Bare bool
}

// String writes the value as PostgreSQL does.
func (v BoundValue) String() string {
	switch {
	case v.Word != "":
		return v.Word
	case v.Bare:
		return v.Text
	}
	return "'" + strings.ReplaceAll(v.Text, "'", "''") + "'"
}

// Placed writes the shard and the bound, as the elements of a placement are written.
func (b Bound) Placed() string {
	shard := b.Shard
	if quoteName(foldName(shard))[0] == '"' {
		shard = `"` + strings.ReplaceAll(shard, `"`, `""`) + `"`
	}
	return shard + " " + b.String()
}

// Same reports whether two bounds are the same but for the shard and the notation.
func (b Bound) Same(o Bound) bool {
	same := func(x, y []BoundValue) bool {
		if len(x) != len(y) {
			return false
		}
		for i := range x {
			if x[i].Text != y[i].Text || x[i].Word != y[i].Word {
				return false
			}
		}
		return true
	}
	return b.Kind == o.Kind && b.Modulus == o.Modulus && b.Remainder == o.Remainder &&
		same(b.From, o.From) && same(b.To, o.To) && same(b.In, o.In)
}

// Placement returns the bounds of k: those that are given, or hash over the shards in order.
func (s *Sharding) Placement(k Key) []Bound {
	if len(k.Bounds) > 0 {
		return k.Bounds
	}
	bounds := make([]Bound, len(s.Shards))
	for i := range s.Shards {
		bounds[i] = Bound{Shard: s.Shards[i].Name, Kind: BoundHash, Modulus: len(s.Shards), Remainder: i, Source: k.Source}
	}
	return bounds
}

// Sharded reports whether the rows of d are on shards.
func (d *Database) Sharded() bool { return len(d.Shards) > 0 }

// ShardServer returns the server of the shard of that name, with all that it inherits from d, or nil. Two of them can be
// compared with SameServer, so that a reload keeps the pools of shards that stay where they are.
func (d *Database) ShardServer(name string) *Database {
	for i := range d.Shards {
		if d.Shards[i].Name == name {
			return &d.Shards[i].Database
		}
	}
	return nil
}
