package shard

import (
	pg "github.com/pganalyze/pg_query_go/v5"
)

// cte is one query of a WITH clause. It is visited when it is first named, or at the end of the clause's list if it is a write.
type cte struct {
	name  string
	node  *pg.CommonTableExpr
	from  *ctes
	index int
	query *query
	busy  bool
}

// withClause visits the queries of a WITH clause and returns what the statement sees.
func (a *analysis) withClause(w *pg.WithClause, s *scope) *ctes {
	c := &ctes{parent: s.ctes, scope: s.parent, recursive: w.GetRecursive()}
	for i, n := range w.GetCtes() {
		e := n.GetCommonTableExpr()
		if e == nil {
			a.fail(refuse(RefuseNode, "an entry of WITH"))
			return c
		}
		a.saw("CommonTableExpr")
		c.list = append(c.list, &cte{name: e.GetCtename(), node: e, from: c, index: i})
	}
	c.visible = len(c.list)
	if !c.recursive {
		c.visible = 0
	}
	for _, e := range c.list {
		a.visitCTE(e)
		if !c.recursive {
			c.visible++
		}
	}
	c.visible = len(c.list)
	return c
}

// visitCTE visits the query of a CTE once.
func (a *analysis) visitCTE(e *cte) {
	if e.query != nil || e.busy {
		return
	}
	e.busy = true
	defer func() { e.busy = false }()
	n := e.node
	if c := n.GetCycleClause(); c != nil {
		a.exprs([]*pg.Node{c.GetCycleMarkValue(), c.GetCycleMarkDefault()}, &scope{})
	}
	parent := e.from.scope
	switch q := n.GetCtequery().GetNode().(type) {
	case *pg.Node_SelectStmt:
		e.query = a.selectStmt(q.SelectStmt, parent, e.from)
	case *pg.Node_InsertStmt:
		e.query = a.insert(q.InsertStmt, parent, e.from)
	case *pg.Node_UpdateStmt:
		e.query = a.update(q.UpdateStmt, parent, e.from)
	case *pg.Node_DeleteStmt:
		e.query = a.delete(q.DeleteStmt, parent, e.from)
	default:
		a.fail(refuse(RefuseNode, "a query in WITH"))
		e.query = &query{state: &queryState{}}
	}
}

// findCTE finds the CTE that an unqualified name means; the innermost WITH that has it hides those outside, and tables.
func (a *analysis) findCTE(name string, c *ctes) *cte {
	for ; c != nil && !mutated(mutateHiddenName); c = c.parent {
		for i := c.visible - 1; i >= 0; i-- {
			if c.list[i].name == name {
				return c.list[i]
			}
		}
	}
	return nil
}

// cteItem makes an entry of FROM of a CTE. Other mentions may need other rows of it, so no condition is moved into it; what is
// proved of its columns holds wherever it is named.
func (a *analysis) cteItem(e *cte, v *pg.RangeVar) fromResult {
	it := &item{name: aliasName(v.GetAlias(), e.name), byName: true, bare: true}
	a.visitCTE(e)
	if e.query == nil { // a recursive mention of itself
		it.rename(v.GetAlias())
		return fromResult{items: []*item{it}}
	}
	it.columns = append([]column{}, e.query.columns...)
	for i := range it.columns {
		it.columns[i].push = false
		if e.from.recursive {
			it.columns[i].terms = nil
		}
	}
	it.known = e.query.known && !e.from.recursive
	it.rename(&pg.Alias{Colnames: e.node.GetAliascolnames()})
	if v.GetAlias() != nil {
		it.rename(v.GetAlias())
	}
	if e.node.GetSearchClause() != nil || e.node.GetCycleClause() != nil {
		it.known = false
	}
	return fromResult{items: []*item{it}}
}
