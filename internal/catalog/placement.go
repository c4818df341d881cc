package catalog

// PlacementKind says how a table's rows are spread over the shards.
type PlacementKind uint8

// The kinds of placement.
const (
	Sharded   PlacementKind = iota // by the value of a sharding key
	Reference                      // the same rows on every shard
	Single                         // all rows on one shard
)

// Placement is where the rows of a table are, as Check needs to know it.
type Placement struct {
	Kind    PlacementKind
	Key     string   // Sharded: name of the sharding key; tables of one key are co-located
	Types   []string // Sharded: the key's types, as SQL writes them
	Columns []string // Sharded: the columns that carry the key, in its order
	Shard   int      // Single
}

// Problem is what stands between a database's tables and its shard map.
type Problem struct {
	Code     string // one of the codes below
	Relation Name
	Object   string // the constraint, column, trigger or other table that it is about; "" for the relation
	Message  string
	Hint     string
	// Warning: statements that are concerned are refused when they come, or cannot fail silently.
	Warning bool
	// Waiver is the name by which it can be waived, "table.object"; "" if it cannot be. The name of a constraint alone will do, and
	// so will schema.table.object.
	Waiver string
}

// The codes of problems.
const (
	ProblemMissingTable  = "missing-table"         // the map names a table that does not exist
	ProblemNotTable      = "not-a-table"           // the map names a view, sequence or the like
	ProblemMissingColumn = "missing-column"        // a key column does not exist
	ProblemKeyType       = "key-type"              // a key column is not of the key's type
	ProblemKeyNullable   = "key-nullable"          // a key column may be NULL (warning)
	ProblemKeyCollation  = "key-collation"         // text whose equality is not that of its bytes
	ProblemKeyGenerated  = "key-generated"         // the server computes the key
	ProblemUnique        = "unique-without-key"    // a unique constraint or index does not hold over shards
	ProblemExclusion     = "exclusion-without-key" // the same of an exclusion constraint
	ProblemForeignKey    = "foreign-key"           // it refers to rows that may be on another shard
	ProblemForeignAction = "foreign-key-action"    // its action changes the key
	ProblemSequence      = "sequence-outside-key"  // serial or identity: each shard counts on its own
	ProblemInheritance   = "inheritance"           // a table and its children are spread differently
	ProblemTriggers      = "triggers"              // triggers may write other tables or change the key (warning)
	ProblemRules         = "rules"                 // (warning)
	ProblemRowSecurity   = "row-security"          // (warning)
	ProblemCheck         = "check-reaches"         // a CHECK constraint calls a function that may read tables (warning)
	ProblemDiffers       = "differs"               // a shard differs from the lead shard
	ProblemEmpty         = "reference-empty"       // a reference table has rows on one shard and none on another
	ProblemWaiver        = "unused-waiver"         // a waiver names nothing (warning)
	ProblemMoved         = "moved"                 // a reload has changed where rows are looked for (warning)
)
