package shard

import (
	"slices"

	"pgdrover/internal/catalog"

	pg "github.com/pganalyze/pg_query_go/v5"
)

// keySet is an UPDATE of a key column to a value.
type keySet struct {
	rel    *rel
	column int    // in the key
	value  source // of kind sourceNone if only a server can tell
	moving string // what makes the value depend on more than the row, "" if nothing does
}

// update visits UPDATE.
func (a *analysis) update(n *pg.UpdateStmt, parent *scope, with *ctes) *query {
	a.saw("UpdateStmt")
	s, r := a.target2(n.GetRelation(), n.GetWithClause(), parent, with)
	if r == nil {
		return &query{state: s.query}
	}
	from := fromResult{targets: relSet{r}}
	if len(n.GetFromClause()) > 0 {
		s.query.stand(RefuseWriteScatter, "FROM")
		from.add(a.fromList(n.GetFromClause(), s))
	}
	a.setList(n.GetTargetList(), r, s, nil)
	a.expr(n.GetWhereClause(), s)
	a.conjunct(n.GetWhereClause(), s, from.targets)
	return a.returning(n.GetReturningList(), s)
}

// delete visits DELETE.
func (a *analysis) delete(n *pg.DeleteStmt, parent *scope, with *ctes) *query {
	a.saw("DeleteStmt")
	s, r := a.target2(n.GetRelation(), n.GetWithClause(), parent, with)
	if r == nil {
		return &query{state: s.query}
	}
	from := fromResult{targets: relSet{r}}
	if len(n.GetUsingClause()) > 0 {
		s.query.stand(RefuseWriteScatter, "USING")
		from.add(a.fromList(n.GetUsingClause(), s))
	}
	a.expr(n.GetWhereClause(), s)
	a.conjunct(n.GetWhereClause(), s, from.targets)
	return a.returning(n.GetReturningList(), s)
}

// target2 opens the scope of a write: its WITH and the table that it writes, which no CTE hides.
func (a *analysis) target2(v *pg.RangeVar, w *pg.WithClause, parent *scope, with *ctes) (*scope, *rel) {
	s := &scope{parent: parent, ctes: with, query: &queryState{}}
	if w != nil {
		s.ctes = a.withClause(w, s)
		s.query.stand(RefuseWith, "")
	}
	a.writes = true
	a.saw("RangeVar")
	r := a.relation(v, true)
	if r == nil {
		return s, nil
	}
	s.items = append(s.items, r.item(v.GetAlias()))
	s.query.linear = relSet{r}
	a.writeGuards(r)
	return s, r
}

// writeGuards notes triggers and checks of a table that is written.
func (a *analysis) writeGuards(r *rel) {
	if r.table == nil {
		return
	}
	for _, t := range r.relation.Triggers {
		if t.Enabled == 'D' {
			continue
		}
		a.differs("trigger " + t.Name)
		if r.table.Kind != Reference && a.local(t.Function) {
			a.needPinned(refuse(RefuseTrigger, t.Name))
		} else if r.table.Kind != Single || !a.local(t.Function) {
			a.fail(refuse(RefuseTrigger, t.Name))
		}
	}
	reaches := r.relation.CheckReaches
	for i := range r.relation.Columns {
		reaches = reaches || r.relation.Columns[i].DomainReaches
	}
	if reaches {
		if a.local(r.relation.Name) {
			a.needPinned(refuse(RefuseCheck, r.relation.Name.Name))
		} else {
			a.fail(refuse(RefuseCheck, r.relation.Name.Name))
		}
	}
	if r.table.Kind == Reference {
		if a.referenceTo != nil {
			a.fail(refuse(RefuseWriteMix, r.table.Name))
		}
		a.referenceTo = r
	}
}

// setList visits SET of an UPDATE or of ON CONFLICT DO UPDATE; excluded is the latter's pseudo table.
func (a *analysis) setList(list []*pg.Node, r *rel, s *scope, excluded *item) {
	for _, n := range list {
		t := n.GetResTarget()
		if t == nil {
			a.fail(refuse(RefuseNode, "an entry of SET"))
			return
		}
		index := columnIndex(r.relation, t.GetName())
		if index < 0 {
			a.fail(refuse(RefuseColumn, t.GetName()))
			return
		}
		col := &r.relation.Columns[index]
		for _, i := range t.GetIndirection() {
			a.expr(i, s)
		}
		val, moving := t.GetVal(), ""
		if m, ok := val.GetNode().(*pg.Node_MultiAssignRef); ok {
			val = m.MultiAssignRef.GetSource()
			if row, ok := val.GetNode().(*pg.Node_RowExpr); ok && int(m.MultiAssignRef.GetColno()) <= len(row.RowExpr.GetArgs()) && m.MultiAssignRef.GetColno() > 0 {
				// The whole row stands in the tree once for each column.
				a.rowValues(row.RowExpr.GetArgs(), s)
				val = row.RowExpr.GetArgs()[m.MultiAssignRef.GetColno()-1]
			} else {
				a.expr(val, s)
				if keyColumn(r, col.Name) >= 0 {
					a.fail(keyComputed(col.Name))
				}
				continue
			}
		} else {
			moving = a.movingOf(func() { a.assigned(val, col, s) })
		}
		a.writesColumn(r, col, val)
		if k := keyColumn(r, col.Name); k >= 0 {
			a.setKey(keySet{rel: r, column: k, moving: moving}, col, val, s, excluded)
		}
	}
}

// movingOf says what makes an expression depend on more than its row.
func (a *analysis) movingOf(visit func()) string {
	had := a.moving
	a.moving = ""
	visit()
	own := a.moving
	if had != "" {
		a.moving = had
	}
	return own
}

// rowValues visits the values of SET (…) = (…).
func (a *analysis) rowValues(values []*pg.Node, s *scope) {
	for _, v := range values {
		if _, ok := v.GetNode().(*pg.Node_SetToDefault); !ok {
			a.expr(v, s)
		}
	}
}

// assigned visits a value for a column: a parameter takes the column's type.
func (a *analysis) assigned(n *pg.Node, col *catalog.Column, s *scope) {
	switch e := n.GetNode().(type) {
	case *pg.Node_ParamRef:
		a.param(e.ParamRef, col.Base)
	case *pg.Node_SetToDefault:
	default:
		a.expr(n, s)
	}
}

// writesColumn notes what a column's default brings.
func (a *analysis) writesColumn(r *rel, col *catalog.Column, val *pg.Node) {
	if _, ok := val.GetNode().(*pg.Node_SetToDefault); ok {
		a.defaulted(r, col)
	}
}

// defaulted notes that a column takes its default.
func (a *analysis) defaulted(r *rel, col *catalog.Column) {
	switch {
	case col.DefaultSequence || col.Identity != 0:
		a.differs("the default of column " + col.Name)
	case col.DefaultReaches:
		if a.local(r.relation.Name) {
			a.needPinned(refuse(RefuseDefault, col.Name))
		} else {
			a.fail(refuse(RefuseDefault, col.Name))
		}
	case col.DefaultVolatile:
		a.differs("the default of column " + col.Name)
	}
}

// keyColumn returns the place of a column in the key of a sharded table, or -1.
func keyColumn(r *rel, name string) int {
	if r.table == nil || r.table.Kind != Sharded {
		return -1
	}
	return slices.Index(r.table.Columns, name)
}

// setKey handles SET key = value, but for the value that set has. One that is the column itself changes nothing.
func (a *analysis) setKey(set keySet, col *catalog.Column, val *pg.Node, s *scope, excluded *item) {
	r := set.rel
	if ref, ok := val.GetNode().(*pg.Node_ColumnRef); ok {
		c, _ := a.resolve(ref.ColumnRef, s)
		if c != nil && len(c.terms) == 1 && c.terms[0].col == col && c.terms[0].rel == r {
			return
		}
		if excluded != nil && c != nil {
			for i := range excluded.columns {
				if &excluded.columns[i] == c && c.name == col.Name {
					return
				}
			}
		}
	}
	x := a.operand(val, s)
	term := r.term(columnIndex(r.relation, col.Name))
	if term.typ == nil || excluded != nil {
		a.fail(keyComputed(col.Name))
		return
	}
	if x.source.kind != sourceNone {
		if src, ok := a.readAs(x.source, term.typ); ok {
			set.value = src
		}
	}
	a.keySets = append(a.keySets, set)
}

// keyComputed refuses an UPDATE of the key to a value that only a server could tell.
func keyComputed(column string) *Error {
	return keyUpdate(column, "Its new value is not a constant or a parameter of the column's type.")
}

// returning visits RETURNING and returns the write as a query.
func (a *analysis) returning(list []*pg.Node, s *scope) *query {
	q := &query{known: true, state: s.query}
	params := a.seen["ParamRef"]
	for _, n := range list {
		a.target(n.GetResTarget(), s, q, nil)
	}
	a.returningParams = a.seen["ParamRef"] > params
	q.noPush()
	if len(list) > 0 {
		a.rows = true
	}
	return q
}
