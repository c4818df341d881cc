package shard

import (
	pg "github.com/pganalyze/pg_query_go/v5"
)

// queryState is what is found of one SELECT while it is visited.
type queryState struct {
	// stands is the first thing for which the query cannot be taken apart by the rows of a table, "" if there is none.
	stands, standsArg string
	grouped           bool // GROUP BY, HAVING or an aggregate
	limited           bool // LIMIT or OFFSET
	windows           bool
	// linear are the rels of which every row of the result has exactly one row.
	linear relSet
}

func (q *queryState) stand(name, arg string) {
	if q != nil && q.stands == "" {
		q.stands, q.standsArg = name, arg
	}
}

// query is the outcome of visiting a SELECT, or an INSERT, UPDATE or DELETE with RETURNING.
type query struct {
	columns []column
	known   bool
	targets relSet // the rels that a condition from outside may reach through columns that can be pushed
	state   *queryState
}

// sublink visits a subquery in an expression, once.
func (a *analysis) sublink(n *pg.Node, s *scope) *query {
	sel, ok := n.GetNode().(*pg.Node_SelectStmt)
	if !ok {
		a.fail(refuse(RefuseNode, "a subquery"))
		return &query{state: &queryState{}}
	}
	if q, ok := a.sublinks[sel.SelectStmt]; ok {
		return q
	}
	q := a.selectStmt(sel.SelectStmt, s, s.ctes)
	a.sublinks[sel.SelectStmt] = q
	return q
}

// selectStmt visits a SELECT, VALUES or set operation. parent is the scope that it sees outside of itself.
func (a *analysis) selectStmt(n *pg.SelectStmt, parent *scope, with *ctes) *query {
	a.saw("SelectStmt")
	state := &queryState{}
	s := &scope{parent: parent, ctes: with, query: state}
	if n.GetWithClause() != nil {
		s.ctes = a.withClause(n.GetWithClause(), s)
		state.stand(RefuseWith, "")
	}
	if n.GetIntoClause() != nil {
		a.fail(refuse(RefuseInto, ""))
	}
	var q *query
	switch {
	case n.GetOp() != pg.SetOperation_SETOP_NONE:
		q = a.setOperation(n, s)
	case len(n.GetValuesLists()) > 0:
		q = a.values(n, s)
	default:
		q = a.plainSelect(n, s)
	}
	barrier := n.GetLimitCount() != nil || n.GetLimitOffset() != nil || len(n.GetLockingClause()) > 0
	a.limitClause(n, s)
	a.locking(n, q, s)
	if barrier && !mutated(mutateBarrier) {
		state.limited = true
		q.noPush()
	}
	q.state = state
	return q
}

// noPush forbids conditions from outside to be moved into the query.
func (q *query) noPush() {
	for i := range q.columns {
		q.columns[i].push = false
	}
}

func (a *analysis) values(n *pg.SelectStmt, s *scope) *query {
	q := &query{known: true}
	for i, row := range n.GetValuesLists() {
		list := row.GetList().GetItems()
		a.exprs(list, s)
		if i == 0 {
			for c := range list {
				q.columns = append(q.columns, column{name: "column" + itoa(c+1)})
			}
		}
	}
	a.sortClause(n.GetSortClause(), s, q)
	return q
}

// setOperation visits both arms. A condition on the result is a condition on each arm if their columns have the same type.
func (a *analysis) setOperation(n *pg.SelectStmt, s *scope) *query {
	if !mutated(mutateSet) {
		s.query.stand(RefuseSetOperation, "")
	}
	l := a.selectStmt(n.GetLarg(), s.parent, s.ctes)
	r := a.selectStmt(n.GetRarg(), s.parent, s.ctes)
	if mutated(mutateSet) {
		s.query.linear = l.state.linear
	}
	q := &query{known: l.known && r.known, targets: append(append(relSet{}, l.targets...), r.targets...)}
	for i, c := range l.columns {
		out := column{name: c.name}
		if l.known && r.known && i < len(r.columns) {
			o := r.columns[i]
			if len(c.terms) > 0 && len(o.terms) > 0 && c.push && o.push && sameTypes(c.terms, o.terms) {
				out.terms = append(append([]*term{}, c.terms...), o.terms...)
				out.push, out.oid = true, c.oid
			}
		}
		q.columns = append(q.columns, out)
	}
	a.operator("=")
	a.sortClause(n.GetSortClause(), s, q)
	return q
}

func sameTypes(l, r []*term) bool {
	first := l[0].col
	for _, list := range [2][]*term{l, r} {
		for _, t := range list {
			if t.col.Type != first.Type || t.col.Typmod != first.Typmod || t.col.Collation != first.Collation {
				return false
			}
		}
	}
	return true
}

// plainSelect visits a SELECT without set operation.
func (a *analysis) plainSelect(n *pg.SelectStmt, s *scope) *query {
	state := s.query
	from := a.fromList(n.GetFromClause(), s)
	state.linear = from.linear
	a.expr(n.GetWhereClause(), s)
	a.conjunct(n.GetWhereClause(), s, from.targets)

	q := &query{known: true, targets: from.targets}
	for _, t := range n.GetTargetList() {
		a.target(t.GetResTarget(), s, q, &from)
	}
	distinctOn := false
	if d := n.GetDistinctClause(); len(d) > 0 {
		if !mutated(mutateDistinct) {
			state.stand(RefuseDistinct, "")
		}
		distinctOn = d[0].GetNode() != nil
		a.outputExprs(d, s, q)
	}
	if len(n.GetGroupClause()) > 0 || n.GetHavingClause() != nil {
		if !mutated(mutateGroup) {
			state.stand(RefuseGroup, "")
		}
		state.grouped = true
	}
	groupedBy := a.outputExprs(n.GetGroupClause(), s, q)
	a.expr(n.GetHavingClause(), s)
	for _, w := range n.GetWindowClause() {
		a.generic(w.GetWindowDef().ProtoReflect(), s)
	}
	a.sortClause(n.GetSortClause(), s, q)

	// What is above the rows of FROM decides whether a condition on a column can be moved below it.
	for i := range q.columns {
		c := &q.columns[i]
		if distinctOn || state.windows {
			c.push = false
		}
		if state.grouped && !(len(c.terms) == 1 && groupedBy[c.terms[0]]) {
			c.push = false
		}
	}
	return q
}

// target visits one entry of the select list and adds the columns that it makes.
func (a *analysis) target(r *pg.ResTarget, s *scope, q *query, from *fromResult) {
	if r == nil {
		a.fail(refuse(RefuseNode, "an entry of the select list"))
		return
	}
	for _, i := range r.GetIndirection() {
		a.expr(i, s)
	}
	a.expr(r.GetVal(), s)
	name := r.GetName()
	ref, ok := r.GetVal().GetNode().(*pg.Node_ColumnRef)
	if !ok {
		if name == "" {
			q.known = q.known && knownName(r.GetVal())
			name = "?column?"
			if f, ok := r.GetVal().GetNode().(*pg.Node_FuncCall); ok {
				if parts, ok := names(f.FuncCall.GetFuncname()); ok {
					name = parts[len(parts)-1]
				}
			}
		}
		q.columns = append(q.columns, column{name: name})
		return
	}
	fields := ref.ColumnRef.GetFields()
	if _, star := fields[len(fields)-1].GetNode().(*pg.Node_AStar); star {
		a.star(ref.ColumnRef, s, q, from)
		return
	}
	c, _ := a.resolve(ref.ColumnRef, s)
	out := column{}
	if c != nil {
		out = *c
	}
	if name == "" {
		name = fields[len(fields)-1].GetString_().GetSval()
	}
	out.name = name
	q.columns = append(q.columns, out)
}

// knownName says whether the router knows how PostgreSQL names a column without AS (FigureColname): "?column?", or a function's name.
// For anything else the columns of the query are not complete.
func knownName(n *pg.Node) bool {
	switch n.GetNode().(type) {
	case *pg.Node_FuncCall, *pg.Node_AExpr, *pg.Node_BoolExpr, *pg.Node_NullTest, *pg.Node_BooleanTest, *pg.Node_AConst, *pg.Node_ParamRef:
		return true
	}
	return false
}

// star adds the columns of * or name.*.
func (a *analysis) star(r *pg.ColumnRef, s *scope, q *query, from *fromResult) {
	items := s.items
	if len(r.GetFields()) > 1 {
		parts, ok := names(r.GetFields()[:len(r.GetFields())-1])
		it, _ := a.findItem(parts, s)
		if !ok || it == nil {
			q.known = false
			return
		}
		items = []*item{it}
	}
	for _, it := range items {
		if len(r.GetFields()) == 1 && !it.bare {
			continue
		}
		q.known = q.known && it.known
		q.columns = append(q.columns, it.columns...)
	}
}

// outputExprs visits GROUP BY, DISTINCT ON: expressions that may also be names of output columns or ordinals. It returns the
// terms among them.
func (a *analysis) outputExprs(list []*pg.Node, s *scope, q *query) map[*term]bool {
	terms := map[*term]bool{}
	if len(list) > 0 {
		a.operator("=")
	}
	for _, n := range list {
		ref, ok := n.GetNode().(*pg.Node_ColumnRef)
		if !ok {
			a.expr(n, s)
			continue
		}
		c, found := a.resolve(ref.ColumnRef, s)
		if !found && outputName(ref.ColumnRef, q) {
			a.saw("ColumnRef")
			continue
		}
		a.columnRef(ref.ColumnRef, s)
		if c != nil && len(c.terms) == 1 {
			terms[c.terms[0]] = true
		}
	}
	return terms
}

// outputName says whether a reference is the name of an output column.
func outputName(r *pg.ColumnRef, q *query) bool {
	if len(r.GetFields()) != 1 || q == nil {
		return false
	}
	name := r.GetFields()[0].GetString_().GetSval()
	if !q.known {
		return true
	}
	for _, c := range q.columns {
		if c.name == name {
			return true
		}
	}
	return false
}

// sortClause visits ORDER BY.
func (a *analysis) sortClause(list []*pg.Node, s *scope, q *query) {
	if len(list) > 0 && !mutated(mutateOrder) {
		s.query.stand(RefuseOrder, "")
	}
	for _, n := range list {
		sort := n.GetSortBy()
		if sort == nil {
			a.fail(refuse(RefuseNode, "ORDER BY"))
			return
		}
		if parts, ok := names(sort.GetUseOp()); ok && len(parts) > 0 {
			a.operator(parts[len(parts)-1])
		}
		if ref, ok := sort.GetNode().GetNode().(*pg.Node_ColumnRef); ok && outputName(ref.ColumnRef, q) {
			a.saw("ColumnRef")
			continue
		}
		a.expr(sort.GetNode(), s)
	}
}

// limitClause visits LIMIT and OFFSET, whose parameters are bigint.
func (a *analysis) limitClause(n *pg.SelectStmt, s *scope) {
	for _, e := range [2]*pg.Node{n.GetLimitCount(), n.GetLimitOffset()} {
		if p, ok := e.GetNode().(*pg.Node_ParamRef); ok {
			a.param(p.ParamRef, oidInt8)
			continue
		}
		a.expr(e, s)
	}
}

// locking visits FOR UPDATE and its like.
func (a *analysis) locking(n *pg.SelectStmt, q *query, s *scope) {
	for _, l := range n.GetLockingClause() {
		s.query.stand(RefuseLocking, "")
		a.writes = true
		var of []string
		for _, r := range l.GetLockingClause().GetLockedRels() {
			a.saw("RangeVar")
			of = append(of, r.GetRangeVar().GetRelname())
		}
		a.lockItems(q, s, of)
	}
}

// lockItems refuses locks on reference tables: every table of FROM is locked, subqueries as a whole, unless OF names some.
func (a *analysis) lockItems(q *query, s *scope, of []string) {
	locked := q.targets
	if len(of) > 0 {
		locked = nil
		for _, it := range s.items {
			if !contains(of, it.name) {
				continue
			}
			if it.rel != nil {
				locked = append(locked, it.rel)
			}
			locked = append(locked, it.sub...)
		}
	}
	for _, r := range locked {
		if r.table != nil && r.table.Kind == Reference {
			a.fail(refuse(RefuseReferenceLock, r.table.Name))
		}
	}
}

func contains(list []string, s string) bool {
	for _, o := range list {
		if o == s {
			return true
		}
	}
	return false
}
