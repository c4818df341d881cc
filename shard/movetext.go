package shard

import (
	"strings"

	"pgdrover/internal/sqlparse"
)

// updateText is the text of an UPDATE in parts.
type updateText struct {
	target    string // the table, with its alias
	items     []setText
	where     string // with the key word and a space before it, "" without one
	returning string // likewise
}

// setText is "column = value".
type setText struct{ column, value string }

// cutUpdate takes a statement apart that the parser has accepted as an UPDATE without WITH and FROM. It is not ok for assignments
// to lists or parts of columns, and for names that are written in another way than plain or quoted.
func cutUpdate(text []byte, backslashes bool) (m updateText, ok bool) {
	c := updateCutter{lx: sqlparse.Lexer{Text: text, Backslashes: backslashes}}
	c.next()
	if !c.word("update") {
		return m, false
	}
	c.next()
	from, end := c.t.Start, 0
	if c.word("only") {
		return m, false
	}
	for first, as := true, false; first || as || !c.word("set"); first = false { // the table may be called set
		if c.t.Kind == sqlparse.EndOfText || c.t.Kind == sqlparse.Invalid {
			return m, false
		}
		as, end = c.word("as") && !first || c.is("."), c.t.End
		c.next()
	}
	m.target = string(text[from:end])
	for {
		c.next()
		item, ok := c.item()
		if !ok {
			return m, false
		}
		m.items = append(m.items, item)
		if !c.is(",") {
			break
		}
	}
	if c.word("where") {
		m.where = " " + c.until("returning")
	}
	if c.word("returning") {
		m.returning = " " + c.until("")
	}
	return m, c.t.Kind == sqlparse.EndOfText || c.is(";")
}

// updateCutter reads tokens; t is the one that is looked at.
type updateCutter struct {
	lx sqlparse.Lexer
	t  sqlparse.Token
}

func (c *updateCutter) next() { c.t = c.lx.NextCode() }

func (c *updateCutter) text() string { return string(c.lx.Text[c.t.Start:c.t.End]) }

// word says whether the token is a key word.
func (c *updateCutter) word(w string) bool {
	return c.t.Kind == sqlparse.Word && strings.EqualFold(c.text(), w)
}

func (c *updateCutter) is(s string) bool {
	return (c.t.Kind == sqlparse.Punctuation || c.t.Kind == sqlparse.Operator) && c.text() == s
}

// item reads "column = value" and goes to the token behind it.
func (c *updateCutter) item() (s setText, ok bool) {
	switch name := c.text(); c.t.Kind {
	case sqlparse.Word:
		s.column = lowerASCII(name)
	case sqlparse.QuotedIdentifier:
		s.column = strings.ReplaceAll(name[1:len(name)-1], `""`, `"`)
	default:
		return s, false
	}
	c.next()
	if !c.is("=") {
		return s, false
	}
	c.next()
	s.value = c.until(",", "where", "returning")
	return s, s.value != ""
}

// until returns the text up to one of the stops on this level, a semicolon or the end, without comments behind it.
func (c *updateCutter) until(stops ...string) string {
	from, end, depth := c.t.Start, c.t.Start, 0
	point := false // what follows is a name
	for c.t.Kind != sqlparse.EndOfText && c.t.Kind != sqlparse.Invalid {
		switch {
		case c.is("(") || c.is("["):
			depth++
		case c.is(")") || c.is("]"):
			depth--
		case depth == 0 && c.is(";"):
			return string(c.lx.Text[from:end])
		case depth == 0 && !point && end > from:
			for _, s := range stops {
				if s != "" && (c.word(s) || c.is(s)) {
					return string(c.lx.Text[from:end])
				}
			}
		}
		point, end = c.is("."), c.t.End
		c.next()
	}
	return string(c.lx.Text[from:end])
}
