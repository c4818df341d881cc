package shard

import (
	"slices"
	"strings"

	"pgdrover/internal/catalog"
	"pgdrover/internal/sqlparse"

	pg "github.com/pganalyze/pg_query_go/v5"
)

// An UPDATE that gives rows a new key takes them to its shard: rows that are there already are updated in place by the statement as it
// is, every other shard deletes those that match and returns what UPDATE would have made of them, and these are inserted. DELETE waits for
// locks and looks again at rows that have changed meanwhile, as UPDATE does. What UPDATE does and DELETE with INSERT does not (triggers, the
// actions of foreign keys) is refused.

// movePlan is what an execution needs to know of an UPDATE that may move rows.
type movePlan struct {
	table   *Table
	items   []moveItem // of SET, in the order of the text
	columns []moveColumn
	insert  string // INSERT of one row, without RETURNING
}

// moveItem is one assignment of SET.
type moveItem struct {
	column string
	cast   string // type of a value that has none of its own
}

// moveColumn is a column of the new row.
type moveColumn struct {
	item int    // in SET; -1: it stays as it is
	old  string // the column as an expression
	MoveColumn
}

// movesOf finds out whether the rows of an UPDATE that changes the key can be moved. q is its outcome.
func (a *analysis) movesOf(n *pg.UpdateStmt, r *rel) (*movePlan, *Error) {
	deny := func(why string) (*movePlan, *Error) {
		column := r.table.Columns[0]
		for _, s := range a.keySets {
			column = r.table.Columns[s.column]
		}
		e := refuse(RefuseKeyUpdate, column)
		e.Detail = why
		return nil, e
	}
	switch {
	case n.GetWithClause() != nil || len(n.GetFromClause()) > 0 || len(a.rels) > 1 || a.seen["SelectStmt"] > 0:
		return deny("Only an UPDATE without WITH, FROM and subqueries can move rows.")
	case !n.GetRelation().GetInh():
		return deny("UPDATE ONLY cannot move rows.")
	case a.returningParams:
		return deny("RETURNING has a parameter.")
	}
	if why := a.moveHazard(r.relation, r.table); why != "" {
		return deny(why)
	}
	p := &movePlan{table: r.table}
	set := map[string]int{}
	for _, node := range n.GetTargetList() {
		t := node.GetResTarget()
		item, why := a.moveItem(t, r)
		if why != "" {
			return deny(why)
		}
		set[t.GetName()] = len(p.items)
		p.items = append(p.items, item)
	}
	alias := n.GetRelation().GetAlias().GetAliasname()
	p.insert = "INSERT INTO " + sqlparse.QuoteIdent(r.relation.Schema) + "." + sqlparse.QuoteIdent(r.relation.Name.Name)
	name := sqlparse.QuoteIdent(r.relation.Name.Name)
	if alias != "" {
		name = sqlparse.QuoteIdent(alias)
		p.insert += " AS " + name
	}
	var columns, values []string
	for i := range r.relation.Columns {
		c := &r.relation.Columns[i]
		if c.Generated != 0 {
			continue
		}
		m, ok := a.transfer(c)
		if !ok {
			return deny("Column " + c.Name + " is of a type whose values cannot be taken to another server as they are.")
		}
		m.item, m.old = -1, name+"."+sqlparse.QuoteIdent(c.Name)
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
	if m, ok := cutUpdate(a.source, !a.env.StringsPlain); !ok || !p.fits(&m) {
		return deny("The router cannot take this form of SET apart.")
	}
	return p, nil
}

// moveHazard names what UPDATE of a table would do otherwise than DELETE and INSERT.
func (a *analysis) moveHazard(r *catalog.Relation, table *Table) string {
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
		}
	}
	return ""
}

// moveItem reads an assignment of SET.
func (a *analysis) moveItem(t *pg.ResTarget, r *rel) (item moveItem, why string) {
	item.column = t.GetName()
	if len(t.GetIndirection()) > 0 {
		return item, "SET has a part of column " + t.GetName() + "."
	}
	untyped := false
	switch v := t.GetVal().GetNode().(type) {
	case *pg.Node_MultiAssignRef:
		return item, "SET has a list of columns."
	case *pg.Node_SetToDefault:
		return item, "SET has a DEFAULT."
	case *pg.Node_AConst:
		_, text := v.AConst.GetVal().(*pg.A_Const_Sval)
		untyped = text || v.AConst.GetIsnull()
	case *pg.Node_ParamRef:
		number := v.ParamRef.GetNumber()
		if a.declared(number) != 0 {
			break
		}
		if u := a.paramUses[number]; u == nil || u.mixed {
			return item, "The type of parameter $" + itoa(int(number)) + " is not clear."
		}
		untyped = true
	}
	if !untyped {
		return item, ""
	}
	col := r.relation.Column(t.GetName())
	typ := a.cat.Types[col.Type]
	if typ == nil {
		return item, "The type of column " + col.Name + " is not known."
	}
	item.cast = sqlparse.QuoteIdent(typ.Schema) + "." + sqlparse.QuoteIdent(typ.Name.Name)
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
		for k := range p.values {
			if p.values[k].kind == sourceNone {
				return Plan{}, refuse(RefuseKeyUpdate, p.column)
			}
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
		e := refuse(RefuseKeyUpdate, sh.keySets[0].column)
		e.Detail = "EXPLAIN cannot show how."
		return Plan{}, e
	case sh.pinned != nil:
		return Plan{}, sh.pinned
	case sh.one != nil:
		return Plan{}, sh.one
	}
	text := b.text
	if b.stmt != nil {
		text = text[b.stmt.First:b.stmt.Last]
	}
	m, ok := cutUpdate(text, b.backslashes)
	if !ok || !sh.move.fits(&m) {
		return Plan{}, refuse(RefuseKeyUpdate, sh.keySets[0].column)
	}
	plan.Kind, plan.Tier = MoveRow, 2
	plan.Move = &Move{Table: sh.move.table, Insert: []byte(sh.move.insert + m.returning)}
	for i := range sh.move.columns {
		plan.Move.Columns = append(plan.Move.Columns, sh.move.columns[i].MoveColumn)
	}
	plan.Parts = []Part{{Shard: to}}
	remove := sh.move.remove(&m)
	for n, in := range from {
		if in && n != to {
			plan.Parts = append(plan.Parts, Part{Shard: n, Text: remove})
		}
	}
	return plan, nil
}

// remove is the DELETE that returns the new rows.
func (p *movePlan) remove(m *updateText) []byte {
	var b strings.Builder
	b.WriteString("DELETE FROM " + m.target + m.where + " RETURNING ")
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
	return []byte(b.String())
}
