package oracle

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"
)

// A param is a value for $1 … $n.
type param struct {
	declared uint32 // type in the Parse message, 0 for none
	text     string
	null     bool
	encode   uint32 // the type whose binary format is sent; 0 for text format
	of       *kind  // to draw another value; nil for none
}

// bytes is what the Bind message carries.
func (p *param) bytes(m *pgtype.Map) (value []byte, format int16) {
	switch {
	case p.null:
		return nil, 0
	case p.encode != 0:
		if b, ok := encodeBinary(m, p.encode, p.text); ok {
			return b, 1
		}
	}
	return []byte(p.text), 0
}

// A step is one statement, or one text of a simple query, and how it is sent.
type step struct {
	sql      string
	extended bool
	params   []param
	prepared string // the name of a prepared statement; "" for the unnamed one
	binary   bool   // results in binary format
	more     bool   // the next step belongs to the same pipeline
	data     string // of COPY FROM STDIN

	ordered bool   // it asks for a total order
	full    string // it has LIMIT without a total order: the statement without LIMIT
	loose   bool   // which of several errors is reported depends on the order of execution
	write   bool   // it may change tables

	planned bool // EXPLAIN: of its rows only the first one is looked at

	pinned bool // an answer is expected: the key is there, at the top
	tags   []string
}

// A unit is what runs on both sides without anything in between. It begins and ends outside of a transaction.
type unit []step

// String writes a unit as a case: steps with a blank line between them, options in comments of their own.
func (u unit) String() string {
	var b strings.Builder
	for i := range u {
		s := &u[i]
		if i > 0 {
			b.WriteByte('\n')
		}
		var opts []string
		for _, o := range []struct {
			on   bool
			name string
		}{{s.extended, "extended"}, {s.prepared != "", "prepared=" + s.prepared}, {s.binary, "binary"}, {s.more, "more"}, {s.ordered, "ordered"}, {s.loose, "loose"}, {s.planned, "planned"}, {s.pinned, "answered"}} {
			if o.on {
				opts = append(opts, o.name)
			}
		}
		if len(opts) > 0 {
			b.WriteString("--: " + strings.Join(opts, " ") + "\n")
		}
		for n, p := range s.params {
			value := "NULL"
			if !p.null {
				value = quote(p.text)
				if strings.ContainsAny(p.text, "\n\r\x00") {
					value = "hex:" + hex.EncodeToString([]byte(p.text))
				}
			}
			fmt.Fprintf(&b, "--$ %d declared=%d binary=%d %s\n", n+1, p.declared, p.encode, value)
		}
		if s.data != "" {
			b.WriteString("--< " + hex.EncodeToString([]byte(s.data)) + "\n")
			for line := range strings.Lines(s.data) {
				fmt.Fprintf(&b, "--# %q\n", line)
			}
		}
		if s.full != "" {
			b.WriteString("--= " + strings.ReplaceAll(s.full, "\n", " ") + "\n")
		}
		b.WriteString(s.sql + "\n")
	}
	return b.String()
}

// parseUnit reads what String wrote; comments at the top are the story. Blank lines end steps.
func parseUnit(text string) (unit, error) {
	var u unit
	var s step
	var sql []string
	end := func() {
		if len(sql) > 0 {
			s.sql = strings.Join(sql, "\n")
			u = append(u, s)
		}
		s, sql = step{}, nil
	}
	for line := range strings.Lines(text + "\n\n") {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.TrimSpace(line) == "":
			end()
		case strings.HasPrefix(line, "--:"):
			for _, o := range strings.Fields(line[3:]) {
				name, value, _ := strings.Cut(o, "=")
				switch name {
				case "extended":
					s.extended = true
				case "prepared":
					s.extended, s.prepared = true, value
				case "binary":
					s.binary = true
				case "more":
					s.more = true
				case "ordered":
					s.ordered = true
				case "loose":
					s.loose = true
				case "planned":
					s.planned = true
				case "answered":
					s.pinned = true
				default:
					return nil, fmt.Errorf("unknown option %q", o)
				}
			}
		case strings.HasPrefix(line, "--$ "):
			var n int
			var p param
			if _, err := fmt.Sscanf(line, "--$ %d declared=%d binary=%d", &n, &p.declared, &p.encode); err != nil {
				return nil, fmt.Errorf("%s: %w", line, err)
			}
			value := strings.SplitN(line, " ", 5)[4]
			switch {
			case value == "NULL":
				p.null = true
			case strings.HasPrefix(value, "hex:"):
				raw, err := hex.DecodeString(value[4:])
				if err != nil {
					return nil, err
				}
				p.text = string(raw)
			default:
				p.text = strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(value, "'"), "'"), "''", "'")
			}
			s.extended, s.params = true, append(s.params, p)
		case strings.HasPrefix(line, "--< "):
			raw, err := hex.DecodeString(line[4:])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", line, err)
			}
			s.data = string(raw)
		case strings.HasPrefix(line, "--= "):
			s.full = line[4:]
		case strings.HasPrefix(line, "--") && len(sql) == 0:
		default:
			sql = append(sql, line)
		}
	}
	return u, nil
}
