package shard

import (
	"fmt"
	"slices"
	"strconv"

	"pgdrover/internal/catalog"
	"pgdrover/internal/sqlparse"
	"pgdrover/shard/hash"

	pg "github.com/pganalyze/pg_query_go/v5"
)

// A sharding key that pgdrover.next_id() makes has to be known before its row is routed. So the ids are drawn first, wherever the function
// is installed, and stand in the text that the shards get in the place of DEFAULT and of calls, or behind the values that the rows have.

// addedValues is what is put behind the values of each row.
type addedValues struct {
	bare   bool // DEFAULT VALUES: there are no values
	listed bool // the columns have to be named
	values []addedValue
}

// addedValue is an id for a column, or DEFAULT for one before it.
type addedValue struct {
	key    int // column of the key, -1 for DEFAULT
	column string
}

// Drawn is an INSERT that lacks some keys of its rows.
type Drawn struct {
	N      int // how many ids it needs
	insert *longInsert
	rows   []drawnRow
	plan   Plan
}

// drawnRow is what is known of a row.
type drawnRow struct {
	shard  int // -1: its key is not known
	draws  int // ids that it needs
	values []hash.Value
}

// addDrawn has a key column that no row gives a value filled with drawn ids, if that is its default.
func (a *analysis) addDrawn(r *rel, c *catalog.Column, k int, columns []*catalog.Column, given int, fact *insertFact) bool {
	add := &fact.added
	switch {
	case fact.rows == nil || !a.cat.DrawsNextID(c):
		return false
	case !add.listed:
		for _, before := range columns[min(given+len(add.values), len(columns)):] {
			if before == c {
				break
			}
			add.values = append(add.values, addedValue{key: -1})
		}
	case !add.bare && slices.Contains(columns, c):
		return false // the server says that there are more columns than values
	}
	add.values = append(add.values, addedValue{key: k, column: c.Name})
	for _, row := range fact.rows {
		row[k] = source{kind: sourceNextID, index: -1}
	}
	return true
}

// callsNextID says whether an expression is a call of pgdrover.next_id(), and nothing else.
func (a *analysis) callsNextID(n *pg.Node) bool {
	f := n.GetFuncCall()
	if f == nil || len(f.GetArgs()) > 0 || f.GetAggStar() || f.GetAggDistinct() || f.GetAggFilter() != nil || f.GetOver() != nil || f.GetAggWithinGroup() {
		return false
	}
	parts, ok := names(f.GetFuncname())
	if !ok || len(parts) == 0 || len(parts) > 2 {
		return false
	}
	schema, name := "", parts[len(parts)-1]
	if len(parts) == 2 {
		schema = parts[0]
	}
	found := a.findFunctions(schema, name, 0)
	return len(found) > 0 && !slices.ContainsFunc(found, func(f *catalog.Function) bool { return !f.IsNextID() })
}

// planDraws notes that keys have to be drawn. Only a plain INSERT of rows can wait for them.
func (a *analysis) planDraws(sh *shape, q *query) {
	for i := range sh.inserts {
		p := &sh.inserts[i]
		for _, row := range p.rows {
			for k := range row {
				if row[k].kind != sourceNextID {
					continue
				}
				sh.draws = true
				if len(sh.inserts) > 1 || len(sh.rels) > 0 || q.state.stands != "" {
					sh.err = drawnOtherwise(p.columns[k].name)
					return
				}
			}
		}
	}
	if sh.draws {
		sh.split, sh.plan.Kind = true, NextID
	}
}

// drawnOtherwise refuses to draw keys for what is not a plain INSERT.
func drawnOtherwise(column string) *Error {
	e := refuse(RefuseKeyDefault, column)
	e.Detail = "Ids are drawn ahead for INSERT … VALUES and DEFAULT VALUES only, without WITH, subqueries on sharded tables, and parameters that could have two types."
	e.Hint = "Give the column a value: SELECT pgdrover.next_id() makes one."
	return e
}

// bindDraws is for those who cannot wait for the keys: EXPLAIN, which needs none, and others, which are refused.
func (sh *shape) bindDraws() (Plan, error) {
	if sh.explain && !sh.analyze {
		plan := sh.plan
		plan.Tier, plan.Limit, plan.Key = 1, -1, sh.key
		return plan, nil
	}
	p := &sh.inserts[0]
	for _, row := range p.rows {
		for k := range row {
			if row[k].kind == sourceNextID {
				e := drawnOtherwise(p.columns[k].name)
				if sh.explain {
					e.Detail = "EXPLAIN ANALYZE would have to draw it."
				}
				return Plan{}, e
			}
		}
	}
	return Plan{}, refuse(RefuseKeyDefault, "") // draws says that there is one
}

// drawingInsert is longInsert for an INSERT that lacks keys, which may have one row or none.
func (db *DB) drawingInsert(e *cacheEntry, text []byte, s *sqlparse.Shape, backslashes bool, w *workspace) bool {
	if !e.shape.draws || e.shape.explain || e.shape.err != nil {
		return false
	}
	return sqlparse.SplitValues(text, s.First, s.Last, backslashes, &w.values) || splitDefaultValues(text, s.First, s.Last, backslashes, &w.values)
}

// splitDefaultValues is sqlparse.SplitValues for INSERT … DEFAULT VALUES, which then is the one row.
func splitDefaultValues(text []byte, start, end int, backslashes bool, v *sqlparse.Values) bool {
	lx := sqlparse.Lexer{Text: text[:end], Pos: start, Backslashes: backslashes}
	depth, name, from := 0, false, -1
	for {
		t := lx.NextCode()
		switch t.Kind {
		case sqlparse.EndOfText, sqlparse.Invalid:
			return false
		case sqlparse.Punctuation:
			switch text[t.Start] {
			case '(':
				depth++
			case ')':
				depth--
			}
			name, from = text[t.Start] == '.', -1
			continue
		case sqlparse.Word:
			switch {
			case depth != 0 || name:
			case from >= 0 && isWord(text, t, "values"):
				*v = sqlparse.Values{Head: from, Rows: append(v.Rows[:0], sqlparse.Span{Start: from, End: t.End}), Tail: t.End}
				return true
			case isWord(text, t, "default"):
				from = t.Start
				continue
			}
		}
		name, from = false, -1
	}
}

func isWord(text []byte, t sqlparse.Token, word string) bool {
	return t.End-t.Start == len(word) && lowerASCII(string(text[t.Start:t.End])) == word
}

// listEnd finds the parenthesis that ends the list of columns, in a text that ends behind VALUES.
func listEnd(text []byte, start, head int, backslashes bool) (int, bool) {
	lx := sqlparse.Lexer{Text: text[:head], Pos: start, Backslashes: backslashes}
	depth, into := 0, false
	for {
		t := lx.NextCode()
		switch t.Kind {
		case sqlparse.EndOfText, sqlparse.Invalid:
			return 0, false
		case sqlparse.Word:
			into = into || depth == 0 && isWord(text, t, "into")
		case sqlparse.Punctuation:
			switch text[t.Start] {
			case '(':
				depth++
			case ')':
				if depth--; depth == 0 && into {
					return t.Start, true
				}
			}
		}
	}
}

// bindDrawn makes the plan of an INSERT as far as it goes without the ids. What depends on the shard of a row must not depend on luck: it is
// refused for every shard.
func (l *longInsert) bindDrawn(b *binding) (Plan, error) {
	d := &Drawn{insert: l.keep(), rows: make([]drawnRow, len(l.values)), plan: l.shape.plan}
	var sources rowSources
	for i := range l.values {
		form := l.forms[i]
		switch {
		case len(form.singles) > 0 || form.catalogs:
			return Plan{}, refuse(RefuseCross, "")
		case len(l.values) > 1 && form.pinned != nil:
			return Plan{}, form.pinned
		case len(l.values) > 1 && form.one != nil:
			return Plan{}, form.one
		}
		row := sources.read(l, b, i)
		p := &form.inserts[0]
		values, rejected, err := form.stored(b, p.columns, row, nil)
		if err != nil {
			return Plan{}, err
		}
		own := drawnRow{shard: -1}
		for k := range row {
			if row[k].kind == sourceNextID {
				own.draws++
			}
		}
		switch {
		case rejected:
			own.shard = p.table.Key.Shards()[0]
		case own.draws == 0:
			if own.shard, err = place(p.table, p.columns, values); err != nil {
				return Plan{}, err
			}
		default:
			for _, v := range values {
				own.values = append(own.values, v.Clone())
			}
		}
		d.N += own.draws
		d.rows[i] = own
	}
	d.plan.Kind, d.plan.Tier, d.plan.Limit, d.plan.Key = NextID, 2, -1, l.shape.key
	if len(d.rows) == 1 {
		d.plan.Tier = 1
	}
	plan := d.plan
	plan.Drawn = d
	return plan, nil
}

// Plan says where the rows go with these ids, which are N: a Split, or if it is one shard that gets them all, a Gather. The text of the
// statement must be what it was.
func (d *Drawn) Plan(ids []int64) (Plan, error) {
	if len(ids) != d.N {
		return Plan{}, fmt.Errorf("an INSERT that needs %d ids got %d", d.N, len(ids))
	}
	l := d.insert
	shards, used := make([]int, len(d.rows)), make(shardSet, l.shape.shards)
	left := ids
	for i := range d.rows {
		r := &d.rows[i]
		own := left[:r.draws]
		left = left[r.draws:]
		shards[i] = r.shard
		if r.shard < 0 {
			p := &l.forms[i].inserts[0]
			values := slices.Clone(r.values)
			for k := range values {
				if p.rows[0][k].kind == sourceNextID {
					values[k], own = hash.Int(own[0]), own[1:]
				}
			}
			var err error
			if shards[i], err = place(p.table, p.columns, values); err != nil {
				return Plan{}, err
			}
		}
		used[shards[i]] = true
	}
	plan := d.plan
	plan.Kind = Split
	plan = l.cut(plan, shards, used, ids)
	if len(plan.Parts) == 1 {
		plan.Kind, plan.Tier, plan.Order, plan.Parts[0].Rows = Gather, 1, nil, nil
	}
	return plan, nil
}

// appendHead appends what stands before the rows.
func (l *longInsert) appendHead(dst []byte) []byte {
	if !l.draws {
		return append(dst, l.text[l.from:l.head]...)
	}
	from := l.from
	if l.listEnd >= 0 {
		dst, from = append(dst, l.text[from:l.listEnd]...), l.listEnd
		for _, v := range l.added.values {
			dst = append(append(dst, ", "...), sqlparse.QuoteIdent(v.column)...)
		}
	}
	return append(dst, l.text[from:l.rows[0].Start]...) // as it was, so that places in it are those of the client
}

// appendRow appends a row with its ids and returns those of the rows behind it.
func (l *longInsert) appendRow(dst []byte, i int, ids []int64) ([]byte, []int64) {
	row := l.rows[i]
	if !l.forms[i].draws {
		return append(dst, l.text[row.Start:row.End]...), ids
	}
	p := &l.forms[i].inserts[0]
	own := make([]string, len(p.columns)) // by column of the key
	for k := range own {
		if p.rows[0][k].kind == sourceNextID {
			own[k], ids = strconv.FormatInt(ids[0], 10), ids[1:]
		}
	}
	if l.added.bare {
		names, values := "", ""
		for i, v := range l.added.values {
			if i > 0 {
				names, values = names+", ", values+", "
			}
			names, values = names+sqlparse.QuoteIdent(v.column), values+own[v.key]
		}
		return append(dst, "("+names+") VALUES ("+values+")"...), ids
	}
	var cells []int // columns of the key whose values stand in the row, in its order
	for k := range own {
		if own[k] != "" && p.rows[0][k].index >= 0 {
			cells = append(cells, k)
		}
	}
	slices.SortFunc(cells, func(a, b int) int { return p.rows[0][a].index - p.rows[0][b].index })
	at := row.Start
	for _, k := range cells {
		span := l.values[i][k].literal
		dst = append(append(dst, l.text[at:span.Start]...), own[k]...)
		at = int(span.End)
	}
	dst = append(dst, l.text[at:row.End-1]...)
	for _, v := range l.added.values {
		dst = append(dst, ", "...)
		if v.key < 0 {
			dst = append(dst, "DEFAULT"...)
		} else {
			dst = append(dst, own[v.key]...)
		}
	}
	return append(dst, ')'), ids
}
