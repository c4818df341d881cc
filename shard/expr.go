package shard

import (
	"strings"

	"pgdrover/internal/catalog"

	pg "github.com/pganalyze/pg_query_go/v5"
)

func (a *analysis) exprs(list []*pg.Node, s *scope) {
	for _, n := range list {
		a.expr(n, s)
	}
}

// expr visits an expression: it resolves names, and notes what in it matters to routing besides tables.
func (a *analysis) expr(n *pg.Node, s *scope) {
	if n == nil || n.GetNode() == nil {
		return
	}
	switch e := n.GetNode().(type) {
	case *pg.Node_AConst:
		if str := e.AConst.GetSval().GetSval(); isMoment([]byte(str)) {
			if _, _, lifted := a.literalAt(e.AConst.GetLocation()); !lifted {
				a.differs("the constant '" + str + "'")
			}
		}
	case *pg.Node_AStar, *pg.Node_String_, *pg.Node_Integer, *pg.Node_Float, *pg.Node_Boolean, *pg.Node_SetToDefault:
	case *pg.Node_ParamRef:
		a.param(e.ParamRef, 0)
	case *pg.Node_ColumnRef:
		a.columnRef(e.ColumnRef, s)
	case *pg.Node_AExpr:
		a.operation(e.AExpr, s)
	case *pg.Node_FuncCall:
		a.call(e.FuncCall, s)
	case *pg.Node_TypeCast:
		a.saw("TypeCast")
		t := a.typeName(e.TypeCast.GetTypeName())
		if p, ok := e.TypeCast.GetArg().GetNode().(*pg.Node_ParamRef); ok {
			a.param(p.ParamRef, t)
			return
		}
		a.expr(e.TypeCast.GetArg(), s)
	case *pg.Node_SubLink:
		a.saw("SubLink")
		a.expr(e.SubLink.GetTestexpr(), s)
		op := "="
		if parts, ok := names(e.SubLink.GetOperName()); ok && len(parts) > 0 {
			op = parts[len(parts)-1]
		}
		a.operator(op)
		a.sublink(e.SubLink.GetSubselect(), s)
	case *pg.Node_JsonArrayQueryConstructor:
		a.sublink(e.JsonArrayQueryConstructor.GetQuery(), s)
		a.typeName(e.JsonArrayQueryConstructor.GetOutput().GetTypeName())
	case *pg.Node_SqlvalueFunction:
		a.saw("SQLValueFunction")
		a.valueFunction(e.SqlvalueFunction)
	case *pg.Node_AIndirection:
		a.saw("A_Indirection")
		a.expr(e.AIndirection.GetArg(), s)
		for _, i := range e.AIndirection.GetIndirection() {
			if f, ok := i.GetNode().(*pg.Node_String_); ok {
				a.fieldFunction(f.String_.GetSval())
				continue
			}
			a.expr(i, s)
		}
	case *pg.Node_CurrentOfExpr:
		a.fail(refuse(RefuseCurrentOf, ""))
	case *pg.Node_CaseExpr:
		if e.CaseExpr.GetArg() != nil {
			a.operator("=")
		}
		a.generic(e.CaseExpr.ProtoReflect(), s)
	case *pg.Node_JsonObjectAgg:
		a.aggregates(s)
		a.generic(e.JsonObjectAgg.ProtoReflect(), s)
	case *pg.Node_JsonArrayAgg:
		a.aggregates(s)
		a.generic(e.JsonArrayAgg.ProtoReflect(), s)
	case *pg.Node_SortBy:
		if parts, ok := names(e.SortBy.GetUseOp()); ok && len(parts) > 0 {
			a.operator(parts[len(parts)-1])
		}
		a.expr(e.SortBy.GetNode(), s)
	case *pg.Node_SelectStmt:
		a.sublink(n, s)
	default:
		// The tree has passed the allow-list. genericMessage comes back here only with what is below n.
		n.ProtoReflect().Range(visitBelow(a, s))
	}
}

// param notes a use of a parameter; oid is the type that its context gives it, 0 if that is not known.
func (a *analysis) param(p *pg.ParamRef, oid uint32) {
	a.saw("ParamRef")
	if a.simple || p.GetNumber() < 1 {
		a.fail(refuse(RefuseParameter, "$"+itoa(int(p.GetNumber()))))
		return
	}
	a.paramTyped(p.GetNumber(), oid)
}

// operation visits an operator: comparisons tell the types of parameters.
func (a *analysis) operation(e *pg.A_Expr, s *scope) {
	a.saw("A_Expr")
	parts, ok := names(e.GetName())
	if !ok || len(parts) == 0 {
		a.fail(refuse(RefuseNode, "an operator"))
		return
	}
	op := parts[len(parts)-1]
	switch e.GetKind() {
	case pg.A_Expr_Kind_AEXPR_BETWEEN, pg.A_Expr_Kind_AEXPR_NOT_BETWEEN, pg.A_Expr_Kind_AEXPR_BETWEEN_SYM, pg.A_Expr_Kind_AEXPR_NOT_BETWEEN_SYM:
		for _, o := range [...]string{"<", ">", "<=", ">="} {
			a.operator(o)
		}
	default:
		a.operator(op)
	}
	left, right := e.GetLexpr(), e.GetRexpr()
	comparison := false
	switch op {
	case "=", "<>", "<", ">", "<=", ">=":
		comparison = true
	}
	switch {
	case !comparison:
	case e.GetKind() == pg.A_Expr_Kind_AEXPR_OP:
		lr, rr := left.GetRowExpr(), right.GetRowExpr()
		if lr != nil && rr != nil && len(lr.GetArgs()) == len(rr.GetArgs()) {
			for i, l := range lr.GetArgs() {
				r := rr.GetArgs()[i]
				if !a.compareParam(l, r, s) && !a.compareParam(r, l, s) {
					a.expr(l, s)
					a.expr(r, s)
				}
			}
			return
		}
		if a.compareParam(left, right, s) || a.compareParam(right, left, s) {
			return
		}
	case e.GetKind() == pg.A_Expr_Kind_AEXPR_OP_ANY || e.GetKind() == pg.A_Expr_Kind_AEXPR_OP_ALL:
		if p, ok := right.GetNode().(*pg.Node_ParamRef); ok {
			a.expr(left, s)
			a.param(p.ParamRef, arrayOID(comparedAs(a.columnOID(left, s))))
			return
		}
	case e.GetKind() == pg.A_Expr_Kind_AEXPR_IN:
		oid := comparedAs(a.columnOID(left, s))
		if list, ok := right.GetNode().(*pg.Node_List); ok && oid != 0 {
			a.expr(left, s)
			for _, n := range list.List.GetItems() {
				if p, ok := n.GetNode().(*pg.Node_ParamRef); ok {
					a.param(p.ParamRef, oid)
				} else {
					a.expr(n, s)
				}
			}
			return
		}
	}
	a.expr(left, s)
	a.expr(right, s)
}

// compareParam handles column op $n.
func (a *analysis) compareParam(col, param *pg.Node, s *scope) bool {
	p, ok := param.GetNode().(*pg.Node_ParamRef)
	if !ok {
		return false
	}
	oid := comparedAs(a.columnOID(col, s))
	if oid == 0 {
		return false
	}
	a.expr(col, s)
	a.param(p.ParamRef, oid)
	return true
}

// comparedAs is the type in which a literal next to a column is read: varchar has no operators of its own.
func comparedAs(oid uint32) uint32 {
	if oid == oidVarchar {
		return oidText
	}
	return oid
}

// columnOID returns the base type of a plain column, 0 for anything else.
func (a *analysis) columnOID(n *pg.Node, s *scope) uint32 {
	ref, ok := n.GetNode().(*pg.Node_ColumnRef)
	if !ok {
		return 0
	}
	c, _ := a.resolve(ref.ColumnRef, s)
	if c == nil {
		return 0
	}
	return c.oid
}

// operator checks the operators of users that a name may mean.
func (a *analysis) operator(name string) {
	for _, op := range a.cat.Operators[name] {
		f := a.cat.FunctionByOID(op.Function)
		if f != nil && !f.Reaches {
			continue
		}
		if f != nil && a.local(f.Name) {
			if f.Volatility != 'i' {
				a.differs("operator " + name)
			}
			a.needPinned(refuse(RefuseOperator, name))
			continue
		}
		a.fail(refuse(RefuseOperator, name))
	}
}

// typeName checks a type that values are cast to and returns its OID, 0 if it is unknown, has a modifier or is a set.
func (a *analysis) typeName(t *pg.TypeName) uint32 {
	if t == nil {
		return 0
	}
	if t.GetPctType() || t.GetSetof() {
		a.fail(refuse(RefuseNode, "%TYPE or SETOF"))
		return 0
	}
	a.exprs(t.GetTypmods(), &scope{})
	schema, name := a.qualified(t.GetNames())
	typ := a.findType(schema, name)
	if typ == nil {
		// A table's row type, or one that the server knows and the catalog does not list: nothing is known of it.
		return 0
	}
	if strings.HasPrefix(typ.Name.Name, "reg") && typ.Schema == pgCatalog {
		a.catalogs = true
		a.differs("a cast to " + typ.Name.Name)
	}
	a.castTo(typ)
	oid := typ.OID
	if len(t.GetArrayBounds()) > 0 {
		oid = arrayOID(oid)
	}
	if len(t.GetTypmods()) > 0 {
		return 0
	}
	return oid
}

func (a *analysis) castTo(typ *catalog.Type) {
	reaches := typ.CheckReaches
	for _, c := range a.cat.Casts {
		if c.Target == typ.OID && c.Function != 0 {
			f := a.cat.FunctionByOID(c.Function)
			reaches = reaches || f == nil || f.Reaches && !a.local(f.Name)
			if f != nil && f.Reaches && f.Volatility != 'i' {
				a.differs("a cast to " + typ.Name.Name)
			}
		}
	}
	if reaches {
		if a.local(typ.Name) {
			a.needPinned(refuse(RefuseCast, typ.Name.Name))
		} else {
			a.fail(refuse(RefuseCast, typ.Name.Name))
		}
	}
}

// valueFunction handles CURRENT_TIMESTAMP and its like.
func (a *analysis) valueFunction(f *pg.SQLValueFunction) {
	switch f.GetOp() {
	case pg.SQLValueFunctionOp_SVFOP_CURRENT_ROLE, pg.SQLValueFunctionOp_SVFOP_CURRENT_USER, pg.SQLValueFunctionOp_SVFOP_USER,
		pg.SQLValueFunctionOp_SVFOP_SESSION_USER, pg.SQLValueFunctionOp_SVFOP_CURRENT_SCHEMA:
	case pg.SQLValueFunctionOp_SVFOP_CURRENT_CATALOG:
		a.differs("CURRENT_CATALOG")
		a.needOne(refuse(RefuseEffects, "CURRENT_CATALOG"))
	default:
		a.differs("the current time")
	}
}

// fieldFunction handles (row).name, which may be a call of a function with the row.
func (a *analysis) fieldFunction(name string) {
	for _, f := range a.findFunctions("", name, 1) {
		a.effects(f)
	}
}

// columnRef resolves a column for its effects.
func (a *analysis) columnRef(r *pg.ColumnRef, s *scope) {
	a.saw("ColumnRef")
	_, found := a.resolve(r, s)
	if found {
		return
	}
	a.fail(refuse(RefuseColumn, columnText(r)))
}

func columnText(r *pg.ColumnRef) string {
	var parts []string
	for _, f := range r.GetFields() {
		if n, ok := f.GetNode().(*pg.Node_String_); ok {
			parts = append(parts, n.String_.GetSval())
		} else {
			parts = append(parts, "*")
		}
	}
	return strings.Join(parts, ".")
}
