package shard

import (
	"bytes"
	"context"
	"slices"

	"pgdrover/internal/sqlparse"
)

// longInsert is an INSERT of several rows, or of some that lack a key which is drawn. It is planned row by row: each row alone, with what is before and behind VALUES, has a plan
// by its form, so that a thousand rows of constants need the parser once or not at all.
type longInsert struct {
	db       *DB
	text     []byte // the whole text
	from, to int    // the statement in it
	head     int
	tail     int
	rows     []sqlparse.Span
	values   [][]rowValue // of each row the values of the key's columns
	forms    []*shape     // of each row
	shape    *shape       // of the first
	entry    *cacheEntry
	numbered bool // the text may have parameters
	draws    bool // a row lacks a key that is drawn
	added    addedValues
	listEnd  int // where the list of columns ends, if added has to be named there, or -1

	backslashes bool
}

// rowValue is a key's value in a row: the source of the row's form says how to read it, the literal where it is.
type rowValue struct {
	index   int // of the source, in this row; -1: as in the form
	literal sqlparse.Literal
}

// rowForm is a row that was planned, and where its key is.
type rowForm struct {
	shape *shape
	keys  []rowKey // for each column of the key
	entry *cacheEntry
}

// rowKey is where a row has a key's value.
type rowKey struct {
	cell       int // -1: it is part of the form
	start, end int // of a literal in a cell that is more, as in '5'::bigint
}

// longText is from how many bytes on a text is looked at as an INSERT of many rows before all of it is folded.
const longText = 4 << 10

// manyRows recognizes a text that is one INSERT of many rows, and folds only what stands around them, and the first. The others are longInsert's
// to read; without comments they hold no hints. nil says that the text must be folded whole.
func (w *workspace) manyRows(text []byte, backslashes bool) *sqlparse.Shape {
	if len(text) < longText {
		return nil
	}
	return w.rowsOnly(text, backslashes)
}

func (w *workspace) rowsOnly(text []byte, backslashes bool) *sqlparse.Shape {
	v := &w.values
	end := len(bytes.TrimRight(text, " \t\r\n\f;"))
	if !sqlparse.SplitValues(text, 0, end, backslashes, v) || len(v.Rows) < 2 {
		return nil
	}
	first := v.Rows[0].End
	if others := text[first:v.Tail]; bytes.Contains(others, []byte("--")) || bytes.Contains(others, []byte("/*")) {
		return nil
	}
	f := w.folder
	if err := f.Fold(slices.Concat(text[:first], text[v.Tail:]), backslashes); err != nil || len(f.Statements) != 1 {
		return nil
	}
	s := &f.Statements[0]
	if !mayHaveRows(s) {
		return nil
	}
	s.End += v.Tail - first
	s.Last += v.Tail - first
	return s
}

// hasRows takes a statement apart if it is an INSERT of several rows.
func (w *workspace) hasRows(s *sqlparse.Shape, text []byte, backslashes bool) bool {
	return mayHaveRows(s) && sqlparse.SplitValues(text, s.First, s.Last, backslashes, &w.values) && len(w.values.Rows) > 1
}

func mayHaveRows(s *sqlparse.Shape) bool {
	return s.Kind == sqlparse.KindInsert || s.Kind == sqlparse.KindWith
}

// queryRows plans the INSERT of which w.values has the rows; it is not done if that must be parsed whole.
func (db *DB) queryRows(ctx context.Context, env *Env, w *workspace, s *sqlparse.Shape, text []byte, out *Statement) (done bool, err error) {
	long := db.longInsert(ctx, env, w, s, text, nil, true)
	if long == nil {
		return false, nil
	}
	plan, err := long.bind(nil)
	out.entry = long.entry
	out.Plan, err = db.hint(env, s.Hint, long.shape, plan, err)
	return true, err
}

// prepareRows is queryRows for a Parse message.
func (db *DB) prepareRows(ctx context.Context, p *Prepared, w *workspace, s *sqlparse.Shape, paramTypes []uint32) (done bool) {
	long := db.longInsert(ctx, &p.env, w, s, p.text, paramTypes, false)
	if long == nil {
		return false
	}
	p.hint, p.insert, p.shape, p.entry = s.Hint, long.keep(), long.shape, long.entry
	return true
}

// longInsert plans an INSERT of several rows; nil if it must be parsed whole.
func (db *DB) longInsert(ctx context.Context, env *Env, w *workspace, s *sqlparse.Shape, text []byte, params []uint32, simple bool) *longInsert {
	v := &w.values
	backslashes := !env.StringsPlain
	l := &longInsert{db: db, text: text, from: s.First, to: s.Last, head: v.Head, tail: v.Tail, rows: v.Rows, numbered: !simple, backslashes: backslashes, listEnd: -1}
	l.forms, l.values = make([]*shape, 0, len(v.Rows)), make([][]rowValue, 0, len(v.Rows))
	var all []rowValue // of all rows, so that they are allocated at once
	forms := map[string]*rowForm{}
	seen := map[int]bool{}
	columnOf := map[int]int{} // of a parameter that is a value by itself, from 1
	var signature []byte
	columns := 0
	for i, row := range v.Rows {
		w.cells = w.cells[:0]
		if text[row.Start] == '(' { // it is not DEFAULT VALUES
			w.cells = sqlparse.Cells(w.cells, text, row, backslashes)
		}
		if i == 0 {
			columns = len(w.cells)
		} else if len(w.cells) != columns {
			return nil // each by itself might do, but not all together
		}
		signature = signature[:0]
		for i := range w.cells {
			c := &w.cells[i]
			if c.Kind == sqlparse.CellParameter {
				// A parameter that the server gives a type must be used once, or for one column only, or its type depends on another row.
				declared := c.Parameter <= len(params) && params[c.Parameter-1] != 0 && params[c.Parameter-1] != oidUnknown
				if len(v.Rows) > 1 && seen[c.Parameter] && !declared && columnOf[c.Parameter] != i+1 {
					return nil
				}
				seen[c.Parameter], columnOf[c.Parameter] = true, i+1
			}
			if c.Kind == sqlparse.CellOther && !simple && len(v.Rows) > 1 && !parametersOnce(text[c.Start:c.End], seen, backslashes) {
				return nil
			}
			signature = appendSignature(signature, c, text, params)
		}
		form := forms[string(signature)]
		if form == nil {
			if form = db.rowForm(ctx, env, w, text, v.Head, row, v.Tail, s, params, simple); form == nil {
				return nil
			}
			forms[string(signature)] = form
		}
		if len(form.shape.rels) > 0 {
			return nil
		}
		if form.shape.err != nil || len(form.shape.inserts) != 1 || !form.shape.split || len(form.shape.keySets) > 0 {
			// A refusal, a reference table or a table of one shard: nothing is split, so the whole is planned at once.
			if len(forms) > 1 || form.shape.err == nil && len(form.shape.inserts) > 0 {
				return nil
			}
		}
		l.forms = append(l.forms, form.shape)
		if l.shape == nil {
			l.shape, l.entry = form.shape, form.entry
		}
		if form.shape.draws && !l.draw(form.shape) {
			return nil
		}
		if all == nil {
			all = make([]rowValue, 0, len(v.Rows)*len(form.keys))
		}
		start := len(all)
		all = form.read(all, w.cells)
		l.values = append(l.values, all[start:len(all):len(all)])
	}
	return l
}

// appendSignature adds what of a cell decides how a row is planned.
func appendSignature(dst []byte, c *sqlparse.Cell, text []byte, params []uint32) []byte {
	dst = append(dst, byte(c.Kind), byte(c.Literal.Class))
	if c.Negative {
		dst = append(dst, '-')
	}
	switch c.Kind {
	case sqlparse.CellOther:
		dst = append(dst, text[c.Start:c.End]...)
	case sqlparse.CellParameter:
		oid := uint32(0)
		if c.Parameter <= len(params) {
			oid = params[c.Parameter-1]
		}
		dst = append(dst, byte(oid), byte(oid>>8), byte(oid>>16), byte(oid>>24))
	}
	return append(dst, 0)
}

// rowForm plans a row as an INSERT of its own; nil if it cannot be parsed, which the whole text will tell.
func (db *DB) rowForm(ctx context.Context, env *Env, w *workspace, text []byte, head int, row sqlparse.Span, tail int, s *sqlparse.Shape, params []uint32, simple bool) *rowForm {
	one := slices.Concat(text[s.First:head], text[row.Start:row.End], text[tail:s.Last])
	f := w.rows
	if err := f.Fold(one, !env.StringsPlain); err != nil || len(f.Statements) != 1 {
		return nil
	}
	e, err := db.entry(ctx, env, f, &f.Statements[0], one, params, simple)
	if err != nil || len(e.shape.fixed) > 0 {
		return nil
	}
	form := &rowForm{shape: e.shape, entry: e}
	if len(e.shape.inserts) != 1 || len(e.shape.inserts[0].rows) != 1 {
		return form
	}
	lits := f.LiteralsOf(&f.Statements[0])
	shift := row.Start - (head - s.First) // from places in one to places in text
	for _, src := range e.shape.inserts[0].rows[0] {
		k := rowKey{cell: -1}
		for i := range w.cells {
			c := &w.cells[i]
			switch {
			case src.kind == sourceParam && c.Kind == sqlparse.CellParameter && c.Parameter == src.index+1:
				k.cell = i
			case src.kind == sourceNextID && src.index == i:
				k.cell = i
			case src.kind == sourceLiteral:
				l := &lits[src.index]
				if start := int(l.Start) + shift; start >= c.Start && start < c.End {
					k = rowKey{cell: i, start: start - c.Start, end: int(l.End) + shift - c.Start}
				}
			}
		}
		if k.cell < 0 && src.kind == sourceLiteral {
			return nil
		}
		// A constant that was not lifted is part of this row's shape, but the signature leaves literals out: other rows differ.
		if src.kind == sourceFixed && slices.ContainsFunc(w.cells, func(c sqlparse.Cell) bool { return c.Kind == sqlparse.CellLiteral }) {
			return nil
		}
		form.keys = append(form.keys, k)
	}
	return form
}

// parametersOnce notes the parameters of an expression; it is false if one of them was seen before.
func parametersOnce(text []byte, seen map[int]bool, backslashes bool) bool {
	lx := sqlparse.Lexer{Text: text, Backslashes: backslashes}
	for {
		t := lx.NextCode()
		switch t.Kind {
		case sqlparse.EndOfText, sqlparse.Invalid:
			return true
		case sqlparse.Parameter:
			n := 0
			for _, c := range text[t.Start+1 : t.End] {
				n = n*10 + int(c-'0')
			}
			if seen[n] {
				return false
			}
			seen[n] = true
		}
	}
}

// read appends the key's values in a row of this form. A cell that is no constant by itself is the same text in every row of the form.
func (f *rowForm) read(values []rowValue, cells []sqlparse.Cell) []rowValue {
	for i, k := range f.keys {
		v := rowValue{index: -1}
		src := &f.shape.inserts[0].rows[0][i]
		switch {
		case k.cell < 0:
		case src.kind == sourceNextID:
			c := &cells[k.cell]
			v.literal.Start, v.literal.End = int32(c.Start), int32(c.End)
		case src.kind == sourceParam:
			v.index = cells[k.cell].Parameter - 1
		case cells[k.cell].Kind == sqlparse.CellLiteral:
			v.literal, v.index = cells[k.cell].Literal, 0
		default:
			c := &cells[k.cell]
			v.literal = sqlparse.Literal{Start: int32(c.Start + k.start), End: int32(c.Start + k.end), Class: src.class}
			v.index = 0
		}
		values = append(values, v)
	}
	return values
}

// keep returns a copy that does not share the workspace.
func (l *longInsert) keep() *longInsert {
	own := *l
	own.rows = slices.Clone(l.rows)
	return &own
}

// bind locates the rows and cuts the text.
func (l *longInsert) bind(params Params) (Plan, error) {
	sh := l.shape
	b := binding{text: l.text, params: params}
	if sh.err != nil || len(sh.inserts) == 0 {
		if sh.moment {
			b.moment, b.backslashes = l.moments(), l.backslashes
			b.stmt = &sqlparse.Shape{First: l.from, Last: l.to}
		}
		return sh.bind(&b)
	}
	if l.draws {
		return l.bindDrawn(&b)
	}
	plan := sh.plan
	plan.Tier, plan.Limit, plan.Key = 1, -1, sh.key
	shards := make([]int, len(l.values))
	used := make(shardSet, sh.shards)
	var row rowSources
	for i := range l.values {
		form := l.forms[i]
		p := &form.inserts[0]
		n, err := form.assignShard(&b, p.table, p.columns, row.read(l, &b, i))
		if err != nil {
			return Plan{}, err
		}
		shards[i], used[n] = n, true
	}
	count, first := used.count()
	for _, form := range l.forms {
		for _, n := range form.singles {
			if count > 1 || n != first {
				return Plan{}, refuse(RefuseCross, "")
			}
		}
		switch {
		case form.catalogs && (count > 1 || first != catalogShard):
			return Plan{}, refuse(RefuseCross, "")
		case count > 1 && form.pinned != nil:
			return Plan{}, form.pinned
		case count > 1 && form.one != nil:
			return Plan{}, form.one
		}
	}
	if count == 1 {
		plan.Kind, plan.Shard = Forward, first
		return plan, nil
	}
	plan.Kind, plan.Tier = Split, 2
	return l.cut(plan, shards, used, nil), nil
}

// rowSources says where the key's values in a row come from. Most rows have the form of the one before them.
type rowSources struct {
	form *shape
	row  []source
}

// read returns those of row i, valid until the next call. Literals are among those of b.
func (r *rowSources) read(l *longInsert, b *binding, i int) []source {
	form := l.forms[i].inserts[0].rows[0]
	if r.form != l.forms[i] {
		r.form, r.row = l.forms[i], append(r.row[:0], form...)
	}
	b.literals = b.literals[:0]
	for k, v := range l.values[i] {
		s := &r.row[k]
		switch {
		case s.kind == sourceLiteral:
			s.index = len(b.literals)
			b.literals = append(b.literals, v.literal)
		case v.index >= 0:
			s.index = v.index
		default:
			s.index = form[k].index
		}
	}
	return r.row
}

// draw has the ids of a row's form drawn. What is added to rows is the same for all of them.
func (l *longInsert) draw(form *shape) bool {
	if l.draws {
		return true
	}
	l.draws, l.added = true, form.inserts[0].added
	if !l.added.listed || l.added.bare || len(l.added.values) == 0 {
		return true
	}
	var ok bool
	l.listEnd, ok = listEnd(l.text, l.from, l.head, l.backslashes)
	return ok
}

// moments names a constant that means the time at which it is read, "" without one.
func (l *longInsert) moments() string {
	lx := sqlparse.Lexer{Text: l.text[:l.to], Pos: l.from, Backslashes: l.backslashes}
	for {
		t := lx.NextCode()
		switch t.Kind {
		case sqlparse.EndOfText, sqlparse.Invalid:
			return ""
		case sqlparse.String, sqlparse.EscapeString, sqlparse.DollarString:
			if isMoment(l.text[t.Start:t.End]) {
				return "the constant " + string(l.text[t.Start:t.End])
			}
		}
	}
}

// cut makes the text of each shard. ids are those that the rows lack, in their order.
func (l *longInsert) cut(plan Plan, shards []int, used shardSet, ids []int64) Plan {
	part := make([]int, len(used))
	for n, in := range used {
		if in {
			part[n] = len(plan.Parts)
			plan.Parts = append(plan.Parts, Part{Shard: n})
		}
	}
	sizes, counts := make([]int, len(plan.Parts)), make([]int, len(plan.Parts))
	plan.Order = make([]int, len(shards))
	for i, n := range shards {
		plan.Order[i] = part[n]
		sizes[part[n]] += l.rows[i].End - l.rows[i].Start + 1
		counts[part[n]]++
	}
	for i := range plan.Parts {
		p := &plan.Parts[i]
		p.Text = l.appendHead(make([]byte, 0, l.head-l.from+sizes[i]+l.to-l.tail+1))
		p.Rows = make([]int, 0, counts[i])
	}
	for i := range l.rows {
		p := &plan.Parts[plan.Order[i]]
		if len(p.Rows) > 0 {
			p.Text = append(p.Text, ',')
		}
		p.Rows = append(p.Rows, i)
		p.Text, ids = l.appendRow(p.Text, i, ids)
	}
	for i := range plan.Parts {
		p := &plan.Parts[i]
		p.Text = append(p.Text, l.text[l.tail:l.to]...)
		if l.numbered && len(plan.Parts) > 1 {
			p.Text, p.Params = renumber(p.Text, l.backslashes)
		}
	}
	return plan
}

// renumber gives the parameters of a text the numbers from $1 on, and returns which they were, from 0.
func renumber(text []byte, backslashes bool) ([]byte, []int) {
	used := []int{} // not nil: a part without parameters must not declare any
	numbers := map[int]int{}
	out := make([]byte, 0, len(text))
	from := 0
	lx := sqlparse.Lexer{Text: text, Backslashes: backslashes}
	for {
		t := lx.NextCode()
		if t.Kind == sqlparse.EndOfText || t.Kind == sqlparse.Invalid {
			return append(out, text[from:]...), used
		}
		if t.Kind != sqlparse.Parameter {
			continue
		}
		n := 0
		for _, c := range text[t.Start+1 : t.End] {
			n = n*10 + int(c-'0')
		}
		at, ok := numbers[n]
		if !ok {
			at = len(used)
			numbers[n] = at
			used = append(used, n-1)
		}
		out = append(append(append(out, text[from:t.Start]...), '$'), itoa(at+1)...)
		from = t.End
	}
}
