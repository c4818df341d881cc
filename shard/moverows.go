package shard

import (
	"errors"
	"slices"
	"strings"

	"pgdrover/internal/sqlparse"
	"pgdrover/shard/hash"
)

// MoveRows is how the rows of an UPDATE find their shards when each gets a key of its own. Each of Plan.Parts locks the rows that match and
// returns for each its table and its place there in text form, and its new key in binary form. Those that stay are then changed by Update. Of those
// that go, Values returns what is to be stored, Move.Insert stores it, and Remove deletes them, when all rows of all shards are stored: a row that takes
// the unique key of one that is still to go is an error then, and never in luck. One PostgreSQL raises that error too, or does not, as the rows
// happen to lie; for rows that change places it always does.
type MoveRows struct {
	target, name, set, values, returning string

	sh     *shape
	table  *Table
	assign []keyAssign
}

// Keys is the number of columns that the key has.
func (m *MoveRows) Keys() int { return len(m.assign) }

// Locate returns the shard of a row by its new key, in binary form; nil is NULL. It is -1 for a row that no server accepts: then Update says what is
// wrong with it. The errors are those of an INSERT of the row.
func (m *MoveRows) Locate(key [][]byte) (int, error) {
	var few [maxFastColumns]hash.Value
	values := few[:0]
	for k, raw := range key {
		a := &m.assign[k]
		v, out := hash.Null(), readOK
		if raw != nil {
			v, out = parse(m.sh, a.typ, raw, true)
		}
		if out == readOK {
			var err error
			if v, err = a.typ.Assign(v, a.typmod); errors.Is(err, hash.ErrInvalid) {
				return -1, nil
			} else if err != nil {
				out = readUnsure
			}
		}
		if out != readOK {
			return 0, refuse(RefuseKeyValue, a.name)
		}
		values = append(values, v)
	}
	return place(m.table, m.assign, values)
}

// Update is the UPDATE of rows that stay on their shard. Its parameters are those of the statement.
func (m *MoveRows) Update(p *Places) []byte {
	return []byte("UPDATE " + m.target + " SET " + m.set + p.where(m.name) + m.returning)
}

// Values is the query of what rows become that go to another shard, a column for each of Move.Columns. Its parameters are those of the statement.
func (m *MoveRows) Values(p *Places) []byte {
	return []byte("SELECT " + m.values + " FROM " + m.target + p.where(m.name))
}

// Remove is the DELETE of rows that have gone. It has no parameters.
func (m *MoveRows) Remove(p *Places) []byte {
	return []byte("DELETE FROM " + m.target + p.where(m.name))
}

// Places are rows of one shard by where they lie. That is theirs as long as they are locked.
type Places struct {
	Count  int64
	tables []string // OIDs
	lists  [][]byte // of their rows, as an array has them
}

// Add adds a row by tableoid and ctid, in text form.
func (p *Places) Add(table, place []byte) {
	i := slices.Index(p.tables, string(table))
	if i < 0 {
		i = len(p.tables)
		p.tables, p.lists = append(p.tables, string(table)), append(p.lists, nil)
	} else {
		p.lists[i] = append(p.lists[i], ',')
	}
	p.lists[i] = append(append(append(p.lists[i], '"'), place...), '"')
	p.Count++
}

// where is the condition for the rows of a table that is called name.
func (p *Places) where(name string) string {
	var b strings.Builder
	for i := range p.tables {
		b.WriteString([...]string{" WHERE ", " OR "}[min(i, 1)])
		b.WriteString(name + ".tableoid OPERATOR(pg_catalog.=) " + p.tables[i] + " AND " + name + ".ctid OPERATOR(pg_catalog.=) ANY ('{" + string(p.lists[i]) + "}'::pg_catalog.tid[])")
	}
	if len(p.tables) == 0 {
		return " WHERE false"
	}
	return b.String()
}

// computed says whether the new key is another one for each row, or one that only a server can tell.
func (p *keySetPlan) computed() bool {
	return slices.ContainsFunc(p.values, func(s source) bool { return s.kind == sourceNone })
}

// bindComputed makes the plan of an UPDATE whose rows are on the shards of from and get keys that those compute.
func (sh *shape) bindComputed(b *binding, plan Plan, from shardSet) (Plan, error) {
	set := &sh.keySets[0]
	switch {
	case sh.move == nil:
		return Plan{}, sh.unmoved
	case sh.explain:
		return Plan{}, keyUpdate(set.column, "EXPLAIN cannot show how.")
	case sh.one != nil:
		return Plan{}, sh.one
	case sh.plan.Rows && sh.pinned != nil:
		return Plan{}, sh.pinned
	case sh.plan.Rows && (len(sh.singles) > 0 || sh.catalogs):
		return Plan{}, keyUpdate(set.column, "The statement has RETURNING and asks one shard for locks or catalogs.")
	}
	m, ok := sh.cutMove(b)
	if !ok {
		return Plan{}, refuse(RefuseKeyUpdate, set.column)
	}
	p := sh.move
	plan.Kind, plan.Tier, plan.Move = MoveRow, 2, p.moved(&m)
	items := make([]string, len(m.items))
	for i := range m.items {
		items[i] = sqlparse.QuoteIdent(m.items[i].column) + " = " + m.items[i].value
	}
	plan.Move.Rows = &MoveRows{
		target: m.target, name: p.name, set: strings.Join(items, ", "), values: p.newRow(&m), returning: m.returning,
		sh: sh, table: p.table, assign: set.assign,
	}
	lock := p.lock(&m)
	for n, in := range from {
		if in {
			plan.Parts = append(plan.Parts, Part{Shard: n, Text: lock})
		}
	}
	return plan, nil
}

// lock is the query that locks the rows and computes their keys.
func (p *movePlan) lock(m *updateText) []byte {
	var b strings.Builder
	b.WriteString("SELECT " + p.name + ".tableoid, " + p.name + ".ctid")
	for i := range p.keys {
		k := &p.keys[i]
		if k.item < 0 {
			b.WriteString(", " + k.old)
		} else {
			b.WriteString(", (" + m.items[k.item].value + ")::" + k.cast)
		}
	}
	b.WriteString(" FROM " + m.target + m.where + " FOR UPDATE")
	return []byte(b.String())
}

// shown are Update, Values and Remove as ROUTE shows them.
func (m *MoveRows) shown() []string {
	const where = " WHERE …"
	return []string{"UPDATE " + m.target + " SET " + m.set + where + m.returning, "SELECT " + m.values + " FROM " + m.target + where, "DELETE FROM " + m.target + where}
}
