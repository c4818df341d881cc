package pooler

import (
	"encoding/binary"
	"testing"
)

// The rows that a shard gives away, and their description, are read as what they may be: anything.
func FuzzRowsThatMove(f *testing.F) {
	row := []byte{0, 2, 0, 0, 0, 5, '1', '6', '4', '0', '0', 0xff, 0xff, 0xff, 0xff}
	f.Add(row, appendRowDescription(nil, "a"))
	f.Add(row[:7], []byte("T\x00\x00\x00\x06\x00\x00"))
	f.Add([]byte{}, []byte("T\x00\x00\x00\x08\x00\x01a\x00"))
	f.Add([]byte{0xff, 0xff, 0x7f, 0xff, 0xff, 0xff}, []byte("T"))
	f.Fuzz(func(t *testing.T, row, description []byte) {
		var fields bindParams
		if fields.parse(append([]byte{0, 0}, row...)) == nil {
			if n := int(binary.BigEndian.Uint16(row)); len(fields.values) != n {
				t.Errorf("%d columns, want %d", len(fields.values), n)
			}
			size := 2 + len(fields.rest)
			for i := range fields.values {
				size += 4 + len(fields.values[i])
			}
			if size != len(row) {
				t.Errorf("%d bytes were read of %d", size, len(row))
			}
		}
		if types, err := columnTypes(description); err == nil && 19*len(types) > len(description) {
			t.Errorf("%d columns in %d bytes", len(types), len(description))
		}
	})
}

func TestTheBindOfAStatementIsCutAtTheFormatsOfItsResult(t *testing.T) {
	t.Parallel()
	bind := []byte{0, 1, 0, 1, 0, 1, 0, 0, 0, 2, 0, 7, 0, 1, 0, 1}
	for _, c := range []struct {
		name            string
		m               fanMessages
		values, results string
	}{
		{"of the simple protocol", fanMessages{query: []byte("UPDATE t SET a = 1")}, "\x00\x00\x00\x00", "\x00\x00"},
		{"with a parameter", fanMessages{parse: []byte("x\x00\x00\x00"), bind: bind}, string(bind[:12]), string(bind[12:])},
	} {
		values, results := c.m.bound()
		if string(values) != c.values || string(results) != c.results {
			t.Errorf("%s: got %q and %q, want %q and %q", c.name, values, results, c.values, c.results)
		}
		if len(append(values, 'x')) == 0 || len(c.m.bind) > 0 && c.m.bind[12] == 'x' {
			t.Errorf("%s: what is appended to the parameters ends in the statement's own", c.name)
		}
	}
}
