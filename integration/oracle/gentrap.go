package oracle

import (
	"fmt"
	"slices"
	"strings"
)

// A trap is a read over rows of several shards that looks as if a key pinned it, or as if it could be taken apart. Most of them must be
// refused; what chance makes of the rest of the grammar seldom comes near them.
func (g *gen) trap(st *step) {
	g.tag("trap")
	t := g.ownTable()
	for slices.ContainsFunc(t.key, func(k string) bool { return t.column(k).kind == kNumeric }) {
		_, of := families()
		t = pick(g.s, of[g.family([]string{"event", "word", "day"})])
	}
	if g.pin == nil || g.pin.family != t.family {
		g.pin = g.drawPin(t.family)
	}
	g.free = true
	switch g.one(40, 20, 25, 15) {
	case 0:
		st.sql = g.conditionAbove(t)
	case 1:
		st.sql = g.armsOfSeveral(t)
	case 2:
		st.sql, st.ordered = g.wholeOfSeveral(t)
	case 3:
		st.sql = g.impostor(t)
	}
}

// realFrom is a table under its own column names.
func (g *gen) realFrom(t *table) *from {
	for {
		if f := g.tableFrom(t); f.table != nil {
			return f
		}
	}
}

// conditionAbove compares a key outside of a subquery in which the condition would mean something else: below LIMIT, DISTINCT ON, a
// window or an aggregate.
func (g *gen) conditionAbove(t *table) string {
	f := g.realFrom(t)
	inner := &scope{}
	inner.add(f)
	c := pick(g.s, f.cols)
	for c.kind == kTexts || c.kind == kJSONB || c.kind == kNumeric {
		c = pick(g.s, f.cols)
	}
	out := &from{name: g.alias(), family: t.family, kinds: f.kinds}
	var list, all []string
	for i, k := range f.key {
		list, all = append(list, fmt.Sprintf("%s AS k%d", k, i+1)), append(all, fmt.Sprint(i+1))
		out.key = append(out.key, fmt.Sprintf("%s.k%d", out.name, i+1))
	}
	list, all = append(list, c.ref+" AS v"), append(all, fmt.Sprint(len(f.key)+1))
	where := ""
	if g.chance(25) {
		where = " WHERE " + g.predicate(inner, 0)
	}
	body := " FROM " + f.sql + where
	sql := ""
	switch n := g.one(50, 15, 20, 15); {
	case n == 1:
		g.tag("condition above DISTINCT ON")
		sql = "SELECT DISTINCT ON (" + c.ref + ") " + strings.Join(list, ", ") + body + " ORDER BY " + c.ref + ", " + strings.Join(f.key, ", ")
	case n == 2:
		g.tag("condition above a window")
		sql = "SELECT " + strings.Join(list, ", ") + ", " + pick(g.s, []string{"count(*) OVER ()", "rank() OVER (ORDER BY " + f.key[0] + ")", "max(" + f.key[0] + "::text) OVER ()"}) + " AS w" + body
	case n == 3 && len(f.key) == 1 && slices.Contains([]*kind{kInt8, kInt4, kInt2, kText, kDate, kTimestamp}, f.kinds[0]):
		g.tag("condition above an aggregate")
		sql = "SELECT " + pick(g.s, []string{"max(", "min("}) + f.key[0] + ") AS k1, " + c.ref + " AS v" + body + " GROUP BY 2"
	default:
		g.tag("condition above LIMIT")
		desc := pick(g.s, []string{"", " DESC"})
		order := " ORDER BY " + strings.Join(all, desc+", ") + desc
		rows := fmt.Sprint(1 + g.v.IntN(12))
		sql = "SELECT " + strings.Join(list, ", ") + body + order + pick(g.s, []string{" LIMIT " + rows, " OFFSET " + rows, " LIMIT " + rows + " OFFSET 2", " FETCH FIRST " + rows + " ROWS ONLY"})
	}
	sub := "(" + sql + ") AS " + out.name
	_, of := families()
	switch g.one(50, 20, 15, 15) {
	case 1:
		o := g.realFrom(pick(g.s, of[t.family]))
		return "SELECT " + out.name + ".* FROM " + o.sql + " JOIN " + sub + " ON " + sameKey(o, out) + " WHERE " + g.keyValue(o)
	case 2:
		o := g.realFrom(pick(g.s, of[t.family]))
		return "SELECT " + o.name + ".* FROM " + o.sql + " WHERE " + g.keyValue(o) + " AND EXISTS (SELECT 1 FROM " + sub + " WHERE " + sameKey(o, out) + ")"
	case 3:
		return "SELECT " + out.name + ".* FROM " + sub
	}
	return "SELECT " + out.name + ".* FROM " + sub + " WHERE " + g.keyValue(out)
}

// armsOfSeveral is a set operation of a sharded table with a reference table, or with itself.
func (g *gen) armsOfSeveral(t *table) string {
	g.tag("set operation of several shards")
	arm := func(t *table) string {
		f := g.realFrom(t)
		s := &scope{}
		s.add(f)
		where := ""
		if g.chance(30) {
			where = " WHERE " + g.predicate(s, 0)
		}
		return "SELECT " + pick(g.s, f.cols).ref + "::text AS c1 FROM " + f.sql + where
	}
	l, r := arm(t), arm(tableNamed("countries"))
	switch g.one(60, 20, 20) {
	case 1:
		l, r = r, l
	case 2:
		r = arm(t)
	}
	return l + pick(g.s, []string{" UNION ", " UNION ALL ", " INTERSECT ", " EXCEPT ", " EXCEPT ALL "}) + r
}

// wholeOfSeveral is a read for which all rows must come together.
func (g *gen) wholeOfSeveral(t *table) (sql string, ordered bool) {
	f := g.realFrom(t)
	s := &scope{}
	s.add(f)
	c := pick(g.s, f.cols)
	for c.kind == kTexts || c.kind == kJSONB || c.kind == kNumeric { // equal values are written alike
		c = pick(g.s, f.cols)
	}
	body := " FROM " + f.sql
	if g.chance(30) {
		body += " WHERE " + g.predicate(s, 0)
	}
	one := "SELECT " + c.ref + " AS c1"
	switch g.one(3, 2, 3, 3, 2, 2) {
	case 0:
		g.tag("GROUP BY of several shards")
		return one + body + " GROUP BY " + c.ref, false
	case 1:
		g.tag("HAVING of several shards")
		return "SELECT 1 AS c1" + body + " HAVING " + pick(g.s, []string{"true", "1 = 1"}), false
	case 2:
		g.tag("DISTINCT of several shards")
		return "SELECT DISTINCT " + c.ref + " AS c1" + body, false
	case 3:
		g.tag("ORDER BY of several shards")
		return one + body + " ORDER BY 1" + pick(g.s, []string{"", " DESC", " LIMIT 3", " OFFSET 2"}), true
	case 4:
		g.tag("aggregate of several shards")
		return "SELECT count(*) AS c1, count(DISTINCT " + c.ref + ") AS c2" + body, false
	}
	g.tag("window of several shards")
	return one + ", count(*) OVER (PARTITION BY " + c.ref + ") AS c2" + body, false
}

// impostor hides a table behind a query that has its column names and other types, by which the values mean something else.
func (g *gen) impostor(t *table) string {
	_, of := families()
	if t.family != "customer" && t.family != "day" {
		t = pick(g.s, of[pick(g.s, []string{"customer", "day"})])
		g.pin = g.drawPin(t.family)
	}
	g.tag("CTE with a table's columns and other types")
	real := pick(g.s, of[t.family])
	a, x := g.alias(), g.alias()
	row, cond := g.pin.values[0]+".0 AS "+t.key[0], x+"."+t.key[0]+" = '"+g.pin.values[0]+".0'"
	on := a + "." + real.key[0] + " = " + x + "." + t.key[0]
	if t.family == "day" {
		row = "date " + quote(g.pin.values[0]) + " AS " + t.key[0] + ", " + quote(g.pin.values[1]) + "::bpchar AS " + t.key[1]
		cond = x + "." + t.key[0] + " = " + quote(g.pin.values[0]) + " AND " + x + "." + t.key[1] + " = " + quote(g.pin.values[1]+"   ")
		on += " AND " + a + "." + real.key[1] + " = " + x + "." + t.key[1]
	}
	return fmt.Sprintf("WITH %s AS (SELECT %s) SELECT %s.* FROM public.%s AS %s JOIN %s AS %s ON %s WHERE %s", t.name, row, a, real.name, a, t.name, x, on, cond)
}
