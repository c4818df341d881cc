package catalog

import "strings"

// sqlTypeNames are the names of the SQL standard, by PostgreSQL's own.
var sqlTypeNames = map[string]string{
	"smallint": "int2", "integer": "int4", "int": "int4", "bigint": "int8", "real": "float4", "float": "float8",
	"double precision": "float8", "decimal": "numeric", "dec": "numeric", "boolean": "bool", "character varying": "varchar",
	"character": "bpchar", "char": "bpchar", "timestamp without time zone": "timestamp", "timestamp with time zone": "timestamptz",
	"time without time zone": "time", "time with time zone": "timetz", "bit varying": "varbit",
}

// TypeByName returns the type that SQL calls s, with or without a modifier such as "(10,2)", which is left out; without a
// schema it is one of pg_catalog, or else the only one of that name. nil: there is none.
func (c *Catalog) TypeByName(s string) *Type {
	s = strings.Join(strings.Fields(s), " ")
	if open := strings.IndexByte(s, '('); open >= 0 {
		if end := strings.IndexByte(s[open:], ')'); end >= 0 {
			s = strings.Join(strings.Fields(s[:open]+" "+s[open+end+1:]), " ")
		}
	}
	schema, name := splitName(s)
	if schema != "" {
		return c.TypeNames[Name{schema, name}]
	}
	if own, ok := sqlTypeNames[strings.ToLower(s)]; ok {
		name = own
	}
	if t := c.TypeNames[Name{"pg_catalog", name}]; t != nil {
		return t
	}
	var found *Type
	for n, t := range c.TypeNames {
		if n.Name == name && !System(n.Schema) {
			if found != nil {
				return nil
			}
			found = t
		}
	}
	return found
}

// splitName reads name or schema.name, folded to lower case where it is not quoted.
func splitName(s string) (schema, name string) {
	var parts []string
	for {
		var part string
		if strings.HasPrefix(s, `"`) {
			i := 1
			for i < len(s) {
				if s[i] == '"' {
					if i+1 >= len(s) || s[i+1] != '"' {
						break
					}
					i++
				}
				part += string(s[i])
				i++
			}
			s = s[min(i+1, len(s)):]
		} else {
			part, _, _ = strings.Cut(s, ".")
			s = s[len(part):]
			part = strings.ToLower(part)
		}
		parts = append(parts, part)
		if !strings.HasPrefix(s, ".") {
			break
		}
		s = s[1:]
	}
	if len(parts) == 1 {
		return "", parts[0]
	}
	return parts[0], parts[len(parts)-1]
}

// sameHash tells whether equal values of two base types have equal hashes and are equal to each other: types whose equality is in one
// hash operator family, among those that can be keys.
func (c *Catalog) sameHash(a, b uint32) bool {
	return a == b || hashFamily(a) != 0 && hashFamily(a) == hashFamily(b)
}

// hashFamily returns the type that stands for its family: integers hash alike, and so do text and varchar.
func hashFamily(oid uint32) uint32 {
	switch oid {
	case 20, 21, 23: // int8, int2, int4
		return 20
	case 25, 1043: // text, varchar
		return 25
	}
	return 0
}
