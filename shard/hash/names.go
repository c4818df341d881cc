package hash

import (
	"fmt"
	"strings"
)

// TypeByName returns the type with a name as SQL or format_type writes it: "bigint", "int8", "pg_catalog.int8",
// "character varying(20)", "timestamp(3) with time zone". A modifier is allowed where SQL allows one, and
// ignored: it belongs to a column. The error is a RefusedError, or says what is wrong with the name.
func TypeByName(name string) (*Type, error) {
	plain, modified, err := plainTypeName(name)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(plain, "]") || strings.HasSuffix(plain, " array") {
		return nil, &RefusedError{Type: name, Reason: whyArray}
	}
	e, ok := byName[plain]
	switch {
	case !ok:
		return nil, &RefusedError{Type: name, Reason: whyUnknown}
	case e.typ == nil:
		return nil, &RefusedError{Type: e.name, Reason: e.why}
	case modified && !e.typ.modifier:
		return nil, fmt.Errorf("type modifier is not allowed for type %s", e.typ.Name)
	}
	return e.typ, nil
}

// plainTypeName takes away what does not tell one type from another: case, blanks, pg_catalog and a modifier.
func plainTypeName(name string) (plain string, modified bool, err error) {
	plain = strings.Join(strings.Fields(name), " ")
	if schema, rest, ok := strings.Cut(plain, "."); ok && strings.EqualFold(strings.TrimSpace(schema), "pg_catalog") {
		plain = strings.TrimSpace(rest)
		if strings.EqualFold(plain, "char") {
			return `"char"`, false, nil // only unqualified, char is a keyword for character(1)
		}
	}
	if strings.HasPrefix(plain, `"`) {
		inner := strings.Trim(plain, `"`)
		if inner == "char" {
			return plain, false, nil
		}
		return inner, false, nil // quoted names keep their case
	}
	plain = strings.ToLower(plain)
	if before, rest, ok := strings.Cut(plain, "("); ok {
		args, after, ok := strings.Cut(rest, ")")
		if !ok || strings.Trim(args, "-0123456789, ") != "" || strings.TrimSpace(args) == "" {
			return "", false, fmt.Errorf("type name %q: its modifier is not one or two numbers in parentheses", name)
		}
		plain = strings.Join(strings.Fields(before+" "+after), " ")
		modified = true
	}
	if plain == "" {
		return "", false, fmt.Errorf("type name %q is empty", name)
	}
	return plain, modified, nil
}
