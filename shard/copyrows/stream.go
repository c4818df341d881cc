package copyrows

import "fmt"

// found is what a scanner has found at the start of its buffer.
type found uint8

const (
	partial found = iota // no whole row yet
	header
	row
	nothing // what is not passed on: the end of the data, with or without its marker
)

// A scanner finds where rows end.
type scanner interface {
	// next looks at b, which starts where a row starts, and returns what that is and its length. After partial it is called again with
	// the same bytes and more, and does not look at those again that it has seen. eof says that no bytes follow. done says that nothing
	// that follows is data: next may be called again all the same, and fails if it must not follow.
	next(b []byte, eof bool) (n int, f found, done bool, err error)
	// position is the line at which the row starts that next has looked at last.
	position() int
}

// A sink is given what a stream consists of. The bytes are valid until it returns.
type sink interface {
	header(raw []byte) error
	row(raw []byte) error
}

// stream cuts data that arrives in pieces into rows.
type stream struct {
	scan scanner
	max  int
	buf  []byte // a row of which the rest has not come; empty between rows
	done bool
	err  error
}

const (
	firstPiece = 256     // bytes that are first added to an unfinished row; then twice as many
	keepBuffer = 1 << 20 // a buffer larger than this is given back after its row
)

func (s *stream) feed(p []byte, to sink) error {
	for piece := firstPiece; len(p) > 0 && !s.done && s.err == nil; {
		if len(s.buf) == 0 {
			n := s.step(p, false, to)
			if n < 0 {
				s.buf = append(s.buf, p...)
				break
			}
			p = p[n:]
			continue
		}
		// The end of the row is most often near, so little is copied of what comes after it.
		k, old := min(piece, len(p)), len(s.buf)
		s.buf = append(s.buf, p[:k]...)
		piece *= 2
		n := s.step(s.buf, false, to)
		if s.err != nil {
			break
		}
		if n < 0 {
			p = p[k:]
			continue
		}
		p = p[n-old:] // a row never ends before a byte that has been looked at already
		s.buf = s.buf[:0]
		piece = firstPiece
		if cap(s.buf) > keepBuffer {
			s.buf = nil
		}
	}
	if s.done && s.err == nil && len(p) > 0 {
		_, _, _, s.err = s.scan.next(p, false)
	}
	return s.err
}

// end is called once, when no more data comes.
func (s *stream) end(to sink) error {
	for b := s.buf; !s.done && s.err == nil; {
		if n := s.step(b, true, to); n > 0 {
			b = b[n:]
		}
	}
	s.buf = nil
	return s.err
}

// step hands over what b starts with and returns its length, or -1 if that cannot be said yet.
func (s *stream) step(b []byte, eof bool, to sink) int {
	n, f, done, err := s.scan.next(b, eof)
	if err == nil && f == partial {
		n = len(b)
	}
	if err == nil && n > s.max {
		err = &Error{Code: codeTooLong, Message: fmt.Sprintf("row of COPY data exceeds the limit of %d bytes", s.max), Line: s.scan.position()}
	}
	s.done = done
	if err == nil {
		switch f {
		case partial:
			return -1
		case header:
			err = to.header(b[:n])
		case row:
			err = to.row(b[:n])
		case nothing:
		}
	}
	s.err = err
	return n
}
