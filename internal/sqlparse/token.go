package sqlparse

// TokenKind says what a token is. The kinds are those that routing has to tell apart, not all of PostgreSQL's.
type TokenKind uint8

// The kinds of token.
const (
	// EndOfText comes after the last token, again and again.
	EndOfText TokenKind = iota
	// Word is an identifier or key word without quotes.
	Word
	// QuotedIdentifier is "name".
	QuotedIdentifier
	// UnicodeIdentifier is U&"name".
	UnicodeIdentifier
	// Parameter is $1.
	Parameter
	// Integer is a number without point and exponent, in any base.
	Integer
	// Numeric is a number with a point or an exponent.
	Numeric
	// String is 'text' in which a backslash means itself.
	String
	// EscapeString is E'text', or 'text' while standard_conforming_strings is off.
	EscapeString
	// UnicodeString is U&'text'.
	UnicodeString
	// NationalString is N'text'.
	NationalString
	// DollarString is $$text$$ or $tag$text$tag$.
	DollarString
	// BitString is B'0101'.
	BitString
	// HexString is X'1F'.
	HexString
	// Operator is any operator, and also := => and .. as in the scanner of PostgreSQL.
	Operator
	// Cast is ::
	Cast
	// Punctuation is one of ( ) [ ] , ; . :
	Punctuation
	// Comment is a -- comment up to its line end, or a nested /* comment */.
	Comment
	// Invalid starts nothing that PostgreSQL knows, or is a token that does not end; Lexer.Problem says which.
	Invalid
)

// Token is a token and its place: text[Start:End].
type Token struct {
	Kind       TokenKind
	Start, End int
}

// Classes of bytes, for the first byte of a token.
const (
	byteOther uint8 = iota
	byteSpace
	byteLetter
	byteDigit
	bytePunctuation // , ( ) [ ] ; never part of an operator or a number
	byteDot
	byteColon
	byteOperator
	byteQuote
	byteDoubleQuote
	byteDollar
)

// byteClass follows the character classes of PostgreSQL 16's scan.l.
var byteClass = func() (t [256]uint8) {
	for _, c := range " \t\n\r\f" { // and, only from PostgreSQL 16 on, \v: servers disagree
		t[c] = byteSpace
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-'a'+'A'] = byteLetter, byteLetter
	}
	t['_'] = byteLetter
	for c := 0x80; c <= 0xff; c++ {
		t[c] = byteLetter
	}
	for c := '0'; c <= '9'; c++ {
		t[c] = byteDigit
	}
	for _, c := range ",()[];" {
		t[c] = bytePunctuation
	}
	for _, c := range "~!@#^&|`?+-*/%<>=" {
		t[c] = byteOperator
	}
	t['.'], t[':'], t['\''], t['"'], t['$'] = byteDot, byteColon, byteQuote, byteDoubleQuote, byteDollar
	return t
}()

// identByte says whether a byte continues an identifier.
var identByte = func() (t [256]bool) {
	for c := range t {
		t[c] = byteClass[c] == byteLetter || byteClass[c] == byteDigit || c == '$'
	}
	return t
}()

// lower folds ASCII letters as PostgreSQL folds identifiers in a multibyte encoding: other letters keep their case.
var lower = func() (t [256]byte) {
	for c := range t {
		t[c] = byte(c)
		if c >= 'A' && c <= 'Z' {
			t[c] += 'a' - 'A'
		}
	}
	return t
}()

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isHexDigit(c byte) bool {
	return isDigit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')
}
