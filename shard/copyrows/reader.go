package copyrows

import (
	"bytes"
	"fmt"
	"slices"
)

// RowFunc is given a row as it came, with its line end or, in binary, its count of fields, and the values of the key's columns in the order in
// which New was given them. Both are valid until it returns. The last row of the data may lack its line end, and may be followed by the marker of the
// end of the data, after which a server ignores what it is sent: it must be the last that is sent to a server.
type RowFunc func(raw []byte, key []Field) error

// Reader reads the data of one COPY FROM STDIN.
type Reader struct {
	f       Format
	columns []string
	order   []keyColumn // by column
	stream  stream
	lines   *lines  // text and csv
	tuples  *tuples // binary
	emit    RowFunc // during Feed and End
	head    []byte

	key     []Field
	values  []byte // of key's fields that are not written as they are read
	null    []byte
	escaped []byte // a backslash and the delimiter
}

type keyColumn struct {
	column int // position in a row
	slot   int // position in key
}

// New returns a reader of rows of the named columns, of which key lists the positions, from 0, of those whose values are wanted. Its errors
// are ErrOption and ErrEncoding.
func New(f Format, columns []string, key []int) (*Reader, error) {
	f, err := f.complete()
	if err != nil {
		return nil, err
	}
	if f.Kind != Binary && f.Version == 0 {
		return nil, fmt.Errorf("server version is missing: %w", ErrOption)
	}
	if len(columns) == 0 {
		return nil, fmt.Errorf("rows without columns: %w", ErrOption)
	}
	r := &Reader{f: f, columns: columns, key: make([]Field, len(key)), null: []byte(f.Null), escaped: []byte{'\\', f.Delimiter}}
	for slot, column := range key {
		if column < 0 || column >= len(columns) || slices.Contains(key[:slot], column) {
			return nil, fmt.Errorf("key column %d of %d: %w", column, len(columns), ErrOption)
		}
		r.order = append(r.order, keyColumn{column, slot})
	}
	slices.SortFunc(r.order, func(a, b keyColumn) int { return a.column - b.column })
	r.stream.max = f.MaxRow
	if f.Kind == Binary {
		r.tuples = &tuples{max: f.MaxRow, columns: columns, starts: make([]int, len(columns)), ends: make([]int, len(columns))}
		r.stream.scan = r.tuples
	} else {
		r.lines = newLines(f)
		r.stream.scan = r.lines
	}
	return r, nil
}

// Feed reads the payload of one CopyData, calling row for each row that is complete. What it returns, an *Error or what row has returned, it
// returns from then on. Payloads are cut anywhere; p is not kept.
func (r *Reader) Feed(p []byte, row RowFunc) error {
	r.emit = row
	err := r.stream.feed(p, (*readerSink)(r))
	r.emit = nil
	return err
}

// End is for CopyDone: it calls row for the last row if that has no line end.
func (r *Reader) End(row RowFunc) error {
	r.emit = row
	err := r.stream.end((*readerSink)(r))
	r.emit = nil
	return err
}

// Header returns what each server must be sent before rows: the header line, or the header of binary data. It is known, if there is any, before the
// first row is handed over, and after End. It must not be changed.
func (r *Reader) Header() []byte { return r.head }

// Trailer returns what each server must be sent after the last row. It must not be changed.
func (r *Reader) Trailer() []byte {
	if r.f.Kind == Binary {
		return trailer
	}
	return nil
}

// Line returns the number of the line (in binary, of the row) that is read, as PostgreSQL counts it in the CONTEXT of an error: in a RowFunc, that of its
// row. It counts line ends within quotes.
func (r *Reader) Line() int {
	if r.tuples != nil {
		return r.tuples.line
	}
	return r.lines.line
}

// readerSink is what the Reader's stream sees of it.
type readerSink Reader

func (s *readerSink) header(raw []byte) error {
	s.head = bytes.Clone(raw)
	return nil
}

func (s *readerSink) row(raw []byte) error {
	r := (*Reader)(s)
	if r.tuples != nil {
		for _, k := range r.order {
			f := &r.key[k.slot]
			*f = Field{}
			if start := r.tuples.starts[k.column]; start < 0 {
				f.Null = true
			} else {
				f.Value = raw[start:r.tuples.ends[k.column]:r.tuples.ends[k.column]]
			}
		}
	} else if err := r.split(raw[:r.lines.data], r.lines.special); err != nil {
		return err
	}
	return r.emit(raw, r.key)
}
