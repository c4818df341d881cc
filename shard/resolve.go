package shard

import (
	pg "github.com/pganalyze/pg_query_go/v5"
)

// systemColumns are those that every table has and that mean one server.
func systemColumn(name string) bool {
	switch name {
	case "ctid", "xmin", "xmax", "cmin", "cmax", "tableoid":
		return true
	}
	return false
}

// resolve finds the column that a reference means. found is false if PostgreSQL would find none, or more than one; the column
// is nil if it is none of which anything is known.
func (a *analysis) resolve(r *pg.ColumnRef, s *scope) (c *column, found bool) {
	fields := r.GetFields()
	star := false
	var parts []string
	for i, f := range fields {
		switch n := f.GetNode().(type) {
		case *pg.Node_String_:
			parts = append(parts, n.String_.GetSval())
		case *pg.Node_AStar:
			star = i == len(fields)-1
			if !star {
				return nil, false
			}
		default:
			return nil, false
		}
	}
	switch {
	case star && len(parts) == 0:
		return nil, true
	case star:
		it, _ := a.findItem(parts, s)
		return nil, it != nil
	case len(parts) == 1:
		return a.bareColumn(parts[0], s)
	case len(parts) <= 3:
		last := parts[len(parts)-1]
		it, sc := a.findItem(parts[:len(parts)-1], s)
		if it == nil {
			return nil, false
		}
		a.reachedOut(sc, s)
		return a.itemColumn(it, last)
	}
	return nil, false
}

// itemColumn finds a column of an item.
func (a *analysis) itemColumn(it *item, name string) (*column, bool) {
	for i := range it.columns {
		if it.columns[i].name == name {
			return &it.columns[i], true
		}
	}
	if systemColumn(name) {
		return nil, a.system(it, name)
	}
	return nil, !it.known
}

// system checks a system column of an item.
func (a *analysis) system(it *item, name string) bool {
	if it.rel == nil {
		return !it.known
	}
	if t := it.rel.table; t != nil && t.Kind != Single {
		a.fail(refuse(RefuseSystemColumn, name))
	}
	a.differs("system column " + name)
	return true
}

// bareColumn finds name, in the innermost level that has it; then a table of that name, which means the whole row.
func (a *analysis) bareColumn(name string, s *scope) (*column, bool) {
	for sc := s; sc != nil; sc = sc.parent {
		var hit *column
		complete := true
		for _, it := range sc.items {
			if !it.bare {
				continue
			}
			complete = complete && it.known
			for i := range it.columns {
				if it.columns[i].name != name {
					continue
				}
				if hit != nil {
					return nil, false
				}
				hit = &it.columns[i]
			}
		}
		if hit != nil {
			a.reachedOut(sc, s)
			return hit, true
		}
		if systemColumn(name) {
			for _, it := range sc.items {
				if it.rel != nil && it.bare {
					return nil, a.system(it, name)
				}
			}
		}
		if !complete {
			a.reachedOut(nil, s)
			return nil, true
		}
	}
	if it, sc := a.findItem([]string{name}, s); it != nil {
		a.reachedOut(sc, s)
		if q := s.query; q != nil && it.rel != nil {
			q.stand(RefuseUserType, "the row "+name)
		}
		return nil, true
	}
	return nil, false
}

// findItem finds the table or alias that a qualifier means, in the innermost level that has it.
func (a *analysis) findItem(parts []string, s *scope) (*item, *scope) {
	schema, name := "", parts[len(parts)-1]
	switch len(parts) {
	case 1:
	case 2:
		schema = parts[0]
	default:
		return nil, nil
	}
	for sc := s; sc != nil; sc = sc.parent {
		var hit *item
		for _, it := range sc.items {
			if it.byName && it.name == name && (schema == "" || it.schema == schema) {
				if hit != nil {
					return nil, nil
				}
				hit = it
			}
		}
		if hit != nil {
			return hit, sc
		}
	}
	return nil, nil
}

// reachedOut notes that an aggregate's arguments, being visited in scope s, name something of scope sc: if that is another query's,
// the aggregate may be that query's too.
func (a *analysis) reachedOut(sc, s *scope) {
	if a.aggregate == 0 {
		return
	}
	if sc == nil {
		for ; s != nil; s = s.parent {
			s.query.stand(RefuseAggregate, "")
		}
		return
	}
	if sc.query != s.query {
		sc.query.stand(RefuseAggregate, "")
		if sc.query != nil {
			sc.query.grouped = true
		}
	}
}
