package oracle

import (
	"fmt"
	"slices"
	"strings"
)

// writable picks a table to write: of the statement's family, mostly.
func (g *gen) writable() *table {
	switch {
	case g.pin == nil || g.free && g.chance(15):
		return pick(g.s, tables)
	case g.chance(4):
		return tableNamed("countries")
	case g.chance(3):
		return tableNamed("settings")
	}
	_, of := families()
	return pick(g.s, of[g.pin.family])
}

// row is a row of values for columns of a table, with the statement's key.
func (g *gen) row(t *table, columns []column) string {
	list := make([]string, len(columns))
	for i := range columns {
		c := &columns[i]
		null, odd := g.v.IntN(8) == 0, g.v.IntN(60)
		switch {
		case t.isKey(c.name) && g.pin != nil && g.pin.family == t.family:
			list[i] = g.render(c.kind, g.pin.values[slices.Index(t.key, c.name)], false)
		case t.isKey(c.name):
			list[i] = g.render(c.kind, pick(g.v, c.kind.pool), false)
		case g.chance(3) && c.null:
			list[i] = "DEFAULT"
		case c.null && null:
			list[i] = "NULL"
		case c.small:
			list[i] = g.small()
		case c.as == "numeric(12,2)":
			list[i] = fmt.Sprintf("%d.%d", g.v.IntN(30), g.v.IntN(10))
		default:
			list[i] = g.render(c.kind, pick(g.v, c.kind.pool), false)
		}
		if odd == 0 && !t.isKey(c.name) && c.kind != kNumeric && len(c.kind.odd) > 0 {
			list[i] = pick(g.v, c.kind.odd)
			g.params = g.params[:min(len(g.params), g.referenced(list))]
		}
		if t.isKey(c.name) && odd == 1 && len(c.kind.odd) > 0 && c.kind != kNumeric {
			list[i] = pick(g.v, c.kind.odd)
			g.params = g.params[:min(len(g.params), g.referenced(list))]
			g.tag("odd key in INSERT")
			g.loose, g.free = true, true
		}
	}
	return "(" + strings.Join(list, ", ") + ")"
}

// referenced is the highest parameter in earlier rows and these values: what is behind it is not used.
func (g *gen) referenced(list []string) int {
	n := g.kept
	for _, v := range list {
		var i int
		if _, err := fmt.Sscanf(v, "$%d", &i); err == nil {
			n = max(n, i)
		}
	}
	return n
}

// returning is RETURNING, or nothing.
func (g *gen) returning(f *from) string {
	if !g.chance(35) {
		return ""
	}
	g.tag("RETURNING")
	switch g.one(4, 4, 2) {
	case 0:
		return " RETURNING *"
	case 1:
		return " RETURNING " + pick(g.s, f.cols).ref
	}
	s := &scope{}
	s.add(f)
	return " RETURNING " + pick(g.s, f.cols).ref + " AS r1, " + g.expr(pick(g.s, expressionKinds), s, 1) + " AS r2"
}

// insert makes an INSERT. ordered says that rows come back in the order of VALUES.
func (g *gen) insert() (sql string, ordered bool) {
	t := g.writable()
	if t.family == "" {
		g.tag(map[bool]string{true: "single table write", false: "reference table write"}[t.single])
	}
	columns := slices.Clone(t.columns)
	named := ""
	if g.chance(75) {
		kept := columns[:0]
		for _, c := range columns {
			if t.isKey(c.name) || slices.Contains(t.primary, c.name) || g.chance(70) || t.primary == nil && !c.null {
				kept = append(kept, c)
			}
		}
		columns = kept
		if g.free && g.chance(8) && len(columns) > 1 { // the key may be missing
			columns = columns[1:]
		}
		if g.chance(25) {
			g.s.Shuffle(len(columns), func(i, j int) { columns[i], columns[j] = columns[j], columns[i] })
		}
		var list []string
		for _, c := range columns {
			list = append(list, c.name)
		}
		named = " (" + strings.Join(list, ", ") + ")"
	}
	target := t.name
	f := &from{name: t.name, family: t.family}
	if g.chance(15) {
		f.name = g.alias()
		target += " AS " + f.name
	}
	for _, c := range t.columns {
		f.cols = append(f.cols, col{ref: f.name + "." + c.name, kind: c.kind, small: c.small, key: t.isKey(c.name)})
	}
	body := ""
	if g.chance(12) {
		g.tag("INSERT SELECT")
		body = " " + g.insertSelect(t, columns)
	} else {
		n := 1
		if g.chance(45) {
			g.tag("INSERT of many rows")
			n = 2 + g.s.IntN(6)
			ordered = true
		}
		var rows []string
		saved := g.pin
		for range n {
			if n > 1 && g.pin != nil {
				g.pin = g.drawPin(g.pin.family)
			}
			g.kept = len(g.params)
			rows = append(rows, g.row(t, columns))
		}
		g.pin = saved
		g.loose = g.loose || n > 1
		body = " VALUES " + strings.Join(rows, ", ")
		ordered = ordered || n == 1
	}
	conflict := ""
	if g.chance(35) {
		if strings.HasPrefix(body, " SELECT ") { // of rows that conflict with each other any may win
			body += firstRow(len(columns))
		}
		conflict = g.onConflict(t, f)
	}
	sql = "INSERT INTO " + target + named + body + conflict
	g.tag("INSERT")
	return sql + g.returning(f), ordered
}

// firstRow has a SELECT of n columns return one row, always the same.
func firstRow(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprint(i + 1)
	}
	return " ORDER BY " + strings.Join(list, ", ") + " LIMIT 1"
}

func (g *gen) insertSelect(t *table, columns []column) string {
	s := &scope{}
	var from string
	var where []string
	if t.family == "" && g.chance(60) {
		f := g.tableFrom(pick(g.s, []*table{t, tableNamed("countries")}))
		s.add(f)
		from = f.sql
	} else {
		from, where = g.fromClause(s, 1)
	}
	var list []string
	for _, c := range columns {
		cols := s.of(c.kind)
		switch {
		case t.isKey(c.name) && g.pin != nil && g.pin.family == t.family && g.chance(80):
			list = append(list, g.render(c.kind, g.pin.values[slices.Index(t.key, c.name)], true))
		case len(cols) > 0 && c.as == "":
			list = append(list, pick(g.s, cols).ref)
		case c.small:
			list = append(list, g.number(s, 0))
		case c.as == "numeric(12,2)":
			list = append(list, "1.5")
		default:
			list = append(list, g.value(c.kind, true))
		}
	}
	g.loose = true
	where = append(where, g.predicate(s, 1))
	return "SELECT " + strings.Join(list, ", ") + " FROM " + from + " WHERE " + strings.Join(where, " AND ")
}

func (g *gen) onConflict(t *table, f *from) string {
	g.tag("ON CONFLICT")
	if t.primary == nil || g.chance(20) {
		return " ON CONFLICT DO NOTHING"
	}
	target := " (" + strings.Join(t.primary, ", ") + ")"
	if g.chance(15) {
		target = " ON CONSTRAINT " + t.name + "_pkey"
	}
	if g.chance(35) {
		return " ON CONFLICT" + target + " DO NOTHING"
	}
	g.loose = true // a row twice: 21000
	excluded := &from{}
	var set []string
	for _, c := range t.columns {
		excluded.cols = append(excluded.cols, col{ref: "excluded." + c.name, kind: c.kind, small: c.small})
		if !t.isKey(c.name) && !slices.Contains(t.primary, c.name) && g.chance(40) {
			set = append(set, c.name+" = excluded."+c.name)
		}
	}
	if len(set) == 0 {
		c := t.columns[len(t.columns)-1]
		set = append(set, c.name+" = excluded."+c.name)
	}
	sql := " ON CONFLICT" + target + " DO UPDATE SET " + strings.Join(set, ", ")
	if g.chance(30) {
		s := &scope{}
		s.add(f)
		s.add(excluded)
		sql += " WHERE " + g.predicate(s, 0)
	}
	return sql
}

// assignments are the SET of an UPDATE.
func (g *gen) assignments(t *table, s *scope) string {
	var set []string
	for _, c := range t.columns {
		if slices.Contains(t.primary, c.name) || t.isKey(c.name) || !g.chance(40) && len(set) > 0 {
			continue
		}
		cols := s.of(c.kind)
		switch {
		case c.small:
			set = append(set, c.name+" = "+g.small())
		case c.as == "numeric(12,2)":
			set = append(set, c.name+" = ("+g.number(s, 1)+")::numeric(12,2)")
		case g.chance(5):
			set = append(set, c.name+" = DEFAULT")
		case len(cols) > 0 && g.chance(30) && c.kind != kVarchar:
			set = append(set, c.name+" = "+pick(g.s, cols).ref)
		default:
			set = append(set, c.name+" = "+g.value(c.kind, false))
		}
	}
	if len(t.key) > 0 && g.free && g.chance(15) || len(set) == 0 {
		c := t.columns[0]
		if len(t.key) > 0 {
			c = *t.column(t.key[0])
		}
		g.tag("UPDATE of the key")
		g.free = true
		value := g.value(c.kind, false)
		if g.chance(50) {
			value = g.computed(&c, value, s)
		}
		set = append(set, c.name+" = "+value)
	}
	if len(set) > 1 && g.chance(6) {
		var names, values []string
		for _, x := range set {
			n, v, _ := strings.Cut(x, " = ")
			names, values = append(names, n), append(values, v)
		}
		return "(" + strings.Join(names, ", ") + ") = (" + strings.Join(values, ", ") + ")"
	}
	return strings.Join(set, ", ")
}

// computed is a key that differs from row to row, but in a way that has rows meet in any order or in none.
func (g *gen) computed(c *column, value string, s *scope) string {
	g.tag("UPDATE of the key, computed")
	g.loose = true
	return "CASE WHEN " + g.predicate(s, 0) + " THEN " + value + " ELSE " + c.name + " END"
}

// update makes an UPDATE or DELETE, maybe with other tables.
func (g *gen) update(del bool) string {
	t := g.writable()
	if t.family == "" {
		g.tag(map[bool]string{true: "single table write", false: "reference table write"}[t.single])
	}
	f := g.tableFrom(t)
	for f.table == nil {
		f = g.tableFrom(t)
	}
	s := &scope{}
	s.add(f)
	where := g.pinOf(f)
	other := ""
	if g.chance(14) {
		o := g.tableFrom(g.anyTable())
		if o.family == "" && t.family != "" || o.family == f.family {
			if c := sameKey(f, o); c != "" {
				where = append(where, c)
			}
			g.tag(map[bool]string{true: "DELETE USING", false: "UPDATE FROM"}[del])
			other = o.sql
			// Which of several rows is taken is anybody's choice: assign nothing of it.
			if del {
				s.add(o)
			}
		}
	}
	if g.chance(60) || len(where) == 0 && g.chance(90) {
		where = append(where, g.predicate(s, 2))
	}
	sql := ""
	if del {
		g.tag("DELETE")
		sql = "DELETE FROM " + f.sql
		if other != "" {
			sql += " USING " + other
		}
	} else {
		g.tag("UPDATE")
		own := &scope{}
		own.add(f)
		sql = "UPDATE " + f.sql + " SET " + g.assignments(t, own)
		if other != "" {
			sql += " FROM " + other
		}
	}
	if len(where) > 0 {
		sql += " WHERE " + strings.Join(where, " AND ")
	}
	if other != "" {
		if g.chance(30) {
			return sql + " RETURNING " + f.cols[0].ref
		}
		return sql
	}
	return sql + g.returning(f)
}

// merge makes a MERGE.
func (g *gen) merge() string {
	t := tableNamed("customers")
	g.tag("MERGE")
	return fmt.Sprintf("MERGE INTO %s AS m USING (VALUES (%s, %s)) AS v(i, n) ON m.id = v.i WHEN MATCHED THEN UPDATE SET name = v.n WHEN NOT MATCHED THEN INSERT (id, name) VALUES (v.i, v.n)",
		t.name, g.value(kInt8, true), g.value(kText, true))
}
