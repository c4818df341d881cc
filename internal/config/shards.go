package config

// Sharding is the part of a database that says on which shards its rows are.
type Sharding struct {
	Shards          []Shard        // in order of declaration; none: the database is not sharded
	Keys            map[string]Key // by name
	ReferenceTables []string       // "table" or "schema.table"
	Schemas         map[string]string
	DefaultShard    string // of tables that are listed nowhere; "" = they are refused
}

// Shard is one server of a sharded database. What is not set is the database's.
type Shard struct {
	Name     string
	Source   string // "file:line"
	Database        // the server; Name and Source above are the shard's, Database.Name the sharded database's
	Replicas []Replica
}

// Replica is a standby of a shard.
type Replica struct {
	Host   string
	Port   int
	Weight int // share of the reads, from 0; 1 unless set
}

// Key is a sharding key.
type Key struct {
	Name    string
	Source  string
	Types   []string            // as PostgreSQL writes them; several for a composite key
	Columns map[string][]string // by table ("table" or "schema.table"): the columns that carry the key, in its order
	Bounds  []Bound             // none: hash over the shards in order
}

// BoundKind is the kind of a partition bound.
type BoundKind uint8

// Kinds of bounds, PostgreSQL's.
const (
	BoundHash    BoundKind = iota // WITH (MODULUS m, REMAINDER r)
	BoundRange                    // FROM (…) TO (…)
	BoundList                     // IN (…)
	BoundDefault                  // DEFAULT
)

// Bound places a part of a key's values on a shard.
type Bound struct {
	Shard              string
	Kind               BoundKind
	Modulus, Remainder int
	From, To           []BoundValue // range: one for each type of the key
	In                 []BoundValue
	Source             string
}

// BoundValue is a value of a bound in text form, or one of its keywords.
type BoundValue struct {
	Text string
	// Word is "", "MINVALUE", "MAXVALUE" (range) or "NULL" (list).
	Word string
}
