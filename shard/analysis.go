package shard

import (
	"slices"

	"pgdrover/internal/catalog"
	"pgdrover/internal/sqlparse"

	pg "github.com/pganalyze/pg_query_go/v5"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// analysis gathers the facts of one statement. The first refusal stays; what is found after it is of no use.
type analysis struct {
	db    *DB
	cat   *catalog.Catalog
	m     *Map
	env   Env
	path  []string
	early bool // a schema is searched before pg_catalog

	text   []byte // the whole text
	base   int    // where the parsed statement begins in it
	source []byte // that statement
	folder *sqlparse.Folder
	shape  *sqlparse.Shape
	fixed  map[int]bool // literals whose values the plan has read

	params []uint32 // declared types
	simple bool     // of the simple protocol: there are no parameters

	rels      []*rel
	err       *Error
	seen      map[protoreflect.Name]int
	sublinks  map[*pg.SelectStmt]*query
	paramUses map[int32]*paramUse
	aggregate int // depth of aggregate calls

	shards      []int  // shards that the statement must run on: single tables, locks
	catalogs    bool   // it reads catalogs, which are asked of the catalog shard
	pinned      *Error // it must be pinned to one shard by a sharded table
	one         *Error // it must run on one shard
	moving      string // what makes it differ from run to run or shard to shard, "" if nothing does
	writes      bool
	referenceTo *rel // the reference table that it writes
	inserts     []*insertFact
	keySets     []keySet
	rows        bool
	// padded: a column may be NULL in the result though it never is in its table: outer joins and grouping sets put NULL in its place.
	padded       bool
	valuesInsert bool           // there is an INSERT … VALUES
	update1      *pg.UpdateStmt // the statement, if it is an UPDATE
	top          *pg.Node       // the query or write
	draws        *Error         // it calls nextval: a reference table's come from the lead shard, any other must be pinned
	// returningParams says that RETURNING has a parameter.
	returningParams bool
}

// paramUse is what is known of the type that the server infers for a parameter.
type paramUse struct {
	oid   uint32 // 0: nothing yet
	mixed bool   // contexts that disagree, or that the router does not know
}

func (a *analysis) fail(e *Error) {
	if a.err == nil {
		a.err = e
	}
}

func (a *analysis) needPinned(e *Error) {
	if a.pinned == nil {
		a.pinned = e
	}
}

func (a *analysis) needOne(e *Error) {
	if a.one == nil {
		a.one = e
	}
}

func (a *analysis) onShard(shard int) {
	if !slices.Contains(a.shards, shard) {
		a.shards = append(a.shards, shard)
	}
}

func (a *analysis) differs(what string) {
	if a.moving == "" {
		a.moving = what
	}
}

// saw counts a visit of a node, to be compared with what is in the tree.
func (a *analysis) saw(name protoreflect.Name) { a.seen[name]++ }

// local says that a function or table is listed in shard_local: what it touches is on the shard of the row.
func (a *analysis) local(n catalog.Name) bool {
	return a.db.local[n.Name] || a.db.local[n.Schema+"."+n.Name]
}

// paramTyped notes that the server will take an undeclared parameter for a type.
func (a *analysis) paramTyped(number int32, oid uint32) {
	u := a.paramUses[number]
	switch {
	case u == nil:
		a.paramUses[number] = &paramUse{oid: oid, mixed: oid == 0}
	case u.oid != oid && !sameFamilyOID(u.oid, oid):
		u.mixed = true
	}
}

// declared returns the type that the client gave for a parameter, 0 if it left that to the server.
func (a *analysis) declared(number int32) uint32 {
	if i := int(number) - 1; i >= 0 && i < len(a.params) && a.params[i] != oidUnknown {
		return a.params[i]
	}
	return 0
}

// names returns the strings of a list of String nodes; ok is false if there is anything else in it.
func names(list []*pg.Node) (parts []string, ok bool) {
	parts = make([]string, 0, 2)
	for _, n := range list {
		s, is := n.GetNode().(*pg.Node_String_)
		if !is {
			return nil, false
		}
		parts = append(parts, s.String_.GetSval())
	}
	return parts, true
}

// qualified splits a name into schema and name; a name with a database is refused.
func (a *analysis) qualified(list []*pg.Node) (schema, name string) {
	parts, ok := names(list)
	switch {
	case ok && len(parts) == 1:
		return "", parts[0]
	case ok && len(parts) == 2:
		return parts[0], parts[1]
	}
	a.fail(refuse(RefuseNode, "a name in three parts"))
	return "", ""
}
