package sqlparse

// Span is text[Start:End].
type Span struct{ Start, End int }

// Values is an INSERT … VALUES taken apart without the parser, so that of a long one only the head, a few rows and the
// tail need be parsed: text[:Head], the rows with commas between them, text[Tail:].
type Values struct {
	// Head ends behind the key word VALUES.
	Head int
	// Rows are the rows, parentheses included.
	Rows []Span
	// Tail begins behind the last row: ON CONFLICT, RETURNING, white space.
	Tail int
	// Columns is the number of expressions in the first row.
	Columns int
}

// SplitValues takes the one statement text[start:end] apart; v is reused. ok is false if it is no INSERT with a plain
// list of rows: the statement must be parsed whole. The rows are not checked further, but that parentheses match: parse the
// first one with head and tail, and look at the Cells of the others.
func SplitValues(text []byte, start, end int, backslashes bool, v *Values) (ok bool) {
	*v = Values{Rows: v.Rows[:0]}
	if start < 0 || end > len(text) || start > end {
		return false
	}
	lx := Lexer{Text: text[:end], Pos: start, Backslashes: backslashes}
	if !findValues(&lx) {
		return false
	}
	v.Head = lx.Pos
	columns := 0
	for {
		row, n, ok := readRow(&lx)
		if !ok {
			return false
		}
		if len(v.Rows) == 0 {
			columns = n
		}
		v.Rows = append(v.Rows, row)
		v.Tail = row.End
		t := lx.NextCode()
		switch {
		case t.Kind == Punctuation && text[t.Start] == ',':
			continue
		case t.Kind == EndOfText:
		case t.Kind == Word:
			var words wordBuffer
			switch _, word := words.keyword(text[t.Start:t.End]); string(word) {
			case "on", "returning":
			default:
				return false // VALUES … UNION, ORDER BY, LIMIT: a query
			}
		default:
			return false
		}
		v.Columns = columns
		return true
	}
}

// findValues moves behind the VALUES of an INSERT; WITH may stand before it.
func findValues(lx *Lexer) bool {
	var words wordBuffer
	depth, insert, into, name := 0, false, false, false // insert: the last word, into: INSERT INTO was read
	for first := true; ; first = false {
		t := lx.NextCode()
		switch t.Kind {
		case EndOfText, Invalid:
			return false
		case Punctuation:
			switch lx.Text[t.Start] {
			case '(':
				depth++
			case ')':
				depth--
			}
			name = lx.Text[t.Start] == '.'
			continue
		case Word:
			_, word := words.keyword(lx.Text[t.Start:t.End])
			switch {
			case first && string(word) != "insert" && string(word) != "with":
				return false
			case depth != 0 || name:
			case into && string(word) == "select":
				return false
			case into && string(word) == "values":
				return true
			}
			into = into || (depth == 0 && insert && string(word) == "into")
			insert = depth == 0 && string(word) == "insert"
			name = string(word) == "into" || string(word) == "as" // a table or alias may be called values
			continue
		}
		if first {
			return false
		}
		name = false
	}
}

// readRow reads a parenthesised row and counts its expressions.
func readRow(lx *Lexer) (row Span, columns int, ok bool) {
	t := lx.NextCode()
	if t.Kind != Punctuation || lx.Text[t.Start] != '(' {
		return Span{}, 0, false
	}
	row.Start, columns = t.Start, 1
	for depth := 1; ; {
		t = lx.NextCode()
		switch t.Kind {
		case EndOfText, Invalid:
			return Span{}, 0, false
		case Punctuation:
			switch lx.Text[t.Start] {
			case '(', '[':
				depth++
			case ')', ']':
				depth--
			case ',':
				if depth == 1 {
					columns++
				}
			case ';':
				return Span{}, 0, false
			}
			if depth == 0 {
				row.End = t.End
				return row, columns, lx.Text[t.Start] == ')'
			}
		}
	}
}

// CellKind says what an expression of a row is, as far as tokens tell.
type CellKind uint8

// The kinds of cell.
const (
	// CellOther is any other expression: the row must be parsed.
	CellOther CellKind = iota
	// CellLiteral is one constant, perhaps with a minus sign if it is a number.
	CellLiteral
	// CellParameter is $1.
	CellParameter
	CellNull
	CellDefault
	// CellTrue and CellFalse are the key words.
	CellTrue
	CellFalse
)

// Cell is one expression of a row.
type Cell struct {
	// Span is the expression without white space and comments around it.
	Span
	Kind CellKind
	// Literal is the constant of a CellLiteral; its Fold is not set.
	Literal Literal
	// Negative says that a minus sign stands before the constant.
	Negative bool
	// Parameter is the number of a CellParameter, from 1.
	Parameter int
}

// Cells appends the expressions of a row to dst. The row is one of Values.Rows.
func Cells(dst []Cell, text []byte, row Span, backslashes bool) []Cell {
	if row.Start < 0 || row.End > len(text) || row.End-row.Start < 2 {
		return dst
	}
	lx := Lexer{Text: text[:row.End-1], Pos: row.Start + 1, Backslashes: backslashes}
	var (
		c      Cell
		tokens int
		depth  int
	)
	for {
		t := lx.NextCode()
		separator := t.Kind == Punctuation && text[t.Start] == ',' && depth == 0
		if separator || t.Kind == EndOfText || t.Kind == Invalid {
			if tokens == 0 {
				c.Span = Span{t.Start, t.Start}
			}
			dst = append(dst, c)
			if !separator {
				return dst
			}
			c, tokens = Cell{}, 0
			continue
		}
		if t.Kind == Punctuation {
			switch text[t.Start] {
			case '(', '[':
				depth++
			case ')', ']':
				depth--
			}
		}
		if tokens == 0 {
			c.Start = t.Start
		}
		c.End = t.End
		tokens++
		c.add(text, t, tokens)
	}
}

// add takes the nth token of a cell.
func (c *Cell) add(text []byte, t Token, n int) {
	raw := text[t.Start:t.End]
	if n == 2 && c.Negative && (t.Kind == Integer || t.Kind == Numeric) {
		n = 1
	}
	if n != 1 {
		*c = Cell{Span: c.Span}
		return
	}
	if class, ok := literalClass(text, t); ok {
		c.Kind = CellLiteral
		c.Literal = Literal{Start: int32(t.Start), End: int32(t.End), Class: class}
		return
	}
	switch t.Kind {
	case Operator:
		c.Negative = string(raw) == "-"
	case Parameter:
		if v, ok := parseInteger(raw[1:]); ok && v <= maxParameter {
			c.Kind, c.Parameter = CellParameter, int(v)
		}
	case Word:
		var words wordBuffer
		switch _, word := words.keyword(raw); string(word) {
		case "null":
			c.Kind = CellNull
		case "default":
			c.Kind = CellDefault
		case "true":
			c.Kind = CellTrue
		case "false":
			c.Kind = CellFalse
		}
	}
}
