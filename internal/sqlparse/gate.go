package sqlparse

import "fmt"

// Limits bound what reaches the C parser, whose recursion has no guard of its own: a stack that overflows there
// ends the process.
type Limits struct {
	// Bytes is the largest text, literals included.
	Bytes int
	// Code is the largest text in bytes not counting comments, and of strings only the quotes. Time and memory grow
	// with it: about a kilobyte for each element of a list.
	Code int
	// Nesting is the depth of parentheses, brackets and CASE.
	Nesting int
	// Operators is the number of operators, casts, joins, set operations and the like, each of which may make
	// the tree one level deeper. Comparisons and the sign of a number do not count, as they cannot be chained.
	Operators int
}

// DefaultLimits returns the limits for a router. They keep a parse below 0.5 MiB of stack.
func DefaultLimits() Limits {
	return Limits{Bytes: 16 << 20, Code: 64 << 10, Nesting: 250, Operators: 2000}
}

// Beyond these the parser was seen to fail or to crash on a stack of 8 MiB.
const (
	maxBytes     = 256 << 20
	maxCode      = 1 << 20
	maxNesting   = 500
	maxOperators = 4000
)

func (l Limits) validate() error {
	for _, v := range []struct {
		name       string
		value, max int
	}{{"bytes", l.Bytes, maxBytes}, {"code", l.Code, maxCode}, {"nesting", l.Nesting, maxNesting}, {"operators", l.Operators, maxOperators}} {
		if v.value < 1 || v.value > v.max {
			return fmt.Errorf("parser limit %s is %d, must be between 1 and %d", v.name, v.value, v.max)
		}
	}
	return nil
}

// maxParameter is the highest parameter number that the protocol can bind.
const maxParameter = 65535

// maxComments is how many bytes of comments the C scanner sees; see standard.go.
const maxComments = 1 << 10

// gate reads the text once and says whether the parser may have it. rewrite is true if strings must be rewritten
// first: see standardStrings.
func (l Limits) gate(text []byte, backslashes bool) (rewrite bool, err error) {
	if len(text) > l.Bytes {
		return false, &TooComplexError{Limit: "its length in bytes", Value: len(text), Max: l.Bytes}
	}
	if at := encodingFault(text); at >= 0 {
		return false, &EncodingError{Bytes: badUTF8(text[at:]), Position: CharPosition(text, at)}
	}
	var (
		lx                        = Lexer{Text: text, Backslashes: backslashes}
		words                     wordBuffer
		nesting, cases, operators int
		deepest, skipped          int
		comments                  int
		itemBegins                = true // a minus sign here belongs to a number
	)
	for {
		t := lx.Next()
		raw := text[t.Start:t.End]
		switch t.Kind {
		case EndOfText:
			switch code := len(text) - skipped; {
			case code > l.Code:
				return false, &TooComplexError{Limit: "its length in bytes without the contents of strings", Value: code, Max: l.Code}
			case deepest > l.Nesting:
				return false, &TooComplexError{Limit: "the nesting of parentheses, brackets and CASE", Value: deepest, Max: l.Nesting}
			case operators > l.Operators:
				return false, &TooComplexError{Limit: "the number of operators, casts, joins and set operations", Value: operators, Max: l.Operators}
			}
			return rewrite || comments > maxComments, nil
		case Invalid:
			return false, problemAt(text, lx.Problem, t.Start, t.End)
		case Comment:
			skipped += len(raw)
			comments += len(raw)
			continue
		case Word:
			kw, word := words.keyword(raw)
			if deepens(kw, word) {
				operators++
			}
			switch kw {
			case kwCase:
				cases++
			case kwEnd:
				cases = max(0, cases-1)
			}
		case Operator:
			switch {
			case len(raw) <= 2 && comparison(raw):
			case raw[0] == '-' && len(raw) == 1 && itemBegins && lx.Pos < len(text) && isDigit(text[lx.Pos]):
			default:
				operators++
			}
		case Cast:
			operators++
		case Punctuation:
			switch raw[0] {
			case '(', '[':
				nesting++
			case ')', ']':
				nesting = max(0, nesting-1)
			}
		case Parameter:
			if v, ok := parseInteger(raw[1:]); !ok || v > maxParameter {
				return false, problemAt(text, "there is no parameter "+string(raw[:min(len(raw), 20)]), t.Start, t.End)
			}
		case String, UnicodeString, BitString, HexString, DollarString:
			skipped += max(0, len(raw)-4)
			if t.Kind == UnicodeString && backslashes {
				return false, problemAt(text, "unsafe use of string constant with Unicode escapes", t.Start, t.End)
			}
			rewrite = rewrite || mayHaveGap(raw)
		case EscapeString, NationalString:
			skipped += max(0, len(raw)-4)
			r, err := checkEscapes(text, t, backslashes)
			if err != nil {
				return false, err
			}
			rewrite = rewrite || r || mayHaveGap(raw)
		}
		deepest = max(deepest, nesting+cases)
		itemBegins = (t.Kind == Punctuation && raw[0] != ')' && raw[0] != ']') || (t.Kind == Operator && comparison(raw))
	}
}

// comparison says whether an operator is one of those that do not associate.
func comparison(op []byte) bool {
	switch string(op) {
	case "=", "<", ">", "<=", ">=", "<>", "!=", "=>", ":=":
		return true
	}
	return false
}
