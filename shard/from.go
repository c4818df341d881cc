package shard

import (
	"pgdrover/internal/catalog"

	pg "github.com/pganalyze/pg_query_go/v5"
)

// fromResult is what an entry of FROM, or all of it, brings.
type fromResult struct {
	items   []*item
	targets relSet // rels that a condition on the whole may restrict
	linear  relSet // rels of which each row of the result has exactly one row
}

func (f *fromResult) add(o fromResult) {
	f.items = append(f.items, o.items...)
	f.targets = append(f.targets, o.targets...)
	f.linear = append(f.linear, o.linear...)
}

// fromList visits the entries of FROM, which are cross joined. Each sees those before it if it is LATERAL.
func (a *analysis) fromList(list []*pg.Node, s *scope) fromResult {
	var all fromResult
	for _, n := range list {
		all.add(a.fromItem(n, s))
	}
	return all
}

// fromItem visits an entry of FROM and puts what it names into s.
func (a *analysis) fromItem(n *pg.Node, s *scope) fromResult {
	var f fromResult
	switch e := n.GetNode().(type) {
	case *pg.Node_RangeVar:
		f = a.rangeVar(e.RangeVar, s)
	case *pg.Node_RangeSubselect:
		f = a.rangeSubselect(e.RangeSubselect, s)
	case *pg.Node_RangeFunction:
		f = a.rangeFunction(e.RangeFunction, s)
	case *pg.Node_RangeTableFunc:
		a.expr(e.RangeTableFunc.GetDocexpr(), s)
		a.expr(e.RangeTableFunc.GetRowexpr(), s)
		a.exprs(e.RangeTableFunc.GetNamespaces(), s)
		a.exprs(e.RangeTableFunc.GetColumns(), s)
		f.items = []*item{{name: aliasName(e.RangeTableFunc.GetAlias(), "xmltable"), byName: true, bare: true}}
	case *pg.Node_JoinExpr:
		return a.join(e.JoinExpr, s)
	case *pg.Node_RangeTableSample:
		a.fail(refuse(RefuseSample, ""))
	default:
		a.fail(refuse(RefuseNode, "an entry of FROM"))
	}
	s.items = append(s.items, f.items...)
	return f
}

func aliasName(alias *pg.Alias, name string) string {
	if alias.GetAliasname() != "" {
		return alias.GetAliasname()
	}
	return name
}

// rename applies the column names of an alias.
func (it *item) rename(alias *pg.Alias) {
	list, ok := names(alias.GetColnames())
	if !ok {
		it.known = false
		return
	}
	for i, name := range list {
		if i < len(it.columns) {
			it.columns[i].name = name
		} else if !it.known {
			it.columns = append(it.columns, column{name: name})
		}
	}
}

// rangeVar visits a table or the name of a CTE in FROM.
func (a *analysis) rangeVar(v *pg.RangeVar, s *scope) fromResult {
	a.saw("RangeVar")
	if v.GetSchemaname() == "" && v.GetCatalogname() == "" {
		if c := a.findCTE(v.GetRelname(), s.ctes); c != nil {
			return a.cteItem(c, v)
		}
	}
	r := a.relation(v, false)
	if r == nil {
		return fromResult{}
	}
	it := r.item(v.GetAlias())
	return fromResult{items: []*item{it}, targets: relSet{r}, linear: relSet{r}}
}

// item makes what FROM puts in reach for a table.
func (r *rel) item(alias *pg.Alias) *item {
	it := &item{name: r.name, rel: r, byName: true, bare: true, known: r.table != nil}
	if alias.GetAliasname() == "" {
		it.schema = r.relation.Schema
	}
	for i := range r.relation.Columns {
		c := &r.relation.Columns[i]
		it.columns = append(it.columns, column{name: c.Name, terms: []*term{r.term(i)}, push: true, oid: c.Base})
	}
	it.rename(alias)
	return it
}

// relation finds a table, checks that it can be routed and makes a rel of it; nil if it is refused.
func (a *analysis) relation(v *pg.RangeVar, written bool) *rel {
	name := v.GetRelname()
	if v.GetCatalogname() != "" {
		a.fail(refuse(RefuseNode, "a name in three parts"))
		return nil
	}
	relation := a.findRelation(v.GetSchemaname(), name)
	shown := name
	if v.GetSchemaname() != "" {
		shown = v.GetSchemaname() + "." + name
	}
	if a.env.Temporary && v.GetSchemaname() == "" || v.GetSchemaname() == "pg_temp" {
		a.fail(refuse(RefuseTemporary, shown))
		return nil
	}
	if relation == nil {
		a.fail(refuse(RefuseRelation, `"`+shown+`"`))
		return nil
	}
	table, e := a.routable(relation, shown)
	if e != nil {
		a.fail(e)
		return nil
	}
	r := a.newRel(table, relation, aliasName(v.GetAlias(), name))
	r.written = written
	switch {
	case table == nil:
		a.catalogs = true
		if written {
			a.fail(refuse(RefuseUtility, "a write of a system catalog"))
		}
	case table.Kind == Single:
		a.onShard(table.Shard)
	}
	a.guards(r)
	return r
}

// routable says how a relation is spread; nil for a system catalog.
func (a *analysis) routable(relation *catalog.Relation, shown string) (*Table, *Error) {
	if catalog.System(relation.Schema) {
		return nil, nil
	}
	switch relation.Kind {
	case 'r', 'p':
	case 'v', 'm':
		return nil, refuse(RefuseView, shown)
	case 'S':
		return nil, refuse(RefuseSharedSequence, shown)
	case 'f':
		if t := a.m.Table(relation.Schema, relation.Name.Name); t == nil || t.Kind != Single {
			return nil, refuse(RefuseForeign, shown)
		}
	default:
		return nil, refuse(RefuseForeign, shown)
	}
	table := a.m.Table(relation.Schema, relation.Name.Name)
	if relation.Persistence == 't' {
		return nil, refuse(RefuseTemporary, shown)
	}
	if p := relation.Parent; p != nil {
		parent := a.m.Table(p.Schema, p.Name)
		if parent == nil || table == nil || parent.Kind != Single || table.Kind != Single || parent.Shard != table.Shard {
			return nil, refuse(RefusePartition, shown)
		}
	}
	if table == nil {
		return nil, refuse(RefuseUnlisted, shown)
	}
	if e := a.db.problem(relation.Name); e != nil {
		return nil, e
	}
	return table, nil
}

// guards notes what the catalog says of a table besides its columns: rules and row security act in every statement.
func (a *analysis) guards(r *rel) {
	if r.table == nil {
		return
	}
	name := r.relation.Name
	if len(r.relation.Rules) > 0 {
		a.fail(refuse(RefuseRule, name.Name))
	}
	if r.relation.RowSecurity {
		if a.local(name) {
			a.needPinned(refuse(RefuseRLS, name.Name))
		} else {
			a.fail(refuse(RefuseRLS, name.Name))
		}
	}
}

func (a *analysis) rangeSubselect(n *pg.RangeSubselect, s *scope) fromResult {
	sel, ok := n.GetSubquery().GetNode().(*pg.Node_SelectStmt)
	if !ok {
		a.fail(refuse(RefuseNode, "a subquery in FROM"))
		return fromResult{}
	}
	outside := s.parent
	if n.GetLateral() {
		outside = s
	}
	q := a.selectStmt(sel.SelectStmt, outside, s.ctes)
	return q.from(n.GetAlias())
}

// from makes an entry of FROM of a query.
func (q *query) from(alias *pg.Alias) fromResult {
	it := &item{name: alias.GetAliasname(), columns: append([]column{}, q.columns...), known: q.known, byName: true, bare: true, sub: q.targets}
	it.rename(alias)
	f := fromResult{items: []*item{it}, targets: q.targets}
	if q.state.stands == "" && !q.state.limited {
		f.linear = q.state.linear
	}
	return f
}

// rangeFunction visits functions in FROM, which see what is before them.
func (a *analysis) rangeFunction(n *pg.RangeFunction, s *scope) fromResult {
	a.saw("RangeFunction")
	name := ""
	for _, f := range n.GetFunctions() {
		list := f.GetList().GetItems()
		if len(list) == 0 {
			a.fail(refuse(RefuseNode, "a function in FROM"))
			return fromResult{}
		}
		if c, ok := list[0].GetNode().(*pg.Node_FuncCall); ok && name == "" {
			if parts, ok := names(c.FuncCall.GetFuncname()); ok && len(parts) > 0 {
				name = parts[len(parts)-1]
			}
		}
		a.exprs(list, s)
	}
	a.exprs(n.GetColdeflist(), s)
	it := &item{name: aliasName(n.GetAlias(), name), byName: true, bare: true}
	it.rename(n.GetAlias())
	return fromResult{items: []*item{it}}
}

// join visits a JOIN. What its condition says holds for the rows of a side that another side does not preserve.
func (a *analysis) join(n *pg.JoinExpr, s *scope) fromResult {
	outside := s.items
	l := a.fromItem(n.GetLarg(), s)
	r := a.fromItem(n.GetRarg(), s)
	s.items = outside

	a.padded = a.padded || n.GetJointype() != pg.JoinType_JOIN_INNER
	f := fromResult{targets: append(append(relSet{}, l.targets...), r.targets...)}
	var targets relSet
	switch n.GetJointype() {
	case pg.JoinType_JOIN_INNER:
		targets = f.targets
		f.linear = append(append(relSet{}, l.linear...), r.linear...)
	case pg.JoinType_JOIN_LEFT:
		targets, f.linear = r.targets, l.linear
		if mutated(mutateOuterJoin) {
			targets = f.targets
		}
	case pg.JoinType_JOIN_RIGHT:
		targets, f.linear = l.targets, r.linear
	case pg.JoinType_JOIN_FULL:
	default:
		a.fail(refuse(RefuseNode, "a kind of join"))
	}
	both := append(append([]*item{}, l.items...), r.items...)
	on := &scope{parent: s.parent, items: both, ctes: s.ctes, query: s.query}

	using, ok := names(n.GetUsingClause())
	if !ok {
		a.fail(refuse(RefuseNode, "USING"))
	}
	if n.GetIsNatural() {
		using = a.natural(l.items, r.items)
	}
	f.items = both
	if n.GetIsNatural() || len(using) > 0 || n.GetAlias() != nil {
		f.items = a.merge(n, l.items, r.items, using, targets)
	}
	a.expr(n.GetQuals(), on)
	a.conjunct(n.GetQuals(), on, targets)
	s.items = append(s.items, f.items...)
	return f
}

// mergedColumn is the column that USING makes of that of the side that is kept and that of the other one. Both have a common type, of
// which nothing but the family is known here.
func (a *analysis) mergedColumn(kept, other *column) column {
	switch {
	case kept.oid == other.oid:
		return *kept
	case sameFamilyOID(kept.oid, other.oid):
		out := *kept
		out.oid = 0
		return out
	}
	return column{}
}

// natural returns the names that both sides have.
func (a *analysis) natural(l, r []*item) []string {
	var common []string
	for _, it := range append(append([]*item{}, l...), r...) {
		if it.bare && !it.known {
			a.fail(refuse(RefuseNode, "NATURAL JOIN with columns that are not known"))
		}
	}
	for _, it := range l {
		if !it.bare {
			continue
		}
		for i := range it.columns {
			if c, _ := bareOf(r, it.columns[i].name); c != nil && !contains(common, c.name) {
				common = append(common, c.name)
			}
		}
	}
	return common
}

// bareOf finds a column among the items of one side; nil if it is not there or there twice.
func bareOf(items []*item, name string) (hit *column, complete bool) {
	complete = true
	for _, it := range items {
		if !it.bare {
			continue
		}
		complete = complete && it.known
		for i := range it.columns {
			if it.columns[i].name == name {
				if hit != nil {
					return nil, false
				}
				hit = &it.columns[i]
			}
		}
	}
	return hit, complete
}

// merge makes the item of a JOIN with USING, NATURAL or an alias: merged columns first, then those of both sides.
func (a *analysis) merge(n *pg.JoinExpr, l, r []*item, using []string, targets relSet) []*item {
	joined := &item{bare: true, known: true}
	var merged []column
	if len(using) > 0 {
		a.operator("=")
	}
	for _, name := range using {
		lc, _ := bareOf(l, name)
		rc, _ := bareOf(r, name)
		out := column{name: name}
		if lc != nil && rc != nil {
			a.equalColumns(lc, rc, targets)
			switch n.GetJointype() {
			case pg.JoinType_JOIN_INNER, pg.JoinType_JOIN_LEFT:
				out = a.mergedColumn(lc, rc)
			case pg.JoinType_JOIN_RIGHT:
				out = a.mergedColumn(rc, lc)
			}
		}
		out.name = name
		merged = append(merged, out)
	}
	joined.columns = append(joined.columns, merged...)
	for _, it := range append(append([]*item{}, l...), r...) {
		if !it.bare {
			continue
		}
		joined.known = joined.known && it.known
		for _, c := range it.columns {
			if !contains(using, c.name) {
				joined.columns = append(joined.columns, c)
			}
		}
		it.bare = false
	}
	items := []*item{joined}
	if n.GetAlias() != nil {
		joined.name, joined.byName = n.GetAlias().GetAliasname(), true
		joined.rename(n.GetAlias())
		return items // the sides are out of reach
	}
	items = append(items, l...)
	items = append(items, r...)
	if n.GetJoinUsingAlias() != nil {
		items = append(items, &item{name: n.GetJoinUsingAlias().GetAliasname(), columns: merged, known: true, byName: true})
	}
	return items
}
