package sqlparse

import "fmt"

// Edit replaces text[Start:End] by Text.
type Edit struct {
	Start, End int
	Text       string
}

// Splice returns a copy of text with the edits made. They must be in order, within the text, and must not overlap; two
// insertions at one place keep their order.
func Splice(text []byte, edits []Edit) ([]byte, error) {
	size, at := len(text), 0
	for _, e := range edits {
		if e.Start < at || e.End < e.Start || e.End > len(text) {
			return nil, fmt.Errorf("edit of bytes %d to %d is out of order or outside a text of %d bytes", e.Start, e.End, len(text))
		}
		size += len(e.Text) - (e.End - e.Start)
		at = e.End
	}
	out, at := make([]byte, 0, size), 0
	for _, e := range edits {
		out = append(out, text[at:e.Start]...)
		out = append(out, e.Text...)
		at = e.End
	}
	return append(out, text[at:]...), nil
}

// ExpressionEnd returns where the expression ends that begins at start: behind its last token, before the first comma,
// closing parenthesis or bracket, semicolon, or key word of a clause on its own level. It is for expressions that the
// parser has accepted and that carry no alias without AS. It fails if there is no expression, or if it does not end.
func ExpressionEnd(text []byte, start int, backslashes bool) (int, error) {
	if start < 0 || start > len(text) {
		return 0, fmt.Errorf("expression begins at byte %d, outside a text of %d bytes", start, len(text))
	}
	var (
		lx           = Lexer{Text: text, Pos: start, Backslashes: backslashes}
		words        wordBuffer
		depth, cases int
		end          = -1
		distinct     bool // the last word was DISTINCT: FROM goes on with IS DISTINCT FROM
		name         bool // the last token was a point: what follows is a name
	)
	for {
		t := lx.NextCode()
		closing := false
		isDistinct, isPoint := false, false
		switch t.Kind {
		case EndOfText:
			closing = true
		case Invalid:
			return 0, problemAt(text, lx.Problem, t.Start, t.End)
		case Punctuation:
			switch text[t.Start] {
			case '(', '[':
				depth++
			case ')', ']':
				closing = depth == 0
				depth--
			case ',':
				closing = depth == 0
			case ';':
				closing = true
			case '.':
				isPoint = true
			}
		case Word:
			kw, word := words.keyword(text[t.Start:t.End])
			isDistinct = kw == kwDistinct
			switch {
			case name:
			case kw == kwCase:
				cases++
			case kw == kwEnd && cases > 0:
				cases--
			case depth == 0 && cases == 0 && !(distinct && string(word) == "from"):
				closing = endsExpression(word, end >= 0)
			}
		}
		if closing {
			if end < 0 || depth > 0 || cases > 0 {
				return 0, fmt.Errorf("no complete expression at byte %d", start)
			}
			return end, nil
		}
		end, distinct, name = t.End, isDistinct, isPoint
	}
}

// endsExpression says whether a word in lower case cannot go on with an expression; behind is false for its first token.
func endsExpression(word []byte, behind bool) bool {
	switch string(word) {
	case "from", "where", "group", "having", "window", "order", "limit", "offset", "fetch", "for", "union", "intersect",
		"except", "returning", "on", "using", "as", "into", "when", "then", "else", "end", "join", "inner", "left",
		"right", "full", "cross", "natural", "asc", "desc":
		return true
	case "row", "rows", "only", "nulls", "range", "groups", "set", "values", "do", "tablesample":
		return behind
	}
	return false
}
