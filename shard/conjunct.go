package shard

import (
	pg "github.com/pganalyze/pg_query_go/v5"

	"pgdrover/shard/hash"
)

// operand is one side of an equality: a column, values, or neither.
type operand struct {
	column *column
	as     *hash.Type // the type that a cast gives the column
	source source     // valid if source.kind is not sourceNone
}

// conjunct reads a condition that must hold for every row that matters, and notes what it says about the terms of the
// rels in targets: those that the condition may restrict.
func (a *analysis) conjunct(n *pg.Node, s *scope, targets relSet) {
	if len(targets) == 0 {
		return
	}
	switch e := n.GetNode().(type) {
	case *pg.Node_BoolExpr:
		if e.BoolExpr.GetBoolop() == pg.BoolExprType_AND_EXPR || mutated(mutateOr) {
			for _, arg := range e.BoolExpr.GetArgs() {
				a.conjunct(arg, s, targets)
			}
		}
	case *pg.Node_AExpr:
		a.comparison(e.AExpr, s, targets)
	case *pg.Node_SubLink:
		a.semijoin(e.SubLink, s, targets)
	}
}

// plainEqual says that an operator's name is =, as far as it is PostgreSQL's own by its types.
func plainEqual(list []*pg.Node) bool {
	parts, ok := names(list)
	return ok && (len(parts) == 1 && parts[0] == "=" || len(parts) == 2 && parts[0] == pgCatalog && parts[1] == "=")
}

// comparison reads a = b, (a, b) = (c, d), a IN (…) and a = ANY (…).
func (a *analysis) comparison(e *pg.A_Expr, s *scope, targets relSet) {
	if !plainEqual(e.GetName()) && !mutated(mutateOperator) {
		return
	}
	switch e.GetKind() {
	case pg.A_Expr_Kind_AEXPR_OP:
		a.equal(e.GetLexpr(), e.GetRexpr(), s, targets)
	case pg.A_Expr_Kind_AEXPR_IN:
		list := e.GetRexpr().GetList().GetItems()
		l, ok := e.GetLexpr().GetNode().(*pg.Node_RowExpr)
		if !ok {
			a.in(e.GetLexpr(), list, s, targets)
			return
		}
		// (a, b) IN ((1, 2), (3, 4)): a is 1 or 3, and b is 2 or 4.
		for i, left := range l.RowExpr.GetArgs() {
			var column []*pg.Node
			for _, n := range list {
				r, ok := n.GetNode().(*pg.Node_RowExpr)
				if !ok || len(r.RowExpr.GetArgs()) != len(l.RowExpr.GetArgs()) {
					return
				}
				column = append(column, r.RowExpr.GetArgs()[i])
			}
			a.inRow(left, column, s, targets)
		}
	case pg.A_Expr_Kind_AEXPR_OP_ANY:
		a.anyOf(e.GetLexpr(), e.GetRexpr(), s, targets)
	}
}

// equal reads l = r.
func (a *analysis) equal(l, r *pg.Node, s *scope, targets relSet) {
	lr, lok := l.GetNode().(*pg.Node_RowExpr)
	rr, rok := r.GetNode().(*pg.Node_RowExpr)
	if lok || rok {
		if lok && rok && len(lr.RowExpr.GetArgs()) == len(rr.RowExpr.GetArgs()) {
			for i := range lr.RowExpr.GetArgs() {
				a.equal(lr.RowExpr.GetArgs()[i], rr.RowExpr.GetArgs()[i], s, targets)
			}
		}
		return
	}
	x, y := a.operand(l, s), a.operand(r, s)
	switch {
	case x.column != nil && y.column != nil:
		a.equalOperands(x, y, targets)
	case x.column != nil && y.source.kind != sourceNone:
		a.pinColumn(x, []source{y.source}, targets)
	case y.column != nil && x.source.kind != sourceNone:
		a.pinColumn(y, []source{x.source}, targets)
	}
}

// in reads l IN (list). PostgreSQL brings the list and l to one type before it compares; with rows or columns in the list it compares
// one by one.
func (a *analysis) in(l *pg.Node, list []*pg.Node, s *scope, targets relSet) {
	x := a.operand(l, s)
	if x.column == nil || len(x.column.terms) == 0 {
		return
	}
	sources := make([]source, 0, len(list))
	for _, n := range list {
		y := a.operand(n, s)
		if y.source.kind == sourceNone {
			return
		}
		sources = append(sources, y.source)
	}
	a.pinColumn(x, sources, targets)
}

// inRow is in for one place of rows.
func (a *analysis) inRow(l *pg.Node, list []*pg.Node, s *scope, targets relSet) {
	if _, ok := l.GetNode().(*pg.Node_RowExpr); !ok {
		a.in(l, list, s, targets)
	}
}

// anyOf reads l = ANY (array).
func (a *analysis) anyOf(l, r *pg.Node, s *scope, targets relSet) {
	x := a.operand(l, s)
	if x.column == nil || len(x.column.terms) == 0 {
		return
	}
	var element uint32 // of a cast
	node := r
	if c, ok := node.GetNode().(*pg.Node_TypeCast); ok {
		t := c.TypeCast.GetTypeName()
		if len(t.GetArrayBounds()) != 1 || len(t.GetTypmods()) > 0 {
			return
		}
		schema, name := a.qualified(t.GetNames())
		typ := a.findType(schema, name)
		if typ == nil || typ.Schema != pgCatalog {
			return
		}
		element, node = typ.OID, c.TypeCast.GetArg()
	}
	switch e := node.GetNode().(type) {
	case *pg.Node_AArrayExpr:
		var sources []source
		for _, n := range e.AArrayExpr.GetElements() {
			y := a.operand(n, s)
			if y.source.kind == sourceNone {
				return
			}
			// Without a cast an array of unknown literals is one of text.
			if element == 0 && y.source.untyped() {
				y.source.cast = oidText
			}
			if element != 0 {
				if y.source.cast != 0 && y.source.cast != element {
					return
				}
				y.source.cast = element
			}
			sources = append(sources, y.source)
		}
		if len(sources) == 0 && element == 0 {
			return
		}
		a.pinColumn(x, sources, targets)
	case *pg.Node_AConst:
		src := a.constant(e.AConst)
		if src.kind != sourceLiteral && src.kind != sourceFixed && src.kind != sourceNull || !src.untyped() && src.kind != sourceNull {
			return
		}
		src.array, src.cast = src.kind != sourceNull, element
		a.pinColumn(x, []source{src}, targets)
	case *pg.Node_ParamRef:
		a.pinColumn(x, []source{{kind: sourceParam, index: int(e.ParamRef.GetNumber()) - 1, array: true, cast: element}}, targets)
	}
}

// semijoin reads l IN (SELECT …): like EXISTS with an equality.
func (a *analysis) semijoin(e *pg.SubLink, s *scope, targets relSet) {
	if e.GetSubLinkType() != pg.SubLinkType_ANY_SUBLINK || len(e.GetOperName()) > 0 && !plainEqual(e.GetOperName()) {
		return
	}
	q := a.sublink(e.GetSubselect(), s)
	left := []*pg.Node{e.GetTestexpr()}
	if r, ok := e.GetTestexpr().GetNode().(*pg.Node_RowExpr); ok {
		left = r.RowExpr.GetArgs()
	}
	if len(left) != len(q.columns) || !q.known {
		return
	}
	all := append(append(relSet{}, targets...), q.targets...)
	for i, l := range left {
		if x := a.operand(l, s); x.column != nil {
			a.equalOperands(x, operand{column: &q.columns[i]}, all)
		}
	}
}

// equalColumns is an equality of columns in USING.
func (a *analysis) equalColumns(l, r *column, targets relSet) {
	a.equalOperands(operand{column: l}, operand{column: r}, targets)
}

// equalOperands notes that two columns are equal in every row that matters.
func (a *analysis) equalOperands(x, y operand, targets relSet) {
	if !a.comparable(x, y) || !a.comparable(y, x) {
		return
	}
	a.learnFrom(x.column, y.column, targets)
	a.learnFrom(y.column, x.column, targets)
}

// comparable says whether = between the two columns is equality in the hash operator family of both.
func (a *analysis) comparable(x, y operand) bool {
	if len(x.column.terms) == 0 || len(y.column.terms) == 0 {
		return false
	}
	l, r := x.typ(), y.typ()
	if l == nil || r == nil || !l.SameFamily(r) {
		return false
	}
	if l.Collatable() && x.column.terms[0].col.Collation != y.column.terms[0].col.Collation {
		return false
	}
	return a.plainEquality(l, r)
}

// typ is the type in which an operand is compared.
func (x operand) typ() *hash.Type {
	if x.as != nil {
		return x.as
	}
	return x.column.terms[0].typ
}

// learnFrom lets the terms of to learn from from, where targets allows it.
func (a *analysis) learnFrom(to, from *column, targets relSet) {
	if !to.push || len(from.terms) != 1 {
		return
	}
	for _, t := range to.terms {
		if targets.has(t.rel) && t != from.terms[0] {
			t.learn(from.terms[0])
		}
	}
}

// pinColumn notes that a column has one of the values.
func (a *analysis) pinColumn(x operand, values []source, targets relSet) {
	c := x.column
	if !c.push || len(c.terms) == 0 {
		return
	}
	typ := x.typ()
	if typ == nil {
		return
	}
	if mutated(mutateList) {
		values = values[:min(1, len(values))]
	}
	p := &pin{values: make([]source, len(values))}
	for i, v := range values {
		ready, ok := a.readAs(v, typ)
		if !ok {
			return
		}
		p.values[i] = ready
	}
	for _, t := range c.terms {
		if targets.has(t.rel) {
			t.addPin(p)
		}
	}
}

// operand reads one side of an equality.
func (a *analysis) operand(n *pg.Node, s *scope) operand {
	switch e := n.GetNode().(type) {
	case *pg.Node_ColumnRef:
		if c, _ := a.resolve(e.ColumnRef, s); c != nil && len(c.terms) > 0 {
			return operand{column: c}
		}
	case *pg.Node_AConst:
		return operand{source: a.constant(e.AConst)}
	case *pg.Node_ParamRef:
		return operand{source: source{kind: sourceParam, index: int(e.ParamRef.GetNumber()) - 1}}
	case *pg.Node_TypeCast:
		return a.castOperand(e.TypeCast, s)
	}
	return operand{}
}

// castOperand reads a cast of a constant, a parameter or a column to a type of PostgreSQL's without a modifier.
func (a *analysis) castOperand(c *pg.TypeCast, s *scope) operand {
	t := c.GetTypeName()
	if len(t.GetTypmods()) > 0 || len(t.GetArrayBounds()) > 0 || t.GetSetof() || t.GetPctType() {
		return operand{}
	}
	schema, name := a.qualified(t.GetNames())
	typ := a.findType(schema, name)
	if typ == nil || typ.Schema != pgCatalog {
		return operand{}
	}
	to, err := hash.TypeByOID(typ.OID)
	if err != nil {
		return operand{}
	}
	x := a.operand(c.GetArg(), s)
	switch {
	case x.column != nil:
		from := x.typ()
		// A cast to cidr cuts addresses off; other casts within a family keep equality.
		if from == nil || !from.SameFamily(to) || to != from && to.Name == "cidr" {
			return operand{}
		}
		x.as = to
		return x
	case x.source.kind == sourceNone:
		return operand{}
	case x.source.kind == sourceNull:
		return x
	case x.source.cast == to.OID:
		return x // true and false are written as casts
	case x.source.cast != 0:
		return operand{} // a cast of a cast
	}
	x.source.cast = to.OID
	return x
}
