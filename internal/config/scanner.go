package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

type scanKind uint8

const (
	scanEnd scanKind = iota
	scanWord
	scanName // "quoted"
	scanString
	scanNumber
	scanOp
)

// scanner reads SQL text by PostgreSQL's lexical rules, one token ahead. The first error stops it.
type scanner struct {
	rest string
	kind scanKind
	tok  string // the token's value; of a quoted one what is inside the quotes
	raw  string // the token as written, for messages
	err  error
}

func scan(text string) *scanner {
	s := &scanner{rest: text}
	if !utf8.ValidString(text) || strings.IndexByte(text, 0) >= 0 {
		s.err = fmt.Errorf("not valid UTF-8")
	}
	s.next()
	return s
}

// next moves to the next token.
func (s *scanner) next() {
	s.rest = strings.TrimLeft(s.rest, blanks)
	if s.err != nil || s.rest == "" {
		s.kind, s.tok, s.raw, s.rest = scanEnd, "", "", ""
		return
	}
	c, n := s.rest[0], 0
	for n < len(s.rest) && isNamePart(s.rest[n], n == 0) {
		n++
	}
	switch {
	case c == '\'':
		s.quoted(scanString)
		return
	case c == '"':
		s.quoted(scanName)
		return
	case n > 0:
		s.kind = scanWord
	default:
		if n = numberLength(s.rest); n > 0 {
			s.kind = scanNumber
		} else {
			_, n = utf8.DecodeRuneInString(s.rest)
			s.kind = scanOp
		}
	}
	s.raw = s.rest[:n]
	s.tok, s.rest = s.raw, s.rest[n:]
}

// numberLength is the length of the number that text begins with, 0 without one.
func numberLength(text string) int {
	digits := func(i int) int {
		for i < len(text) && text[i] >= '0' && text[i] <= '9' {
			i++
		}
		return i
	}
	n := 0
	if text[0] == '-' || text[0] == '+' {
		n++
	}
	from := n
	if n = digits(n); n < len(text) && text[n] == '.' {
		n = digits(n + 1)
		if n == from+1 {
			return 0 // a dot alone
		}
	}
	if n == from {
		return 0
	}
	if n < len(text) && (text[n] == 'e' || text[n] == 'E') {
		e := n + 1
		if e < len(text) && (text[e] == '-' || text[e] == '+') {
			e++
		}
		if end := digits(e); end > e {
			n = end
		}
	}
	return n
}

func isNamePart(c byte, first bool) bool {
	return c == '_' || c >= 0x80 || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || !first && (c >= '0' && c <= '9' || c == '$')
}

// quoted reads '…' or "…"; a doubled quote stands for one. Backslashes mean nothing.
func (s *scanner) quoted(kind scanKind) {
	q := s.rest[0]
	var b strings.Builder
	for i := 1; i < len(s.rest); i++ {
		if s.rest[i] != q {
			b.WriteByte(s.rest[i])
			continue
		}
		if i+1 < len(s.rest) && s.rest[i+1] == q {
			b.WriteByte(q)
			i++
			continue
		}
		s.kind, s.tok, s.raw, s.rest = kind, b.String(), s.rest[:i+1], s.rest[i+1:]
		if kind == scanName && s.tok == "" {
			s.fail("a name must not be empty")
		}
		return
	}
	s.fail("a quoted text does not end")
}

func (s *scanner) fail(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf(format, args...)
	}
	s.kind, s.tok, s.raw, s.rest = scanEnd, "", "", ""
}

// expected fails with what should have stood here.
func (s *scanner) expected(what string) {
	near := "at the end"
	if s.kind != scanEnd {
		near = "at or near " + strconv.Quote(s.raw)
	}
	s.fail("syntax error %s: %s expected", near, what)
}

func (s *scanner) end() error {
	if s.kind != scanEnd {
		s.expected("the end")
	}
	return s.err
}

func (s *scanner) isWord(words ...string) bool {
	return s.kind == scanWord && slices.ContainsFunc(words, func(w string) bool { return strings.EqualFold(w, s.tok) })
}

func (s *scanner) takeWord(word string) bool {
	if !s.isWord(word) {
		return false
	}
	s.next()
	return true
}

func (s *scanner) takeOp(op string) bool {
	if s.kind != scanOp || s.tok != op {
		return false
	}
	s.next()
	return true
}

func (s *scanner) word(word string) {
	if !s.takeWord(word) {
		s.expected(word)
	}
}

func (s *scanner) op(op string) {
	if !s.takeOp(op) {
		s.expected(op)
	}
}

// list reads (element, …) with at least one element.
func (s *scanner) list(element func()) {
	s.op("(")
	for s.err == nil {
		element()
		if !s.takeOp(",") {
			break
		}
	}
	if s.err == nil {
		if !s.takeOp(")") {
			s.expected(", or )")
		}
	}
}

// name reads an identifier, folded to lower case unless it is quoted.
func (s *scanner) name() string {
	name := s.tok
	switch s.kind {
	case scanWord:
		name = foldName(name)
	case scanName:
	default:
		s.expected("a name")
		return ""
	}
	s.next()
	return name
}

// foldName folds ASCII letters, as PostgreSQL does with UTF8.
func foldName(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, name)
}
