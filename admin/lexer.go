package admin

import (
	"strings"
	"unicode/utf8"
)

// kind is what a token is.
type kind uint8

const (
	kWord   kind = iota // unquoted identifier or keyword
	kQuoted             // "identifier"
	kString             // 'text', E'text' or $tag$text$tag$
	kNumber
	kParam // $1
	kOp    // one byte that is none of the above, or an operator of two
	kSemi
)

// token is one lexical unit. PostgreSQL's lexical rules hold; comments are white space.
type token struct {
	kind       kind
	val        string // the identifier, the decoded text, or the source text
	start, end int    // in the source
	space      bool   // white space or a comment precedes it
}

// is reports whether the token is the given keyword (upper case) or operator.
func (t token) is(s string) bool {
	switch t.kind {
	case kWord:
		return strings.EqualFold(t.val, s)
	case kOp:
		return t.val == s
	}
	return false
}

func isWordStart(c byte) bool {
	return c == '_' || c >= 0x80 || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isWordPart(c byte) bool { return isWordStart(c) || isDigit(c) || c == '$' }

func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

// lex splits a query string into tokens.
func lex(src string) ([]token, error) {
	if !utf8.ValidString(src) {
		return nil, errf(codeBadText, "invalid byte sequence for encoding \"UTF8\"")
	}
	l := lexer{src: src}
	for {
		if err := l.skipSpace(); err != nil {
			return nil, err
		}
		if l.pos >= len(src) {
			return l.toks, nil
		}
		if err := l.next(); err != nil {
			return nil, err
		}
	}
}

type lexer struct {
	src   string
	pos   int
	space bool
	toks  []token
}

func (l *lexer) at(i int) byte {
	if i < len(l.src) {
		return l.src[i]
	}
	return 0
}

func (l *lexer) emit(k kind, val string, start int) {
	l.toks = append(l.toks, token{kind: k, val: val, start: start, end: l.pos, space: l.space})
}

func (l *lexer) skipSpace() error {
	l.space = l.pos == 0
	for l.pos < len(l.src) {
		switch c := l.src[l.pos]; {
		case isSpace(c):
			l.pos++
		case c == '-' && l.at(l.pos+1) == '-':
			if i := strings.IndexByte(l.src[l.pos:], '\n'); i >= 0 {
				l.pos += i + 1
			} else {
				l.pos = len(l.src)
			}
		case c == '/' && l.at(l.pos+1) == '*':
			depth, i := 1, l.pos+2
			for ; depth > 0; i++ {
				switch {
				case i >= len(l.src):
					return errf(codeSyntax, "unterminated /* comment")
				case l.src[i] == '/' && l.at(i+1) == '*':
					depth++
					i++
				case l.src[i] == '*' && l.at(i+1) == '/':
					depth--
					i++
				}
			}
			l.pos = i
		default:
			return nil
		}
		l.space = true
	}
	return nil
}

func (l *lexer) next() error {
	start, c := l.pos, l.src[l.pos]
	switch {
	case c == ';':
		l.pos++
		l.emit(kSemi, ";", start)
	case c == '\'':
		return l.quoted(kString, start, false)
	case (c == 'e' || c == 'E') && l.at(start+1) == '\'':
		l.pos++
		return l.quoted(kString, start, true)
	case c == '"':
		return l.quoted(kQuoted, start, false)
	case c == '$':
		return l.dollar(start)
	case isWordStart(c):
		for isWordPart(l.at(l.pos)) {
			l.pos++
		}
		l.emit(kWord, l.src[start:l.pos], start)
	case isDigit(c) || c == '.' && isDigit(l.at(start+1)):
		l.number(start)
	default:
		l.pos++
		switch two := l.src[start:min(start+2, len(l.src))]; two {
		case "::", "<=", ">=", "<>", "!=", "||", "->", "<<", ">>", "==":
			l.pos++
		}
		l.emit(kOp, l.src[start:l.pos], start)
	}
	return nil
}

func (l *lexer) number(start int) {
	digits := func() {
		for isDigit(l.at(l.pos)) {
			l.pos++
		}
	}
	digits()
	if l.at(l.pos) == '.' {
		l.pos++
		digits()
	}
	if c := l.at(l.pos); c == 'e' || c == 'E' {
		i := l.pos + 1
		if s := l.at(i); s == '+' || s == '-' {
			i++
		}
		if isDigit(l.at(i)) {
			l.pos = i
			digits()
		}
	}
	l.emit(kNumber, l.src[start:l.pos], start)
}

// quoted reads '…' or "…" from l.pos on; a doubled quote stands for one.
func (l *lexer) quoted(k kind, start int, escapes bool) error {
	q := l.src[l.pos]
	var b strings.Builder
	for i := l.pos + 1; i < len(l.src); i++ {
		c := l.src[i]
		switch {
		case c == q && l.at(i+1) == q:
			b.WriteByte(q)
			i++
		case c == q:
			l.pos = i + 1
			if k == kQuoted && b.Len() == 0 {
				return errf(codeSyntax, "zero-length delimited identifier")
			}
			l.emit(k, b.String(), start)
			return nil
		case c == '\\' && escapes && i+1 < len(l.src):
			i++
			switch e := l.src[i]; e {
			case 'n':
				b.WriteByte('\n')
			case 't':
				b.WriteByte('\t')
			case 'r':
				b.WriteByte('\r')
			case 'b':
				b.WriteByte('\b')
			case 'f':
				b.WriteByte('\f')
			case '\'', '\\', '"':
				b.WriteByte(e)
			default:
				return errf(codeNotSupported, `the admin database does not know the escape \%s in a string`, string(firstRune(l.src[i:])))
			}
		default:
			b.WriteByte(c)
		}
	}
	what := "string"
	if k == kQuoted {
		what = "identifier"
	}
	return errf(codeSyntax, "unterminated quoted %s at or near \"%s\"", what, shorten(l.src[start:], 60))
}

func firstRune(s string) rune {
	r, _ := utf8.DecodeRuneInString(s)
	return r
}

func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// dollar reads $1, or a string between $$ or $tag$.
func (l *lexer) dollar(start int) error {
	i := start + 1
	if isDigit(l.at(i)) {
		for isDigit(l.at(i)) {
			i++
		}
		l.pos = i
		l.emit(kParam, l.src[start+1:i], start)
		return nil
	}
	for isWordPart(l.at(i)) && l.at(i) != '$' {
		i++
	}
	if l.at(i) != '$' {
		l.pos++
		l.emit(kOp, "$", start)
		return nil
	}
	tag := l.src[start : i+1]
	body := l.src[i+1:]
	end := strings.Index(body, tag)
	if end < 0 {
		return errf(codeSyntax, "unterminated dollar-quoted string at or near \"%s\"", shorten(l.src[start:], 60))
	}
	l.pos = i + 1 + end + len(tag)
	l.emit(kString, body[:end], start)
	return nil
}

// statement is one command of a query string: its tokens, without the semicolon, and its text.
type statement struct {
	text string
	toks []token
}

// split cuts a query string at its semicolons; empty statements are dropped.
func split(src string) ([]statement, error) {
	toks, err := lex(src)
	if err != nil {
		return nil, err
	}
	var out []statement
	from := 0
	for i := 0; i <= len(toks); i++ {
		if i < len(toks) && toks[i].kind != kSemi {
			continue
		}
		if part := toks[from:i]; len(part) > 0 {
			out = append(out, statement{text: src[part[0].start:part[len(part)-1].end], toks: part})
		}
		from = i + 1
	}
	return out, nil
}
