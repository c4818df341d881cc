package shard

import (
	"slices"
	"strings"

	"pgdrover/internal/catalog"
	"pgdrover/internal/sqlparse"

	pg "github.com/pganalyze/pg_query_go/v5"
)

// Replay is how the other shards get the rows that the first one has written into a reference table. The first one carries the statement
// out, with its clock, chance and sequences, and returns for each row what it has become; the others store that, or delete the same row.
type Replay struct {
	Table *Table
	// Shown is how many of the columns that the first shard returns are the client's. Columns are those behind them.
	Shown   int
	Columns []MoveColumn
	// Most is how many rows fit into one statement.
	Most int

	head, tail string   // before and behind the rows
	row        []string // what stands before, between and behind the parameters of a row
	returning  string   // the columns, by their names in the client's statement
	one        []byte   // the statement for one row
}

// Text is the statement that repeats a number of rows, from 1 to Most. Its $1 … are the Columns of the first row, then those of the second.
func (r *Replay) Text(rows int) []byte {
	out := []byte(r.head)
	n := 0
	for i := range rows {
		if i > 0 {
			out = append(out, ", "...)
		}
		for k, piece := range r.row {
			out = append(out, piece...)
			if k < len(r.Columns) {
				n++
				out = append(append(out, '$'), itoa(n)...)
			}
		}
	}
	return append(out, r.tail...)
}

// size is what it takes, roughly.
func (r *Replay) size() int {
	if r == nil {
		return 0
	}
	return 256 + len(r.head) + len(r.tail) + len(r.returning) + len(r.one) + 32*len(r.row)
}

// Bounds of a statement that repeats rows: its parameters are counted in 16 bits, and long lists are slow to plan.
const (
	maxReplayParams = 1<<16 - 1
	maxReplayRows   = 500
)

// replayOf finds out how the rows that a statement writes into a reference table can be repeated; if they cannot, it says why. q is the
// statement's outcome.
func (a *analysis) replayOf(r *rel, q *query) (p *Replay, why string) {
	p = &Replay{Table: r.table}
	var returning []*pg.Node
	from := false // RETURNING sees other tables too
	switch n := a.top.GetNode().(type) {
	case *pg.Node_InsertStmt:
		returning = n.InsertStmt.GetReturningList()
		why = a.replayInsert(p, n.InsertStmt, r)
	case *pg.Node_UpdateStmt:
		returning, from = n.UpdateStmt.GetReturningList(), len(n.UpdateStmt.GetFromClause()) > 0
		why = a.replayUpdate(p, n.UpdateStmt, r)
	case *pg.Node_DeleteStmt:
		returning, from = n.DeleteStmt.GetReturningList(), len(n.DeleteStmt.GetUsingClause()) > 0
		why = a.replayDelete(p, r)
	}
	if why == "" {
		why = a.sequenceElsewhere(r.relation)
	}
	switch {
	case why != "":
		return nil, why
	case from && slices.ContainsFunc(a.rels, func(o *rel) bool { return o != r && o.name == r.name }):
		return nil, "Two tables of the statement have the same name."
	case !countable(returning, q):
		return nil, "It is not known how many columns RETURNING has."
	case len(returning) > 0:
		p.returning = ", " + p.returning
	default:
		p.returning = " RETURNING " + p.returning
	}
	p.Shown = len(q.columns)
	p.Most = min(p.Most, maxReplayParams/len(p.Columns))
	p.one = p.Text(1)
	return p, ""
}

// countable says whether the columns of a RETURNING list are all in q, one for each expression that is no star.
func countable(returning []*pg.Node, q *query) bool {
	for _, n := range returning {
		switch v := n.GetResTarget().GetVal().GetNode().(type) {
		case *pg.Node_ColumnRef:
			fields := v.ColumnRef.GetFields()
			if _, star := fields[len(fields)-1].GetNode().(*pg.Node_AStar); star && !q.known {
				return false
			}
		case *pg.Node_AIndirection:
			for _, i := range v.AIndirection.GetIndirection() {
				if _, star := i.GetNode().(*pg.Node_AStar); star {
					return false
				}
			}
		}
	}
	return true
}

// replayed adds columns to those that the first shard returns.
func (a *analysis) replayed(p *Replay, r *rel, columns ...*catalog.Column) (why string) {
	for _, c := range columns {
		m, ok := a.transfer(c)
		if !ok {
			return "Column " + c.Name + " is of a type whose values cannot be taken to another server as they are."
		}
		if len(p.Columns) > 0 {
			p.returning += ", "
		}
		p.returning += sqlparse.QuoteIdent(r.name) + "." + sqlparse.QuoteIdent(c.Name)
		p.Columns = append(p.Columns, m.MoveColumn)
	}
	return ""
}

// qualifiedName is a table's name as SQL writes it, whatever search_path is.
func qualifiedName(r *catalog.Relation) string {
	return sqlparse.QuoteIdent(r.Schema) + "." + sqlparse.QuoteIdent(r.Name.Name)
}

// replayInsert repeats INSERT. Rows that ON CONFLICT leaves out are not returned, and those that it updates are returned as they are then.
func (a *analysis) replayInsert(p *Replay, n *pg.InsertStmt, r *rel) (why string) {
	var columns []*catalog.Column
	var list []string
	for i := range r.relation.Columns {
		if c := &r.relation.Columns[i]; c.Generated == 0 {
			columns, list = append(columns, c), append(list, sqlparse.QuoteIdent(c.Name))
		}
	}
	if len(columns) == 0 {
		return "The table has no columns."
	}
	if p.tail, why = a.replayConflict(n.GetOnConflictClause(), r, columns); why != "" {
		return why
	}
	p.head = "INSERT INTO " + qualifiedName(r.relation) + " (" + strings.Join(list, ", ") + ") OVERRIDING SYSTEM VALUE VALUES "
	p.row = tuple(len(columns))
	p.Most = maxReplayRows
	return a.replayed(p, r, columns...)
}

// tuple is a row of n parameters in parentheses.
func tuple(n int) []string {
	pieces := []string{"("}
	for range n - 1 {
		pieces = append(pieces, ", ")
	}
	return append(pieces, ")")
}

// replayConflict is the ON CONFLICT with which rows are repeated. A row that was updated has kept the columns by which it is found, so that the
// other shards find theirs by them.
func (a *analysis) replayConflict(c *pg.OnConflictClause, r *rel, columns []*catalog.Column) (tail, why string) {
	if c.GetAction() != pg.OnConflictAction_ONCONFLICT_UPDATE {
		return "", "" // the rows are new everywhere
	}
	var arbiter []string
	infer := c.GetInfer()
	for _, e := range infer.GetIndexElems() {
		name := e.GetIndexElem().GetName()
		if name == "" || e.GetIndexElem().GetCollation() != nil || e.GetIndexElem().GetOpclass() != nil {
			return "", "ON CONFLICT has something else than plain columns."
		}
		arbiter = append(arbiter, name)
	}
	if infer.GetWhereClause() != nil {
		return "", "ON CONFLICT has a WHERE for its index."
	}
	for i := range r.relation.Constraints {
		if con := &r.relation.Constraints[i]; infer.GetConname() != "" && con.Name == infer.GetConname() && (con.Kind == 'p' || con.Kind == 'u') {
			arbiter = con.Columns
		}
	}
	if len(arbiter) == 0 {
		return "", "It is not known which columns ON CONFLICT compares."
	}
	set, why := a.assignedColumns(c.GetTargetList(), r, arbiter)
	if why != "" {
		return "", why
	}
	if why = a.updateHazard(r.relation, set); why != "" {
		return "", why
	}
	var sets []string
	for _, col := range columns {
		if name := sqlparse.QuoteIdent(col.Name); col.Identity != 'a' && !slices.Contains(arbiter, col.Name) {
			sets = append(sets, name+" = EXCLUDED."+name)
		}
	}
	var quoted []string
	for _, name := range arbiter {
		quoted = append(quoted, sqlparse.QuoteIdent(name))
	}
	return " ON CONFLICT (" + strings.Join(quoted, ", ") + ") DO UPDATE SET " + strings.Join(sets, ", "), ""
}

// assignedColumns returns the columns that SET gives values to; one of keys must not be among them.
func (a *analysis) assignedColumns(list []*pg.Node, r *rel, keys []string) (columns []*catalog.Column, why string) {
	for _, n := range list {
		c := r.relation.Column(n.GetResTarget().GetName())
		switch {
		case c == nil:
			return nil, "SET has an unknown column."
		case slices.Contains(keys, c.Name):
			return nil, "SET changes column " + c.Name + ", by which the row is found on the other shards."
		case c.Identity == 'a':
			return nil, "SET changes column " + c.Name + ", which is GENERATED ALWAYS AS IDENTITY."
		case c.Generated == 0 && !slices.Contains(columns, c):
			columns = append(columns, c)
		}
	}
	if len(columns) == 0 {
		return nil, "SET changes nothing that could be repeated."
	}
	return columns, ""
}

// replayUpdate repeats UPDATE row by row, in the order in which the first shard has updated them: the rows are found by their primary key.
func (a *analysis) replayUpdate(p *Replay, n *pg.UpdateStmt, r *rel) (why string) {
	keys, why := primaryKey(r.relation)
	if why != "" {
		return why
	}
	set, why := a.assignedColumns(n.GetTargetList(), r, columnNames(keys))
	if why == "" {
		why = a.updateHazard(r.relation, set)
	}
	if why != "" {
		return why
	}
	p.Most = 1
	before := "UPDATE " + qualifiedName(r.relation) + " SET "
	for _, c := range set {
		p.row = append(p.row, before+sqlparse.QuoteIdent(c.Name)+" = ")
		before = ", "
	}
	before = " WHERE "
	for _, c := range keys {
		p.row = append(p.row, before+sqlparse.QuoteIdent(c.Name)+" = ")
		before = " AND "
	}
	p.row = append(p.row, "")
	return a.replayed(p, r, append(set, keys...)...)
}

// replayDelete repeats DELETE by the primary keys.
func (a *analysis) replayDelete(p *Replay, r *rel) (why string) {
	keys, why := primaryKey(r.relation)
	if why != "" {
		return why
	}
	names := columnNames(keys)
	for i := range names {
		names[i] = sqlparse.QuoteIdent(names[i])
	}
	p.head, p.tail = "DELETE FROM "+qualifiedName(r.relation)+" WHERE ("+strings.Join(names, ", ")+") IN (", ")"
	p.row = tuple(len(keys))
	if len(keys) == 1 {
		p.row = []string{"", ""}
	}
	p.Most = maxReplayRows
	return a.replayed(p, r, keys...)
}

func columnNames(columns []*catalog.Column) []string {
	var names []string
	for _, c := range columns {
		names = append(names, c.Name)
	}
	return names
}

// primaryKey returns the columns by which a row is found again.
func primaryKey(r *catalog.Relation) (columns []*catalog.Column, why string) {
	if r.Kind == 'r' && len(r.Children) > 0 {
		return nil, "The table has children."
	}
	for i := range r.Constraints {
		c := &r.Constraints[i]
		if c.Kind != 'p' {
			continue
		}
		for _, name := range c.Columns {
			col := r.Column(name)
			if col == nil {
				return nil, "Its primary key has an unknown column."
			}
			columns = append(columns, col)
		}
		return columns, ""
	}
	return nil, "The table has no primary key, by which the rows could be found on the other shards."
}

// updateHazard names what would make an UPDATE of some columns another thing when it is repeated row by row.
func (a *analysis) updateHazard(r *catalog.Relation, set []*catalog.Column) (why string) {
	names := columnNames(set)
	touches := func(columns []string) bool {
		return slices.ContainsFunc(columns, func(c string) bool { return slices.Contains(names, c) })
	}
	for i := range r.Constraints {
		if c := &r.Constraints[i]; c.Deferrable && c.Kind != 'f' && touches(c.Columns) {
			return "Constraint " + c.Name + " is deferrable."
		}
	}
	for _, other := range a.cat.Relations {
		for i := range other.Constraints {
			c := &other.Constraints[i]
			if c.Kind == 'f' && c.Foreign == r.Name && c.OnUpdate != 'a' && c.OnUpdate != 'r' && touches(c.ForeignColumns) {
				return "Foreign key " + c.Name + " of table " + other.Name.Name + " changes other rows."
			}
		}
	}
	return ""
}

// sequenceElsewhere names a column whose sequence is placed on another shard than the one that would take values of it.
func (a *analysis) sequenceElsewhere(r *catalog.Relation) (why string) {
	for i := range r.Columns {
		c := &r.Columns[i]
		if !c.DefaultSequence {
			continue
		}
		_, rest, _ := strings.Cut(c.Default, "nextval('")
		name, _, _ := strings.Cut(rest, "'::regclass")
		parts := splitName(strings.ReplaceAll(name, "''", "'"))
		schema := r.Schema
		switch len(parts) {
		case 1:
			if seq := a.findRelation("", parts[0]); seq != nil {
				schema = seq.Schema
			}
		case 2:
			schema = parts[0]
		default:
			return "The sequence of column " + c.Name + " is not known."
		}
		if t := a.m.Table(schema, parts[len(parts)-1]); t != nil && t.Kind == Single && t.Shard != leadShard {
			return "The sequence of column " + c.Name + " is placed on shard " + a.m.Shards()[t.Shard] + "."
		}
	}
	return ""
}

// bindReplay makes the plan of a write whose rows are repeated.
func (sh *shape) bindReplay(b *binding, plan Plan) (Plan, error) {
	if sh.explain {
		if sh.analyze {
			return Plan{}, refuse(RefuseExplainWrite, "")
		}
		plan.Parts = []Part{{Shard: leadShard}}
		return plan, nil
	}
	plan.Kind, plan.Replay = ReplayRows, sh.replay
	plan.Parts = []Part{{Shard: leadShard, Text: b.lead(sh.replay.returning)}}
	for i := range sh.shards {
		if i != leadShard {
			plan.Parts = append(plan.Parts, Part{Shard: i, Text: sh.replay.one})
		}
	}
	return plan, nil
}

// lead is the statement that also returns what is repeated. What stands before it in the text stays, if it is no other statement, so that positions in
// errors are right.
func (b *binding) lead(returning string) []byte {
	from, to := 0, len(b.text)
	if b.stmt != nil {
		from, to = b.stmt.First, b.stmt.Last
	}
	lx := sqlparse.Lexer{Text: b.text, Pos: from, Backslashes: b.backslashes}
	end := from
	for t := lx.NextCode(); t.Kind != sqlparse.EndOfText && t.Kind != sqlparse.Invalid && t.End <= to; t = lx.NextCode() {
		if t.Kind != sqlparse.Punctuation || b.text[t.Start] != ';' {
			end = t.End
		}
	}
	if lx := (sqlparse.Lexer{Text: b.text[:from]}); lx.NextCode().Kind == sqlparse.EndOfText && b.alone(end) {
		from = 0
	}
	return append(slices.Clone(b.text[from:end]), returning...)
}

// alone says whether nothing but semicolons stands behind a place in the text.
func (b *binding) alone(end int) bool {
	lx := sqlparse.Lexer{Text: b.text, Pos: end, Backslashes: b.backslashes}
	for {
		t := lx.NextCode()
		switch {
		case t.Kind == sqlparse.EndOfText:
			return true
		case t.Kind != sqlparse.Punctuation || b.text[t.Start] != ';':
			return false
		}
	}
}
