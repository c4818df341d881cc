package wire

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// ErrTooLong is returned for a message whose length field is outside what the reader was told to accept.
type ErrTooLong struct {
	Type byte
	Len  uint32 // as on the wire, without the type byte
	Max  int
}

func (e *ErrTooLong) Error() string {
	return fmt.Sprintf("message %q with length %d is outside 4..%d", e.Type, e.Len, e.Max)
}

// Reader reads whole messages away from the hot path: logins, the admin database, our own sessions.
// It never reads past the message it returns unless the source is a *bufio.Reader that it was given.
type Reader struct {
	r   io.Reader
	max int
	buf []byte
}

// NewReader returns a Reader that accepts message lengths up to max bytes (the length field counts itself).
func NewReader(r io.Reader, max int) *Reader { return &Reader{r: r, max: max} }

// NewBufferedReader is NewReader with read-ahead, for connections that nobody else will read later.
func NewBufferedReader(r io.Reader, max int) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, 4096), max: max}
}

// Next returns the type and body of the next message. The body is valid until the next call.
// It returns io.EOF only between messages; inside one the error is io.ErrUnexpectedEOF.
func (r *Reader) Next() (typ byte, body []byte, err error) {
	var h [5]byte
	if _, err := io.ReadFull(r.r, h[:1]); err != nil {
		return 0, nil, err
	}
	if _, err := io.ReadFull(r.r, h[1:]); err != nil {
		return 0, nil, unexpected(err)
	}
	n := binary.BigEndian.Uint32(h[1:])
	if n < 4 || uint64(n) > uint64(r.max) {
		return h[0], nil, &ErrTooLong{Type: h[0], Len: n, Max: r.max}
	}
	n -= 4
	if cap(r.buf) < int(n) {
		r.buf = make([]byte, n)
	}
	body = r.buf[:n]
	if _, err := io.ReadFull(r.r, body); err != nil {
		return h[0], nil, unexpected(err)
	}
	return h[0], body, nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
