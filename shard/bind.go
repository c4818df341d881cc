package shard

import (
	"errors"

	"pgdrover/internal/config"
	"pgdrover/internal/sqlparse"
	"pgdrover/shard/hash"
)

// binding is one execution of a shape: where its values are.
type binding struct {
	text     []byte // of the literals
	literals []sqlparse.Literal
	params   Params // nil in the simple protocol
	scratch  []byte

	backslashes bool
	folder      *sqlparse.Folder // of text, in the simple protocol
	stmt        *sqlparse.Shape
	limited     []byte // else: the text for one of several shards
	moment      string // a constant of the text that means the time at which it is read
}

// maxFastColumns is the widest key that is located without allocation.
const maxFastColumns = 4

// value reads one value.
func (b *binding) value(sh *shape, s *source) (hash.Value, readOutcome) {
	switch s.kind {
	case sourceNull:
		return hash.Null(), readOK
	case sourceFixed:
		return s.fixed, readOK
	case sourceLiteral:
		return b.literal(sh, s)
	case sourceParam:
		raw, binary, null, ok := b.param(s.index)
		switch {
		case !ok:
			return hash.Value{}, readNone // the server counts them too
		case null:
			return hash.Null(), readOK
		}
		return parse(sh, s.typ, raw, binary)
	}
	return hash.Value{}, readUnsure
}

func (b *binding) param(i int) (raw []byte, binary, null, ok bool) {
	if b.params == nil || i >= b.params.Len() {
		return nil, false, false, false
	}
	raw, binary, null = b.params.Param(i)
	return raw, binary, null, true
}

// literal reads a literal of the text.
func (b *binding) literal(sh *shape, s *source) (hash.Value, readOutcome) {
	l := b.literals[s.index]
	if isInteger(s.typ) && s.class != sqlparse.ClassString && s.class != sqlparse.ClassEscape && s.class != sqlparse.ClassDollar {
		n, ok := integerValue(&l, b.text, s.negative)
		if !ok {
			return hash.Value{}, readUnsure
		}
		v := hash.Int(n)
		if s.cast != 0 {
			if _, err := s.typ.Assign(v, -1); err != nil {
				return v, readNone
			}
		}
		return v, readOK
	}
	raw := b.text[l.Start:l.End]
	if s.number || s.class == sqlparse.ClassNumeric {
		if s.negative {
			b.scratch = append(append(b.scratch[:0], '-'), raw...)
			raw = b.scratch
		}
		v, out := parse(sh, s.typ, raw, false)
		return v.Clone(), out
	}
	raw, ok := b.stringValue(l)
	switch {
	case !ok && sh.utf8:
		return hash.Value{}, readNone
	case !ok: // an escape that is no UTF-8 may be right in the server's encoding
		return hash.Value{}, readUnsure
	}
	return parse(sh, s.typ, raw, false)
}

// stringValue returns the value of a string; without escapes it is part of the text.
func (b *binding) stringValue(l sqlparse.Literal) ([]byte, bool) {
	raw := b.text[l.Start:l.End]
	if l.Class == sqlparse.ClassString && !hasQuote(raw[1:len(raw)-1]) {
		return raw[1 : len(raw)-1], true
	}
	v, err := l.AppendValue(nil, b.text)
	return v, err == nil
}

func hasQuote(b []byte) bool {
	for _, c := range b {
		if c == '\'' {
			return true
		}
	}
	return false
}

// Integer types by the length of their binary form, for parameters whose exact type the server has chosen.
var int2Type, int4Type, int8Type = mustType(oidInt2), mustType(oidInt4), mustType(oidInt8)

func mustType(oid uint32) *hash.Type {
	t, err := hash.TypeByOID(oid)
	if err != nil {
		panic(err) // the table of types lacks the integers
	}
	return t
}

func parse(sh *shape, t *hash.Type, raw []byte, binary bool) (hash.Value, readOutcome) {
	if t.Collatable() && !sh.utf8 && !isASCII(raw) {
		return hash.Value{}, readUnsure
	}
	var v hash.Value
	var err error
	switch {
	case !binary:
		v, err = t.ParseText(raw)
	case isInteger(t) && len(raw) == 2:
		v, err = int2Type.ParseBinary(raw)
	case isInteger(t) && len(raw) == 4:
		v, err = int4Type.ParseBinary(raw)
	case isInteger(t):
		v, err = int8Type.ParseBinary(raw)
	default:
		v, err = t.ParseBinary(raw)
	}
	switch {
	case err == nil:
		return v, readOK
	case errors.Is(err, hash.ErrInvalid):
		return v, readNone
	}
	return v, readUnsure
}

// bind makes the plan of one execution.
func (sh *shape) bind(b *binding) (Plan, error) {
	plan, err := sh.bindQuery(b)
	switch {
	case err != nil:
	case sh.explain:
		return sh.explained(plan)
	case sh.cursor && plan.Kind == Anywhere:
		plan.Kind = Forward // the cursor must be found again
	}
	return plan, err
}

func (sh *shape) bindQuery(b *binding) (Plan, error) {
	switch {
	case sh.err != nil:
		return Plan{}, sh.err
	case sh.static:
		return sh.plan, nil
	case sh.draws:
		return sh.bindDraws()
	case sh.fast:
		if shard, ok := sh.bindFast(b); ok {
			plan := sh.plan
			plan.Kind, plan.Tier, plan.Shard, plan.Key, plan.Limit = Forward, 1, shard, sh.key, -1
			return plan, nil
		}
	}
	return sh.bindAny(b)
}

// bindFast locates the one key of the statement; it does not allocate.
func (sh *shape) bindFast(b *binding) (int, bool) {
	var values [maxFastColumns]hash.Value
	r := &sh.rels[0]
	for i, p := range r.combos[0] {
		v, out := b.value(sh, &p.values[0])
		if out != readOK || v.IsNull() {
			return 0, false
		}
		values[i] = v
	}
	return r.table.Key.Locate(values[:len(r.combos[0])])
}

// shardSet is a set of shards.
type shardSet []bool

func (s shardSet) count() (n, first int) {
	first = -1
	for i, in := range s {
		if in {
			if first < 0 {
				first = i
			}
			n++
		}
	}
	return n, first
}

// bindAny is bind in general: the shards of every table are put together.
func (sh *shape) bindAny(b *binding) (Plan, error) {
	plan := sh.plan
	plan.Tier, plan.Limit, plan.Key = 1, -1, sh.key
	if plan.Kind == Everywhere {
		return sh.bindReference(b, plan)
	}
	total := make(shardSet, sh.shards)
	var driver shardSet
	for i := range sh.rels {
		set := sh.shardsOf(b, &sh.rels[i])
		if i == sh.driver {
			driver = set
		}
		for n, in := range set {
			total[n] = total[n] || in
		}
	}
	for i := range sh.inserts {
		if err := sh.insertShards(b, &sh.inserts[i], total); err != nil {
			return Plan{}, err
		}
	}
	spread, _ := total.count()
	for _, n := range sh.singles {
		total[n] = true
	}
	if sh.catalogs {
		total[catalogShard] = true
	}
	n, first := total.count()
	switch {
	case n == 0 && len(sh.rels) == 0:
		if sh.pinned != nil {
			return Plan{}, sh.pinned
		}
		plan.Kind = Anywhere
		return plan, nil
	case n == 0: // no row can match: any shard has the answer
		plan.Kind, plan.Shard = Forward, sh.rels[0].table.Key.Shards()[0]
		return plan, nil
	case n == 1:
		if sh.pinned != nil && !sh.anchored {
			return Plan{}, sh.pinned
		}
		if len(sh.keySets) > 0 {
			return sh.bindKeySets(b, plan, total)
		}
		plan.Kind, plan.Shard = Forward, first
		return plan, nil
	case sh.pinned != nil:
		return Plan{}, sh.pinned
	case sh.one != nil:
		return Plan{}, sh.one
	case n > spread || len(sh.singles) > 0 || sh.catalogs:
		return Plan{}, refuse(RefuseCross, "")
	case len(sh.keySets) > 0:
		return sh.bindKeySets(b, plan, total)
	case sh.driver < 0:
		return Plan{}, sh.multi
	}
	plan.Kind, plan.Tier = Gather, 2
	for i, in := range driver {
		if in {
			plan.Parts = append(plan.Parts, Part{Shard: i})
		}
	}
	return sh.bindLimit(b, plan)
}

// maxValues bounds how many keys of lists are located; a longer list pins nothing.
const maxValues = 100_000

// shardsOf returns the shards that may have rows of a table that matter.
func (sh *shape) shardsOf(b *binding, r *relPlan) shardSet {
	set := make(shardSet, sh.shards)
	for _, n := range r.table.Key.Shards() {
		set[n] = true
	}
	for _, c := range r.combos {
		some, ok := sh.locateAll(b, r.table.Key, c)
		if !ok {
			continue
		}
		for i := range set {
			set[i] = set[i] && some[i]
		}
	}
	return set
}

// locateAll returns the shards of all combinations of the values of pins; it is not ok if one of them is not sure.
func (sh *shape) locateAll(b *binding, key *Key, pins []*pin) (shardSet, bool) {
	lists := make([][]hash.Value, len(pins))
	total := 1
	for i, p := range pins {
		values, ok := b.values(sh, p)
		if !ok {
			return nil, false
		}
		lists[i] = values
		if total *= len(values); total > maxValues {
			return nil, false
		}
	}
	set := make(shardSet, sh.shards)
	row := make([]hash.Value, len(pins))
	var fill func(int)
	fill = func(i int) {
		if i == len(pins) {
			if n, ok := key.Locate(row); ok {
				set[n] = true
			}
			return
		}
		for _, v := range lists[i] {
			row[i] = v
			fill(i + 1)
		}
	}
	fill(0)
	return set, true
}

// values returns the values of a pin. NULL and what is no value of the type can be equal to nothing and are left out.
func (b *binding) values(sh *shape, p *pin) ([]hash.Value, bool) {
	values := make([]hash.Value, 0, len(p.values))
	for i := range p.values {
		s := &p.values[i]
		if s.array {
			var ok bool
			if values, ok = b.array(sh, s, values); !ok {
				return nil, false
			}
			continue
		}
		v, out := b.value(sh, s)
		switch {
		case out == readUnsure:
			return nil, false
		case out == readOK && !v.IsNull():
			values = append(values, v)
		}
	}
	return values, true
}

// insertShards locates the rows of an INSERT and adds their shards to total.
func (sh *shape) insertShards(b *binding, p *insertPlan, total shardSet) error {
	if p.into != nil {
		return sh.intoShards(b, p, total)
	}
	for _, row := range p.rows {
		n, err := sh.assignShard(b, p.table, p.columns, row)
		if err != nil {
			return err
		}
		total[n] = true
	}
	return nil
}

// assignShard locates a row that is stored. What every server rejects is sent to the first shard of the key, to be rejected there.
func (sh *shape) assignShard(b *binding, table *Table, columns []keyAssign, row []source) (int, error) {
	var few [maxFastColumns]hash.Value
	values, rejected, err := sh.stored(b, columns, row, few[:0])
	switch {
	case err != nil:
		return 0, err
	case rejected:
		return table.Key.Shards()[0], nil
	}
	return place(table, columns, values)
}

// stored reads the values of a key that is stored, but for those that are drawn. rejected says that every server rejects one of them.
func (sh *shape) stored(b *binding, columns []keyAssign, row []source, values []hash.Value) (_ []hash.Value, rejected bool, err error) {
	for k := range row {
		if row[k].kind == sourceNextID {
			values = append(values, hash.Int(0))
			continue
		}
		v, out := b.value(sh, &row[k])
		if out == readOK {
			var err error
			if v, err = columns[k].typ.Assign(v, columns[k].typmod); err != nil {
				out = readUnsure
				if errors.Is(err, hash.ErrInvalid) {
					out = readNone
				}
			}
		}
		switch {
		case out == readUnsure:
			return nil, false, refuse(RefuseKeyValue, columns[k].name)
		case out == readNone:
			return nil, true, nil
		}
		values = append(values, v)
	}
	return values, false, nil
}

// place locates a row that is stored.
func place(table *Table, columns []keyAssign, values []hash.Value) (int, error) {
	n, ok := table.Key.Locate(values)
	for k := range values {
		if values[k].IsNull() && (!ok || table.Key.Kind == config.BoundHash) {
			return 0, refuse(RefuseKeyNull, columns[k].name)
		}
	}
	if !ok {
		return 0, refuse(RefuseKeyUnmapped, table.Name)
	}
	return n, nil
}
