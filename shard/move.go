package shard

import (
	"slices"
	"strings"

	"pgdrover/internal/catalog"
	"pgdrover/internal/sqlparse"

	pg "github.com/pganalyze/pg_query_go/v5"
)

// An UPDATE that gives rows a new key takes them to its shard. If that is the same for all: rows that are there already are updated in place by
// the statement as it is, every other shard deletes those that match and returns what UPDATE would have made of them, and these are
// inserted. DELETE waits for locks and looks again at rows that have changed meanwhile, as UPDATE does. A key that differs from row to row is computed
// by the shards: see MoveRows. What UPDATE does and DELETE with INSERT does not (triggers, the actions of foreign keys) is refused.

// movePlan is what an execution needs to know of an UPDATE that may move rows.
type movePlan struct {
	table   *Table
	items   []moveItem // of SET, in the order of the text
	columns []moveColumn
	insert  string // INSERT of one row, without RETURNING
	name    string // what its columns are called by
	keys    []moveKey
}

// moveKey is a column of the key as the shards compute it.
type moveKey struct {
	item int // in SET; -1: it stays as it is
	old  string
	cast string // its type, without a modifier
}

// moveItem is one assignment of SET.
type moveItem struct {
	column    string
	cast      string // type of a value that has none of its own
	byDefault bool   // DEFAULT, which it gets where it comes to
}

// moveColumn is a column of the new row.
type moveColumn struct {
	item int    // in SET; -1: it stays as it is
	old  string // the column as an expression
	MoveColumn
}

// movesOf finds out whether the rows of an UPDATE that changes the key can be moved. computed says that the shards compute it.
func (a *analysis) movesOf(n *pg.UpdateStmt, r *rel, computed bool) (*movePlan, *Error) {
	column, moving := r.table.Columns[0], ""
	for _, s := range a.keySets {
		column = r.table.Columns[s.column]
		if s.value.kind == sourceNone && moving == "" {
			moving = s.moving
		}
	}
	deny := func(why string) (*movePlan, *Error) { return nil, keyUpdate(column, why) }
	switch {
	case n.GetWithClause() != nil || len(n.GetFromClause()) > 0 || len(a.rels) > 1 || a.seen["SelectStmt"] > 0:
		return deny("Only an UPDATE without WITH, FROM and subqueries can move rows.")
	case !n.GetRelation().GetInh():
		return deny("UPDATE ONLY cannot move rows.")
	case a.returningParams:
		return deny("RETURNING has a parameter.")
	case moving != "":
		return deny("Its new value depends on more than the row: " + moving + ".")
	}
	if why := a.moveHazard(r.relation, r.table, computed); why != "" {
		return deny(why)
	}
	p := &movePlan{table: r.table}
	set := map[string]int{}
	for _, node := range n.GetTargetList() {
		t := node.GetResTarget()
		item, why := a.moveItem(t, r, computed)
		if why != "" {
			return deny(why)
		}
		set[t.GetName()] = len(p.items)
		p.items = append(p.items, item)
	}
	alias := n.GetRelation().GetAlias().GetAliasname()
	p.insert = "INSERT INTO " + sqlparse.QuoteIdent(r.relation.Schema) + "." + sqlparse.QuoteIdent(r.relation.Name.Name)
	p.name = sqlparse.QuoteIdent(r.relation.Name.Name)
	if alias != "" {
		p.name = sqlparse.QuoteIdent(alias)
		p.insert += " AS " + p.name
	}
	var columns, values []string
	for i := range r.relation.Columns {
		c := &r.relation.Columns[i]
		if c.Generated != 0 {
			continue
		}
		if at, ok := set[c.Name]; ok && p.items[at].byDefault {
			columns, values = append(columns, sqlparse.QuoteIdent(c.Name)), append(values, "DEFAULT")
			continue
		}
		m, ok := a.transfer(c)
		if !ok {
			return deny("Column " + c.Name + " is of a type whose values cannot be taken to another server as they are.")
		}
		m.item, m.old = -1, p.name+"."+sqlparse.QuoteIdent(c.Name)
		if at, ok := set[c.Name]; ok {
			m.item = at
			if !m.Typed && p.items[at].cast == "" {
				return deny("Column " + c.Name + " is of a user-defined type and gets a computed value.")
			}
		}
		p.columns = append(p.columns, m)
		columns = append(columns, sqlparse.QuoteIdent(c.Name))
		values = append(values, "$"+itoa(len(p.columns)))
	}
	p.insert += " (" + strings.Join(columns, ", ") + ") OVERRIDING SYSTEM VALUE VALUES (" + strings.Join(values, ", ") + ")"
	for _, column := range r.table.Columns {
		col := r.relation.Column(column)
		k := moveKey{item: -1, old: p.name + "." + sqlparse.QuoteIdent(column), cast: a.typeText(col.Base)}
		if at, ok := set[column]; ok {
			k.item = at
		}
		if k.cast == "" {
			return deny("The type of column " + column + " is not known.")
		}
		p.keys = append(p.keys, k)
	}
	if m, ok := cutUpdate(a.source, !a.env.StringsPlain); !ok || !p.fits(&m) {
		return deny("The router cannot take this form of SET apart.")
	}
	return p, nil
}

// keyUpdate refuses an UPDATE of the key.
func keyUpdate(column, why string) *Error {
	e := refuse(RefuseKeyUpdate, column)
	e.Detail = why
	return e
}

// typeText is a type as SQL names it, "" if it is not known.
func (a *analysis) typeText(oid uint32) string {
	t := a.cat.Types[oid]
	if t == nil {
		return ""
	}
	return sqlparse.QuoteIdent(t.Schema) + "." + sqlparse.QuoteIdent(t.Name.Name)
}

// moveHazard names what UPDATE of a table would do otherwise than DELETE and INSERT.
func (a *analysis) moveHazard(r *catalog.Relation, table *Table, computed bool) string {
	switch {
	case slices.ContainsFunc(r.Triggers, func(t catalog.Trigger) bool { return t.Enabled != 'D' }):
		return "The table has triggers, which would see a DELETE and an INSERT."
	case r.RowSecurity:
		return "The table has row security, whose policies for UPDATE are not those for DELETE and INSERT."
	case r.Kind == 'r' && len(r.Children) > 0:
		return "The table has children."
	}
	for _, other := range a.cat.Relations {
		for i := range other.Constraints {
			c := &other.Constraints[i]
			if c.Kind != 'f' || c.Foreign != r.Name {
				continue
			}
			plain := (c.OnDelete == 'a' || c.OnDelete == 'r') && (c.OnUpdate == 'a' || c.OnUpdate == 'r') && !c.Deferrable
			if !plain || !containsAll(c.ForeignColumns, table.Columns) {
				return "Foreign key " + c.Name + " of table " + other.Name.Name + " refers to the rows, and does not act alike on UPDATE and DELETE."
			}
			if computed && other == r {
				return "Foreign key " + c.Name + " refers to rows of the same table, which would have to move together."
			}
		}
	}
	return ""
}

// moveItem reads an assignment of SET.
func (a *analysis) moveItem(t *pg.ResTarget, r *rel, computed bool) (item moveItem, why string) {
	item.column = t.GetName()
	if len(t.GetIndirection()) > 0 {
		return item, "SET has a part of column " + t.GetName() + "."
	}
	untyped := false
	switch v := t.GetVal().GetNode().(type) {
	case *pg.Node_MultiAssignRef:
		return item, "SET has a list of columns."
	case *pg.Node_SetToDefault:
		if item.byDefault = true; keyColumn(r, item.column) >= 0 || r.relation.Column(item.column).DefaultReaches {
			return item, "SET has the DEFAULT of column " + item.column + "."
		}
		return item, ""
	case *pg.Node_AConst:
		_, text := v.AConst.GetVal().(*pg.A_Const_Sval)
		untyped = text || v.AConst.GetIsnull()
	case *pg.Node_ParamRef:
		number := v.ParamRef.GetNumber()
		if a.declared(number) != 0 {
			break
		}
		if u := a.paramUses[number]; !computed && (u == nil || u.mixed) { // otherwise the shards are asked for its type
			return item, "The type of parameter $" + itoa(int(number)) + " is not clear."
		}
		untyped = true
	}
	if !untyped {
		return item, ""
	}
	col := r.relation.Column(t.GetName())
	if item.cast = a.typeText(col.Type); item.cast == "" {
		return item, "The type of column " + col.Name + " is not known."
	}
	return item, ""
}

// transfer says how the values of a column travel: in binary form and with their type if that is PostgreSQL's own, in text form and with the
// column's type if they are labels or strings of a type whose number differs from server to server.
func (a *analysis) transfer(c *catalog.Column) (moveColumn, bool) {
	t := a.cat.Types[c.Base]
	if t == nil {
		return moveColumn{}, false
	}
	element := t
	if t.Category == 'A' && t.Element != 0 {
		if element = a.cat.Types[t.Element]; element == nil {
			return moveColumn{}, false
		}
	}
	if t.Schema == pgCatalog && element.Schema == pgCatalog && t.Kind != 'c' && element.Kind != 'c' && t.Kind != 'p' {
		named := strings.HasPrefix(element.Name.Name, "reg") // a number there, a name in text form
		return moveColumn{MoveColumn: MoveColumn{Binary: !named, Typed: true}}, true
	}
	return moveColumn{}, element.Kind == 'e' || element.Kind == 'b' && element.Category == 'S'
}

// fits says whether the text that was cut is that of the plan.
func (p *movePlan) fits(m *updateText) bool {
	return slices.EqualFunc(p.items, m.items, func(i moveItem, t setText) bool { return i.column == t.column })
}

// bindKeySets makes the plan of an UPDATE of the key whose rows are on the shards of from.
func (sh *shape) bindKeySets(b *binding, plan Plan, from shardSet) (Plan, error) {
	count, first := from.count()
	to := -1
	for i := range sh.keySets {
		p := &sh.keySets[i]
		if p.computed() {
			return sh.bindComputed(b, plan, from)
		}
		n, err := sh.assignShard(b, p.table, p.assign, p.values)
		if err != nil {
			return Plan{}, err
		}
		if to >= 0 && n != to {
			return Plan{}, refuse(RefuseKeyUpdate, p.column)
		}
		to = n
	}
	if count == 1 && to == first {
		plan.Kind, plan.Shard = Forward, first
		return plan, nil
	}
	switch {
	case sh.move == nil:
		return Plan{}, sh.unmoved
	case sh.explain:
		return Plan{}, keyUpdate(sh.keySets[0].column, "EXPLAIN cannot show how.")
	case sh.pinned != nil:
		return Plan{}, sh.pinned
	case sh.one != nil:
		return Plan{}, sh.one
	}
	m, ok := sh.cutMove(b)
	if !ok {
		return Plan{}, refuse(RefuseKeyUpdate, sh.keySets[0].column)
	}
	plan.Kind, plan.Tier, plan.Move = MoveRow, 2, sh.move.moved(&m)
	plan.Parts = []Part{{Shard: to}}
	remove := sh.move.remove(&m)
	for n, in := range from {
		if in && n != to {
			plan.Parts = append(plan.Parts, Part{Shard: n, Text: remove})
		}
	}
	return plan, nil
}

// cutMove takes the text of the execution apart.
func (sh *shape) cutMove(b *binding) (m updateText, ok bool) {
	text := b.text
	if b.stmt != nil {
		text = text[b.stmt.First:b.stmt.Last]
	}
	m, ok = cutUpdate(text, b.backslashes)
	return m, ok && sh.move.fits(&m)
}

// moved says how rows are stored elsewhere.
func (p *movePlan) moved(m *updateText) *Move {
	move := &Move{Table: p.table, Insert: []byte(p.insert + m.returning)}
	for i := range p.columns {
		move.Columns = append(move.Columns, p.columns[i].MoveColumn)
	}
	return move
}

// remove is the DELETE that returns the new rows.
func (p *movePlan) remove(m *updateText) []byte {
	return []byte("DELETE FROM " + m.target + m.where + " RETURNING " + p.newRow(m))
}

// newRow are the values of the new row, as expressions on the old one.
func (p *movePlan) newRow(m *updateText) string {
	var b strings.Builder
	for i := range p.columns {
		c := &p.columns[i]
		if i > 0 {
			b.WriteString(", ")
		}
		switch {
		case c.item < 0:
			b.WriteString(c.old)
		case p.items[c.item].cast != "":
			b.WriteString("(" + m.items[c.item].value + ")::" + p.items[c.item].cast)
		default:
			b.WriteString("(" + m.items[c.item].value + ")")
		}
	}
	return b.String()
}
