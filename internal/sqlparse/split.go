package sqlparse

// splitter finds the semicolons that end statements: those outside parentheses (CREATE RULE has statements inside) and
// outside a BEGIN ATOMIC … END body of CREATE FUNCTION or PROCEDURE, by the rules of psql.
type splitter struct {
	parens  int
	words   int
	create  bool // the words so far are the beginning of CREATE [OR REPLACE] FUNCTION | PROCEDURE
	routine bool
	atomic  int // BEGIN ATOMIC and CASE without their END
}

func (s *splitter) punctuation(c byte) {
	switch c {
	case '(':
		s.parens++
	case ')':
		s.parens = max(0, s.parens-1)
	}
}

// word takes each word of a statement, in lower case, with the token before it.
func (s *splitter) word(kw keyword, word []byte, prev seen) {
	if s.words < 4 {
		s.words++
		switch string(word) {
		case "create":
			s.create = s.words == 1
		case "or":
			s.create = s.create && s.words == 2
		case "replace":
			s.create = s.create && s.words == 3
		case "function", "procedure":
			s.routine = s.create && (s.words == 2 || s.words == 4)
			s.create = false
		default:
			s.create = false
		}
		return
	}
	if !s.routine {
		return
	}
	switch kw {
	case kwAtomic:
		if prev.kw == kwBegin {
			s.atomic++
		}
	case kwCase:
		if s.atomic > 0 && prev.kw != kwAs && !prev.is('.') {
			s.atomic++
		}
	case kwEnd:
		if s.atomic > 0 && prev.kw != kwAs && !prev.is('.') {
			s.atomic--
		}
	}
}

// semicolon says whether a semicolon here ends the statement.
func (s *splitter) semicolon() bool { return s.parens == 0 && s.atomic == 0 }
