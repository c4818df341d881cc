package admin

import (
	"strconv"

	"github.com/jackc/pgproto3/v2"
)

func rowDescription(cols []column, formats []int16) *pgproto3.RowDescription {
	m := &pgproto3.RowDescription{Fields: make([]pgproto3.FieldDescription, len(cols))}
	for i, c := range cols {
		info := c.typ.info()
		m.Fields[i] = pgproto3.FieldDescription{
			Name: []byte(clean(c.name)), DataTypeOID: info.oid, DataTypeSize: info.size, TypeModifier: -1, Format: format(formats, i),
		}
	}
	return m
}

// sendRow sends one row. A value that its column's type cannot express is an error for the client.
func (s *session) sendRow(cols []column, formats []int16, row []any) error {
	m := pgproto3.DataRow{Values: make([][]byte, len(row))}
	for i, v := range row {
		b, err := cols[i].typ.encode(s.types, format(formats, i), v)
		if err != nil {
			return errf(codeInternal, "column %s: %s", cols[i].name, err)
		}
		m.Values[i] = b
	}
	return s.send(&m)
}

func selectTag(n int) string { return "SELECT " + strconv.Itoa(n) }
