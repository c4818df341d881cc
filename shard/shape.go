package shard

import (
	"slices"

	"pgdrover/shard/hash"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// shape is a planned statement without its values. It is immutable and shared by all sessions.
type shape struct {
	err    *Error // the refusal of every execution that no hint sends to a shard
	static bool   // plan is the whole answer
	query  bool   // a query or a write, not a command
	plan   Plan   // what does not depend on values

	key      string // names the keys that pin, for SHOW PLANS
	rels     []relPlan
	inserts  []insertPlan
	keySets  []keySetPlan
	singles  []int      // shards of single tables and locks
	catalogs bool       // the catalog shard too
	anchored bool       // a table or a key says where the statement runs
	pinned   *Error     // needs a sharded or single table that says where
	one      *Error     // needs one shard
	driver   int        // index in rels of the table by whose rows the statement can be taken apart, or -1
	multi    *Error     // why it cannot
	limit    *limitPlan // of a read that is taken apart
	split    bool       // INSERT … VALUES that can be split by rows
	moment   bool       // write of a reference table: a literal may mean a moment
	replays  bool       // every execution goes by replay
	replay   *Replay    // of such a write; nil if it is not possible
	noReplay string     // why it is not
	lock     string     // what keeps other writers out while it runs everywhere
	utf8     bool       // text has the same bytes on the server
	move     *movePlan  // of an UPDATE that may move rows
	unmoved  *Error     // why it cannot
	shards   int        // of the map
	cursor   bool       // DECLARE: it must name a shard
	explain  bool       // EXPLAIN
	analyze  bool       // EXPLAIN ANALYZE
	format   string     // of EXPLAIN
	fast     bool       // one table, one pin for each column of its key, nothing else
	draws    bool       // INSERT of rows whose keys are drawn

	fixed []int // literals that the plan has read, by ordinal
}

// relPlan is where the rows of a mention of a sharded table may be: in the intersection of what the combinations say.
type relPlan struct {
	table  *Table
	name   string
	combos [][]*pin // each has a pin for every column of the key; none: anywhere
}

// insertPlan is where the rows of an INSERT go.
type insertPlan struct {
	table   *Table
	columns []keyAssign
	rows    [][]source
	added   addedValues
	// INSERT … SELECT: what may become of the key's columns, a pin for each; nil if rows is set. A nil pin is not known.
	into  []*pin
	merge bool // of MERGE
}

// keyAssign is how a key column stores a value.
type keyAssign struct {
	name   string
	typ    *hash.Type
	typmod int32
}

type keySetPlan struct {
	table  *Table
	values []source // of the new key; sourceNone where it cannot be told
	column string
	assign []keyAssign
}

// limitPlan is LIMIT and OFFSET of a statement that is taken apart.
type limitPlan struct {
	limit, offset source // sourceNone or sourceNull: none
	// The tokens of both in the folded text.
	limitAt, limitEnd, offsetAt, offsetEnd int
}

// maxCombos bounds the combinations of pins that are looked at for a table: each of them alone would do.
const maxCombos = 8

// finish makes the shape of a query or a write that has been visited.
func (a *analysis) finish(sh *shape, counts map[protoreflect.Name]int, q *query) {
	if a.err == nil {
		for name := range counted {
			if counts[name] != a.seen[name] {
				a.fail(refuse(RefuseNode, "a "+string(name)+" in an unusual place"))
			}
		}
	}
	sh.utf8 = a.env.UTF8 && a.cat.Encoding == "UTF8"
	sh.driver = -1
	sh.shards = len(a.m.Shards())
	sh.plan.Writes = a.writes
	if a.err != nil {
		sh.err = a.err
		return
	}
	a.propagate()
	a.checkPins()
	if a.draws != nil && a.referenceTo == nil {
		a.needPinned(a.draws)
	}
	sh.singles, sh.catalogs, sh.pinned, sh.one = a.shards, a.catalogs, a.pinned, a.one
	planOf := map[*rel]int{}
	for _, r := range a.rels {
		sh.anchored = sh.anchored || r.table != nil && r.table.Kind != Reference
		if r.table == nil || r.table.Kind != Sharded {
			continue
		}
		if e := a.checkKey(r); e != nil {
			sh.err = e
			return
		}
		sh.addKeyName(r.table.Key.Name)
		if r.inserted {
			continue
		}
		planOf[r] = len(sh.rels)
		sh.rels = append(sh.rels, relPlan{table: r.table, name: r.name, combos: combos(r)})
	}
	a.padded = a.padded || counts["GroupingSet"] > 0
	for _, f := range a.inserts {
		sh.inserts = append(sh.inserts, a.insertPlan(f))
	}
	a.planKeySets(sh)
	if sh.err == nil && len(sh.keySets) > 0 {
		sh.unmoved = refuse(RefuseKeyUpdate, sh.keySets[0].column)
		if a.update1 != nil {
			sh.move, sh.unmoved = a.movesOf(a.update1, a.keySets[0].rel, sh.keySets[0].computed())
		}
	}
	if sh.err != nil {
		return
	}
	a.planReference(sh, q)
	a.planMulti(sh, q, planOf)
	a.planDraws(sh, q)
	sh.fast = len(sh.inserts) == 0 && len(sh.keySets) == 0 && len(sh.singles) == 0 && !sh.catalogs && sh.sameCombo()
	for n := range a.fixed {
		sh.fixed = append(sh.fixed, n)
	}
	slices.Sort(sh.fixed)
}

func (sh *shape) addKeyName(name string) {
	switch {
	case sh.key == "":
		sh.key = name
	case sh.key != name:
		sh.key += ", " + name
	}
}

// sameCombo says that one key pins all tables, by one value for each of its columns.
func (sh *shape) sameCombo() bool {
	if len(sh.rels) == 0 {
		return false
	}
	first := &sh.rels[0]
	if len(first.combos) == 0 || !simpleCombo(first.combos[0]) {
		return false
	}
	for i := range sh.rels {
		r := &sh.rels[i]
		if r.table.Key != first.table.Key || len(r.combos) != 1 || !slices.Equal(r.combos[0], first.combos[0]) {
			return false
		}
	}
	return true
}

func simpleCombo(c []*pin) bool {
	for _, p := range c {
		if len(p.values) != 1 || p.values[0].array {
			return false
		}
	}
	return len(c) <= maxFastColumns
}

// checkPins drops pins by parameters whose type the server may see otherwise than the router.
func (a *analysis) checkPins() {
	for _, r := range a.rels {
		for _, t := range r.terms {
			t.pins = slices.DeleteFunc(t.pins, func(p *pin) bool { return !a.pinHolds(p) })
		}
	}
}

func (a *analysis) pinHolds(p *pin) bool {
	for i := range p.values {
		if !a.sourceHolds(&p.values[i]) {
			return false
		}
	}
	return true
}

// sourceHolds says whether a parameter that the client did not declare has the type that the source is read as.
func (a *analysis) sourceHolds(s *source) bool {
	if s.kind != sourceParam || a.declared(int32(s.index)+1) != 0 {
		return true
	}
	u := a.paramUses[int32(s.index)+1]
	if u == nil || u.mixed {
		return false
	}
	if s.array {
		element := elementOf(u.oid)
		return element != 0 && sameFamilyOID(element, s.typ.OID)
	}
	return sameFamilyOID(u.oid, s.typ.OID)
}

// checkKey compares the columns that carry a key with its types.
func (a *analysis) checkKey(r *rel) *Error {
	terms := r.keyTerms()
	if terms == nil {
		return refuse(RefuseColumn, r.table.Columns[0])
	}
	for i, t := range terms {
		if t.typ == nil || !t.typ.SameFamily(r.table.Key.Types[i]) {
			return refuse(RefuseKeyValue, t.col.Name)
		}
	}
	return nil
}

// combos returns combinations of pins for the key of a rel.
func combos(r *rel) [][]*pin {
	all := [][]*pin{nil}
	for _, t := range r.keyTerms() {
		var next [][]*pin
		for _, c := range all {
			for _, p := range t.pins {
				if len(next) < maxCombos {
					next = append(next, append(append([]*pin{}, c...), p))
				}
			}
		}
		all = next
	}
	return all
}

func assigns(r *rel) []keyAssign {
	var list []keyAssign
	for _, t := range r.keyTerms() {
		list = append(list, keyAssign{name: t.col.Name, typ: t.typ, typmod: t.col.Typmod})
	}
	return list
}

func (a *analysis) insertPlan(f *insertFact) insertPlan {
	p := insertPlan{table: f.rel.table, columns: assigns(f.rel), rows: f.rows, added: f.added, merge: f.merge}
	for _, row := range f.rows {
		for k := range row {
			if !a.sourceHolds(&row[k]) {
				a.fail(refuse(RefuseKeyValue, p.columns[k].name))
			}
		}
	}
	for k := range f.sources {
		if f.terms[k] == nil && !a.sourceHolds(&f.sources[k]) {
			a.fail(refuse(RefuseKeyValue, p.columns[k].name))
		}
	}
	if f.rows == nil {
		p.into = make([]*pin, len(f.terms))
		for k := range p.into {
			switch {
			case f.terms[k] != nil && a.padded: // its pin says nothing of the NULLs
			case f.terms[k] != nil && len(f.terms[k].pins) > 0:
				p.into[k] = f.terms[k].pins[0]
			case f.terms[k] == nil && f.sources[k].kind != sourceNone:
				p.into[k] = &pin{values: []source{f.sources[k]}}
			}
		}
	}
	return p
}

// planKeySets collects the new keys of UPDATEs.
func (a *analysis) planKeySets(sh *shape) {
	if a.err != nil {
		sh.err = a.err
		return
	}
	of := map[*rel]int{}
	for _, s := range a.keySets {
		if !a.sourceHolds(&s.value) {
			s.value = source{}
		}
		at, ok := of[s.rel]
		if !ok {
			p := keySetPlan{table: s.rel.table, values: make([]source, len(s.rel.table.Columns)), assign: assigns(s.rel), column: s.rel.table.Columns[s.column]}
			for k, t := range s.rel.keyTerms() {
				for _, pin := range t.pins {
					if len(pin.values) == 1 && !pin.values[0].array {
						p.values[k] = pin.values[0]
					}
				}
			}
			at = len(sh.keySets)
			of[s.rel] = at
			sh.keySets = append(sh.keySets, p)
		}
		sh.keySets[at].values[s.column] = s.value
	}
}

// planMulti finds out whether the statement can be taken apart by the rows of one of its tables: each row of the result comes from one
// row of the driver, and every other sharded table is reached by the driver's key.
func (a *analysis) planMulti(sh *shape, q *query, planOf map[*rel]int) {
	if len(sh.inserts) > 0 {
		sh.split = a.valuesInsert && len(sh.inserts) == 1 && len(sh.rels) == 0 && q.state.stands == ""
		sh.multi = refuse(RefuseWriteScatter, "this form of VALUES")
		if q.state.stands != "" {
			sh.multi = refuse(q.state.stands, q.state.standsArg)
		}
		return
	}
	if len(sh.rels) == 0 {
		sh.multi = refuse(RefuseCross, "")
		return
	}
	if len(sh.keySets) > 0 {
		sh.multi = sh.unmoved
		return
	}
	if q.state.stands != "" {
		sh.multi = refuse(q.state.stands, q.state.standsArg)
		return
	}
	sh.multi = refuse(RefuseScatter, sh.rels[0].name)
	for _, d := range q.state.linear {
		at, ok := planOf[d]
		if !ok {
			continue
		}
		stranger := a.stranger(d, planOf)
		if stranger == nil {
			sh.driver, sh.multi = at, nil
			return
		}
		name := RefuseJoin
		if !q.targets.has(stranger) {
			name = RefuseSubquery
		}
		sh.multi = refuse(name, stranger.name)
	}
}

// stranger returns a sharded rel whose key is not the driver's.
func (a *analysis) stranger(driver *rel, planOf map[*rel]int) *rel {
	for _, r := range a.rels {
		if _, ok := planOf[r]; ok && r != driver && !follows(r, driver) {
			return r
		}
	}
	return nil
}
