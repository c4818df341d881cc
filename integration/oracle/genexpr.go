package oracle

import (
	"fmt"
	"strings"
)

// A col is a column in reach.
type col struct {
	ref   string
	kind  *kind
	small bool
	key   bool // the only column of a sharding key
}

// A scope is what an expression may name.
type scope struct {
	cols  []col
	outer *scope
	keys  []*from // tables and subqueries with a whole key, for conditions between them
}

func (s *scope) of(k *kind) []col {
	var out []col
	for _, c := range s.cols {
		if c.kind == k {
			out = append(out, c)
		}
	}
	return out
}

func (s *scope) smalls() []col {
	var out []col
	for _, c := range s.cols {
		if c.small {
			out = append(out, c)
		}
	}
	return out
}

// maxCost bounds a statement.
const maxCost = 60

// number is an integer expression that cannot overflow.
func (g *gen) number(s *scope, depth int) string {
	g.cost++
	smalls := s.smalls()
	switch n := g.one(50, 20, 12, 6, 6, 6, 4); {
	case n == 1 || len(smalls) == 0 || depth <= 0 || g.cost > maxCost:
		return g.small()
	case n == 2:
		return "(" + g.number(s, depth-1) + pick(g.s, []string{" + ", " - ", " * "}) + g.number(s, depth-1) + ")"
	case n == 3:
		if t := s.of(kText); len(t) > 0 {
			return "length(" + pick(g.s, t).ref + ")"
		}
	case n == 4:
		return "coalesce(" + pick(g.s, smalls).ref + ", " + g.small() + ")"
	case n == 5:
		g.tag("CASE")
		return "CASE WHEN " + g.predicate(s, depth-1) + " THEN " + g.number(s, depth-1) + " ELSE " + g.small() + " END"
	case n == 6:
		return pick(g.s, []string{"abs(", "sign(", "- ("}) + pick(g.s, smalls).ref + ")"
	}
	return pick(g.s, smalls).ref
}

// expr is an expression of a kind.
func (g *gen) expr(k *kind, s *scope, depth int) string {
	g.cost++
	cols := s.of(k)
	if len(cols) > 0 && g.chance(60) {
		return pick(g.s, cols).ref
	}
	if depth <= 0 || g.cost > maxCost {
		if len(cols) > 0 {
			return pick(g.s, cols).ref
		}
		return g.value(k, true)
	}
	switch k {
	case kInt4:
		return "(" + g.number(s, depth) + ")::integer"
	case kInt8:
		return "(" + g.number(s, depth) + ")::bigint"
	case kNumeric:
		return "(" + g.number(s, depth) + ")::numeric(12,2)"
	case kBool:
		return "(" + g.predicate(s, depth-1) + ")"
	case kDate:
		return "(date '2024-01-01' + (" + g.number(s, depth-1) + ")::int)"
	case kTimestamp:
		return "(timestamp '2024-01-01 10:00' + interval '1 hour' * " + g.number(s, 0) + ")"
	case kText:
		switch g.one(3, 3, 3, 3, 2, 2) {
		case 0:
			return pick(g.s, []string{"upper(", "lower(", "md5("}) + g.expr(kText, s, depth-1) + ")"
		case 1:
			return "(" + g.expr(kText, s, depth-1) + " || " + g.value(kText, true) + ")"
		case 2:
			return "(" + g.number(s, depth-1) + ")::text"
		case 3:
			return "coalesce(" + g.expr(kText, s, depth-1) + ", " + g.value(kText, true) + ")"
		case 4:
			g.tag("CASE")
			return "CASE WHEN " + g.predicate(s, depth-1) + " THEN " + g.expr(kText, s, depth-1) + " ELSE " + g.value(kText, true) + " END"
		case 5:
			return "nullif(" + g.expr(kText, s, depth-1) + ", " + g.value(kText, true) + ")"
		}
	}
	if len(cols) > 0 && k != kNumeric {
		return "coalesce(" + pick(g.s, cols).ref + ", " + g.value(k, true) + ")"
	}
	return g.value(k, true)
}

// predicate is a condition about anything in reach.
func (g *gen) predicate(s *scope, depth int) string {
	g.cost++
	if len(s.cols) == 0 || g.cost > maxCost && depth > 0 {
		depth = 0
	}
	if len(s.cols) == 0 {
		return pick(g.s, []string{"true", "1 = 1", "false", "NULL IS NULL"})
	}
	if depth > 0 {
		switch g.one(70, 8, 8, 6, 4, 8, 3) {
		case 1:
			g.tag("OR")
			return "(" + g.predicate(s, depth-1) + " OR " + g.predicate(s, depth-1) + ")"
		case 2:
			return "(" + g.predicate(s, depth-1) + " AND " + g.predicate(s, depth-1) + ")"
		case 3:
			g.tag("NOT")
			return "NOT (" + g.predicate(s, depth-1) + ")"
		case 4:
			g.tag("CASE")
			return "CASE WHEN " + g.predicate(s, depth-1) + " THEN " + g.predicate(s, 0) + " ELSE " + pick(g.s, []string{"true", "false", "NULL"}) + " END"
		case 5:
			if g.cost < maxCost {
				return g.subqueryPredicate(s, depth)
			}
		case 6:
			return "(" + g.predicate(s, depth-1) + ")" + pick(g.s, []string{" IS TRUE", " IS NOT FALSE", " IS UNKNOWN", " = true"})
		}
	}
	c := pick(g.s, s.cols)
	if g.chance(25) { // keys matter most
		for range 4 {
			if o := pick(g.s, s.cols); o.key {
				c = o
				break
			}
		}
	}
	k := c.kind
	if k == kTexts || k == kJSONB {
		return c.ref + pick(g.s, []string{" IS NULL", " IS NOT NULL", " = " + g.value(k, true)})
	}
	switch g.one(40, 14, 10, 10, 10, 6, 5, 8, 5, 4, 4) {
	case 1:
		g.tag("comparison")
		return c.ref + pick(g.s, []string{" <> ", " < ", " <= ", " > ", " >= ", " IS DISTINCT FROM ", " IS NOT DISTINCT FROM "}) + g.value(k, false)
	case 2:
		g.tag("IN")
		return c.ref + pick(g.s, []string{" IN (", " IN (", " NOT IN ("}) + g.list(k, 1+g.s.IntN(4)) + ")"
	case 3:
		g.tag("= ANY")
		return c.ref + pick(g.s, []string{" = ANY (", " = ANY (", " <> ALL (", " = ALL ("}) + g.array(k, g.rawList(k, g.s.IntN(4))) + ")"
	case 4:
		g.tag("IS NULL")
		return c.ref + pick(g.s, []string{" IS NULL", " IS NOT NULL"})
	case 5:
		g.tag("BETWEEN")
		return c.ref + pick(g.s, []string{" BETWEEN ", " NOT BETWEEN ", " BETWEEN SYMMETRIC "}) + g.value(k, false) + " AND " + g.value(k, false)
	case 6:
		g.tag("row comparison")
		o := pick(g.s, s.cols)
		if o.kind == kTexts || o.kind == kJSONB {
			o = c
		}
		if g.chance(50) {
			return "(" + c.ref + ", " + o.ref + ")" + pick(g.s, []string{" = ", " = ", " < ", " <> ", " IS DISTINCT FROM "}) + "(" + g.value(k, false) + ", " + g.value(o.kind, false) + ")"
		}
		return "(" + c.ref + ", " + o.ref + ") IN ((" + g.value(k, false) + ", " + g.value(o.kind, false) + "), (" + g.value(k, false) + ", " + g.value(o.kind, false) + "))"
	case 7:
		if same := s.of(k); len(same) > 1 {
			g.tag("columns compared")
			return c.ref + pick(g.s, []string{" = ", " = ", " <> ", " < "}) + pick(g.s, same).ref
		}
	case 8:
		if k == kText || k == kVarchar {
			g.tag("LIKE")
			return c.ref + pick(g.s, []string{" LIKE 'a%'", " ILIKE 'A%'", " NOT LIKE '%b%'", " ~ '^[a-z]'", " LIKE '_'"})
		}
	case 9:
		g.tag("cast of a column")
		to := pick(g.s, []*kind{kText, kText, kNumeric, kInt8, kVarchar})
		if to != kText && to != kVarchar && k != kInt2 && k != kInt4 && k != kInt8 {
			to = kText
		}
		return c.ref + "::" + to.cast() + " = " + g.castValue(k, to)
	case 10:
		if k == kInt8 || k == kInt4 || k == kInt2 {
			return c.ref + pick(g.s, []string{" % 3 = ", " + 0 = ", " - 0 = ", " = 0 + "}) + g.small()
		}
	}
	g.tag("=")
	if g.chance(15) {
		return g.value(k, false) + " = " + c.ref
	}
	return c.ref + " = " + g.value(k, false)
}

// castValue is a value of one kind as another writes it.
func (g *gen) castValue(from, to *kind) string {
	text := pick(g.v, from.pool)
	if to == kText || to == kVarchar {
		return quote(text)
	}
	return g.render(to, text, false)
}

func (g *gen) rawList(k *kind, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = pick(g.v, k.pool)
		if g.v.IntN(15) == 0 {
			out[i] = "NULL"
		}
	}
	return out
}

func (g *gen) list(k *kind, n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = g.value(k, false)
	}
	return strings.Join(list, ", ")
}

// subqueryPredicate is EXISTS, IN or a comparison with a scalar subquery. In a statement about one key the subquery is about the same.
func (g *gen) subqueryPredicate(s *scope, depth int) string {
	inner := &scope{outer: s}
	f := g.tableFrom(g.anyTable())
	inner.add(f)
	conds := g.keyConditions(f, s)
	if g.chance(50) {
		conds = append(conds, g.predicate(inner, 0))
	}
	if len(s.cols) > 0 && g.chance(30) {
		both := &scope{cols: append(append([]col{}, inner.cols...), s.cols...)}
		conds = append(conds, g.predicate(both, 0))
	}
	where := ""
	if len(conds) > 0 {
		where = " WHERE " + strings.Join(conds, " AND ")
	}
	not := pick(g.s, []string{"", "", "NOT "})
	switch g.one(4, 3, 3) {
	case 0:
		g.tag("EXISTS")
		return not + "EXISTS (SELECT " + pick(g.s, []string{"1", "*", "", "NULL"}) + " FROM " + f.sql + where + ")"
	case 1:
		for range 10 {
			c := pick(g.s, s.cols)
			if same := inner.of(c.kind); len(same) > 0 {
				g.tag("IN subquery")
				op := pick(g.s, []string{" IN ", " IN ", " NOT IN ", " = ANY "})
				return c.ref + op + "(SELECT " + pick(g.s, same).ref + " FROM " + f.sql + where + ")"
			}
		}
	}
	g.tag("scalar subquery")
	agg := "count(*)"
	if sm := inner.smalls(); len(sm) > 0 && g.chance(60) {
		agg = pick(g.s, []string{"max(", "sum(", "min("}) + pick(g.s, sm).ref + ")"
	}
	return fmt.Sprintf("(SELECT %s FROM %s%s) %s %s", agg, f.sql, where, pick(g.s, []string{">", "=", "<", "<>"}), g.small())
}
