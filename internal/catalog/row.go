package catalog

import (
	"fmt"
	"strconv"
	"strings"
)

// row is a row of a query's result in text form. Its bytes are valid until the next row; what it returns is copied. A value that is not
// what the query promises becomes the loader's error.
type row struct {
	values [][]byte
	l      *loader
}

// text returns a string, "" for NULL; equal ones share their bytes, since names and types repeat a lot.
func (r row) text(i int) string {
	if i >= len(r.values) {
		r.l.fail("a row of %d columns, want more than %d", len(r.values), i)
		return ""
	}
	if s, ok := r.l.strings[string(r.values[i])]; ok {
		return s
	}
	s := string(r.values[i])
	if len(s) <= 128 {
		r.l.strings[s] = s
	}
	return s
}

func (r row) null(i int) bool { return i >= len(r.values) || r.values[i] == nil }

func (r row) bool(i int) bool { return r.text(i) == "t" }

// char returns a "char", 0 for NULL and the empty one.
func (r row) char(i int) byte {
	if s := r.text(i); s != "" {
		return s[0]
	}
	return 0
}

func (r row) number(i int) int {
	n, err := strconv.Atoi(r.text(i))
	if err != nil {
		r.l.fail("column %d: %v", i, err)
	}
	return n
}

func (r row) oid(i int) uint32 {
	n, err := strconv.ParseUint(r.text(i), 10, 32)
	if err != nil {
		r.l.fail("column %d: %v", i, err)
	}
	return uint32(n)
}

// numbers reads an int2vector or oidvector ("1 2"), an array of integers ("{1,2}") or a JSON array of them ("[1, 2]"); nil for NULL.
func (r row) numbers(i int) []uint32 {
	fields := strings.FieldsFunc(r.text(i), func(c rune) bool { return strings.ContainsRune("{}[], ", c) })
	if len(fields) == 0 {
		return nil
	}
	list := make([]uint32, len(fields))
	for j, f := range fields {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			r.l.fail("column %d: %v", i, err)
		}
		list[j] = uint32(n) // attribute numbers of system columns are negative and match no column
	}
	return list
}

// fail keeps the first error.
func (l *loader) fail(format string, args ...any) {
	if l.err == nil {
		l.err = fmt.Errorf("unexpected answer: "+format, args...)
	}
}
