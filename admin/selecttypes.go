package admin

import (
	"strings"

	"github.com/jackc/pgx/v5/pgtype"
	"modernc.org/sqlite"
)

// resultItem is one item of a select list as it is written.
type resultItem struct {
	expr  []token // without the alias
	alias bool
}

// selectItems splits the outermost select list. It returns nil where the list does not stand for the columns
// one to one, or the result has other parts too.
func selectItems(toks []token) []resultItem {
	depth, start := 0, -1
	var items []resultItem
	var from int
	flush := func(to int) {
		items = append(items, newItem(toks[from:to]))
	}
	for i, t := range toks {
		switch {
		case t.is("("):
			depth++
		case t.is(")"):
			depth--
		case depth != 0:
		case t.is("UNION"), t.is("INTERSECT"), t.is("EXCEPT"), t.is("VALUES"):
			return nil
		case start == -1 && t.is("SELECT"):
			start, from = i, i+1
			if i+1 < len(toks) && (toks[i+1].is("DISTINCT") || toks[i+1].is("ALL")) {
				from++
			}
		case start >= 0 && t.is(","):
			flush(i)
			from = i + 1
		case start >= 0 && endsSelectList(t):
			flush(i)
			start = -2
		}
	}
	if start >= 0 {
		flush(len(toks))
	}
	for _, it := range items {
		if n := len(it.expr); n == 0 || it.expr[n-1].is("*") {
			return nil
		}
	}
	return items
}

func endsSelectList(t token) bool {
	for _, k := range []string{"FROM", "WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "OFFSET", "WINDOW"} {
		if t.is(k) {
			return true
		}
	}
	return false
}

func newItem(toks []token) resultItem {
	n := len(toks)
	switch {
	case n >= 3 && toks[n-2].is("AS"):
		return resultItem{toks[:n-2], true}
	case n >= 2 && (toks[n-1].kind == kWord && !toks[n-1].is("END") || toks[n-1].kind == kQuoted) && endsOperand(toks[n-2]):
		return resultItem{toks[:n-1], true}
	}
	return resultItem{toks, false}
}

// endsOperand reports whether an expression may end with the token, so that a name behind it is an alias.
func endsOperand(t token) bool {
	switch t.kind {
	case kOp:
		return t.val == ")"
	case kWord:
		for _, k := range []string{"AND", "OR", "NOT", "IN", "IS", "LIKE", "GLOB", "BETWEEN", "COLLATE", "ISNULL"} {
			if t.is(k) {
				return false
			}
		}
	}
	return true
}

// function takes an item of the form name(arguments) apart.
func function(expr []token) (name string, inner []token, ok bool) {
	if len(expr) > 2 && expr[0].is("pg_catalog") && expr[1].is(".") {
		expr = expr[2:]
	}
	if len(expr) < 3 || expr[0].kind != kWord || !expr[1].is("(") {
		return "", nil, false
	}
	depth := 0
	for i, t := range expr {
		switch {
		case t.is("("):
			depth++
		case t.is(")"):
			depth--
			if depth == 0 && i != len(expr)-1 {
				return "", nil, false
			}
		}
	}
	return strings.ToLower(expr[0].val), expr[2 : len(expr)-1], depth == 0
}

// columnName is the name of a result column as PostgreSQL would choose it.
func columnName(it resultItem, sqliteName string) string {
	n := len(it.expr)
	last := it.expr[n-1]
	switch {
	case it.alias, n == 1 && (last.kind == kWord || last.kind == kQuoted) && !isNoColumn(last):
		return sqliteName
	case n >= 3 && it.expr[n-2].is(".") && (last.kind == kWord || last.kind == kQuoted) && n == 3:
		return sqliteName
	}
	if name, _, ok := function(it.expr); ok {
		return name
	}
	if it.expr[0].is("CASE") && last.is("END") {
		return "case"
	}
	if n == 1 && last.kind == kWord {
		return strings.ToLower(last.val)
	}
	return "?column?"
}

func isNoColumn(t token) bool {
	for _, f := range sessionFunctions() {
		if strings.EqualFold(t.val, f) && f != "version" {
			return true
		}
	}
	return t.is("TRUE") || t.is("FALSE") || t.is("NULL")
}

// lookup returns the type of a column by its name.
func (q *selectQuery) lookup(name string) (typ, bool) {
	for _, v := range q.views {
		for _, c := range v.cols {
			if strings.EqualFold(c.name, name) {
				return c.typ, true
			}
		}
	}
	return 0, false
}

// exprType is the type of an expression as far as its text tells: a column, or a function.
func (q *selectQuery) exprType(expr []token) (typ, bool) {
	n := len(expr)
	if n == 0 {
		return 0, false
	}
	if last := expr[n-1]; n == 1 || n == 3 && expr[1].is(".") {
		switch {
		case n == 1 && isNoColumn(last) && last.kind == kWord:
			return tText, !last.is("TRUE") && !last.is("FALSE")
		case last.kind == kWord, last.kind == kQuoted:
			return q.lookup(last.val)
		case last.kind == kString:
			return tText, true
		}
		return 0, false
	}
	name, inner, ok := function(expr)
	if !ok {
		return 0, false
	}
	switch name {
	case "count", "length", "row_number", "rank", "dense_rank", "instr", "unixepoch":
		return tInt8, true
	case "avg", "total", "round", "julianday":
		return tFloat8, true
	case "lower", "upper", "trim", "ltrim", "rtrim", "substr", "substring", "replace", "group_concat", "string_agg",
		"hex", "quote", "typeof", "printf", "format", "concat", "concat_ws", "date", "time", "datetime", "strftime",
		"version", "current_database", "current_schema", "now":
		return tText, true
	case "pg_is_in_recovery":
		return tBool, true
	case "pg_backend_pid":
		return tInt4, true
	case "sum":
		if len(inner) > 0 && inner[0].is("DISTINCT") {
			inner = inner[1:]
		}
		t, ok := q.exprType(inner)
		switch {
		case !ok:
			return 0, false
		case t == tInt4:
			return tInt8, true
		case t == tText:
			return tFloat8, true
		}
		return t, true
	case "min", "max":
		return q.exprType(inner)
	}
	return 0, false
}

// staticType is the type of result column i as far as it can be told without values.
func (q *selectQuery) staticType(info []sqlite.ColumnInfo, i int) (typ, bool) {
	for _, v := range q.views {
		if !strings.EqualFold(v.name, info[i].TableName) {
			continue
		}
		for _, c := range v.cols {
			if strings.EqualFold(c.name, info[i].OriginName) {
				return c.typ, true
			}
		}
	}
	if len(q.items) == len(info) {
		return q.exprType(q.items[i].expr)
	}
	return 0, false
}

func (q *selectQuery) typed(info []sqlite.ColumnInfo) bool {
	for i := range info {
		if _, ok := q.staticType(info, i); !ok {
			return false
		}
	}
	return true
}

// columns names and types the result: by the view column it comes from, by the text, or by the values.
func (q *selectQuery) columns(info []sqlite.ColumnInfo, rows [][]any) []column {
	cols := make([]column, len(info))
	for i, in := range info {
		cols[i].name = in.Name
		if len(q.items) == len(info) {
			cols[i].name = columnName(q.items[i], in.Name)
		}
		t, ok := q.staticType(info, i)
		for _, row := range rows {
			if ok {
				_, ok = t.coerce(row[i])
			}
			if !ok {
				break
			}
		}
		if !ok {
			t = valueType(rows, i)
		}
		cols[i].typ = t
	}
	return cols
}

// valueType is the type that holds all values of column i.
func valueType(rows [][]any, i int) typ {
	t, found := tText, false
	for _, row := range rows {
		var u typ
		switch row[i].(type) {
		case nil:
			continue
		case int64:
			u = tInt8
		case float64:
			u = tFloat8
		case []byte:
			u = tBytea
		default:
			return tText
		}
		switch {
		case !found:
			t, found = u, true
		case t == u:
		case t == tBytea || u == tBytea:
			return tText
		default:
			t = tFloat8
		}
	}
	return t
}

// paramTypes gives each parameter the type that the client declared, or the one that its place suggests;
// loose marks those of which neither is known, and which are called text as PostgreSQL does.
func (q *selectQuery) paramTypes(declared []uint32) (oids []uint32, loose []bool) {
	oids, loose = make([]uint32, q.nparams), make([]bool, q.nparams)
	for i, t := range q.toks {
		if t.kind != kParam {
			continue
		}
		n := 0
		for _, c := range t.val {
			n = n*10 + int(c-'0')
		}
		if oids[n-1] == 0 {
			if pt, ok := q.paramType(i); ok {
				oids[n-1] = pt.info().oid
			}
		}
	}
	for i := range oids {
		switch {
		case i < len(declared) && declared[i] != 0 && declared[i] != pgtype.UnknownOID:
			oids[i] = declared[i]
		case oids[i] == 0:
			oids[i], loose[i] = pgtype.TextOID, true
		}
	}
	return oids, loose
}

// paramType tells what the parameter at token i is compared with, or limits.
func (q *selectQuery) paramType(i int) (typ, bool) {
	prev := q.at(i - 1)
	switch {
	case prev.is("LIMIT"), prev.is("OFFSET"):
		return tInt8, true
	case prev.is("LIKE"), prev.is("GLOB"):
		return tText, true
	case isComparison(prev):
		return q.operandBefore(i - 1)
	case isComparison(q.at(i + 1)):
		return q.operandAfter(i + 2)
	case prev.is("BETWEEN"):
		return q.operandBefore(i - 1)
	case prev.is("AND") && q.at(i-3).is("BETWEEN"):
		return q.operandBefore(i - 3)
	}
	// x IN ($1, $2)
	j := i - 1
	for ; q.at(j).is(",") || q.at(j).kind == kParam || q.at(j).kind == kString || q.at(j).kind == kNumber; j-- {
	}
	if q.at(j).is("(") && q.at(j-1).is("IN") {
		j--
		if q.at(j - 1).is("NOT") {
			j--
		}
		return q.operandBefore(j)
	}
	return 0, false
}

func isComparison(t token) bool {
	if t.kind != kOp {
		return false
	}
	switch t.val {
	case "=", "==", "<", ">", "<=", ">=", "<>", "!=":
		return true
	}
	return false
}

// operandBefore is the type of the column or function that ends before token i. An operator before it makes
// it part of something larger, of which nothing is known.
func (q *selectQuery) operandBefore(i int) (typ, bool) {
	end := i
	start := end - 1
	if q.at(start).is(")") {
		depth := 0
		for ; start >= 0; start-- {
			if q.toks[start].is(")") {
				depth++
			} else if q.toks[start].is("(") {
				if depth--; depth == 0 {
					break
				}
			}
		}
		start--
	} else if q.at(start - 1).is(".") {
		start -= 2
	}
	if start < 0 || start >= end {
		return 0, false
	}
	if t := q.at(start - 1); t.kind == kOp && t.val != "(" && t.val != "," {
		return 0, false
	}
	return q.exprType(q.toks[start:end])
}

// operandAfter likewise for a column that begins at token i.
func (q *selectQuery) operandAfter(i int) (typ, bool) {
	end := i + 1
	if q.at(end).is(".") {
		end += 2
	}
	if i >= len(q.toks) || end > len(q.toks) {
		return 0, false
	}
	if t := q.at(end); t.kind == kOp && t.val != ")" && t.val != "," {
		return 0, false
	}
	return q.exprType(q.toks[i:end])
}
