package shard

import (
	"bytes"
	"slices"

	"pgdrover/internal/catalog"
	"pgdrover/internal/sqlparse"
	"pgdrover/shard/copyrows"

	pg "github.com/pganalyze/pg_query_go/v5"
)

// leadShard is where a write of a reference table is carried out first.
const leadShard = 0

// planReference checks a write of a reference table. What does the same wherever it runs runs on every shard. What does not, and what
// depends on which rows are there already, runs on the lead shard, and the others get the rows that it has written: see replay.go.
func (a *analysis) planReference(sh *shape, q *query) {
	r := a.referenceTo
	if r == nil {
		return
	}
	sh.moment = true
	sh.plan.Kind = Everywhere
	if !a.replicated() {
		sh.err = refuse(RefuseWriteMix, r.table.Name)
		return
	}
	if i := slices.IndexFunc(sh.singles, func(n int) bool { return n != leadShard }); i >= 0 {
		sh.err = unreplayed(refuse(RefuseReferenceWrite, a.moving), "It belongs to shard "+a.m.Shards()[sh.singles[i]]+".")
		return
	}
	if sh.err = firstError(sh.pinned, sh.one); sh.err != nil || sh.shards == 1 {
		return
	}
	reads := a.seen["SelectStmt"]
	if a.valuesInsert {
		reads--
	}
	reading := len(a.rels) > 1 || reads > 0 || a.seen["RangeFunction"] > 0 || a.seen["CommonTableExpr"] > 0 || len(sh.singles) > 0 || sh.catalogs
	plan, why := a.replayOf(r, q)
	sh.replay = plan
	switch {
	case plan != nil:
		// Which rows UPDATE and DELETE meet depends on the moment: another transaction may commit between two shards, and be seen by one of them.
		sh.replays = reading || a.moving != "" || a.top.GetInsertStmt() == nil
	case a.moving != "":
		sh.err = unreplayed(refuse(RefuseReferenceWrite, a.moving), why)
	case reading:
		sh.err = unreplayed(refuse(RefuseWriteMix, r.table.Name), why)
	default:
		sh.noReplay = why
		if a.top.GetInsertStmt() == nil {
			sh.lock = "LOCK TABLE " + qualifiedName(r.relation) + " IN SHARE ROW EXCLUSIVE MODE"
		}
	}
}

// unreplayed adds to a refusal why the rows of the lead shard cannot be taken to the others.
func unreplayed(e *Error, why string) *Error {
	e.Detail += " " + why
	return e
}

// replicated says that the statement itself writes the reference table, and that all it reads is on every shard, or in the lead's catalogs.
func (a *analysis) replicated() bool {
	switch a.top.GetNode().(type) {
	case *pg.Node_InsertStmt, *pg.Node_UpdateStmt, *pg.Node_DeleteStmt:
	default:
		return false
	}
	for _, r := range a.rels {
		if r.table != nil && r.table.Kind != Reference {
			return false
		}
	}
	return true
}

// bindReference makes the plan of a write of a reference table.
func (sh *shape) bindReference(b *binding, plan Plan) (Plan, error) {
	plan.Tier, plan.Limit = 2, -1
	moment := ""
	if !sh.replays && sh.shards > 1 {
		moment = b.moments()
	}
	switch {
	case sh.replays || moment != "" && sh.replay != nil:
		return sh.bindReplay(b, plan)
	case moment != "":
		return Plan{}, unreplayed(refuse(RefuseReferenceWrite, moment), sh.noReplay)
	}
	plan.Lock = sh.lock
	for i := range sh.shards {
		plan.Parts = append(plan.Parts, Part{Shard: i})
	}
	return plan, nil
}

// moments names a constant or a parameter that may mean the time at which it is read, "" without one.
func (b *binding) moments() string {
	if b.moment != "" {
		return b.moment
	}
	for _, l := range b.literals {
		if v, ok := b.momentText(l); ok && isMoment(v) {
			return "the constant '" + string(v) + "'"
		}
	}
	for i := 0; b.params != nil && i < b.params.Len(); i++ {
		if v, _, null := b.params.Param(i); !null && isMoment(v) {
			return "the value '" + string(v) + "' of parameter $" + itoa(i+1)
		}
	}
	return ""
}

func (b *binding) momentText(l sqlparse.Literal) ([]byte, bool) {
	switch l.Class {
	case sqlparse.ClassString, sqlparse.ClassEscape, sqlparse.ClassDollar:
		return b.stringValue(l)
	}
	return nil, false
}

// maxMoment bounds the texts that PostgreSQL reads as a date or time (MAXDATELEN).
const maxMoment = 128

// isMoment says whether a text may mean the time at which it is read: 'now', 'tomorrow 10:00'.
func isMoment(v []byte) bool {
	if len(v) > maxMoment && !structured(v) {
		return false
	}
	for start := 0; start < len(v); {
		end := start
		for end < len(v) && (v[end]|0x20 >= 'a' && v[end]|0x20 <= 'z') {
			end++
		}
		for _, w := range [...]string{"now", "today", "tomorrow", "yesterday"} {
			if end-start == len(w) && bytes.EqualFold(v[start:end], []byte(w)) {
				return true
			}
		}
		start = end + 1
	}
	return false
}

// structured says whether a text may be an array, a range or a row, which have several values.
func structured(v []byte) bool {
	v = bytes.TrimLeft(v, " \t\r\n\v\f")
	return len(v) > 0 && (v[0] == '{' || v[0] == '[' || v[0] == '(')
}

// copyMoments returns the positions of the columns of a COPY in whose values a word may mean the time at which it is read: all but those of
// PostgreSQL's own types that have no times in them, and those of users' labels and strings.
func (a *analysis) copyMoments(columns []*catalog.Column, format CopyFormat) []int {
	if format.Name == "binary" {
		return nil
	}
	var at []int
	for i, c := range columns {
		t := a.cat.Types[c.Base]
		if t != nil && t.Category == 'A' && t.Element != 0 {
			t = a.cat.Types[t.Element]
		}
		timeless := t != nil && (t.Kind == 'e' || t.Category == 'S' || t.Schema == pgCatalog && t.Kind == 'b' && t.Category != 'D')
		if !timeless {
			at = append(at, i)
		}
	}
	return at
}

// Moment refuses a row of a reference table in which a value may mean the time at which it is read. fields are those of Moments.
func (c *Copy) Moment(fields []copyrows.Field) error {
	for i, f := range fields {
		if !f.Null && isMoment(f.Value) {
			return refuse(RefuseReferenceWrite, "the value '"+string(f.Value)+"' of column "+c.Columns[c.Moments[i]])
		}
	}
	return nil
}

// referenceSelect visits INSERT … SELECT into a reference table: the order of the rows, and what is computed for them, is another one on every
// shard.
func (a *analysis) referenceSelect(q *query, columns []*catalog.Column, r *rel) {
	a.differs("INSERT … SELECT")
	given := 0
	if q.known {
		given = min(len(q.columns), len(columns))
	}
	for _, c := range columns[given:] {
		a.defaulted(r, c)
	}
}
