package shard

import (
	"strings"

	"pgdrover/internal/catalog"

	pg "github.com/pganalyze/pg_query_go/v5"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// copy handles COPY.
func (a *analysis) copy(s *pg.CopyStmt, sh *shape) {
	if s.GetFilename() != "" || s.GetIsProgram() {
		sh.refused(refuse(RefuseCopyFile, ""))
		return
	}
	if s.GetQuery() != nil {
		a.copyQuery(s, sh)
		return
	}
	a.writes = s.GetIsFrom()
	r := a.relation(s.GetRelation(), s.GetIsFrom())
	if a.err != nil {
		sh.refused(a.err)
		return
	}
	if s.GetIsFrom() {
		a.writeGuards(r)
	}
	columns := a.copyColumns(s, r)
	format, e := a.copyFormat(s, columns)
	if e == nil && s.GetWhereClause() != nil && r.table != nil && r.table.Kind != Single {
		e = refuse(RefuseCopy, "WHERE on a sharded or reference table")
	}
	switch {
	case a.err != nil:
		sh.refused(a.err)
		return
	case e != nil:
		sh.refused(e)
		return
	case r.table == nil:
		a.onShardOnly(sh, catalogShard, false)
		sh.anchored = false
		return
	case r.table.Kind == Single:
		a.onShardOnly(sh, r.table.Shard, false)
		sh.plan.Writes = s.GetIsFrom()
		return
	case a.pinned != nil:
		sh.refused(a.pinned)
		return
	}
	if !s.GetIsFrom() {
		a.copyOut(sh, r, format)
		return
	}
	a.copyIn(sh, r, columns, format)
}

// copyOut reads every shard, or any for a reference table.
func (a *analysis) copyOut(sh *shape, r *rel, format CopyFormat) {
	if r.table.Kind == Reference {
		sh.fix(Plan{Kind: Anywhere, Tier: 1, Rows: true})
		return
	}
	p := Plan{Kind: CopyOut, Tier: 2, Rows: true, Key: r.table.Key.Name, Copy: &Copy{Table: r.table, Format: format}}
	for _, n := range r.table.Key.Shards() {
		p.Parts = append(p.Parts, Part{Shard: n})
	}
	sh.fix(p)
}

// copyIn finds where the key is in a row.
func (a *analysis) copyIn(sh *shape, r *rel, columns []*catalog.Column, format CopyFormat) {
	p := Plan{Kind: CopyIn, Tier: 2, Writes: true, Copy: &Copy{Table: r.table, Format: format}}
	given := map[string]bool{}
	for _, c := range columns {
		given[c.Name] = true
		p.Copy.Columns = append(p.Copy.Columns, c.Name)
	}
	for i := range r.relation.Columns {
		if c := &r.relation.Columns[i]; !given[c.Name] && c.Generated == 0 {
			a.defaulted(r, c)
		}
	}
	if r.table.Kind == Reference {
		if a.moving != "" {
			sh.refused(refuse(RefuseReferenceWrite, a.moving))
			return
		}
		p.Copy.Moments = a.copyMoments(columns, format)
	} else {
		if e := a.checkKey(r); e != nil {
			sh.refused(e)
			return
		}
		p.Key = r.table.Key.Name
		p.Copy.assign = assigns(r)
		for _, name := range r.table.Columns {
			at := -1
			for i, c := range columns {
				if c.Name == name {
					at = i
				}
			}
			if at < 0 {
				e := refuse(RefuseKeyDefault, name)
				e.Hint = "Give the rows a value for it: SELECT pgdrover.next_id() FROM generate_series(1, …) makes some."
				sh.refused(e)
				return
			}
			p.Copy.KeyColumns = append(p.Copy.KeyColumns, at)
		}
	}
	if a.err != nil || a.pinned != nil {
		sh.refused(firstError(a.err, a.pinned))
		return
	}
	for i := range a.m.Shards() {
		p.Parts = append(p.Parts, Part{Shard: i})
	}
	sh.fix(p)
}

func firstError(a, b *Error) *Error {
	if a != nil {
		return a
	}
	return b
}

// copyColumns returns the columns of a row of COPY.
func (a *analysis) copyColumns(s *pg.CopyStmt, r *rel) []*catalog.Column {
	var columns []*catalog.Column
	if len(s.GetAttlist()) == 0 {
		for i := range r.relation.Columns {
			if c := &r.relation.Columns[i]; c.Generated == 0 {
				columns = append(columns, c)
			}
		}
		return columns
	}
	list, _ := names(s.GetAttlist())
	for _, name := range list {
		c := r.relation.Column(name)
		if c == nil {
			a.fail(refuse(RefuseColumn, name))
			return nil
		}
		columns = append(columns, c)
	}
	return columns
}

// copyFormat reads the options of COPY (ProcessCopyOptions).
func (a *analysis) copyFormat(s *pg.CopyStmt, columns []*catalog.Column) (CopyFormat, *Error) {
	f := CopyFormat{Name: "text"}
	delimiter, quote, escape := "", "", ""
	hasDefault := false
	for _, n := range s.GetOptions() {
		d := n.GetDefElem()
		value, ok := optionText(d.GetArg())
		if !ok && d.GetDefname() != "force_quote" && d.GetDefname() != "force_null" && d.GetDefname() != "force_not_null" {
			return f, refuse(RefuseCopy, "the value of option "+d.GetDefname())
		}
		switch d.GetDefname() {
		case "format":
			f.Name = value
		case "delimiter":
			delimiter = value
		case "null":
			f.Null, f.HasNull = value, true
		case "header":
			switch strings.ToLower(value) {
			case "", "true", "on", "1":
				f.Header = true
			case "false", "off", "0":
			default:
				return f, refuse(RefuseCopy, "HEADER "+value)
			}
		case "quote":
			quote = value
		case "escape":
			escape = value
		case "force_null":
			f.ForceNull = forced(d.GetArg(), columns)
		case "force_not_null":
			f.ForceNot = forced(d.GetArg(), columns)
		case "force_quote":
		case "encoding":
			f.Encoding = value
		case "default":
			f.Default, hasDefault = value, true
		case "freeze":
			return f, refuse(RefuseCopy, "FREEZE")
		default:
			return f, refuse(RefuseCopy, "option "+d.GetDefname())
		}
	}
	if hasDefault {
		return f, refuse(RefuseCopy, "DEFAULT")
	}
	switch f.Name {
	case "text":
		f.Delimiter = '\t'
		if !f.HasNull {
			f.Null = `\N`
		}
	case "csv":
		f.Delimiter, f.Quote = ',', '"'
		if len(quote) == 1 {
			f.Quote = quote[0]
		}
		f.Escape = f.Quote
		if len(escape) == 1 {
			f.Escape = escape[0]
		}
	case "binary":
	default:
		return f, refuse(RefuseCopy, "format "+f.Name)
	}
	if delimiter != "" {
		f.Delimiter = delimiter[0]
	}
	return f, nil
}

// optionText returns the value of an option as text; an option without a value has "".
func optionText(n *pg.Node) (string, bool) {
	switch v := n.GetNode().(type) {
	case nil:
		return "", true
	case *pg.Node_String_:
		return v.String_.GetSval(), true
	case *pg.Node_Integer:
		return itoa(int(v.Integer.GetIval())), true
	case *pg.Node_Boolean:
		if v.Boolean.GetBoolval() {
			return "true", true
		}
		return "false", true
	}
	return "", false
}

// forced returns which columns an option names; * is all.
func forced(n *pg.Node, columns []*catalog.Column) []bool {
	set := make([]bool, len(columns))
	list, ok := names(n.GetList().GetItems())
	for i, c := range columns {
		set[i] = !ok || contains(list, c.Name)
	}
	return set
}

// copyQuery handles COPY (query) TO STDOUT: on the one shard that has its rows, or any.
func (a *analysis) copyQuery(s *pg.CopyStmt, sh *shape) {
	counts := map[protoreflect.Name]int{}
	if e := checkTree(s.GetQuery().ProtoReflect(), counts); e != nil {
		sh.refused(e)
		return
	}
	a.dml(s.GetQuery(), sh)
	if sh.err == nil {
		sh.driver, sh.multi, sh.limit = -1, refuse(RefuseCopy, "a query over several shards"), nil
	}
	sh.plan.Rows = true
}
