package copyrows

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// result is all that a Reader has made of some data.
type result struct {
	Header []byte
	Rows   []readRow
	Err    *Error
}

type readRow struct {
	Raw string
	Key []string // values in quotes, or NULL, or DEFAULT
}

func show(f Field) string {
	switch {
	case f.Null:
		return "NULL"
	case f.Default:
		return "DEFAULT"
	}
	return fmt.Sprintf("%q", f.Value)
}

// read reads pieces of data with all columns as the key.
func read(tb testing.TB, f Format, columns []string, pieces ...[]byte) result {
	tb.Helper()
	key := make([]int, len(columns))
	for i := range key {
		key[i] = i
	}
	r, err := New(f, columns, key)
	if err != nil {
		tb.Fatal(err)
	}
	var res result
	collect := func(raw []byte, key []Field) error {
		row := readRow{Raw: string(raw)}
		for _, k := range key {
			row.Key = append(row.Key, show(k))
		}
		res.Rows = append(res.Rows, row)
		return nil
	}
	for _, p := range pieces {
		p = bytes.Clone(p)
		if err = r.Feed(p, collect); err != nil {
			break
		}
		clear(p) // a reader that keeps a piece is found out
	}
	if err == nil {
		err = r.End(collect)
	}
	if err != nil && !errors.As(err, &res.Err) {
		tb.Fatalf("data %q: %v", pieces, err)
	}
	res.Header = r.Header()
	return res
}

// single cuts data into single bytes.
func single(data []byte) [][]byte {
	var pieces [][]byte
	for i := range data {
		pieces = append(pieces, data[i:i+1])
	}
	return pieces
}

// cut cuts data at random.
func cut(rnd *rand.Rand, data []byte, most int) [][]byte {
	var pieces [][]byte
	for len(data) > 0 {
		n := min(len(data), rnd.IntN(most+1))
		pieces = append(pieces, data[:n])
		data = data[n:]
	}
	return pieces
}

// sameWhenCut checks that however data is cut, the result is want.
func sameWhenCut(tb testing.TB, f Format, columns []string, data []byte, want result, cuts ...[][]byte) {
	tb.Helper()
	for _, pieces := range cuts {
		if diff := cmp.Diff(want, read(tb, f, columns, pieces...)); diff != "" {
			tb.Fatalf("format %+v: %q in pieces of %d bytes (whole: -, in pieces: +)\n%s", f, data, sizes(pieces), diff)
		}
	}
}

func sizes(pieces [][]byte) []int {
	var n []int
	for _, p := range pieces {
		n = append(n, len(p))
	}
	return n
}

// options writes a Format as the options of a COPY.
func (f Format) options(columns []string) string {
	quote := func(s string) string { return "E'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'" }
	list := func(flags []bool) string {
		var names []string
		for i, on := range flags {
			if on {
				names = append(names, columns[i])
			}
		}
		return "(" + strings.Join(names, ", ") + ")"
	}
	o := []string{"FORMAT " + [...]string{Text: "text", CSV: "csv", Binary: "binary"}[f.Kind]}
	add := func(is bool, option string) {
		if is {
			o = append(o, option)
		}
	}
	add(f.Delimiter != 0, "DELIMITER "+quote(string(f.Delimiter)))
	add(f.HasNull, "NULL "+quote(f.Null))
	add(f.HasDefault, "DEFAULT "+quote(f.Default))
	add(f.Header, "HEADER")
	add(f.Quote != 0, "QUOTE "+quote(string(f.Quote)))
	add(f.Escape != 0, "ESCAPE "+quote(string(f.Escape)))
	add(f.ForceNull != nil, "FORCE_NULL "+list(f.ForceNull))
	add(f.ForceNotNull != nil, "FORCE_NOT_NULL "+list(f.ForceNotNull))
	return "(" + strings.Join(o, ", ") + ")"
}
