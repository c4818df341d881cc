package oracle

import (
	"fmt"
	"strings"
)

// An outcol is a column of a result.
type outcol struct {
	name string
	col
}

// A query is a SELECT.
type query struct {
	sql    string
	cols   []outcol
	family string   // if the key's columns are among the columns
	key    []string // their names
	kinds  []*kind
	pinned bool
}

// asFrom makes a query an entry of FROM.
func (q *query) asFrom(g *gen, sql, name string) *from {
	f := &from{name: name, family: q.family, kinds: q.kinds, pinned: q.pinned}
	if name == "" {
		f.name = g.alias()
		f.sql = sql + " AS " + f.name
	}
	for _, c := range q.cols {
		f.names = append(f.names, c.name)
		f.cols = append(f.cols, col{ref: f.name + "." + c.name, kind: c.kind, small: c.small, key: c.key})
	}
	for _, k := range q.key {
		f.key = append(f.key, f.name+"."+k)
	}
	return f
}

// selectQuery makes a SELECT without ORDER BY or LIMIT. want are the kinds of its columns, nil for any. Names of columns are unique.
func (g *gen) selectQuery(s *scope, depth int, want []*kind) *query {
	if want == nil && depth > 0 && g.chance(8) {
		return g.setOperation(s, depth)
	}
	inside := &scope{outer: s}
	free := g.free
	sql, where := g.fromClause(inside, depth)
	for range g.one(40, 40, 20) {
		if g.cost < maxCost {
			where = append(where, g.predicate(inside, min(depth, 2)))
		}
	}
	q := &query{pinned: g.pin != nil && !free}
	grouped := ""
	var list []string
	name := func(i int) string { return fmt.Sprintf("c%d", i+1) }
	add := func(e string, c col) {
		n := name(len(q.cols))
		list = append(list, e+" AS "+n)
		q.cols = append(q.cols, outcol{n, c})
	}
	switch {
	case want != nil:
		for _, k := range want {
			if cols := inside.of(k); len(cols) > 0 && g.chance(70) {
				c := pick(g.s, cols)
				add(c.ref, c)
			} else {
				add(g.expr(k, inside, 1), col{kind: k})
			}
		}
	case g.chance(16):
		grouped = g.groupBy(inside, add)
	case g.chance(10):
		g.windows(inside, add)
	default:
		if len(inside.keys) > 0 && g.chance(50) { // the key is handed on
			f := pick(g.s, inside.keys)
			q.family, q.kinds = f.family, f.kinds
			for i, k := range f.key {
				q.key = append(q.key, name(len(q.cols)))
				add(k, col{kind: f.kinds[i], key: len(f.key) == 1})
			}
			g.expressions(inside, add, g.s.IntN(3), depth)
			break
		}
		g.expressions(inside, add, 1+g.s.IntN(4), depth)
	}
	distinct := ""
	if grouped == "" && g.chance(6) && want == nil {
		g.tag("DISTINCT")
		distinct = "DISTINCT "
	}
	q.sql = "SELECT " + distinct + strings.Join(list, ", ") + " FROM " + sql
	if len(where) > 0 {
		q.sql += " WHERE " + strings.Join(where, " AND ")
	}
	q.sql += grouped
	return q
}

// expressions adds columns.
func (g *gen) expressions(s *scope, add func(string, col), n, depth int) {
	for range n {
		if len(s.cols) > 0 && g.chance(60) {
			c := pick(g.s, s.cols)
			add(c.ref, c)
			continue
		}
		k := pick(g.s, expressionKinds)
		add(g.expr(k, s, min(depth+1, 2)), col{kind: k})
	}
}

// groupBy makes a grouped query and returns what follows WHERE.
func (g *gen) groupBy(s *scope, add func(string, col)) string {
	g.tag("aggregate")
	var by []string
	for range g.one(30, 45, 25) {
		c := pick(g.s, s.cols)
		if c.kind == kTexts {
			continue
		}
		by = append(by, c.ref)
		add(c.ref, c)
	}
	for range 1 + g.s.IntN(3) {
		filter := ""
		if g.chance(12) {
			filter = " FILTER (WHERE " + g.predicate(s, 0) + ")"
		}
		distinct := pick(g.s, []string{"", "", "", "DISTINCT "})
		switch g.one(4, 4, 3, 2, 2) {
		case 0:
			add("count(*)"+filter, col{kind: kInt8})
		case 1:
			add("sum("+distinct+g.number(s, 1)+")"+filter, col{kind: kInt8})
		case 2:
			add(pick(g.s, []string{"min(", "max("})+g.expr(pick(g.s, []*kind{kText, kDate, kInt8}), s, 0)+")"+filter+"::text", col{kind: kText})
		case 3:
			add("bool_or("+g.predicate(s, 0)+")"+filter, col{kind: kBool})
		case 4:
			e := g.expr(kText, s, 0)
			add("string_agg("+e+", ',' ORDER BY "+e+")"+filter, col{kind: kText})
		}
	}
	out := ""
	if len(by) > 0 {
		g.tag("GROUP BY")
		switch g.one(85, 5, 5, 5) {
		case 0:
			out = " GROUP BY " + strings.Join(by, ", ")
		case 1:
			out = " GROUP BY ROLLUP (" + strings.Join(by, ", ") + ")"
		case 2:
			out = " GROUP BY GROUPING SETS ((" + strings.Join(by, ", ") + "), ())"
		case 3:
			out = " GROUP BY 1"
			for i := range len(by) - 1 {
				out += fmt.Sprintf(", %d", i+2)
			}
		}
	}
	if g.chance(20) {
		g.tag("HAVING")
		out += " HAVING count(*) " + pick(g.s, []string{">", "<", "="}) + " " + g.small()
	}
	return out
}

// windows makes columns of window functions whose values do not depend on the order of peers.
func (g *gen) windows(s *scope, add func(string, col)) {
	g.tag("window function")
	over := func() string {
		out := ""
		if g.chance(60) {
			out = "PARTITION BY " + pick(g.s, s.cols).ref
		}
		if g.chance(60) {
			out += " ORDER BY " + pick(g.s, s.cols).ref
		}
		return " OVER (" + out + ")"
	}
	c := pick(g.s, s.cols)
	add(c.ref, c)
	for range 1 + g.s.IntN(2) {
		switch g.one(1, 1, 1) {
		case 0:
			add("count(*)"+over(), col{kind: kInt8})
		case 1:
			add(pick(g.s, []string{"rank()", "dense_rank()"})+over(), col{kind: kInt8})
		case 2:
			add("sum("+g.number(s, 0)+")"+over(), col{kind: kInt8})
		}
	}
}

// setOperation makes UNION, INTERSECT or EXCEPT. The arms of a free statement are about different keys.
func (g *gen) setOperation(s *scope, depth int) *query {
	g.tag("set operation")
	kinds := []*kind{kInt4, kInt8, kText, kBool, kDate, kTimestamp} // equal values are written alike
	want := []*kind{pick(g.s, kinds)}
	if g.chance(60) {
		want = append(want, pick(g.s, kinds))
	}
	if g.chance(40) && g.pin != nil { // the key, so that a condition outside can reach it
		_, of := families()
		want = append([]*kind{of[g.pin.family][0].column(of[g.pin.family][0].key[0]).kind}, want...)
	}
	l := g.selectQuery(s, depth-1, want)
	saved := g.pin
	if g.free && g.pin != nil && g.chance(60) {
		g.pin = g.drawPin(g.pin.family)
	}
	r := g.selectQuery(s, depth-1, want)
	g.pin = saved
	op := pick(g.s, []string{" UNION ", " UNION ALL ", " UNION ALL ", " INTERSECT ", " EXCEPT ", " EXCEPT ALL ", " INTERSECT ALL "})
	q := &query{sql: l.sql + op + r.sql, pinned: l.pinned && r.pinned}
	if g.chance(20) {
		q.sql = "(" + l.sql + ")" + op + "(" + r.sql + ")"
	}
	for _, c := range l.cols {
		q.cols = append(q.cols, outcol{c.name, col{kind: c.kind, small: false, key: c.key}})
	}
	return q
}

// with makes WITH queries that FROM may name from then on.
func (g *gen) with(depth int) string {
	var parts []string
	for range 1 + g.s.IntN(2) {
		name := fmt.Sprintf("w%d", len(g.ctes)+1)
		if g.chance(30) {
			name = pick(g.s, tables[:6]).name // it hides a table
			if g.pin != nil && !g.free {
				name = g.ownTable().name
			}
			if strings.Contains(strings.Join(parts, " "), name+" AS ") {
				continue
			}
			g.tag("CTE that hides a table")
		}
		g.tag("WITH")
		if t := tableNamed(name); t != nil {
			parts = append(parts, name+" AS ("+g.same(t)+")")
			continue
		}
		q := g.selectQuery(&scope{}, depth, nil)
		f := q.asFrom(g, "", name)
		parts = append(parts, name+" AS "+pick(g.s, []string{"", "", "MATERIALIZED ", "NOT MATERIALIZED "})+"("+q.sql+")")
		g.ctes = append(g.ctes, f)
	}
	return "WITH " + strings.Join(parts, ", ") + " "
}

// same is a query with the columns of a table, for a name that hides it.
func (g *gen) same(t *table) string {
	f := g.tableFrom(t)
	s := &scope{}
	s.add(f)
	where := g.pinOf(f)
	if g.chance(60) || len(where) == 0 {
		where = append(where, g.predicate(s, 0))
	}
	return "SELECT " + f.name + ".* FROM " + f.sql + " WHERE " + strings.Join(where, " AND ")
}

// drawPin draws a value for a key.
func (g *gen) drawPin(family string) *pin {
	_, of := families()
	p := &pin{family: family}
	t := of[family][0]
	for _, k := range t.key {
		p.values = append(p.values, pick(g.v, t.column(k).kind.pool))
	}
	return p
}
