package sqlparse

// number reads a numeric literal at start, which is a digit or a point before a digit. A letter directly behind
// is an error, as in PostgreSQL 15 and later; before, 1a was 1 AS a.
func (l *Lexer) number(start int) Token {
	text := l.Text
	if text[start] == '0' && start+1 < len(text) {
		switch text[start+1] {
		case 'x', 'X':
			return l.based(start, isHexDigit, problemHexInteger)
		case 'o', 'O':
			return l.based(start, func(c byte) bool { return c >= '0' && c <= '7' }, problemOctalInteger)
		case 'b', 'B':
			return l.based(start, func(c byte) bool { return c == '0' || c == '1' }, problemBinaryInteger)
		}
	}
	kind := Integer
	i := start
	if text[i] != '.' {
		i = decimals(text, i)
	}
	if i < len(text) && text[i] == '.' {
		if i+1 < len(text) && text[i+1] == '.' && i > start {
			return l.token(Integer, start, i) // 1..2 is a range: 1, .., 2
		}
		kind = Numeric
		i++
		if i < len(text) && isDigit(text[i]) {
			i = decimals(text, i)
		}
	}
	if i < len(text) && (text[i] == 'e' || text[i] == 'E') {
		n := i + 1
		if n < len(text) && (text[n] == '+' || text[n] == '-') {
			n++
		}
		if n >= len(text) || !isDigit(text[n]) {
			return l.invalid(problemJunk, start, n)
		}
		kind = Numeric
		i = decimals(text, n)
	}
	return l.numberEnd(kind, start, i)
}

// based reads 0x1F, 0o17 and 0b11.
func (l *Lexer) based(start int, digit func(byte) bool, problem string) Token {
	text := l.Text
	i := start + 2
	if i < len(text) && text[i] == '_' {
		i++
	}
	if i >= len(text) || !digit(text[i]) {
		return l.invalid(problem, start, i)
	}
	return l.numberEnd(Integer, start, digits(text, i, digit))
}

func (l *Lexer) numberEnd(kind TokenKind, start, end int) Token {
	if end < len(l.Text) && byteClass[l.Text[end]] == byteLetter {
		return l.invalid(problemJunk, start, end+1)
	}
	return l.token(kind, start, end)
}

// digits skips digits with single underscores between them; text[i] is a digit.
func digits(text []byte, i int, digit func(byte) bool) int {
	for i < len(text) {
		switch {
		case digit(text[i]):
			i++
		case text[i] == '_' && i+1 < len(text) && digit(text[i+1]):
			i += 2
		default:
			return i
		}
	}
	return i
}

func decimals(text []byte, i int) int {
	for i < len(text) {
		switch {
		case isDigit(text[i]):
			i++
		case text[i] == '_' && i+1 < len(text) && isDigit(text[i+1]):
			i += 2
		default:
			return i
		}
	}
	return i
}
