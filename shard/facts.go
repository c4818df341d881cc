package shard

import (
	"pgdrover/internal/catalog"
	"pgdrover/shard/hash"
)

// The facts of a statement. Every mention of a table is a rel; every column of a rel whose equality matters is a term.
//
// What is proved of a rel is always the same property: the statement's result stays the same if the rel has only those
// of its rows in which some columns have certain values. A term's pins are such values. A term learns from another one
// if the property carries over: if all rows of the other rel that matter have value v there, all rows of this one
// that matter have it here. Facts are found by induction from the pins that conjuncts give, so that a cycle of learning
// proves nothing by itself.

// rel is one mention of a table.
type rel struct {
	id       int
	table    *Table            // nil: a catalog, which is read on the catalog shard
	relation *catalog.Relation // what the catalog knows of it
	name     string            // as messages call it
	terms    map[int]*term     // by index in relation.Columns
	written  bool              // the target of INSERT, UPDATE or DELETE
	inserted bool              // the target of INSERT: its rows are not read
}

// term is a column of a rel.
type term struct {
	rel  *rel
	col  *catalog.Column
	typ  *hash.Type // nil: a type whose equality the router does not know
	pins []*pin
	from []*term // this one learns from those
}

// pin says that a term has one of these values.
type pin struct {
	values []source
}

// relSet is a set of rels.
type relSet []*rel

func (s relSet) has(r *rel) bool {
	for _, o := range s {
		if o == r {
			return true
		}
	}
	return false
}

func (a *analysis) newRel(table *Table, relation *catalog.Relation, name string) *rel {
	r := &rel{id: len(a.rels), table: table, relation: relation, name: name, terms: map[int]*term{}}
	a.rels = append(a.rels, r)
	return r
}

// term returns the term of a column.
func (r *rel) term(index int) *term {
	t, ok := r.terms[index]
	if !ok {
		c := &r.relation.Columns[index]
		t = &term{rel: r, col: c}
		if typ, err := hash.TypeByOID(c.Base); err == nil && (!typ.Collatable() || c.Collation == "" || c.CollationDeterministic) {
			t.typ = typ
		}
		r.terms[index] = t
	}
	return t
}

// keyTerms returns the terms of the key's columns, nil if the catalog lacks one.
func (r *rel) keyTerms() []*term {
	terms := make([]*term, len(r.table.Columns))
	for i, name := range r.table.Columns {
		n := columnIndex(r.relation, name)
		if n < 0 {
			return nil
		}
		terms[i] = r.term(n)
	}
	return terms
}

func columnIndex(r *catalog.Relation, name string) int {
	for i := range r.Columns {
		if r.Columns[i].Name == name {
			return i
		}
	}
	return -1
}

func (t *term) learn(o *term) {
	for _, have := range t.from {
		if have == o {
			return
		}
	}
	t.from = append(t.from, o)
}

// maxPins bounds how many pins a term keeps: each of them alone would do.
const maxPins = 4

func (t *term) addPin(p *pin) bool {
	for _, have := range t.pins {
		if have == p {
			return false
		}
	}
	if len(t.pins) >= maxPins {
		return false
	}
	t.pins = append(t.pins, p)
	return true
}

// propagate carries pins along until nothing changes.
func (a *analysis) propagate() {
	for changed := true; changed; {
		changed = false
		for _, r := range a.rels {
			for _, t := range r.terms {
				for _, o := range t.from {
					for _, p := range o.pins {
						changed = t.addPin(p) || changed
					}
				}
			}
		}
	}
}

// follows says whether the key of r is that of driver in every row that matters: column by column, r's terms learn from
// the driver's.
func follows(r, driver *rel) bool {
	mine, theirs := r.keyTerms(), driver.keyTerms()
	if mine == nil || theirs == nil || r.table.Key != driver.table.Key {
		return false
	}
	for i := range mine {
		if !reaches(mine[i], theirs[i], map[*term]bool{}) {
			return false
		}
	}
	return true
}

func reaches(t, goal *term, seen map[*term]bool) bool {
	if t == goal {
		return true
	}
	if seen[t] {
		return false
	}
	seen[t] = true
	for _, o := range t.from {
		if reaches(o, goal, seen) {
			return true
		}
	}
	return false
}

// column is an output column of something in FROM, or of a query.
type column struct {
	name string
	// terms are the columns of tables that it is, one for each arm of a set operation; empty for anything computed.
	terms []*term
	// push says that a condition on the column may be moved down to the terms' rels.
	push bool
	// oid is the type if it is a table's column, 0 if it is not known.
	oid uint32
}

// item is what FROM puts in reach: PostgreSQL's ParseNamespaceItem.
type item struct {
	name    string // alias or table name; "" if it has none
	schema  string // of a table without alias
	columns []column
	known   bool // columns is complete
	rel     *rel
	sub     relSet // the rels below a subquery
	// byName says that name.column finds it, bare that a column alone does.
	byName, bare bool
}

// scope is one level of names.
type scope struct {
	parent *scope
	items  []*item
	ctes   *ctes
	query  *queryState
}

// ctes is one WITH clause; those outside of it are in reach too.
type ctes struct {
	parent    *ctes
	scope     *scope // what the queries of the clause see
	recursive bool
	list      []*cte
	visible   int // how many of the list are in reach, if it is not recursive
}
