package shard

import (
	"slices"

	"pgdrover/internal/catalog"

	pg "github.com/pganalyze/pg_query_go/v5"
)

// insertFact is what is found of an INSERT into a sharded table.
type insertFact struct {
	rel  *rel
	rows [][]source // of each row the values of the key's columns; nil for INSERT … SELECT
	// columns of INSERT … SELECT: what the key's columns get.
	terms   []*term
	sources []source
	added   addedValues
	merge   bool // of MERGE
}

// insert visits INSERT.
func (a *analysis) insert(n *pg.InsertStmt, parent *scope, with *ctes) *query {
	a.saw("InsertStmt")
	s, r := a.target2(n.GetRelation(), n.GetWithClause(), parent, with)
	if r == nil {
		return &query{state: s.query}
	}
	columns := a.insertColumns(n, r, s)
	if a.err != nil {
		return &query{state: s.query}
	}
	r.inserted = true
	fact := &insertFact{rel: r}
	sel := n.GetSelectStmt().GetSelectStmt()
	given := len(columns)
	outside := &scope{parent: parent, ctes: s.ctes, query: s.query}
	switch {
	case sel == nil:
		given = 0
		fact.rows = [][]source{nil}
		if r.table != nil && r.table.Kind == Sharded {
			fact.rows[0] = make([]source, len(r.table.Columns))
		}
		fact.added.bare = true
	case len(sel.GetValuesLists()) > 0 && !valuesQuery(sel):
		a.saw("SelectStmt")
		a.valuesInsert = true
		given = a.insertValues(sel, columns, r, fact, outside)
	default:
		s.query.stand(RefuseInsertSelect, r.table.tableName())
		a.insertSelect(sel, columns, r, fact, parent, s.ctes)
	}
	if a.err != nil {
		return &query{state: s.query}
	}
	fact.added.listed = len(n.GetCols()) > 0 || sel == nil
	a.insertDefaults(n.GetOverride(), r, columns, given, fact)
	a.onConflict(n.GetOnConflictClause(), r, s)
	if r.table != nil && r.table.Kind == Sharded {
		a.inserts = append(a.inserts, fact)
	}
	return a.returning(n.GetReturningList(), s)
}

// tableName is the table's name, "" for a catalog.
func (t *Table) tableName() string {
	if t == nil {
		return ""
	}
	return t.Name
}

// valuesQuery says whether VALUES has clauses that make a query of it.
func valuesQuery(n *pg.SelectStmt) bool {
	return len(n.GetSortClause()) > 0 || n.GetLimitCount() != nil || n.GetLimitOffset() != nil || n.GetWithClause() != nil || len(n.GetLockingClause()) > 0
}

// insertColumns returns the columns that the values are for.
func (a *analysis) insertColumns(n *pg.InsertStmt, r *rel, s *scope) []*catalog.Column {
	var columns []*catalog.Column
	if len(n.GetCols()) == 0 {
		for i := range r.relation.Columns {
			columns = append(columns, &r.relation.Columns[i])
		}
		return columns
	}
	for _, c := range n.GetCols() {
		t := c.GetResTarget()
		index := columnIndex(r.relation, t.GetName())
		if index < 0 {
			a.fail(refuse(RefuseColumn, t.GetName()))
			return nil
		}
		if len(t.GetIndirection()) > 0 && keyColumn(r, t.GetName()) >= 0 {
			a.fail(refuse(RefuseKeyComputed, t.GetName()))
		}
		for _, i := range t.GetIndirection() {
			a.expr(i, s)
		}
		columns = append(columns, &r.relation.Columns[index])
	}
	return columns
}

// insertValues visits the rows of VALUES and returns how many of the columns they give.
func (a *analysis) insertValues(sel *pg.SelectStmt, columns []*catalog.Column, r *rel, fact *insertFact, s *scope) int {
	given := -1
	for _, n := range sel.GetValuesLists() {
		list := n.GetList().GetItems()
		if len(list) > len(columns) || given >= 0 && len(list) != given {
			a.fail(refuse(RefuseNode, "a row with more or fewer values than columns"))
			return 0
		}
		given = len(list)
		var row []source
		if r.table != nil && r.table.Kind == Sharded {
			row = make([]source, len(r.table.Columns))
		}
		for i, v := range list {
			a.assigned(v, columns[i], s)
			a.writesColumn(r, columns[i], v)
			if k := keyColumn(r, columns[i].Name); k >= 0 {
				row[k] = a.keyValue(v, i, r, columns[i], s)
			}
		}
		fact.rows = append(fact.rows, row)
	}
	return given
}

// keyValue reads the value that a row gives to a key column at a place.
func (a *analysis) keyValue(v *pg.Node, at int, r *rel, col *catalog.Column, s *scope) source {
	if _, ok := v.GetNode().(*pg.Node_SetToDefault); ok {
		if a.cat.DrawsNextID(col) {
			return source{kind: sourceNextID, index: at}
		}
		return source{}
	}
	if col.Base == oidInt8 && a.callsNextID(v) {
		return source{kind: sourceNextID, index: at}
	}
	term := r.term(columnIndex(r.relation, col.Name))
	x := a.operand(v, s)
	if x.source.kind == sourceNone || term.typ == nil {
		a.fail(refuse(RefuseKeyComputed, col.Name))
		return source{}
	}
	src, ok := a.readAs(x.source, term.typ)
	if !ok {
		a.fail(refuse(RefuseKeyValue, col.Name))
	}
	return src
}

// insertDefaults notes the columns that are not given, and refuses keys among them.
func (a *analysis) insertDefaults(override pg.OverridingKind, r *rel, columns []*catalog.Column, given int, fact *insertFact) {
	named := map[string]bool{}
	for _, c := range columns[:min(given, len(columns))] {
		named[c.Name] = true
	}
	overriding := override == pg.OverridingKind_OVERRIDING_USER_VALUE
	for i := range r.relation.Columns {
		c := &r.relation.Columns[i]
		k := keyColumn(r, c.Name)
		if named[c.Name] {
			if k >= 0 && (overriding && c.Identity != 0 || c.Generated != 0) {
				a.fail(refuse(RefuseKeyDefault, c.Name))
			}
			if overriding && c.Identity != 0 {
				a.defaulted(r, c)
			}
			continue
		}
		a.defaulted(r, c)
		if k < 0 {
			continue
		}
		if a.addDrawn(r, c, k, columns, given, fact) {
			continue
		}
		if c.Default != "" || c.Identity != 0 || c.Generated != 0 {
			a.fail(refuse(RefuseKeyDefault, c.Name))
			continue
		}
		for _, row := range fact.rows {
			if row != nil {
				row[k] = source{kind: sourceNull}
			}
		}
		if fact.sources != nil {
			fact.sources[k] = source{kind: sourceNull}
		}
	}
	// DEFAULT written out, or DEFAULT VALUES.
	if r.table == nil || r.table.Kind != Sharded {
		return
	}
	for _, row := range fact.rows {
		for k := range row {
			if row[k].kind != sourceNone {
				continue
			}
			c := r.relation.Column(r.table.Columns[k])
			if c == nil || c.Default != "" || c.Identity != 0 || c.Generated != 0 {
				a.fail(refuse(RefuseKeyDefault, r.table.Columns[k]))
				continue
			}
			row[k] = source{kind: sourceNull}
		}
	}
}

// insertSelect visits the query of INSERT … SELECT and finds what the key's columns get.
func (a *analysis) insertSelect(sel *pg.SelectStmt, columns []*catalog.Column, r *rel, fact *insertFact, parent *scope, with *ctes) {
	q := a.selectStmt(sel, parent, with)
	if r.table != nil && r.table.Kind == Reference {
		a.referenceSelect(q, columns, r)
		return
	}
	if r.table == nil || r.table.Kind != Sharded {
		return
	}
	fact.terms = make([]*term, len(r.table.Columns))
	fact.sources = make([]source, len(r.table.Columns))
	if !q.known || len(q.columns) > len(columns) {
		a.fail(refuse(RefuseInsertSelect, r.table.Name))
		return
	}
	for i := range q.columns {
		k := keyColumn(r, columns[i].Name)
		if k < 0 {
			continue
		}
		c := &q.columns[i]
		own := r.term(columnIndex(r.relation, columns[i].Name))
		if own.col.Typmod >= 0 {
			a.fail(refuse(RefuseInsertSelect, r.table.Name)) // it may be rounded or cut
			return
		}
		switch {
		case len(c.terms) == 1 && own.typ != nil && c.terms[0].typ != nil && c.terms[0].typ.SameFamily(own.typ):
			fact.terms[k] = c.terms[0]
		case len(sel.GetTargetList()) == len(q.columns) && sel.GetOp() == pg.SetOperation_SETOP_NONE && own.typ != nil:
			x := a.operand(sel.GetTargetList()[i].GetResTarget().GetVal(), &scope{})
			src, ok := a.readAs(x.source, own.typ)
			if x.source.kind == sourceNone || !ok || x.source.kind == sourceParam && a.declared(int32(x.source.index)+1) == 0 && x.source.cast == 0 {
				a.fail(refuse(RefuseInsertSelect, r.table.Name))
				return
			}
			fact.sources[k] = src
		default:
			a.fail(refuse(RefuseInsertSelect, r.table.Name))
			return
		}
	}
	for k := range fact.terms {
		if fact.terms[k] == nil && fact.sources[k].kind == sourceNone && len(q.columns) >= len(columns) {
			a.fail(refuse(RefuseInsertSelect, r.table.Name))
		}
	}
}

// onConflict visits ON CONFLICT. The row that conflicts must be on the shard of the new one, so the constraint must contain the key.
func (a *analysis) onConflict(c *pg.OnConflictClause, r *rel, s *scope) {
	if c == nil {
		return
	}
	infer := c.GetInfer()
	if r.table != nil && r.table.Kind == Sharded && !a.arbiterHasKey(infer, r) {
		a.fail(refuse(RefuseConflict, r.table.Name))
	}
	for _, e := range infer.GetIndexElems() {
		a.expr(e.GetIndexElem().GetExpr(), s)
	}
	a.expr(infer.GetWhereClause(), s)
	if c.GetAction() != pg.OnConflictAction_ONCONFLICT_UPDATE {
		return
	}
	excluded := &item{name: "excluded", byName: true, known: true}
	for i := range r.relation.Columns {
		excluded.columns = append(excluded.columns, column{name: r.relation.Columns[i].Name, oid: r.relation.Columns[i].Base})
	}
	inner := &scope{parent: s.parent, ctes: s.ctes, query: s.query, items: append(append([]*item{}, s.items...), excluded)}
	a.setList(c.GetTargetList(), r, inner, excluded)
	a.expr(c.GetWhereClause(), inner)
}

// arbiterHasKey says whether every constraint that ON CONFLICT may mean contains the key.
func (a *analysis) arbiterHasKey(infer *pg.InferClause, r *rel) bool {
	if len(infer.GetIndexElems()) > 0 {
		var columns []string
		for _, e := range infer.GetIndexElems() {
			columns = append(columns, e.GetIndexElem().GetName())
		}
		return containsAll(columns, r.table.Columns)
	}
	for i := range r.relation.Constraints {
		c := &r.relation.Constraints[i]
		switch c.Kind {
		case 'p', 'u', 'x', 'i':
		default:
			continue
		}
		if infer.GetConname() != "" && infer.GetConname() != c.Name {
			continue
		}
		if !containsAll(c.Columns, r.table.Columns) {
			return false
		}
		for _, k := range r.table.Columns {
			if slices.Contains(c.Loose, k) {
				return false
			}
		}
	}
	return true
}

func containsAll(list, want []string) bool {
	for _, w := range want {
		if !slices.Contains(list, w) {
			return false
		}
	}
	return true
}
