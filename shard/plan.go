package shard

// Env is what the meaning of a text depends on besides the text. It is comparable: equal Envs plan alike.
type Env struct {
	User         string // the role in force (SET ROLE, else the login)
	SearchPath   string // the value of search_path, "" for the server's default
	StringsPlain bool   // standard_conforming_strings = on
	UTF8         bool   // client_encoding is UTF8, or an encoding of which only ASCII was sent
	Temporary    bool   // the session has temporary tables on a shard
	Hint         Hint   // SET pgdrover.shard or SET pgdrover.shard_key
}

// Hint is where the user says a statement goes. A hint that contradicts the statement's own key is an error.
type Hint struct {
	Shard string // name of a shard
	Key   string // a key's value in text form, valid if HasKey
	// KeyName is the sharding key meant by Key; "" when the database has one only.
	KeyName string
	HasKey  bool
}

// Params gives the values that a Bind message carries for $1 … $n.
type Params interface {
	// Len is the number of values.
	Len() int
	// Param returns value i, from 0: its bytes, valid until the next message, whether they are in binary format, and
	// whether it is NULL.
	Param(i int) (value []byte, binary, null bool)
}

// Kind is what a session does with a statement.
type Kind uint8

// The kinds.
const (
	// Forward: the statement goes unchanged to the one shard Plan.Shard.
	Forward Kind = iota
	// Anywhere: it reads nothing that differs between shards (SELECT 1, SHOW, a reference table). It goes unchanged to a shard
	// that the transaction has already, or to any.
	Anywhere
	// Gather: each of Plan.Parts runs and their rows are sent one after the other; Plan.Limit and Offset are applied to the
	// whole. Reads, and UPDATE and DELETE of a subset of shards: the counts of the command tags are added.
	Gather
	// Split: each of Plan.Parts runs, and rows of RETURNING are put in the order of Plan.Order. INSERT of many rows.
	Split
	// Everywhere: a write of a reference table, or DDL: each of Plan.Parts runs, in that order, the first alone; the answer is the
	// first one's. Plan.NoTx says that it cannot run in a transaction block.
	Everywhere
	// MoveRow: an UPDATE that gives rows a key of another shard, Plan.Parts[0], which runs it unchanged. The other parts have a DELETE that returns
	// the new rows, which are then inserted on the first by Plan.Move. With Plan.Move.Rows each row has a shard of its own.
	MoveRow
	// CopyIn: COPY FROM STDIN, routed row by row. See Plan.Copy.
	CopyIn
	// CopyOut: COPY TO STDOUT of Plan.Parts, merged into one stream.
	CopyOut
	// Command: transaction control and session commands, which the session itself carries out. See Plan.Control.
	Command
	// Explain: EXPLAIN of Plan.Inner.
	Explain
	// NextID: an INSERT of rows whose keys come from pgdrover.next_id(). Plan.Drawn makes the plan when they are drawn.
	NextID
	// ReplayRows: a write of a reference table that would not do the same everywhere. Plan.Parts[0] carries it out and returns the rows that it has
	// written, which the other parts get by Plan.Replay: for one row their Text.
	ReplayRows
)

// Control is a command that the session carries out itself.
type Control uint8

// The controls.
const (
	ControlNone Control = iota
	Begin               // BEGIN, START TRANSACTION, with options
	Commit              // COMMIT, END; AND CHAIN too
	Rollback            // ROLLBACK, ABORT; AND CHAIN too
	Savepoint
	Release
	RollbackTo
	PrepareTransaction
	CommitPrepared // also ROLLBACK PREPARED
	Set            // SET, RESET, SET LOCAL, SET CONSTRAINTS, SET TRANSACTION: every enlisted shard now, others when they join
	SetHint        // SET pgdrover.shard or .shard_key, RESET of them; Plan.Hint
	ShowHint       // SHOW pgdrover.…
	Discard        // DISCARD
	Deallocate     // DEALLOCATE name | ALL
	Close          // CLOSE cursor | ALL, FETCH, MOVE: the shard that has the cursor; Plan.Name
	Empty          // an empty statement
)

// Plan says where one execution of a statement goes.
type Plan struct {
	Kind    Kind
	Control Control
	Tier    int    // 1 or 2; 0 for Command
	Shard   int    // Forward: index in Map.Shards
	Parts   []Part // the shards of every other kind but Anywhere and Command, in order
	Limit   int64  // Gather: rows to send at most; -1 = all
	Offset  int64  // Gather: rows to leave out first
	Order   []int  // Split: for each row of the statement, the index in Parts it went to
	Text    string // Command: the statement, for shards that join later
	Name    string // savepoint, prepared statement, cursor, transaction id; Explain: the format
	Local   bool   // Set and SetHint: SET LOCAL
	Chain   bool   // Commit and Rollback: AND CHAIN
	NoTx    bool   // Everywhere: cannot run in a transaction block
	DDL     bool   // it may change what the statements behind it mean
	Lock    string // Everywhere: what each shard does before, so that all of them meet the same rows; "" for nothing
	Writes  bool   // it may write, as far as the text shows
	Rows    bool   // it returns rows
	Hint    Hint   // SetHint: the new value; zero for RESET
	Move    *Move
	Copy    *Copy
	Inner   *Plan  // Explain
	Drawn   *Drawn // NextID; nil inside of Explain
	Replay  *Replay
	// Key names what pinned the statement, for SHOW PLANS, ROUTE and EXPLAIN: "customer = 42".
	Key string
}

// Part is what one shard runs.
type Part struct {
	Shard int
	// Text is the statement for this shard; nil when it goes unchanged.
	Text []byte
	// Rows are the rows of the statement's VALUES that are in Text, by index from 0; Split only.
	Rows []int
	// Params are the parameters that Text has, of a Split in the extended protocol: its $1 is Params[0] of the statement, from 0. A
	// parameter that the client did not declare has the same type there. Elsewhere Text has the statement's own numbers.
	Params []int
}

// Move is how the rows of an UPDATE that changes the key come to their new shard.
type Move struct {
	Table *Table
	// Insert puts one row in and returns what RETURNING asks for. Its $1 … are the columns that the DELETEs return.
	Insert  []byte
	Columns []MoveColumn
	Rows    *MoveRows // nil: they all go to the first of Plan.Parts
}

// MoveColumn is how a value travels from one shard to another.
type MoveColumn struct {
	Binary bool // in binary format; otherwise as text
	Typed  bool // it has the type with which it was returned; otherwise that of the column, whose number differs from shard to shard
}

// Copy is how the rows of a COPY FROM are read.
type Copy struct {
	Table      *Table
	KeyColumns []int    // positions of the key's columns in a row, from 0
	Moments    []int    // of a reference table: positions of the columns in whose text a word may mean the time at which it is read
	Columns    []string // names of a row's fields
	Format     CopyFormat

	assign []keyAssign
}

// CopyFormat are the options of a COPY that change how a row is read (PostgreSQL manual, COPY).
type CopyFormat struct {
	Name      string // "text", "csv", "binary"
	Delimiter byte
	Null      string
	Header    bool
	Quote     byte
	Escape    byte
	ForceNull []bool // by position
	ForceNot  []bool // FORCE_NOT_NULL by position
	Encoding  string
	Default   string
	HasNull   bool
}

// One returns the only shard of the plan, or false.
func (p *Plan) One() (int, bool) {
	switch {
	case p.Kind == Forward:
		return p.Shard, true
	case len(p.Parts) == 1:
		return p.Parts[0].Shard, true
	}
	return 0, false
}

// First returns the first shard of the plan, or false if it has none of its own.
func (p *Plan) First() (int, bool) {
	switch {
	case p.Kind == Forward:
		return p.Shard, true
	case len(p.Parts) > 0:
		return p.Parts[0].Shard, true
	}
	return 0, false
}

// Error is a refusal or another error for the client.
type Error struct {
	Code     string // SQLSTATE
	Message  string
	Detail   string
	Hint     string
	Position int // in characters from the start of the whole text, from 1; 0 = none
	// Construct is the row of the refusals table, "" for errors that PostgreSQL would raise as well.
	Construct string
}

func (e *Error) Error() string { return e.Message }

// Table is one entry of a Map: where the rows of a table are.
type Table struct {
	Schema, Name string
	Kind         TableKind
	Key          *Key     // Sharded
	Columns      []string // Sharded: the columns that carry the key, in the key's order
	Shard        int      // Single: index in Map.Shards
}

// TableKind says how a table is spread.
type TableKind uint8

// The kinds of tables.
const (
	Sharded   TableKind = iota // rows by the value of a sharding key
	Reference                  // the same rows on every shard
	Single                     // all rows on one shard: by schema, or default_shard
)
