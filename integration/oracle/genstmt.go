package oracle

import (
	"fmt"
	"strings"
)

// options of a statement.
type want struct {
	extended bool
	write    bool // else a read
}

// statement makes a statement from two seeds.
func statement(structure, values uint64, w want) step {
	g := newGen(structure, values, w.extended)
	st := step{extended: w.extended, write: w.write}
	names, _ := families()
	switch g.one(60, 20, 20) {
	case 0:
		g.pin = g.drawPin(g.family(names))
	case 1: // a key in some places, in others not, or another one
		g.pin, g.free = g.drawPin(g.family(names)), true
	case 2:
		g.free = true
	}
	if copied := 0; !w.extended {
		if copied = 3; w.write {
			copied = 8
		}
		if g.chance(copied) {
			g.copyStep(&st, w.write)
			st.tags, st.loose, st.pinned = g.tags, g.loose, g.pin != nil && !g.free
			return st
		}
	}
	if w.write {
		switch g.one(40, 30, 20, 3, 4) {
		case 0:
			st.sql, st.ordered = g.insert()
		case 1:
			st.sql = g.update(false)
		case 2:
			st.sql = g.update(true)
		case 3:
			st.sql, g.free = g.merge(), true
		case 4:
			st.sql = g.writeWith()
		}
		st.loose = g.loose
	} else {
		g.read(&st)
	}
	st.params, st.tags = g.params, g.tags
	st.pinned = g.pin != nil && !g.free
	st.binary = w.extended && g.chance(30)
	return st
}

func (g *gen) family(names []string) string {
	if g.chance(45) {
		return "customer"
	}
	return pick(g.s, names)
}

// read makes a SELECT or VALUES with all that may stand around it.
func (g *gen) read(st *step) {
	with := ""
	switch g.one(82, 10, 2, 3, 3, 8, 3) {
	case 1:
		with = g.with(1)
	case 2:
		g.tag("VALUES")
		st.sql = "VALUES (" + g.value(kInt8, true) + ", " + g.value(kText, true) + "), (" + g.value(kInt8, true) + ", NULL)"
		return
	case 3:
		g.tag("no table")
		st.sql = "SELECT " + g.value(kInt8, true) + " AS c1, " + g.expr(kText, &scope{}, 2) + " AS c2"
		return
	case 4:
		g.tag("recursive CTE")
		t := g.tableFrom(g.ownTable())
		where := append(g.pinOf(t), "true")
		st.sql = "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 4) SELECT r.i, " + t.key[0] + " FROM r, " + t.sql + " WHERE " + strings.Join(where, " AND ")
		return
	case 5:
		g.trap(st)
		return
	case 6:
		g.hinted(st)
		return
	}
	s := &scope{}
	var q *query
	if g.pin == nil && g.chance(50) { // what needs no more than to be sent one after the other
		q = g.scan()
		st.tags = append(st.tags, "scan")
		g.tag("scan")
	} else {
		q = g.selectQuery(s, 2, nil)
	}
	st.sql = with + q.sql
	total := ""
	var all []string
	for i := range q.cols {
		all = append(all, fmt.Sprint(i+1))
	}
	if g.chance(22) {
		g.tag("ORDER BY")
		for i := range all {
			all[i] += pick(g.s, []string{"", "", " DESC", " NULLS FIRST", " DESC NULLS LAST"})
		}
		total = " ORDER BY " + strings.Join(all, ", ")
		// PostgreSQL before 18 leaves out a sort by a column that WHERE makes constant and a grouping set NULL.
		st.ordered = !strings.Contains(q.sql, " ROLLUP (") && !strings.Contains(q.sql, " GROUPING SETS (")
	}
	st.sql += total
	if g.chance(14) {
		g.tag("LIMIT")
		full := st.sql
		st.sql += g.limit()
		if !st.ordered {
			st.full = full
		}
	} else if !strings.Contains(q.sql, " JOIN ") && g.chance(4) {
		g.tag("FOR UPDATE")
		st.sql += pick(g.s, []string{" FOR UPDATE", " FOR SHARE", " FOR UPDATE SKIP LOCKED", " FOR NO KEY UPDATE"})
	}
}

// scan is a SELECT that every shard can answer for itself.
func (g *gen) scan() *query {
	f := g.tableFrom(g.ownTable())
	s := &scope{}
	s.add(f)
	sql := f.sql
	if g.chance(25) {
		_, of := families()
		o := g.tableFrom(pick(g.s, of[f.family]))
		if c := sameKey(f, o); c != "" {
			s.add(o)
			sql += pick(g.s, []string{" JOIN ", " LEFT JOIN "}) + o.sql + " ON " + c
			g.tag("scan of a join")
		}
	}
	q := &query{}
	var list []string
	for range 1 + g.s.IntN(3) {
		c := pick(g.s, s.cols)
		n := fmt.Sprintf("c%d", len(list)+1)
		list = append(list, c.ref+" AS "+n)
		q.cols = append(q.cols, outcol{n, c})
	}
	q.sql = "SELECT " + strings.Join(list, ", ") + " FROM " + sql
	if g.chance(70) {
		q.sql += " WHERE " + g.predicate(s, 1)
	}
	return q
}

func (g *gen) limit() string {
	number := func() string {
		n := pick(g.v, []string{"0", "1", "2", "3", "5", "10", "NULL", "100", "-1"})
		if n == "-1" && g.v.IntN(10) > 0 {
			n = "4"
		}
		if g.extended && g.chance(50) {
			g.params = append(g.params, param{text: n, null: n == "NULL", declared: kInt8.oid})
			return fmt.Sprintf("$%d", len(g.params))
		}
		return n
	}
	switch g.one(50, 20, 20, 5) {
	case 1:
		return " LIMIT " + number() + " OFFSET " + number()
	case 2:
		return " OFFSET " + number()
	case 3:
		return " FETCH FIRST 2 ROWS ONLY"
	}
	return " LIMIT " + number()
}

// writeWith is a write that is part of a query, or has one before it.
func (g *gen) writeWith() string {
	g.tag("WITH", "write in WITH")
	if g.chance(50) {
		sql, _ := g.insert()
		if !strings.Contains(sql, " RETURNING ") {
			sql += " RETURNING 1 AS one"
		}
		return "WITH w AS (" + sql + ") SELECT count(*) FROM w"
	}
	sql := g.update(g.chance(50))
	if !strings.Contains(sql, " RETURNING ") {
		sql += " RETURNING 1 AS one"
	}
	return "WITH w AS (" + sql + ") SELECT count(*) FROM w"
}
