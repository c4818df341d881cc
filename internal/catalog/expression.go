package catalog

import (
	"strconv"
	"strings"
)

// expression is what a stored expression calls, as far as PostgreSQL's node trees (pg_node_tree) tell. pg_depend would not do: it has no
// rows for PostgreSQL's own functions.
type expression struct {
	functions []uint32
	// moving: it has CURRENT_TIMESTAMP and the like, or a conversion through text, whose functions the tree does not name.
	moving bool
}

// functionFields are the fields of node trees that hold the OID of a function that is called.
var functionFields = [...]string{":funcid ", ":opfuncid ", ":aggfnoid ", ":winfnoid "}

// readExpression reads the text of a node tree. Strings and names inside of it cannot be taken for fields in a way that hides one:
// what looks like a field and is none only adds a function.
func readExpression(tree string) expression {
	var e expression
	for _, field := range functionFields {
		for rest := tree; ; {
			i := strings.Index(rest, field)
			if i < 0 {
				break
			}
			rest = rest[i+len(field):]
			end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
			if end < 0 {
				end = len(rest)
			}
			oid, err := strconv.ParseUint(rest[:end], 10, 32)
			if err != nil {
				oid = 0 // unknown, which judge heeds
			}
			e.functions = append(e.functions, uint32(oid))
		}
	}
	for _, node := range [...]string{"{SQLVALUEFUNCTION ", "{COERCEVIAIO ", "{NEXTVALUEEXPR ", "{CURRENTOFEXPR "} {
		e.moving = e.moving || strings.Contains(tree, node)
	}
	return e
}

// judge says what the expression is in the light of the functions it calls.
func (e expression) judge(c *Catalog) (volatile, reaches, sequence bool) {
	volatile = e.moving
	for _, oid := range e.functions {
		f := c.byOID[oid]
		if f == nil {
			return true, true, sequence
		}
		volatile = volatile || f.Volatility != 'i'
		reaches = reaches || f.Reaches
		sequence = sequence || f.Category == CategorySequence
	}
	return volatile, reaches, sequence
}
