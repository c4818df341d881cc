package oracle

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"strings"
)

// copies says whether a text is a COPY FROM STDIN or TO STDOUT.
func copies(sql string) (in, out bool) {
	if !strings.HasPrefix(sql, "COPY ") {
		return false, false
	}
	return strings.Contains(sql, " FROM STDIN"), strings.Contains(sql, " TO STDOUT")
}

// copyIn does a COPY FROM STDIN.
func (s *session) copyIn(ctx context.Context, st *step) outcome {
	tag, err := s.conn.CopyFrom(ctx, strings.NewReader(st.data), st.sql)
	if err != nil {
		return outcome{err: err}
	}
	return outcome{results: []result{{tag: tag.String()}}}
}

// copyOut does a COPY TO STDOUT. Its rows are lines, or the fields of binary rows.
func (s *session) copyOut(ctx context.Context, st *step) outcome {
	var b bytes.Buffer
	tag, err := s.conn.CopyTo(ctx, &b, st.sql)
	if err != nil {
		return outcome{err: err}
	}
	r := result{tag: tag.String()}
	if strings.Contains(st.sql, "binary") && bytes.HasPrefix(b.Bytes(), []byte("PGCOPY\n")) {
		r.rows = readBinaryRows(b.Bytes())
	} else {
		r.rows = strings.SplitAfter(b.String(), "\n")
	}
	return outcome{results: []result{r}}
}

// readBinaryRows takes a stream of COPY in binary format apart; what is wrong with it becomes a row.
func readBinaryRows(b []byte) (rows []string) {
	const head = 11 + 4 + 4
	if len(b) < head {
		return []string{fmt.Sprintf("a header of %d bytes", len(b))}
	}
	b = b[head:]
	for len(b) >= 2 {
		n := int16(binary.BigEndian.Uint16(b))
		b = b[2:]
		if n < 0 {
			if len(b) > 0 {
				rows = append(rows, fmt.Sprintf("%d bytes behind the end", len(b)))
			}
			return rows
		}
		fields := make([]string, n)
		for i := range fields {
			if len(b) < 4 {
				return append(rows, "a torn row")
			}
			size := int32(binary.BigEndian.Uint32(b))
			b = b[4:]
			switch {
			case size < 0:
				fields[i] = "NULL"
				continue
			case int(size) > len(b):
				return append(rows, "a torn field")
			}
			fields[i] = fmt.Sprintf("%q", b[:size])
			b = b[size:]
		}
		rows = append(rows, strings.Join(fields, ", "))
	}
	return append(rows, "no end")
}
