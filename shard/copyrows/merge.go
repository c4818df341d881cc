package copyrows

import (
	"bytes"
	"errors"
	"fmt"
)

// Merger makes one stream of the data of a COPY TO STDOUT that several servers send: one header, the rows of all, one trailer.
//
// As from PostgreSQL, each piece is one row, and the header of binary data comes with the first of them: clients rely on both.
type Merger struct {
	binary bool
	parts  []part
	open   int // parts that have not ended
	header []byte
	known  bool // header is that of the servers
	sent   bool
	emit   func(piece []byte) error // during Feed and End
	first  []byte
}

// part is the data of one server.
type part struct {
	m      *Merger
	stream stream
	ended  bool
}

// NewMerger returns a merger of the data of as many servers. Its errors are ErrOption and ErrEncoding.
func NewMerger(f Format, servers int) (*Merger, error) {
	f, err := f.complete()
	if err != nil {
		return nil, err
	}
	if servers <= 0 {
		return nil, fmt.Errorf("%d servers: %w", servers, ErrOption)
	}
	m := &Merger{binary: f.Kind == Binary, parts: make([]part, servers), open: servers}
	for i := range m.parts {
		p := &m.parts[i]
		p.m, p.stream.max = m, f.MaxRow
		if m.binary {
			p.stream.scan = &tuples{max: f.MaxRow}
		} else {
			l := newLines(f)
			l.marker = false // COPY TO does not send it
			p.stream.scan = l
		}
	}
	return m, nil
}

// Feed takes the payload of a CopyData of a server, from 0, and calls emit with what is to be sent to the client: in pieces each of which
// is the payload of one CopyData, valid until emit returns. Payloads may be cut anywhere and those of the servers interleaved.
// Its errors are those of emit and an *Error.
func (m *Merger) Feed(server int, p []byte, emit func(piece []byte) error) error {
	m.emit = emit
	err := m.parts[server].stream.feed(p, &m.parts[server])
	m.emit = nil
	return err
}

// End says that a server has sent CopyDone. With the last of them the trailer is emitted.
func (m *Merger) End(server int, emit func(piece []byte) error) error {
	p := &m.parts[server]
	switch {
	case p.ended:
		return errors.New("COPY data has ended twice")
	case p.stream.err != nil:
		return p.stream.err
	case len(p.stream.buf) > 0, m.binary && !p.stream.done:
		p.stream.err = badFormat(p.stream.scan.position(), "unexpected EOF in COPY data")
		return p.stream.err
	}
	p.ended = true
	m.open--
	if m.open > 0 || !m.binary {
		return nil
	}
	m.emit = emit
	p.stream.err = m.send(trailer)
	m.emit = nil
	return p.stream.err
}

// send emits a row or the trailer.
func (m *Merger) send(raw []byte) error {
	if m.sent || !m.binary {
		return m.emit(raw)
	}
	m.sent = true
	m.first = append(append(m.first, m.header...), raw...)
	return m.emit(m.first)
}

func (p *part) row(raw []byte) error { return p.m.send(raw) }

func (p *part) header(raw []byte) error {
	m := p.m
	if !m.known {
		m.header, m.known = bytes.Clone(raw), true
		if m.binary {
			return nil
		}
		return m.emit(raw)
	}
	if !bytes.Equal(raw, m.header) {
		return badFormat(p.stream.scan.position(), "servers have sent COPY data with different headers")
	}
	return nil
}
