package oracle

import (
	"fmt"
	"slices"
	"strings"
)

// A from is an entry of FROM.
type from struct {
	sql    string
	name   string   // alias or name
	cols   []col    // with name in front
	names  []string // of the columns
	family string   // of the key, "" without
	key    []string // references to the key's columns
	kinds  []*kind  // of the key's columns
	pinned bool     // the key is compared inside
	table  *table   // of a plain table under its own column names
}

func (s *scope) add(f *from) {
	s.cols = append(s.cols, f.cols...)
	if f.key != nil {
		s.keys = append(s.keys, f)
	}
}

// anyTable picks a table: of the family that the statement is about, or one that is everywhere; any other in free statements.
func (g *gen) anyTable() *table {
	if g.pin == nil || g.free && g.chance(30) {
		if g.chance(50) {
			return pick(g.s, tables[:10])
		}
		return pick(g.s, tables)
	}
	if g.chance(12) {
		return tableNamed("countries")
	}
	return g.ownTable()
}

// ownTable picks a table of the statement's family.
func (g *gen) ownTable() *table {
	_, of := families()
	if g.pin == nil {
		for {
			if t := g.anyTable(); t.family != "" {
				return t
			}
		}
	}
	return pick(g.s, of[g.pin.family])
}

// tableFrom is a table as an entry of FROM, mostly with an alias.
func (g *gen) tableFrom(t *table) *from {
	f := &from{family: t.family}
	f.name = t.name
	f.sql = t.name
	if g.chance(8) {
		f.sql = "public." + t.name
	}
	own := true
	if g.chance(85) || g.aliases > 0 {
		f.name = g.alias()
		f.sql += pick(g.s, []string{" ", " AS "}) + f.name
		own = false
	} else {
		g.aliases++
	}
	names := make([]string, len(t.columns))
	for i, c := range t.columns {
		names[i] = c.name
	}
	if !own && g.chance(8) {
		g.tag("column aliases")
		n := 1 + g.s.IntN(len(names))
		for i := range n {
			names[i] = fmt.Sprintf("x%d", i)
		}
		f.sql += "(" + strings.Join(names[:n], ", ") + ")"
	} else {
		f.table = t
	}
	for i, c := range t.columns {
		f.cols = append(f.cols, col{ref: f.name + "." + names[i], kind: c.kind, small: c.small, key: len(t.key) == 1 && t.isKey(c.name)})
	}
	for _, k := range t.key {
		i := slices.IndexFunc(t.columns, func(c column) bool { return c.name == k })
		f.key, f.kinds = append(f.key, f.cols[i].ref), append(f.kinds, t.columns[i].kind)
	}
	f.names = names
	return f
}

// keyValue is a condition that a key has the statement's value, in one of many forms.
func (g *gen) keyValue(f *from) string {
	p := g.pin
	if len(f.key) > 1 {
		a, b := g.render(f.kinds[0], p.values[0], false), g.render(f.kinds[1], p.values[1], false)
		switch g.one(50, 20, 15) {
		case 1:
			g.tag("row comparison")
			return fmt.Sprintf("(%s, %s) = (%s, %s)", f.key[0], f.key[1], a, b)
		case 2:
			g.tag("row comparison")
			return fmt.Sprintf("(%s, %s) IN ((%s, %s))", f.key[0], f.key[1], a, b)
		}
		return fmt.Sprintf("%s = %s AND %s = %s", f.key[0], a, f.key[1], b)
	}
	ref, k := f.key[0], f.kinds[0]
	switch g.one(60, 10, 6, 8, 4, 3) {
	case 1:
		return g.render(k, p.values[0], false) + " = " + ref
	case 2:
		g.tag("IN")
		return ref + " IN (" + g.render(k, p.values[0], false) + ")"
	case 3:
		g.tag("= ANY")
		return ref + " = ANY (" + g.array(k, p.values[:1]) + ")"
	case 4:
		g.tag("row comparison")
		return "(" + ref + ", 1) = (" + g.render(k, p.values[0], false) + ", 1)"
	case 5:
		g.tag("IN")
		return ref + " IN (" + g.render(k, p.values[0], false) + ", " + g.render(k, p.values[0], false) + ")"
	}
	return ref + " = " + g.render(k, p.values[0], false)
}

// sameKey is a condition that two keys are equal; "" if they are of different families.
func sameKey(f, o *from) string {
	if f.family == "" || f.family != o.family {
		return ""
	}
	var parts []string
	for i := range f.key {
		parts = append(parts, f.key[i]+" = "+o.key[i])
	}
	return strings.Join(parts, " AND ")
}

// keyConditions pin an entry of a subquery, by a value or by the key of a table outside.
func (g *gen) keyConditions(f *from, outer *scope) []string {
	if f.key == nil || g.free && g.chance(50) {
		return nil
	}
	if g.chance(60) {
		for _, o := range outer.keys {
			if c := sameKey(f, o); c != "" {
				g.tag("correlated subquery")
				return []string{c}
			}
		}
	}
	if g.pin == nil || g.pin.family != f.family {
		return nil
	}
	return []string{g.keyValue(f)}
}

// source is an entry of FROM that is no join.
func (g *gen) source(s *scope, depth int) *from {
	g.cost++
	if depth > 0 && g.cost < maxCost {
		switch g.one(70, 14, 6, 6, 8) {
		case 1:
			g.tag("subquery in FROM")
			q := g.selectQuery(s, depth-1, nil)
			return q.asFrom(g, "("+q.sql+")", "")
		case 2:
			g.tag("function in FROM")
			a := g.alias()
			if g.chance(50) {
				f := &from{name: a, sql: fmt.Sprintf("generate_series(0, %s) AS %s(n)", g.small(), a), names: []string{"n"}}
				f.cols = []col{{ref: a + ".n", kind: kInt4, small: true}}
				return f
			}
			f := &from{name: a, sql: fmt.Sprintf("unnest(%s) AS %s(u)", "ARRAY["+g.value(kText, true)+", "+g.value(kText, true)+"]", a), names: []string{"u"}}
			f.cols = []col{{ref: a + ".u", kind: kText}}
			return f
		case 3:
			g.tag("VALUES in FROM")
			a := g.alias()
			row := func() string { return "(" + g.value(kInt8, true) + ", " + g.value(kText, true) + ")" }
			f := &from{name: a, sql: fmt.Sprintf("(VALUES %s, %s) AS %s(p, q)", row(), row(), a), names: []string{"p", "q"}}
			f.cols = []col{{ref: a + ".p", kind: kInt8}, {ref: a + ".q", kind: kText}}
			return f
		case 4:
			if len(g.ctes) > 0 {
				c := pick(g.s, g.ctes)
				g.tag("CTE")
				f := *c
				f.name = g.alias()
				f.sql = c.name + " AS " + f.name
				f.cols, f.key = nil, nil
				for i, o := range c.cols {
					o.ref = f.name + "." + c.names[i]
					f.cols = append(f.cols, o)
				}
				for _, k := range c.key {
					f.key = append(f.key, f.name+k[strings.LastIndexByte(k, '.'):])
				}
				return &f
			}
		}
	}
	return g.tableFrom(g.anyTable())
}

// fromClause makes FROM and what WHERE must say so that the statement stays with its key.
func (g *gen) fromClause(s *scope, depth int) (sql string, where []string) {
	f := g.source(s, depth)
	if g.pin != nil && !g.free && depth > 0 && f.family == "" && g.chance(70) {
		f = g.tableFrom(g.ownTable())
	}
	sql = f.sql
	where = append(where, g.pinOf(f)...)
	inside := &scope{outer: s.outer}
	inside.add(f)
	joined := []*from{f}
	for range g.one(50, 32, 14) {
		if g.cost > maxCost {
			break
		}
		sql, where = g.join(sql, where, inside, &joined, depth)
	}
	s.cols, s.keys = append(s.cols, inside.cols...), append(s.keys, inside.keys...)
	return sql, where
}

// pinOf is the condition that WHERE needs for an entry.
func (g *gen) pinOf(f *from) []string {
	if f.key == nil || f.pinned || g.pin == nil || f.family != g.pin.family || g.free && g.chance(40) {
		return nil
	}
	return []string{g.keyValue(f)}
}

// join adds a join to FROM.
func (g *gen) join(sql string, where []string, s *scope, joined *[]*from, depth int) (string, []string) {
	if g.chance(10) && len(s.keys) > 0 && depth > 0 {
		if out := g.lateral(s); out != nil {
			*joined = append(*joined, out)
			s.add(out)
			return sql + pick(g.s, []string{", LATERAL ", " CROSS JOIN LATERAL "}) + out.sql, where
		}
	}
	f := g.source(&scope{outer: s.outer}, depth)
	on := ""
	shared := pick(g.s, *joined)
	on = sameKey(f, shared)
	if on == "" {
		for _, o := range *joined {
			if on = sameKey(f, o); on != "" {
				shared = o
				break
			}
		}
	}
	both := &scope{cols: append(append([]col{}, s.cols...), f.cols...)}
	if g.free && g.chance(35) {
		on = ""
	}
	extra := ""
	if g.chance(25) {
		extra = g.predicate(both, 0)
	}
	cond := func() string {
		switch {
		case on == "" && extra == "":
			return g.predicate(both, 0)
		case on == "":
			return extra
		case extra == "":
			return on
		}
		return on + " AND " + extra
	}
	kind := g.one(40, 25, 10, 4, 12, 8, 4)
	if on == "" && f.key != nil && !f.pinned && kind < 4 && !g.free && g.pin != nil {
		kind = 4
	}
	switch kind {
	case 0:
		g.tag("inner join")
		sql += pick(g.s, []string{" JOIN ", " INNER JOIN "}) + f.sql + " ON " + cond()
		if on == "" {
			where = append(where, g.pinOf(f)...)
		}
	case 1:
		g.tag("left join")
		sql += pick(g.s, []string{" LEFT JOIN ", " LEFT OUTER JOIN "}) + f.sql + " ON " + cond()
	case 2:
		g.tag("right join")
		sql += " RIGHT JOIN " + f.sql + " ON " + cond()
		where = append(where, g.pinOf(f)...)
	case 3:
		g.tag("full join")
		g.free = true
		sql += " FULL JOIN " + f.sql + " ON " + cond()
	case 5:
		if f.table != nil && shared.table != nil && f.family != "" && f.family == shared.family && len(f.key) == len(shared.key) && slices.Equal(f.table.key, shared.table.key) && len(*joined) == 1 {
			g.tag("USING")
			sql += pick(g.s, []string{" JOIN ", " LEFT JOIN "}) + f.sql + " USING (" + strings.Join(f.table.key, ", ") + ")"
			break
		}
		fallthrough
	case 4:
		g.tag("cross join")
		sql += pick(g.s, []string{", ", " CROSS JOIN "}) + f.sql
		where = append(where, g.pinOf(f)...)
	case 6:
		if f.table != nil && f.key != nil && len(*joined) == 1 {
			g.tag("NATURAL")
			sql += pick(g.s, []string{" NATURAL JOIN ", " NATURAL LEFT JOIN "}) + f.sql
			g.free = g.free || shared.table == nil || !slices.Equal(f.table.key, shared.table.key)
			break
		}
		g.tag("cross join")
		sql += " CROSS JOIN " + f.sql
		where = append(where, g.pinOf(f)...)
	}
	s.add(f)
	*joined = append(*joined, f)
	return sql, where
}

// lateral is a subquery that uses a table to its left.
func (g *gen) lateral(s *scope) *from {
	o := pick(g.s, s.keys)
	_, of := families()
	f := g.tableFrom(pick(g.s, of[o.family]))
	inner := &scope{}
	inner.add(f)
	both := &scope{cols: append(append([]col{}, inner.cols...), s.cols...)}
	g.tag("LATERAL")
	where := sameKey(f, o)
	if g.chance(40) {
		where += " AND " + g.predicate(both, 0)
	}
	a := g.alias()
	c, e := pick(g.s, inner.cols), pick(g.s, s.cols)
	out := &from{name: a, names: []string{"l1", "l2"}, cols: []col{{ref: a + ".l1", kind: c.kind, small: c.small}, {ref: a + ".l2", kind: e.kind}}}
	out.sql = fmt.Sprintf("(SELECT %s AS l1, %s AS l2 FROM %s WHERE %s) AS %s", c.ref, e.ref, f.sql, where, a)
	return out
}
