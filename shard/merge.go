package shard

import (
	"pgdrover/internal/catalog"

	pg "github.com/pganalyze/pg_query_go/v5"
)

// mergeStmt visits MERGE. It runs on one shard, as it is: the table that it writes, the source and every row that it may insert must be there.
func (a *analysis) mergeStmt(n *pg.MergeStmt) *query {
	a.saw("MergeStmt")
	s, r := a.target2(n.GetRelation(), n.GetWithClause(), nil, nil)
	if r == nil {
		return &query{state: s.query}
	}
	s.query.stand(RefuseMerge, "")
	a.needOne(refuse(RefuseMerge, ""))
	if r.table != nil && r.table.Kind == Reference {
		a.fail(refuse(RefuseMerge, ""))
		return &query{state: s.query}
	}
	source := &scope{ctes: s.ctes, query: s.query}
	from := a.fromItem(n.GetSourceRelation(), source)
	both := &scope{ctes: s.ctes, query: s.query, items: append(append([]*item{}, s.items...), source.items...)}
	a.expr(n.GetJoinCondition(), both)
	// Rows of the source that match nothing matter too, if there is something to do for them.
	targets := relSet{r}
	inserts := false
	for _, c := range n.GetMergeWhenClauses() {
		inserts = inserts || !c.GetMergeWhenClause().GetMatched()
	}
	if !inserts {
		targets = append(targets, from.targets...)
	}
	a.conjunct(n.GetJoinCondition(), both, targets)
	for _, c := range n.GetMergeWhenClauses() {
		w := c.GetMergeWhenClause()
		if w == nil {
			a.fail(refuse(RefuseNode, "a clause of MERGE"))
			break
		}
		a.saw("MergeWhenClause")
		sees := source
		if w.GetMatched() {
			sees = both
		}
		a.expr(w.GetCondition(), sees)
		switch w.GetCommandType() {
		case pg.CmdType_CMD_UPDATE:
			before := len(a.keySets)
			a.setList(w.GetTargetList(), r, sees, nil)
			if len(a.keySets) > before {
				a.fail(refuse(RefuseKeyUpdate, r.table.Columns[a.keySets[before].column]))
			}
		case pg.CmdType_CMD_INSERT:
			a.mergeInsert(w, r, sees)
		}
	}
	return a.returning(nil, s)
}

// mergeInsert visits INSERT of a MERGE: one row for each row of the source that matches nothing.
func (a *analysis) mergeInsert(w *pg.MergeWhenClause, r *rel, s *scope) {
	var columns []*catalog.Column
	for _, c := range w.GetTargetList() {
		t := c.GetResTarget()
		index := columnIndex(r.relation, t.GetName())
		if index < 0 || len(t.GetIndirection()) > 0 {
			a.fail(refuse(RefuseColumn, t.GetName()))
			return
		}
		columns = append(columns, &r.relation.Columns[index])
	}
	if len(w.GetTargetList()) == 0 {
		for i := range r.relation.Columns {
			columns = append(columns, &r.relation.Columns[i])
		}
	}
	if len(w.GetValues()) > len(columns) {
		a.fail(refuse(RefuseNode, "a row with more values than columns"))
		return
	}
	fact := &insertFact{rel: r, merge: true}
	if r.table != nil && r.table.Kind == Sharded {
		fact.terms, fact.sources = make([]*term, len(r.table.Columns)), make([]source, len(r.table.Columns))
		a.inserts = append(a.inserts, fact)
	}
	for i, v := range w.GetValues() {
		a.assigned(v, columns[i], s)
		a.writesColumn(r, columns[i], v)
		if k := keyColumn(r, columns[i].Name); k >= 0 {
			a.mergeKey(fact, k, v, r, columns[i], s)
		}
	}
	a.insertDefaults(w.GetOverride(), r, columns, len(w.GetValues()), fact)
}

// mergeKey finds what a row that MERGE inserts has in a column of the key: a constant, or a column of the source.
func (a *analysis) mergeKey(fact *insertFact, k int, v *pg.Node, r *rel, col *catalog.Column, s *scope) {
	own := r.term(columnIndex(r.relation, col.Name))
	x := a.operand(v, s)
	_, standard := v.GetNode().(*pg.Node_SetToDefault)
	switch {
	case standard && (col.Default != "" || col.Identity != 0 || col.Generated != 0):
		a.fail(refuse(RefuseKeyDefault, col.Name))
	case standard:
		fact.sources[k] = source{kind: sourceNull}
	case own.typ == nil || own.col.Typmod >= 0: // it may be rounded or cut
		a.fail(refuse(RefuseKeyValue, col.Name))
	case x.column != nil:
		if x.as != nil || len(x.column.terms) != 1 || x.column.terms[0].typ == nil || !x.column.terms[0].typ.SameFamily(own.typ) {
			a.fail(refuse(RefuseKeyComputed, col.Name))
			return
		}
		fact.terms[k] = x.column.terms[0]
	case x.source.kind == sourceNone:
		a.fail(refuse(RefuseKeyComputed, col.Name))
	default:
		src, ok := a.readAs(x.source, own.typ)
		if !ok {
			a.fail(refuse(RefuseKeyValue, col.Name))
		}
		fact.sources[k] = src
	}
}
