package shard

import (
	"strconv"
	"strings"

	"pgdrover/internal/catalog"

	pg "github.com/pganalyze/pg_query_go/v5"
	"google.golang.org/protobuf/reflect/protoreflect"
)

func itoa(n int) string { return strconv.Itoa(n) }

// visitBelow visits what is below a Node's own message.
func visitBelow(a *analysis, s *scope) func(protoreflect.FieldDescriptor, protoreflect.Value) bool {
	return func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if fd.Kind() == protoreflect.MessageKind && !fd.IsList() {
			a.generic(v.Message(), s)
		}
		return true
	}
}

// call visits a function call: every function of that name which the call may mean must be harmless.
func (a *analysis) call(f *pg.FuncCall, s *scope) {
	a.saw("FuncCall")
	schema, name := a.qualified(f.GetFuncname())
	candidates := a.findFunctions(schema, name, len(f.GetArgs()))
	if f.GetAggWithinGroup() || f.GetFuncVariadic() {
		candidates = a.findFunctions(schema, name, -1)
	}
	if len(candidates) == 0 {
		a.fail(refuse(RefuseFunction, name+"()"))
		return
	}
	aggregate, sequence := f.GetOver() != nil || f.GetAggStar() || f.GetAggDistinct() || f.GetAggFilter() != nil || f.GetAggWithinGroup() ||
		len(f.GetAggOrder()) > 0, false
	for _, c := range candidates {
		aggregate = aggregate || c.Kind == 'a' || c.Kind == 'w'
		if c.Category == catalog.CategorySequence || c.Name.Name == "currval" {
			sequence = true
			continue
		}
		a.effects(c)
	}
	if sequence {
		a.sequence(f, name)
	}
	if f.GetOver() != nil {
		s.query.stand(RefuseWindow, "")
		if s.query != nil {
			s.query.windows = true
		}
	} else if aggregate {
		a.aggregates(s)
	}
	if aggregate {
		a.aggregate++
		defer func() { a.aggregate-- }()
	}
	if sequence {
		a.sequenceArgs(f.GetArgs(), s)
	} else {
		a.exprs(f.GetArgs(), s)
	}
	a.exprs(f.GetAggOrder(), s)
	a.expr(f.GetAggFilter(), s)
	if f.GetOver() != nil {
		a.generic(f.GetOver().ProtoReflect(), s)
	}
}

// aggregates notes that the query of a scope has an aggregate.
func (a *analysis) aggregates(s *scope) {
	s.query.stand(RefuseAggregate, "")
	if s.query != nil {
		s.query.grouped = true
	}
}

// effects notes what a function depends on or does.
func (a *analysis) effects(f *catalog.Function) {
	name := f.Name.Name
	if f.Reaches {
		if f.Volatility != 'i' {
			a.differs("function " + name + "()")
		}
		if a.local(f.Name) {
			a.needPinned(refuse(RefuseReaches, name+"()"))
		} else {
			a.fail(refuse(RefuseReaches, name+"()"))
		}
		return
	}
	what := "function " + name + "()"
	switch f.Category {
	case catalog.CategoryPure, catalog.CategorySettings:
	case catalog.CategoryMoving:
		a.differs(what)
	case catalog.CategoryCatalogs:
		a.differs(what)
		a.catalogs = true
	case catalog.CategoryIdentity, catalog.CategoryTransaction:
		a.differs(what)
		a.needOne(refuse(RefuseEffects, name+"()"))
	case catalog.CategorySession:
		a.differs(what)
		a.session(name)
	default:
		a.fail(refuse(RefuseEffects, name+"()"))
	}
}

// session handles functions of session state.
func (a *analysis) session(name string) {
	switch {
	case strings.HasPrefix(name, "pg_advisory_"), strings.HasPrefix(name, "pg_try_advisory_"):
		a.onShard(lockShard)
		a.writes = true // it must be the primary's lock
	case name == "current_setting", strings.HasPrefix(name, "pg_sleep"):
		a.needOne(refuse(RefuseEffects, name+"()"))
	case name == "lastval":
		a.needPinned(refuse(RefuseSequence, name+"()"))
	case name == "pg_notify":
		a.fail(refuse(RefuseListen, "pg_notify()"))
	default:
		a.fail(refuse(RefuseEffects, name+"()"))
	}
}

// Shards that stand for all of them: where the catalogs are read, and where advisory locks are taken, so that two clients contend.
const (
	catalogShard = 0
	lockShard    = 0
)

// sequence handles nextval and its like: a sequence that is placed on one shard is asked there; any other is the business of the
// shard that the statement is pinned to.
func (a *analysis) sequence(f *pg.FuncCall, name string) {
	a.differs("function " + name + "()")
	a.writes = true
	if len(f.GetArgs()) > 0 {
		if seq, ok := a.constantName(f.GetArgs()[0]); ok {
			if t := a.m.Table(seq.Schema, seq.Name.Name); t != nil && t.Kind == Single && seq.Kind == 'S' {
				a.onShard(t.Shard)
				return
			}
		}
	}
	if name == "nextval" {
		a.draws = refuse(RefuseSequence, name+"()")
		return
	}
	a.needPinned(refuse(RefuseSequence, name+"()"))
}

// sequenceArgs visits the arguments; a cast to regclass is how the name is written, and no read of the catalog.
func (a *analysis) sequenceArgs(args []*pg.Node, s *scope) {
	had := a.catalogs
	a.exprs(args, s)
	a.catalogs = had
}

// constantName reads 'name' or 'name'::regclass as a relation; the plan then depends on the literal.
func (a *analysis) constantName(n *pg.Node) (*catalog.Relation, bool) {
	if c, ok := n.GetNode().(*pg.Node_TypeCast); ok {
		n = c.TypeCast.GetArg()
	}
	c, ok := n.GetNode().(*pg.Node_AConst)
	if !ok {
		return nil, false
	}
	str, ok := c.AConst.GetVal().(*pg.A_Const_Sval)
	if !ok {
		return nil, false
	}
	a.fixLiteral(c.AConst.GetLocation())
	parts := splitName(str.Sval.GetSval())
	var r *catalog.Relation
	switch len(parts) {
	case 1:
		if !a.env.Temporary {
			r = a.findRelation("", parts[0])
		}
	case 2:
		r = a.findRelation(parts[0], parts[1])
	}
	return r, r != nil
}

// splitName is stringToQualifiedNameList: a.b, quoted or folded.
func splitName(s string) []string {
	return splitIdentifiers(strings.Join(splitDots(s), ","))
}

// splitDots cuts at the points outside of quotes.
func splitDots(s string) []string {
	var parts []string
	quoted, start := false, 0
	for i := range len(s) {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '.' && !quoted:
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	return append(parts, s[start:])
}

// fixLiteral says that the plan has read the value of a literal.
func (a *analysis) fixLiteral(location int32) {
	if n, _, ok := a.literalAt(location); ok {
		a.fixed[n] = true
	}
}

func (a *analysis) literalAt(location int32) (n int, negative, ok bool) {
	if location < 0 {
		return 0, false, false
	}
	return a.folder.LiteralAt(a.shape, a.base+int(location), !a.env.StringsPlain)
}
