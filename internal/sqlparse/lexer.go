package sqlparse

import "bytes"

// Lexer cuts SQL text into tokens by the rules of PostgreSQL 16's scan.l. It allocates nothing, keeps no copy of the
// text, never panics, and takes time linear in the text. The zero value with Text set is ready.
type Lexer struct {
	// Text is read, never changed.
	Text []byte
	// Pos is where the next token is looked for: 0 <= Pos <= len(Text).
	Pos int
	// Backslashes says that a backslash escapes in plain '…' strings: standard_conforming_strings is off.
	Backslashes bool
	// Problem is what is wrong with the last Invalid token, in PostgreSQL's words.
	Problem string

	// The last run of operator bytes: its bounds, and the last byte in it that is no + or -, and that is in no operator of
	// standard SQL. Without them +-+-+-… would take quadratic time, each byte being a token that needs the whole run.
	runStart, runEnd, runOther, runSpecial int
}

// What can be wrong with a token, in the words of scan.l.
const (
	problemString        = "unterminated quoted string"
	problemBitString     = "unterminated bit string literal"
	problemHexString     = "unterminated hexadecimal string literal"
	problemDollarString  = "unterminated dollar-quoted string"
	problemIdentifier    = "unterminated quoted identifier"
	problemEmptyName     = "zero-length delimited identifier"
	problemComment       = "unterminated /* comment"
	problemJunk          = "trailing junk after numeric literal"
	problemHexInteger    = "invalid hexadecimal integer"
	problemOctalInteger  = "invalid octal integer"
	problemBinaryInteger = "invalid binary integer"
	problemOperator      = "operator too long"
	problemSyntax        = "syntax error"
)

// maxOperator is the longest operator in bytes: NAMEDATALEN - 1.
const maxOperator = 63

// Next returns the next token; at the end, EndOfText for ever. Each call before that moves Pos forward.
func (l *Lexer) Next() Token {
	text := l.Text
	i := l.Pos
	for i < len(text) && byteClass[text[i]] == byteSpace {
		i++
	}
	if i >= len(text) {
		l.Pos = len(text)
		return Token{EndOfText, len(text), len(text)}
	}
	c := text[i]
	switch byteClass[c] {
	case byteLetter:
		if i+1 < len(text) && (text[i+1] == '\'' || text[i+1] == '&') {
			if t, ok := l.prefixed(i); ok {
				return t
			}
		}
		end := i + 1
		for end < len(text) && identByte[text[end]] {
			end++
		}
		return l.token(Word, i, end)
	case bytePunctuation:
		return l.token(Punctuation, i, i+1)
	case byteDigit:
		return l.number(i)
	case byteDot:
		if i+1 < len(text) {
			if isDigit(text[i+1]) {
				return l.number(i)
			}
			if text[i+1] == '.' {
				return l.token(Operator, i, i+2)
			}
		}
		return l.token(Punctuation, i, i+1)
	case byteColon:
		if i+1 < len(text) {
			switch text[i+1] {
			case ':':
				return l.token(Cast, i, i+2)
			case '=':
				return l.token(Operator, i, i+2)
			}
		}
		return l.token(Punctuation, i, i+1)
	case byteOperator:
		return l.operator(i)
	case byteQuote:
		if l.Backslashes {
			return l.escapeString(EscapeString, i, i+1)
		}
		return l.quoted(String, i, i+1, problemString)
	case byteDoubleQuote:
		return l.identifier(QuotedIdentifier, i, i+1)
	case byteDollar:
		return l.dollar(i)
	}
	return l.invalid(problemSyntax, i, i+1)
}

// NextCode is Next without the comments.
func (l *Lexer) NextCode() Token {
	for {
		if t := l.Next(); t.Kind != Comment {
			return t
		}
	}
}

func (l *Lexer) token(kind TokenKind, start, end int) Token {
	l.Pos = end
	return Token{kind, start, end}
}

func (l *Lexer) invalid(problem string, start, end int) Token {
	l.Problem = problem
	l.Pos = end
	return Token{Invalid, start, end}
}

// prefixed reads strings and identifiers that begin with a letter: E”, B”, X”, N”, U&”, U&"".
func (l *Lexer) prefixed(i int) (Token, bool) {
	text := l.Text
	if text[i+1] == '&' {
		if lower[text[i]] != 'u' || i+2 >= len(text) {
			return Token{}, false
		}
		switch text[i+2] {
		case '\'':
			return l.quoted(UnicodeString, i, i+3, problemString), true
		case '"':
			return l.identifier(UnicodeIdentifier, i, i+3), true
		}
		return Token{}, false
	}
	switch lower[text[i]] {
	case 'e':
		return l.escapeString(EscapeString, i, i+2), true
	case 'b':
		return l.quoted(BitString, i, i+2, problemBitString), true
	case 'x':
		return l.quoted(HexString, i, i+2, problemHexString), true
	case 'n':
		if l.Backslashes {
			return l.escapeString(NationalString, i, i+2), true
		}
		return l.quoted(NationalString, i, i+2, problemString), true
	}
	return Token{}, false
}

// quoted reads a string without backslash escapes whose contents begin at i.
func (l *Lexer) quoted(kind TokenKind, start, i int, problem string) Token {
	text := l.Text
	doubles := kind != BitString && kind != HexString // in bit strings '' is an end and a beginning
	for {
		n := bytes.IndexByte(text[i:], '\'')
		if n < 0 {
			return l.invalid(problem, start, len(text))
		}
		i += n + 1
		if doubles && i < len(text) && text[i] == '\'' {
			i++
			continue
		}
		next := continuation(text, i)
		if next < 0 {
			return l.token(kind, start, i)
		}
		i = next
	}
}

// escapeString reads a string in which a backslash protects the next byte.
func (l *Lexer) escapeString(kind TokenKind, start, i int) Token {
	text := l.Text
	for i < len(text) {
		switch text[i] {
		case '\\':
			i += 2
		case '\'':
			i++
			if i < len(text) && text[i] == '\'' {
				i++
				continue
			}
			next := continuation(text, i)
			if next < 0 {
				return l.token(kind, start, i)
			}
			i = next
		default:
			i++
		}
	}
	return l.invalid(problemString, start, len(text))
}

// continuation returns where a string goes on that was closed at i, or -1: after white space with at least one line
// end, -- comments included, a quote continues it.
func continuation(text []byte, i int) int {
	newline := false
	for i < len(text) {
		switch text[i] {
		case '\n', '\r':
			newline = true
			i++
		case ' ', '\t', '\f':
			i++
		case '-':
			if i+1 >= len(text) || text[i+1] != '-' {
				return -1
			}
			i = lineEnd(text, i+2)
		case '\'':
			if newline {
				return i + 1
			}
			return -1
		default:
			return -1
		}
	}
	return -1
}

// lineEnd returns the place of the next \n or \r from i on, or the end.
func lineEnd(text []byte, i int) int {
	for i < len(text) && text[i] != '\n' && text[i] != '\r' {
		i++
	}
	return i
}

func (l *Lexer) identifier(kind TokenKind, start, i int) Token {
	text := l.Text
	first := i
	for {
		n := bytes.IndexByte(text[i:], '"')
		if n < 0 {
			return l.invalid(problemIdentifier, start, len(text))
		}
		i += n + 1
		if i < len(text) && text[i] == '"' {
			i++
			continue
		}
		if i-1 == first {
			return l.invalid(problemEmptyName, start, i)
		}
		return l.token(kind, start, i)
	}
}

// dollar reads $1, $$…$$ and $tag$…$tag$.
func (l *Lexer) dollar(start int) Token {
	text := l.Text
	i := start + 1
	if i < len(text) && isDigit(text[i]) {
		for i < len(text) && isDigit(text[i]) {
			i++
		}
		return l.token(Parameter, start, i)
	}
	if i < len(text) && byteClass[text[i]] == byteLetter {
		for i < len(text) && (byteClass[text[i]] == byteLetter || isDigit(text[i])) {
			i++
		}
	}
	if i >= len(text) || text[i] != '$' {
		return l.invalid(problemSyntax, start, start+1)
	}
	i++
	tag := text[start:i]
	n := bytes.Index(text[i:], tag)
	if n < 0 {
		return l.invalid(problemDollarString, start, len(text))
	}
	return l.token(DollarString, start, i+n+len(tag))
}

// operator reads comments and operators.
func (l *Lexer) operator(start int) Token {
	text := l.Text
	if start+1 < len(text) {
		switch {
		case text[start] == '-' && text[start+1] == '-':
			return l.token(Comment, start, lineEnd(text, start+2))
		case text[start] == '/' && text[start+1] == '*':
			return l.comment(start)
		}
	}
	// An operator ends where a comment begins, and its last byte is + or - only if it contains a byte that no
	// operator of standard SQL has, so that a=-1 is two operators.
	if start < l.runStart || start >= l.runEnd {
		l.operatorRun(start)
	}
	end := l.runEnd
	if l.runSpecial < start {
		end = max(start, l.runOther) + 1
	}
	if end-start > maxOperator {
		return l.invalid(problemOperator, start, end)
	}
	return l.token(Operator, start, end)
}

func (l *Lexer) operatorRun(start int) {
	text := l.Text
	l.runStart, l.runOther, l.runSpecial = start, -1, -1
	i := start
	for ; i < len(text) && byteClass[text[i]] == byteOperator; i++ {
		if i > start && i+1 < len(text) && ((text[i] == '-' && text[i+1] == '-') || (text[i] == '/' && text[i+1] == '*')) {
			break
		}
		switch text[i] {
		case '+', '-':
			continue
		case '~', '!', '@', '#', '^', '&', '|', '`', '?', '%':
			l.runSpecial = i
		}
		l.runOther = i
	}
	l.runEnd = i
}

func (l *Lexer) comment(start int) Token {
	text := l.Text
	depth := 1
	for i := start + 2; i+1 < len(text); {
		switch {
		case text[i] == '*' && text[i+1] == '/':
			i += 2
			depth--
			if depth == 0 {
				return l.token(Comment, start, i)
			}
		case text[i] == '/' && text[i+1] == '*':
			i += 2
			depth++
		default:
			i++
		}
	}
	return l.invalid(problemComment, start, len(text))
}
