package copyrows

import (
	"bytes"
	"fmt"
)

// Field is a value of a key's column.
type Field struct {
	// Value is the text that the column's input function is given, or in binary what its receive function is given. It is in the encoding of
	// the data, and valid until the callback returns.
	Value []byte
	// Null: the field is NULL, after FORCE_NULL and FORCE_NOT_NULL; Default: it is the column's default (option DEFAULT). Value is nil.
	Null, Default bool
	// ServerBytes: an escape \nnn or \xhh of text data gave a byte beyond ASCII, which is in the server's encoding rather than in that of the
	// data. If these differ, Value is not text in either.
	ServerBytes bool
}

// split finds the key's fields in a line of text or csv data.
func (r *Reader) split(line []byte, special bool) error {
	var fields int
	var err error
	switch {
	case r.f.Kind == CSV && special:
		fields, err = r.splitCSV(line)
	case special && (hex(r.f.Delimiter) >= 0 || line[len(line)-1] == '\\' || bytes.Contains(line, r.escaped)):
		fields = r.splitText(line)
	default: // every delimiter is one
		fields = r.splitPlain(line, special)
	}
	switch {
	case err != nil:
	case fields > len(r.columns):
		err = badFormat(r.lines.line, "extra data after last expected column").withText(line)
	case fields < len(r.columns):
		err = badFormat(r.lines.line, fmt.Sprintf("missing data for column \"%s\"", r.columns[fields])).withText(line)
	}
	return err
}

// splitPlain is for lines in which nothing is quoted and no delimiter escaped. special: it has other escapes.
func (r *Reader) splitPlain(line []byte, special bool) int {
	if special {
		r.room(len(line))
	}
	start, column := 0, 0
	for _, k := range r.order {
		for ; column < k.column; column++ {
			if start = index(line, start, r.f.Delimiter) + 1; start > len(line) {
				return column + 1
			}
		}
		raw := line[start:index(line, start, r.f.Delimiter)]
		value, server := raw, false
		if special && bytes.IndexByte(raw, '\\') >= 0 {
			value, server = r.unescape(raw)
		}
		r.set(k, raw, value, false)
		r.mark(k, server)
	}
	return column + 1 + bytes.Count(line[start:], r.escaped[1:])
}

// unescape adds to r.values what a field of text data without a backslash at its end stands for.
func (r *Reader) unescape(raw []byte) (value []byte, server bool) {
	out := len(r.values)
	for {
		k := bytes.IndexByte(raw, '\\')
		if k < 0 {
			r.values = append(r.values, raw...)
			return r.values[out:len(r.values):len(r.values)], server
		}
		c, n, number := unescape(raw[k+1:])
		r.values = append(append(r.values, raw[:k]...), c)
		server = server || number && c >= 0x80
		raw = raw[k+1+n:]
	}
}

// mark sets ServerBytes.
func (r *Reader) mark(k keyColumn, server bool) {
	f := &r.key[k.slot]
	f.ServerBytes = server && f.Value != nil
}

// set stores a key's field, given as it is written and as it is read. quoted: it has a quote.
func (r *Reader) set(k keyColumn, raw, value []byte, quoted bool) {
	f := &r.key[k.slot]
	*f = Field{}
	switch {
	case !quoted && string(raw) == r.f.Null:
		if at(r.f.ForceNotNull, k.column) && r.f.Kind == CSV {
			f.Value = r.null
			return
		}
		f.Null = true
	case r.f.HasDefault && string(raw) == r.f.Default:
		f.Default = true
	case r.f.Kind == CSV && at(r.f.ForceNull, k.column) && string(value) == r.f.Null:
		f.Null = true
	default:
		f.Value = value
	}
}

func at(flags []bool, i int) bool { return i < len(flags) && flags[i] }

// splitText is PostgreSQL's CopyReadAttributesText. It returns the number of fields.
func (r *Reader) splitText(line []byte) int {
	r.room(len(line))
	next, delim, slash := 0, -1, -1 // the key's column that comes next in r.order; where the next delimiter and backslash are
	for i, column := 0, 0; ; column++ {
		start := i
		for {
			if delim < i {
				delim = index(line, i, r.f.Delimiter)
			}
			if slash < i {
				slash = index(line, i, '\\')
			}
			i = min(delim, slash)
			if i == delim || slash+1 == len(line) { // a backslash at the end of the line is nothing
				break
			}
			_, n, _ := unescape(line[slash+1:]) // eats hexadecimal digits even where one of them is the delimiter
			i = slash + 1 + n
		}
		if next < len(r.order) && r.order[next].column == column {
			raw := line[start:i]
			value, server := r.unescape(raw)
			r.set(r.order[next], raw, value, false)
			r.mark(r.order[next], server)
			next++
		}
		if i != delim || i == len(line) {
			return column + 1
		}
		i++
	}
}

// unescape reads what follows a backslash, at least one byte, and returns the byte that it stands for, its length, and whether it is a number.
func unescape(b []byte) (c byte, n int, number bool) {
	switch c = b[0]; c {
	case 'b':
		return '\b', 1, false
	case 'f':
		return '\f', 1, false
	case 'n':
		return '\n', 1, false
	case 'r':
		return '\r', 1, false
	case 't':
		return '\t', 1, false
	case 'v':
		return '\v', 1, false
	case '0', '1', '2', '3', '4', '5', '6', '7':
		v := 0
		for n < 3 && n < len(b) && b[n] >= '0' && b[n] <= '7' {
			v = v<<3 + int(b[n]-'0')
			n++
		}
		return byte(v), n, true
	case 'x':
		v := 0
		for n = 1; n < 3 && n < len(b) && hex(b[n]) >= 0; n++ {
			v = v<<4 + hex(b[n])
		}
		if n > 1 {
			return byte(v), n, true
		}
	}
	return c, 1, false
}

func hex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// splitCSV is PostgreSQL's CopyReadAttributesCSV. It returns the number of fields.
func (r *Reader) splitCSV(line []byte) (int, error) {
	r.room(len(line))
	delimiter, quote, escape := r.f.Delimiter, r.f.Quote, r.f.Escape
	next := 0
	for i, column := 0, 0; ; column++ {
		start, out, quoted := i, len(r.values), false
		wanted := next < len(r.order) && r.order[next].column == column
		for {
			from := i
			for i < len(line) && line[i] != delimiter && line[i] != quote {
				i++
			}
			if wanted {
				r.values = append(r.values, line[from:i]...)
			}
			if i == len(line) || line[i] == delimiter {
				break
			}
			quoted = true
			if i = r.quoted(line, i+1, quote, escape, wanted); i < 0 {
				return 0, badFormat(r.lines.line, "unterminated CSV quoted field").withText(line)
			}
		}
		if wanted {
			r.set(r.order[next], line[start:i], r.values[out:len(r.values):len(r.values)], quoted)
			next++
		}
		if i == len(line) {
			return column + 1, nil
		}
		i++
	}
}

// quoted reads from behind a quote to behind the quote that ends it, and returns that position, or -1. What it reads is added to r.values if wanted.
func (r *Reader) quoted(line []byte, i int, quote, escape byte, wanted bool) int {
	for {
		from := i
		if quote == escape {
			i = index(line, i, quote)
		}
		for i < len(line) && line[i] != quote && line[i] != escape {
			i++
		}
		if wanted {
			r.values = append(r.values, line[from:i]...)
		}
		if i == len(line) {
			return -1
		}
		c := line[i]
		i++
		switch {
		case c == escape && i < len(line) && (line[i] == quote || line[i] == escape):
			c = line[i]
			i++
		case c == quote:
			return i
		}
		if wanted {
			r.values = append(r.values, c)
		}
	}
}

// room empties r.values and makes it long enough for all values of a line of n bytes, so that it does not move while they are read.
func (r *Reader) room(n int) {
	if cap(r.values) < n || cap(r.values) > keepBuffer && n < keepBuffer {
		r.values = make([]byte, 0, max(n, 512))
	}
	r.values = r.values[:0]
}
