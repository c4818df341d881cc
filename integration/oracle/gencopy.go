package oracle

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"
)

// A copyStyle is how the rows of a COPY are written.
type copyStyle struct {
	format    string // text, csv or binary
	delimiter string
	null      string
	quote     string
	escape    string
	header    bool
	end       string // of a line
}

// copyStep makes a COPY. It has no parameters.
func (g *gen) copyStep(st *step, write bool) {
	if write {
		g.copyFrom(st)
		return
	}
	g.tag("COPY TO")
	if g.chance(25) {
		g.tag("COPY of a query")
		st.sql = "COPY (" + g.selectQuery(&scope{}, 1, nil).sql + ") TO STDOUT"
		_, options := g.copyStyle(nil)
		st.sql += options
		return
	}
	t := g.writable()
	columns, named := g.copyColumns(t)
	_, options := g.copyStyle(nil)
	if strings.Contains(options, "csv") && g.chance(20) && strings.HasSuffix(options, ")") {
		options = options[:len(options)-1] + ", FORCE_QUOTE " + pick(g.s, []string{"*", "(" + columns[0].name + ")"}) + ")"
	}
	st.sql = "COPY " + t.name + named + " TO STDOUT" + options
	g.free = g.free || t.family == "" // nothing says that an answer is due
}

// copyColumns picks columns of a table, with the list that names them, "" for all.
func (g *gen) copyColumns(t *table) ([]column, string) {
	columns := slices.Clone(t.columns)
	if g.chance(55) {
		return columns, ""
	}
	columns = slices.DeleteFunc(columns, func(c column) bool {
		return c.null && g.chance(40) || t.isKey(c.name) && g.chance(2)
	})
	if g.chance(50) {
		g.s.Shuffle(len(columns), func(i, j int) { columns[i], columns[j] = columns[j], columns[i] })
	}
	if len(columns) == 0 {
		columns = slices.Clone(t.columns[:1])
	}
	list := make([]string, len(columns))
	for i := range columns {
		list[i] = columns[i].name
	}
	return columns, " (" + strings.Join(list, ", ") + ")"
}

// copyStyle picks a format and writes its options; columns are those of COPY FROM.
func (g *gen) copyStyle(columns []column) (copyStyle, string) {
	y := copyStyle{format: "text", delimiter: "\t", null: `\N`, end: "\n"}
	var options []string
	switch g.one(45, 40, 15) {
	case 1:
		y = copyStyle{format: "csv", delimiter: ",", quote: `"`, escape: `"`, end: "\n"}
		if g.chance(10) {
			g.tag("COPY in csv")
			y.header = g.chance(50)
			if y.header {
				return y, " CSV HEADER"
			}
			return y, " WITH CSV"
		}
		options = append(options, "FORMAT csv")
	case 2:
		g.tag("COPY in binary")
		return copyStyle{format: "binary"}, pick(g.s, []string{" (FORMAT binary)", " WITH (FORMAT 'binary')"})
	}
	g.tag("COPY in " + y.format)
	if g.chance(25) {
		y.delimiter = pick(g.s, []string{"|", ";", ":", "~"})
		options = append(options, "DELIMITER "+quote(y.delimiter))
	}
	if g.chance(25) {
		y.null = pick(g.s, []string{"NULL", "null", "-", "@n"})
		options = append(options, "NULL "+quote(y.null))
	}
	if y.format == "csv" {
		if g.chance(20) {
			y.quote = pick(g.s, []string{"'", "!", "`"})
			y.escape = y.quote
			options = append(options, "QUOTE "+quote(y.quote))
		}
		if g.chance(20) {
			y.escape = pick(g.s, []string{`\`, "^"})
			options = append(options, "ESCAPE "+quote(y.escape))
		}
		for _, force := range []string{"FORCE_NULL", "FORCE_NOT_NULL"} {
			if columns != nil && g.chance(10) {
				options = append(options, force+" ("+pick(g.s, columns).name+")")
			}
		}
	}
	if g.chance(15) {
		y.header = true
		options = append(options, pick(g.s, []string{"HEADER", "HEADER true", "HEADER on"}))
	}
	if columns != nil && g.chance(10) {
		y.end = pick(g.s, []string{"\r\n", "\r"})
	}
	if g.chance(5) {
		options = append(options, "ENCODING 'UTF8'")
	}
	if len(options) == 0 {
		return y, ""
	}
	return y, pick(g.s, []string{" ", " WITH "}) + "(" + strings.Join(options, ", ") + ")"
}

// copyFrom makes a COPY FROM STDIN with its rows.
func (g *gen) copyFrom(st *step) {
	g.tag("COPY FROM")
	g.free, g.loose = true, true // which of several bad rows is complained of depends on their shards
	t := g.writable()
	columns, named := g.copyColumns(t)
	y, options := g.copyStyle(columns)
	st.sql = "COPY " + t.name + named + " FROM STDIN" + options
	if y.format != "binary" && g.chance(3) {
		st.sql += " WHERE " + columns[0].name + " IS NOT NULL"
	}
	n := g.s.IntN(13)
	rows := make([][]string, n)
	for i := range rows {
		for j := range columns {
			rows[i] = append(rows[i], g.copyValue(&columns[j], t.isKey(columns[j].name)))
		}
	}
	if y.format == "binary" {
		st.data = binaryRows(columns, rows)
	} else {
		st.data = g.textRows(&y, columns, rows)
	}
	if len(st.data) > 0 && g.v.IntN(40) == 0 {
		g.tag("COPY of torn data")
		at := g.v.IntN(len(st.data))
		st.data = st.data[:at] + st.data[min(len(st.data), at+1+g.v.IntN(3)):]
	}
}

// noValue stands for NULL.
const noValue = "\x00"

// copyValue is a value of a column, now and then one that does not fit.
func (g *gen) copyValue(c *column, key bool) string {
	switch odd := g.v.IntN(200); {
	case odd == 0:
		if s := pick(g.v, append(c.kind.odd, "''")); len(s) > 2 && s[0] == '\'' && s[len(s)-1] == '\'' {
			return strings.ReplaceAll(s[1:len(s)-1], "''", "'")
		}
	case odd == 1:
		return noValue
	case odd < 25 && c.null && !key:
		return noValue
	case odd < 30 && c.kind == kText && !key:
		return pick(g.v, []string{"a\nb", "\t", "x\r\ny", `\.`, `\N`, "a|b", `he said ""`, ",", "NULL"})
	}
	switch {
	case c.small:
		return g.small()
	case c.as == "numeric(12,2)":
		return fmt.Sprintf("%d.%d", g.v.IntN(30), g.v.IntN(10))
	}
	return pick(g.v, c.kind.pool)
}

// textRows writes rows in text or csv format.
func (g *gen) textRows(y *copyStyle, columns []column, rows [][]string) string {
	var b strings.Builder
	if y.header {
		for i, c := range columns {
			if i > 0 {
				b.WriteString(y.delimiter)
			}
			b.WriteString(c.name)
		}
		b.WriteString(y.end)
	}
	for i, row := range rows {
		for j, v := range row {
			if j > 0 {
				b.WriteString(y.delimiter)
			}
			switch {
			case v == noValue:
				b.WriteString(y.null)
			case y.format == "csv":
				b.WriteString(g.csvValue(y, v, len(row)))
			default:
				b.WriteString(g.textValue(y, v))
			}
		}
		if g.v.IntN(150) == 0 {
			b.WriteString(y.delimiter + "more")
		}
		if i < len(rows)-1 || g.v.IntN(10) > 0 {
			b.WriteString(y.end)
		}
	}
	if g.v.IntN(12) == 0 {
		b.WriteString(`\.` + y.end)
		if g.v.IntN(4) == 0 {
			b.WriteString("what is behind the end" + y.end)
		}
	}
	return b.String()
}

// textValue escapes what must be, and sometimes what need not be.
func (g *gen) textValue(y *copyStyle, v string) string {
	var b strings.Builder
	for _, c := range []byte(v) {
		switch {
		case c == '\\':
			b.WriteString(`\\`)
		case c == '\n':
			b.WriteString(pick(g.v, []string{`\n`, `\012`, `\x0a`}))
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case string(c) == y.delimiter:
			b.WriteString(`\` + y.delimiter)
		case c < 0x80 && g.v.IntN(60) == 0:
			fmt.Fprintf(&b, pick(g.v, []string{`\x%02x`, `\%03o`}), c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// csvValue quotes what must be, and sometimes what need not be.
func (g *gen) csvValue(y *copyStyle, v string, columns int) string {
	if v != "" && v != y.null && !strings.ContainsAny(v, y.delimiter+y.quote+"\r\n") && (columns > 1 || v != `\.`) && g.v.IntN(4) > 0 {
		return v
	}
	v = strings.ReplaceAll(v, y.escape, y.escape+y.escape)
	if y.quote != y.escape {
		v = strings.ReplaceAll(v, y.quote, y.escape+y.quote)
	}
	return y.quote + v + y.quote
}

// binaryRows writes rows in binary format; what has none is NULL.
func binaryRows(columns []column, rows [][]string) string {
	m := pgtype.NewMap()
	b := []byte("PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	for _, row := range rows {
		b = binary.BigEndian.AppendUint16(b, uint16(len(row)))
		for j, v := range row {
			value, ok := encodeBinary(m, columns[j].kind.oid, v)
			if v == noValue || !ok {
				b = binary.BigEndian.AppendUint32(b, 0xffffffff)
				continue
			}
			b = append(binary.BigEndian.AppendUint32(b, uint32(len(value))), value...)
		}
	}
	return string(binary.BigEndian.AppendUint16(b, 0xffff))
}
