package copyrows

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

var (
	signature = []byte("PGCOPY\n\xff\r\n\x00")
	trailer   = []byte{0xff, 0xff}
)

// fixedHeader is the length of the header without its extension: signature, flags, length of the extension.
const fixedHeader = 11 + 4 + 4

// tuples finds the ends of the rows of binary data.
type tuples struct {
	max     int
	columns []string // nil: any number of them
	head    bool     // the header has been read
	ended   bool     // the trailer has been read
	line    int

	// The current tuple.
	pos    int   // where the next field starts; 0 before the first
	field  int   // fields before pos
	fields int   // that it has
	starts []int // where values start, by column; nil if no one wants to know. A NULL's is -1
	ends   []int
}

func (s *tuples) position() int { return s.line }

func (s *tuples) next(b []byte, eof bool) (n int, f found, done bool, err error) {
	if s.ended {
		return 0, nothing, true, s.bad("received copy data after EOF marker")
	}
	var e *Error
	if !s.head {
		if n, e = s.header(b, eof); n > 0 {
			s.head = true
			return n, header, false, nil
		}
	} else {
		if s.pos == 0 {
			if len(b) < 2 {
				if !eof {
					return 0, partial, false, nil
				}
				s.line++
				return len(b), nothing, true, nil // without a trailer, even in the middle of a count
			}
			s.line++
			count := int(int16(binary.BigEndian.Uint16(b)))
			switch {
			case count == -1:
				s.ended = true
				return 2, nothing, true, nil
			case s.columns != nil && count != len(s.columns), count < 0:
				return 0, nothing, true, s.bad(fmt.Sprintf("row field count is %d, expected %d", count, len(s.columns)))
			}
			s.pos, s.field, s.fields = 2, 0, count
		}
		if e = s.tuple(b); e == nil && s.field == s.fields {
			n, s.pos = s.pos, 0
			return n, row, false, nil
		}
		if e == nil && eof {
			e = s.badField("unexpected EOF in COPY data")
		}
	}
	if e != nil {
		return 0, nothing, true, e
	}
	return 0, partial, false, nil
}

// tuple goes from field to field as far as b reaches.
func (s *tuples) tuple(b []byte) *Error {
	for ; s.field < s.fields; s.field++ {
		if len(b)-s.pos < 4 {
			return nil
		}
		start := s.pos + 4
		size := int(int32(binary.BigEndian.Uint32(b[s.pos:])))
		end := start + max(size, 0)
		switch {
		case size < -1:
			return s.badField("invalid field size")
		case end > s.max:
			e := s.badField(fmt.Sprintf("row of COPY data exceeds the limit of %d bytes", s.max))
			e.Code = codeTooLong
			return e
		case end > len(b):
			return nil
		case s.starts != nil:
			s.starts[s.field], s.ends[s.field] = start, end
			if size < 0 {
				s.starts[s.field] = -1
			}
		}
		s.pos = end
	}
	return nil
}

// header returns the length of the header, 0 if it is not complete.
func (s *tuples) header(b []byte, eof bool) (int, *Error) {
	if len(b) < len(signature) && !eof {
		return 0, nil
	}
	if !bytes.HasPrefix(b, signature) {
		return 0, s.bad("COPY file signature not recognized")
	}
	if len(b) < fixedHeader-4 {
		return 0, s.atEOF(eof, "invalid COPY file header (missing flags)")
	}
	flags := binary.BigEndian.Uint32(b[fixedHeader-8:])
	switch {
	case flags&(1<<16) != 0:
		return 0, s.bad("invalid COPY file header (WITH OIDS)")
	case flags>>16 != 0:
		return 0, s.bad("unrecognized critical flags in COPY file header")
	case len(b) < fixedHeader:
		return 0, s.atEOF(eof, "invalid COPY file header (missing length)")
	}
	n := int(int32(binary.BigEndian.Uint32(b[fixedHeader-4:])))
	switch {
	case n < 0:
		return 0, s.bad("invalid COPY file header (missing length)")
	case n > s.max-fixedHeader:
		return 0, &Error{Code: codeTooLong, Message: fmt.Sprintf("header of COPY data exceeds the limit of %d bytes", s.max)}
	case len(b) < fixedHeader+n:
		return 0, s.atEOF(eof, "invalid COPY file header (wrong length)")
	}
	return fixedHeader + n, nil
}

func (s *tuples) atEOF(eof bool, message string) *Error {
	if !eof {
		return nil
	}
	return s.bad(message)
}

func (s *tuples) bad(message string) *Error { return badFormat(s.line, message) }

func (s *tuples) badField(message string) *Error {
	e := s.bad(message)
	if s.columns != nil {
		e.Column = s.columns[s.field]
	}
	return e
}
