package shard

import (
	"slices"
	"strings"

	"pgdrover/internal/catalog"
	"pgdrover/shard/hash"
)

const pgCatalog = "pg_catalog"

// searchPath turns the value of search_path into the schemas that are searched, in order, pg_catalog included. early says
// that a schema is searched before pg_catalog.
func searchPath(cat *catalog.Catalog, env *Env) (path []string, early bool) {
	value := env.SearchPath
	if value == "" {
		value = cat.SearchPathOf(env.User)
	}
	var names []string
	for _, name := range splitIdentifiers(value) {
		if name == "$user" {
			name = env.User
		}
		if cat.Schemas[name] && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if at := slices.Index(names, pgCatalog); at >= 0 {
		return names, at > 0
	}
	return append([]string{pgCatalog}, names...), false
}

// splitIdentifiers is SplitIdentifierString: names separated by commas, quoted or folded to lower case.
func splitIdentifiers(s string) []string {
	var names []string
	for s != "" {
		s = strings.TrimLeft(s, " \t\n\r\f\v,")
		if s == "" {
			break
		}
		if s[0] == '"' {
			var b strings.Builder
			i := 1
			for i < len(s) {
				if s[i] == '"' {
					if i+1 < len(s) && s[i+1] == '"' {
						i++
					} else {
						break
					}
				}
				b.WriteByte(s[i])
				i++
			}
			names = append(names, b.String())
			s = s[min(i+1, len(s)):]
			continue
		}
		end := strings.IndexAny(s, ", \t\n\r\f\v")
		if end < 0 {
			end = len(s)
		}
		names = append(names, lowerASCII(s[:end]))
		s = s[end:]
	}
	return names
}

func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// findRelation looks a table up as PostgreSQL does.
func (a *analysis) findRelation(schema, name string) *catalog.Relation {
	if schema != "" {
		return a.cat.Relations[catalog.Name{Schema: schema, Name: name}]
	}
	for _, s := range a.path {
		if r := a.cat.Relations[catalog.Name{Schema: s, Name: name}]; r != nil {
			return r
		}
	}
	return nil
}

// findFunctions returns all functions that a call of this name with so many arguments may mean. count -1 stands for any number.
func (a *analysis) findFunctions(schema, name string, count int) []*catalog.Function {
	var found []*catalog.Function
	add := func(s string) {
		for _, f := range a.cat.Functions[catalog.Name{Schema: s, Name: name}] {
			n := len(f.Args)
			if count < 0 || (count <= n && count >= n-f.Defaults) || (f.Variadic && count >= n-1-f.Defaults) {
				found = append(found, f)
			}
		}
	}
	if schema != "" {
		add(schema)
		return found
	}
	for _, s := range a.path {
		add(s)
	}
	return found
}

// findType looks a type up as PostgreSQL does. The grammar qualifies its own names (integer, bigint) with pg_catalog.
func (a *analysis) findType(schema, name string) *catalog.Type {
	if schema != "" {
		return a.cat.TypeNames[catalog.Name{Schema: schema, Name: name}]
	}
	if a.env.Temporary {
		return nil // a temporary table has a row type of its name
	}
	for _, s := range a.path {
		if t := a.cat.TypeNames[catalog.Name{Schema: s, Name: name}]; t != nil {
			return t
		}
	}
	return nil
}

// Type OIDs of pg_type.dat that rules name.
const (
	oidUnknown  = 705
	oidText     = 25
	oidVarchar  = 1043
	oidInt8     = 20
	oidInt4     = 23
	oidInt2     = 21
	oidNumeric  = 1700
	oidBool     = 16
	oidOID      = 26
	oidRegclass = 2205
)

// polymorphic and pseudo types that an operator of a user may be declared with: they accept arguments of any type.
func acceptsAny(oid uint32) bool {
	switch oid {
	case oidUnknown, 2276, 2277, 2283, 2776, 3500, 3831, 4537, 5077, 5078, 5079, 5080, 4538, 2249:
		return true
	}
	return false
}

// plainEquality says whether "=" between two types that pin is PostgreSQL's own: l is a column's type, r what it is compared
// with, the column's own type for an unknown literal.
func (a *analysis) plainEquality(l, r *hash.Type) bool {
	ops := a.cat.Operators["="]
	if len(ops) == 0 {
		return true
	}
	exact := isInteger(l) && isInteger(r) || l == r && l.OID != oidVarchar && l.Name != "cidr"
	for _, op := range ops {
		if !slices.Contains(a.path, op.Schema) {
			continue
		}
		if exact {
			if op.Left == l.OID && op.Right == r.OID {
				return false
			}
			continue
		}
		for _, arg := range [...]uint32{op.Left, op.Right} {
			if arg == l.OID || arg == r.OID || arg == oidText || acceptsAny(arg) {
				return false
			}
			for _, c := range a.cat.Casts {
				if c.Context == 'i' && c.Target == arg && (c.Source == l.OID || c.Source == r.OID || c.Source == oidText) {
					return false
				}
			}
		}
	}
	return true
}

func isInteger(t *hash.Type) bool {
	return t != nil && (t.OID == oidInt2 || t.OID == oidInt4 || t.OID == oidInt8)
}
