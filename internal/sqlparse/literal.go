package sqlparse

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Class says how the value of a literal is read. PostgreSQL's parser treats literals with the same placeholder alike:
// all strings have one, each kind of number has its own, because its size decides its type.
type Class uint8

// The classes of literal.
const (
	// ClassInt4 is an integer of at most 2147483647, which becomes an integer.
	ClassInt4 Class = iota + 1
	// ClassInt8 is a larger integer of at most 9223372036854775807, which becomes a bigint.
	ClassInt8
	// ClassNumeric is any other number, which becomes a numeric.
	ClassNumeric
	// ClassString is 'text' without backslash escapes.
	ClassString
	// ClassEscape is E'text', or 'text' while standard_conforming_strings is off.
	ClassEscape
	// ClassDollar is $tag$text$tag$.
	ClassDollar
	// ClassBit is B'0101', ClassHex is X'1F'.
	ClassBit
	ClassHex
)

// Placeholders stand for literals in folded text. Bytes that begin no token of SQL cannot be taken for anything else.
const (
	placeholderInt4    = 0x01
	placeholderInt8    = 0x02
	placeholderNumeric = 0x03
	placeholderString  = 0x04
	placeholderBit     = 0x05
	placeholderHex     = 0x06
)

var placeholder = [...]byte{
	ClassInt4: placeholderInt4, ClassInt8: placeholderInt8, ClassNumeric: placeholderNumeric,
	ClassString: placeholderString, ClassEscape: placeholderString, ClassDollar: placeholderString,
	ClassBit: placeholderBit, ClassHex: placeholderHex,
}

// Literal is a constant that was lifted out of a text.
type Literal struct {
	// Start and End are its place in the text: text[Start:End], quotes and prefix included, a minus sign not.
	Start, End int32
	// Fold is the place of its placeholder, one byte, in the folded text.
	Fold int32
	// Class says how to read it.
	Class Class
}

// literalClass says whether a token is a literal that may be lifted.
func literalClass(text []byte, t Token) (Class, bool) {
	switch t.Kind {
	case Integer:
		return integerClass(text[t.Start:t.End]), true
	case Numeric:
		return ClassNumeric, true
	case String:
		return ClassString, true
	case EscapeString:
		return ClassEscape, true
	case DollarString:
		return ClassDollar, true
	case BitString:
		return ClassBit, true
	case HexString:
		return ClassHex, true
	}
	return 0, false
}

func integerClass(raw []byte) Class {
	if len(raw) < 10 && (len(raw) == 1 || raw[0] != '0') {
		return ClassInt4 // at most 999999999
	}
	switch v, ok := parseInteger(raw); {
	case !ok:
		return ClassNumeric
	case v <= math.MaxInt32:
		return ClassInt4
	}
	return ClassInt8
}

// parseInteger reads an unsigned integer token of any base. Unlike strconv it takes 007 for 7.
func parseInteger(raw []byte) (int64, bool) {
	base, digits := uint64(10), raw
	if len(raw) > 2 && raw[0] == '0' {
		switch raw[1] {
		case 'x', 'X':
			base, digits = 16, raw[2:]
		case 'o', 'O':
			base, digits = 8, raw[2:]
		case 'b', 'B':
			base, digits = 2, raw[2:]
		}
	}
	v := uint64(0)
	for _, c := range digits {
		var d uint64
		switch {
		case c == '_':
			continue
		case isDigit(c):
			d = uint64(c - '0')
		case isHexDigit(c):
			d = uint64(lower[c]-'a') + 10
		default:
			return 0, false
		}
		if d >= base || v > (math.MaxInt64-d)/base {
			return 0, false
		}
		v = v*base + d
	}
	return int64(v), true
}

// Int returns the value of a ClassInt4 or ClassInt8 literal. ok is false for other classes.
func (l Literal) Int(text []byte) (value int64, ok bool) {
	if l.Class != ClassInt4 && l.Class != ClassInt8 {
		return 0, false
	}
	return parseInteger(text[l.Start:l.End])
}

// AppendValue appends the value of the literal in text: a string without quotes and escapes, the digits of a bit string,
// a number as it is written but without underscores. It fails with *SyntaxError or *EncodingError where PostgreSQL
// would refuse the string.
func (l Literal) AppendValue(dst, text []byte) ([]byte, error) {
	raw := text[l.Start:l.End]
	switch l.Class {
	case ClassString:
		return appendQuoted(dst, raw[1:]), nil
	case ClassBit, ClassHex:
		return appendQuoted(dst, raw[2:]), nil
	case ClassDollar:
		tag := bytes.IndexByte(raw[1:], '$') + 2
		return append(dst, raw[tag:len(raw)-tag]...), nil
	case ClassEscape:
		body := raw[1:]
		if raw[0] != '\'' {
			body = raw[2:]
		}
		from := len(dst)
		dst, problem, at := appendEscaped(dst, body)
		position := func(offset int) int { return CharPosition(text, int(l.End)-len(body)+offset) }
		if problem != "" {
			return dst[:from], &SyntaxError{Message: problem, Position: position(at)}
		}
		if bad := badUTF8(dst[from:]); bad != "" {
			return dst[:from], &EncodingError{Bytes: bad, Position: CharPosition(text, int(l.Start))}
		}
		return dst, nil
	}
	for _, c := range raw {
		if c != '_' {
			dst = append(dst, c)
		}
	}
	return dst, nil
}

// appendQuoted appends the contents of a string without escapes; body begins behind the opening quote and ends with
// the closing one.
func appendQuoted(dst, body []byte) []byte {
	for i := 0; i < len(body); i++ {
		if body[i] != '\'' {
			dst = append(dst, body[i])
			continue
		}
		if i+1 < len(body) && body[i+1] == '\'' {
			dst = append(dst, '\'')
			i++
			continue
		}
		next := continuation(body, i+1)
		if next < 0 {
			break
		}
		i = next - 1
	}
	return dst
}

const (
	problemUnicodeEscape = "invalid Unicode escape"
	problemUnicodeValue  = "invalid Unicode escape value"
	problemSurrogate     = "invalid Unicode surrogate pair"
)

// appendEscaped is appendQuoted with backslash escapes. A problem comes with its offset in body.
func appendEscaped(dst, body []byte) (_ []byte, problem string, at int) {
	high := rune(0) // the first half of a surrogate pair
	for i := 0; i < len(body); {
		c := body[i]
		if high != 0 && (c != '\\' || i+1 >= len(body) || (body[i+1] != 'u' && body[i+1] != 'U')) {
			return dst, problemSurrogate, i
		}
		if c == '\'' {
			if i+1 < len(body) && body[i+1] == '\'' {
				dst = append(dst, '\'')
				i += 2
				continue
			}
			if i = continuation(body, i+1); i < 0 {
				break
			}
			continue
		}
		if c != '\\' || i+1 >= len(body) {
			dst = append(dst, c)
			i++
			continue
		}
		start := i
		c = body[i+1]
		i += 2
		switch {
		case c >= '0' && c <= '7':
			v := c - '0'
			for n := 1; n < 3 && i < len(body) && body[i] >= '0' && body[i] <= '7'; n++ {
				v = v<<3 + body[i] - '0'
				i++
			}
			dst = append(dst, v)
		case c == 'x' && i < len(body) && isHexDigit(body[i]):
			end := i + 1
			if end < len(body) && isHexDigit(body[end]) {
				end++
			}
			v, _ := strconv.ParseUint(string(body[i:end]), 16, 8)
			dst = append(dst, byte(v))
			i = end
		case c == 'u' || c == 'U':
			width := 4
			if c == 'U' {
				width = 8
			}
			if i+width > len(body) {
				return dst, problemUnicodeEscape, start
			}
			v, err := strconv.ParseUint(string(body[i:i+width]), 16, 32)
			if err != nil {
				return dst, problemUnicodeEscape, start
			}
			i += width
			second := v >= 0xDC00 && v <= 0xDFFF
			switch {
			case (high != 0) != second:
				return dst, problemSurrogate, start
			case second:
				dst = utf8.AppendRune(dst, (high&0x3FF)<<10+rune(v&0x3FF)+0x10000)
				high = 0
			case v >= 0xD800 && v <= 0xDBFF:
				high = rune(v)
			case v == 0 || v > utf8.MaxRune:
				return dst, problemUnicodeValue, start
			default:
				dst = utf8.AppendRune(dst, rune(v))
			}
		default:
			if n := strings.IndexByte("bfnrtv", c); n >= 0 {
				c = "\b\f\n\r\t\v"[n]
			}
			dst = append(dst, c)
		}
	}
	return dst, "", 0
}

// badUTF8 returns the first bytes that are not UTF-8 or are zero, in PostgreSQL's notation, or "".
func badUTF8(value []byte) string {
	if utf8.Valid(value) && bytes.IndexByte(value, 0) < 0 {
		return ""
	}
	at := encodingFault(value)
	// PostgreSQL shows as many bytes as the first one announces.
	n := 1
	switch c := value[at]; {
	case c >= 0xF0 && c <= 0xF7:
		n = 4
	case c >= 0xE0 && c <= 0xEF:
		n = 3
	case c >= 0xC0 && c <= 0xDF:
		n = 2
	}
	var b strings.Builder
	for i, c := range value[at:min(at+n, len(value))] {
		if i > 0 {
			b.WriteByte(' ')
		}
		const hex = "0123456789abcdef"
		b.WriteString("0x")
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
	return b.String()
}

// encodingFault returns the offset of the first byte that is zero or not UTF-8, or -1.
func encodingFault(value []byte) int {
	for i := 0; i < len(value); {
		r, n := utf8.DecodeRune(value[i:])
		if r == 0 || (r == utf8.RuneError && n == 1) {
			return i
		}
		i += n
	}
	return -1
}
