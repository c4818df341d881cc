package shard

import (
	"strings"

	"pgdrover/internal/sqlparse"

	pg "github.com/pganalyze/pg_query_go/v5"
)

// rewrites says that each shard is sent another text than the client's.
func (l *limitPlan) rewrites() bool {
	return l.offset.kind != sourceNone && l.offset.kind != sourceNull
}

// planLimit finds LIMIT and OFFSET of a SELECT that is taken apart.
func (a *analysis) planLimit(sh *shape, n *pg.SelectStmt) {
	if n.GetLimitCount() == nil && n.GetLimitOffset() == nil || mutated(mutateLimit) {
		return
	}
	l := &limitPlan{}
	ok := n.GetLimitOption() != pg.LimitOption_LIMIT_OPTION_WITH_TIES
	ok = ok && a.limitPart(n.GetLimitCount(), &l.limit, &l.limitAt, &l.limitEnd)
	ok = ok && a.limitPart(n.GetLimitOffset(), &l.offset, &l.offsetAt, &l.offsetEnd)
	if !ok {
		sh.driver, sh.multi = -1, refuse(RefuseLimit, "")
		return
	}
	sh.limit = l
}

// limitPart reads LIMIT or OFFSET, and where its token is in the folded text.
func (a *analysis) limitPart(n *pg.Node, s *source, at, end *int) bool {
	var location int32
	switch e := n.GetNode().(type) {
	case nil:
		return true
	case *pg.Node_AConst:
		*s = a.constant(e.AConst)
		location = e.AConst.GetLocation()
		if s.kind == sourceNull {
			return true
		}
		if s.kind != sourceLiteral && s.kind != sourceFixed || s.str || s.negative || strings.HasPrefix(s.text, "-") || s.class != sqlparse.ClassInt4 && s.class != sqlparse.ClassInt8 {
			return false
		}
	case *pg.Node_ParamRef:
		*s = source{kind: sourceParam, index: int(e.ParamRef.GetNumber()) - 1}
		location = e.ParamRef.GetLocation()
		if d := a.declared(e.ParamRef.GetNumber()); d != 0 && !isIntegerOID(d) {
			return false
		}
	default:
		return false
	}
	place := a.base + int(location)
	from, ok := a.folder.FoldOffset(a.shape, place, !a.env.StringsPlain)
	if !ok {
		return false
	}
	*at, *end = from, from+1
	if s.kind != sourceLiteral { // of which a placeholder is there
		lx := sqlparse.Lexer{Text: a.text, Pos: place, Backslashes: !a.env.StringsPlain}
		t := lx.NextCode()
		*end = from + t.End - t.Start
	}
	return true
}

// limitText is the statement for each of several shards: rows that OFFSET would leave out on the whole are asked for too.
func (b *binding) limitText(l *limitPlan) []byte {
	if b.limited != nil {
		return b.limited
	}
	part := func(from, to int) string { return string(b.folder.AppendText(nil, b.stmt, from, to)) }
	offset := part(l.offsetAt, l.offsetEnd)
	zero := "(0*(" + offset + ")::pg_catalog.int8)"
	all := len(b.folder.Folded(b.stmt))
	if l.limitEnd == 0 {
		return []byte(part(0, l.offsetAt) + zero + part(l.offsetEnd, all))
	}
	limit := "((" + part(l.limitAt, l.limitEnd) + ")::pg_catalog.int8+coalesce((" + offset + ")::pg_catalog.int8,0))"
	if l.limitAt < l.offsetAt {
		return []byte(part(0, l.limitAt) + limit + part(l.limitEnd, l.offsetAt) + zero + part(l.offsetEnd, all))
	}
	return []byte(part(0, l.offsetAt) + zero + part(l.offsetEnd, l.limitAt) + limit + part(l.limitEnd, all))
}
