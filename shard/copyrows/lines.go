package copyrows

import "bytes"

// eol is the style of line ends, which the first line of the data fixes for all.
type eol uint8

const (
	eolUnknown eol = iota
	eolLF
	eolCR
	eolCRLF
)

// lines finds the ends of lines of text and csv data: PostgreSQL's CopyReadLineText.
type lines struct {
	csv           bool
	quote, escape byte
	marker        bool // \. can end the data
	v18           bool // it must be alone on its line, with the words of PostgreSQL 18
	head          bool // the next line is the header
	ended         bool // the data has: what follows is ignored

	style eol
	line  int // of pos: line ends within quotes are counted as they are seen
	start int // of the line that starts at b[0]

	// The current line.
	pos     int  // bytes before it have been looked at
	inQuote bool // csv: pos is within quotes
	special bool // the line has a backslash (text) or a quote (csv)
	fresh   bool // nothing of the line has been looked at yet

	data int // the length of the last found line without its end or the marker
}

func newLines(f Format) *lines {
	return &lines{
		csv: f.Kind == CSV, quote: f.Quote, escape: f.Escape, head: f.Header, fresh: true,
		marker: f.Kind == Text || f.Version < 18, v18: f.Version >= 18,
	}
}

func (s *lines) position() int { return s.start }

func (s *lines) next(b []byte, eof bool) (n int, f found, done bool, err error) {
	if s.ended {
		return len(b), nothing, true, nil
	}
	if s.fresh {
		s.fresh, s.pos, s.inQuote, s.special = false, 0, false, false
		s.line++
		s.start = s.line
	}
	var e *Error
	if s.csv {
		n, done, e = s.nextCSV(b, eof)
	} else {
		n, done, e = s.nextText(b, eof)
	}
	if e != nil {
		return 0, nothing, true, e
	}
	if n < 0 {
		return 0, partial, false, nil
	}
	s.fresh, s.ended = true, done
	switch {
	case s.head:
		s.head = false
		return n, header, done, nil
	case done && s.data == 0:
		return n, nothing, true, nil
	}
	return n, row, done, nil
}

// index returns the position of c in b from i on, or len(b).
func index(b []byte, i int, c byte) int {
	if k := bytes.IndexByte(b[i:], c); k >= 0 {
		return i + k
	}
	return len(b)
}

// nextText returns the length of the line, -1 if it is not complete. done: the data ends with it.
func (s *lines) nextText(b []byte, eof bool) (n int, done bool, err *Error) {
	end := lineEnds{-1, -1}
	for i := s.pos; ; {
		s.seek(&end, b, i)
		k := bytes.IndexByte(b[i:end.near], '\\')
		switch {
		case k >= 0:
			i += k
			s.special = true
			if i+1 == len(b) {
				return s.out(b, i, eof)
			}
			if b[i+1] == '.' && s.marker {
				return s.endMarker(b, i, eof)
			}
			i += 2 // whatever is escaped is data, line ends too
		case end.near == len(b):
			return s.out(b, end.near, eof)
		default:
			return s.lineEnd(b, end.near, eof)
		}
	}
}

// lineEnds is where the next line ends are: far the next of the kind that the data's style has, near the next of any kind.
type lineEnds struct{ far, near int }

// seek brings e to the line ends in b from i on; len(b) where there is none. The kind that the style does not have is looked for only
// before the one that it has: otherwise each line would be a search through all that b holds.
func (s *lines) seek(e *lineEnds, b []byte, i int) {
	own, other := byte('\n'), byte('\r')
	if s.style == eolCR {
		own, other = other, own
	}
	if e.far < i {
		e.far = index(b, i, own)
	}
	if e.near < i {
		e.near = index(b[:e.far], i, other)
	}
}

func (s *lines) lineEnd(b []byte, i int, eof bool) (n int, done bool, err *Error) {
	if b[i] == '\n' {
		return s.newline(i)
	}
	return s.carriageReturn(b, i, eof)
}

// out is for when b ends and the line does not: all from i on will be looked at again.
func (s *lines) out(b []byte, i int, eof bool) (n int, done bool, err *Error) {
	if !eof {
		s.pos = i
		return -1, false, nil
	}
	s.data = len(b)
	return len(b), true, nil
}

func (s *lines) newline(i int) (n int, done bool, err *Error) {
	if s.style == eolCR || s.style == eolCRLF {
		return 0, true, s.stray("newline", `\n`)
	}
	s.style, s.data = eolLF, i
	return i + 1, false, nil
}

func (s *lines) carriageReturn(b []byte, i int, eof bool) (n int, done bool, err *Error) {
	switch s.style {
	case eolLF:
		return 0, true, s.stray("carriage return", `\r`)
	case eolUnknown, eolCRLF:
		if i+1 == len(b) && !eof {
			s.pos = i
			return -1, false, nil
		}
		if i+1 < len(b) && b[i+1] == '\n' {
			s.style, s.data = eolCRLF, i
			return i + 2, false, nil
		}
		if s.style == eolCRLF {
			return 0, true, s.stray("carriage return", `\r`)
		}
		s.style = eolCR
	case eolCR:
	}
	s.data = i
	return i + 1, false, nil
}

func (s *lines) stray(name, escape string) *Error {
	e := badFormat(s.line, "literal "+name+" found in data")
	e.Hint = `Use "` + escape + `" to represent ` + name + "."
	if s.csv {
		e.Message = "unquoted " + name + " found in data"
		e.Hint = "Use quoted CSV field to represent " + name + "."
	}
	return e
}

// endMarker is called where b[i:] starts with \. that may end the data. In csv data, where it may as well be a value, n is -2 if it does not.
func (s *lines) endMarker(b []byte, i int, eof bool) (n int, done bool, err *Error) {
	corrupt := func() (int, bool, *Error) {
		switch {
		case s.csv:
			return -2, false, nil
		case s.v18:
			return 0, true, badFormat(s.line, "end-of-copy marker is not alone on its line")
		}
		return 0, true, badFormat(s.line, "end-of-copy marker corrupt")
	}
	mismatch := func() (int, bool, *Error) {
		return 0, true, badFormat(s.line, "end-of-copy marker does not match previous newline style")
	}
	p := i + 2
	if s.style == eolCRLF {
		switch {
		case p == len(b) && !eof:
			s.pos = i
			return -1, false, nil
		case p < len(b) && b[p] == '\n' && !s.csv:
			return mismatch()
		case p == len(b) || b[p] != '\r':
			return corrupt()
		}
		p++
	}
	if p == len(b) && !eof {
		s.pos = i
		return -1, false, nil
	}
	if p == len(b) || b[p] != '\r' && b[p] != '\n' {
		return corrupt()
	}
	if s.style != eolUnknown && (b[p] == '\r') != (s.style == eolCR) {
		return mismatch()
	}
	if s.v18 && i > 0 {
		return corrupt()
	}
	s.data = i
	return p + 1, true, nil
}

// nextCSV is nextText for csv. Quotes are told apart as PostgreSQL does: an escape counts only within quotes, and there before a quote or an escape.
func (s *lines) nextCSV(b []byte, eof bool) (n int, done bool, err *Error) {
	i := s.pos
	if i == 0 && s.marker && len(b) > 0 && b[0] == '\\' {
		switch {
		case len(b) == 1 && !eof:
			return -1, false, nil
		case len(b) > 1 && b[1] == '.':
			if n, done, err = s.endMarker(b, 0, eof); n != -2 {
				return n, done, err
			}
		}
	}
	end := lineEnds{-1, -1}
	quote, escape := -1, -1 // within quotes: the next ones from i on, the escape only before the quote
	for {
		if s.inQuote {
			if quote < i {
				quote = index(b, i, s.quote)
			}
			stop := quote
			if s.escape != s.quote {
				if escape < i {
					escape = index(b[:quote], i, s.escape)
				}
				stop = escape
			}
			s.countLines(b[i:stop])
			switch {
			case stop == len(b):
				return s.out(b, stop, eof)
			case stop == quote:
				s.inQuote = false
				i = stop + 1
			case stop+1 == len(b) && !eof:
				return s.out(b, stop, false)
			case stop+1 < len(b) && (b[stop+1] == s.quote || b[stop+1] == s.escape):
				i = stop + 2
			default:
				i = stop + 1
			}
			continue
		}
		s.seek(&end, b, i)
		k := bytes.IndexByte(b[i:end.near], s.quote)
		switch {
		case k >= 0:
			i += k + 1
			s.inQuote, s.special = true, true
		case end.near == len(b):
			return s.out(b, end.near, eof)
		default:
			return s.lineEnd(b, end.near, eof)
		}
	}
}

// countLines counts the line ends within quotes as PostgreSQL does: by the last byte of the style, which on the first line is not known.
func (s *lines) countLines(b []byte) {
	c := byte('\r')
	if s.style == eolLF {
		c = '\n'
	}
	s.line += bytes.Count(b, []byte{c})
}
