package copyrows

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"pgdrover/internal/pgtest"
)

var (
	seed   = flag.Uint64("seed", 1, "seed of the data that is copied")
	inputs = flag.Int("inputs", 250, "number of inputs that each format is compared with a server on")
)

var abc = []string{"a", "b", "c"}

// server is a session in a database that takes all bytes but 0, so that few inputs fail for what the reader does not look at.
type server struct {
	conn    *pgconn.PgConn
	version int
}

func start(t *testing.T) (context.Context, server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	c := pgtest.Start(t)
	c.MustExec(t, "postgres", "CREATE DATABASE bytes ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
	conn, err := pgconn.Connect(ctx, c.SocketDSN("bytes", "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(ctx)) })
	s := server{conn: conn}
	if _, err := fmt.Sscan(s.query(t, ctx, "SELECT current_setting('server_version_num')::int / 10000")[0][0], &s.version); err != nil {
		t.Fatal(err)
	}
	return ctx, s
}

func (s server) query(t *testing.T, ctx context.Context, sql string) [][]string {
	t.Helper()
	results, err := s.conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	var rows [][]string
	for _, r := range results[len(results)-1].Rows {
		var row []string
		for _, v := range r {
			if v == nil {
				row = append(row, "NULL")
			} else {
				row = append(row, string(v))
			}
		}
		rows = append(rows, row)
	}
	return rows
}

func (s server) load(ctx context.Context, sql string, data []byte) error {
	_, err := s.conn.CopyFrom(ctx, bytes.NewReader(data), sql)
	return err
}

func (s server) dump(t *testing.T, ctx context.Context, sql string) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := s.conn.CopyTo(ctx, &b, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return b.Bytes()
}

// formats are what is compared with a server of the version.
func formats(version int) []Format {
	fs := []Format{
		{},
		{Delimiter: ',', HasNull: true},
		{Delimiter: 'A', HasNull: true, Null: "xx"},
		{Delimiter: 'C', HasNull: true, Null: `\x4`},
		{Delimiter: '"'},
		{Kind: CSV},
		{Kind: CSV, Header: true},
		{Kind: CSV, Delimiter: ';', Quote: '\'', Escape: '\\'},
		{Kind: CSV, Escape: '\\', HasNull: true, Null: "N", Header: true},
		{Kind: CSV, Delimiter: '\t', HasNull: true, Null: `\N`, ForceNull: []bool{true}, ForceNotNull: []bool{false, true}},
		{Kind: CSV, HasNull: true, Null: "x", ForceNull: []bool{true, true, false}, ForceNotNull: []bool{true, false, true}},
		{Kind: CSV, Escape: 'x', Quote: 'a', Delimiter: '.'},
		{Kind: CSV, Delimiter: '\\'},
		{Kind: CSV, Escape: ','},
	}
	if version >= 15 {
		fs = append(fs, Format{Header: true})
	}
	if version >= 16 {
		fs = append(
			fs,
			Format{HasDefault: true, Default: `\D`},
			Format{HasDefault: true, Default: "x", Delimiter: ','},
			Format{Kind: CSV, HasDefault: true, Default: "x", ForceNull: []bool{true}, ForceNotNull: []bool{false, true}},
		)
	}
	for i := range fs {
		fs[i].Version = version
	}
	return fs
}

// nasty makes data of which about half is right, for rows of a number of columns.
func nasty(rnd *rand.Rand, f Format, columns int) []byte {
	f, _ = f.complete()
	delimiter, quote, escape := string(f.Delimiter), string(or(f.Quote, '"')), string(or(f.Escape, '\\'))
	tokens := []string{
		`\`, `\\`, ".", "x", "x", "a", "N", "4", "7", "A", "é", "\x80", " ", quote, quote + quote, escape, escape + quote, `\N`, `\b`, `\t`, `\n`, `\r`, `\f`, `\v`,
		`\x4A`, `\x4`, `\xg`, `\101`, `\7`, `\777`, `\D`, "\\\n", "\\\r", `\` + delimiter, `\x` + delimiter, f.Null, f.Default, "\t", ",", "",
	}
	wild := append([]string{"\n", "\r", "\r\n", delimiter, `\.`, "\\.\n", "\n\\.\n", "\r\n\\.\r\n", "\\.\r", "\n\\.", "\n\n"}, tokens...)
	pick := func(from []string) string { return from[rnd.IntN(len(from))] }
	var b strings.Builder
	end := pick([]string{"\n", "\n", "\r", "\r\n"})
	for range rnd.IntN(6) {
		fields := columns
		if rnd.IntN(12) == 0 {
			fields += rnd.IntN(3) - 1
		}
		for i := range fields {
			if i > 0 {
				b.WriteString(delimiter)
			}
			quoted := f.Kind == CSV && rnd.IntN(2) == 0
			if quoted {
				b.WriteString(quote)
			}
			for range rnd.IntN(4) {
				switch {
				case rnd.IntN(40) == 0:
					b.WriteString(pick(wild))
				case quoted && rnd.IntN(4) == 0:
					b.WriteString(pick([]string{"\n", "\r", "\r\n", delimiter, escape + quote, escape + escape}))
				case f.Kind == CSV:
					b.WriteString(strings.NewReplacer(quote, "", "\n", "", "\r", "", delimiter, "").Replace(pick(tokens)))
				default:
					b.WriteString(pick(tokens))
				}
			}
			if quoted {
				b.WriteString(quote)
			}
		}
		if rnd.IntN(20) > 0 {
			b.WriteString(end)
		}
	}
	if rnd.IntN(5) == 0 {
		b.WriteString(pick(wild) + pick(wild))
	}
	return []byte(b.String())
}

// compare checks that the reader makes of data what the server makes of it, and returns whether the server accepted it.
func (s server) compare(t *testing.T, ctx context.Context, rnd *rand.Rand, f Format, columns []string, data []byte) bool {
	t.Helper()
	got := read(t, f, columns, data)
	sameWhenCut(t, f, columns, data, got, single(data), cut(rnd, data, 20))
	sql := "COPY t (" + strings.Join(columns, ", ") + ") FROM STDIN " + f.options(columns)
	var pe *pgconn.PgError
	err := s.load(ctx, sql, data)
	switch {
	case err == nil:
	case !errors.As(err, &pe):
		t.Fatalf("%s: %v", sql, err)
	case pe.Code == "22021" || got.Err != nil && got.Err.Code == codeTooLong: // a byte 0; a field that the server makes room for
		return false
	case got.Err == nil:
		t.Fatalf("%s\n%q\nserver: %v (%s)\nreader: %+v", sql, data, err, pe.Where, got)
	default:
		want := []string{pe.Code, pe.Message, pe.Hint, pe.Where}
		if diff := cmp.Diff(want, []string{got.Err.Code, got.Err.Message, got.Err.Hint, got.Err.Context("t")}); diff != "" {
			t.Fatalf("%s\n%q (server -, reader +)\n%s", sql, data, diff)
		}
		return false
	}
	var want [][]string
	for _, row := range s.query(t, ctx, "WITH d AS (DELETE FROM t RETURNING *) SELECT "+strings.Join(columns, ", ")+" FROM d ORDER BY n") {
		for i := range row {
			if row[i] != "NULL" && row[i] != "DEFAULT" {
				row[i] = fmt.Sprintf("%q", row[i])
			}
		}
		want = append(want, row)
	}
	if got.Err != nil {
		t.Fatalf("%s\n%q\nserver: %q\nreader: %v", sql, data, want, got.Err)
	}
	var values [][]string
	raw := string(got.Header)
	for _, row := range got.Rows {
		values = append(values, row.Key)
		raw += row.Raw
	}
	if diff := cmp.Diff(want, values); diff != "" {
		t.Fatalf("%s\n%q (server -, reader +)\n%s", sql, data, diff)
	}
	if !bytes.HasPrefix(data, []byte(raw)) {
		t.Fatalf("%s\n%q\nrows do not follow each other: %q", sql, data, raw)
	}
	return true
}

const tableT = "CREATE TABLE t (n bigserial, a text DEFAULT 'DEFAULT', b text DEFAULT 'DEFAULT', c text DEFAULT 'DEFAULT')"

func TestTextAndCSVAreReadAsTheServerReadsThem(t *testing.T) {
	t.Parallel()
	ctx, s := start(t)
	s.query(t, ctx, tableT)
	rnd := rand.New(rand.NewPCG(*seed, 1))
	for _, f := range formats(s.version) {
		accepted := 0
		for range *inputs {
			columns := abc[:1+rnd.IntN(3)]
			if f.ForceNull != nil || f.ForceNotNull != nil {
				columns = abc
			}
			if s.compare(t, ctx, rnd, f, columns, nasty(rnd, f, len(columns))) {
				accepted++
			}
		}
		if accepted < *inputs/6 {
			t.Errorf("format %+v: only %d of %d inputs were right", f, accepted, *inputs)
		}
		for _, data := range corners {
			f.ForceNull, f.ForceNotNull = nil, nil
			s.compare(t, ctx, rnd, f, abc[:1], []byte(data))
		}
	}
}

// corners are data of one column.
var corners = []string{
	"", "\n", "\r", "\r\n", "a", `\`, `\.`, "\\.\n", "\\.\r", "\\.\r\n", "a\n\\.", "a\n\\.\nb", "a\\.\nb", "a\r\n\\.\r\nb", "a\r\n\\.\nb", "a\r\n\\.\r", "a\r\n\\.\rb", "a\r\n\\.",
	"a\r\\.\rb", "a\r\\.\nb", "a\n\\.\r", "a\n\\.b\n", "a\\", "a\\\nb\n", "a\nb\rc", "a\rb\nc", "a\r\nb\nc", "a\r\nb\rc", "a\r\nb\r", "\n\n\n", "\r\r\n", "a\r\n\r\n", "\"", "\"\"", "\"\n\"\n\\.\n",
	"\"a\r\nb\nc\rd\"\nx\ry", "a\n\"b\n\nc\"\nx\ry", "a\r\"b\n\rc\"\rx\ny", "\"a\n\nb", "\\\\.\n", "\\x\n", "\\x4\n", "\\400\n", "\\N\n", "\\Na\n", "N\n", "x\n", "\"x\"\n", strings.Repeat("é", 60) + "\tx",
	strings.Repeat("y", 100) + "\t,A;", strings.Repeat("y", 99) + "\t,A;x\n",
}

func TestBinaryIsReadAsTheServerReadsIt(t *testing.T) {
	t.Parallel()
	ctx, s := start(t)
	s.query(t, ctx, tableT)
	s.query(t, ctx, `INSERT INTO t (a, b, c) VALUES ('', NULL, 'x'), (repeat('y', 300), '', NULL), (NULL, NULL, NULL)`)
	good := s.dump(t, ctx, "COPY (SELECT a, b, c FROM t ORDER BY n) TO STDOUT (FORMAT binary)")
	s.query(t, ctx, "DELETE FROM t")
	rnd := rand.New(rand.NewPCG(*seed, 2))
	f := Format{Kind: Binary}
	try := func(data []byte) bool { return s.compare(t, ctx, rnd, f, abc, data) }
	if !try(good) || !try(good[:len(good)-1]) || !try(good[:len(good)-2]) {
		t.Error("good data was refused")
	}
	extended := append(append(bytes.Clone(good[:fixedHeader-1]), 3, 'e', 'x', 't'), good[fixedHeader:]...)
	if !try(extended) {
		t.Error("a header with an extension was refused")
	}
	for n := range good {
		try(good[:n])
	}
	try(extended[:fixedHeader+2])
	try(append(bytes.Clone(good), 'x'))
	for range 3 * *inputs {
		data := bytes.Clone(good)
		at := rnd.IntN(len(data))
		if rnd.IntN(2) == 0 {
			at = rnd.IntN(40)
		}
		data[at] = []byte{0, 1, 2, 0xff, 0xfe, 0x80, byte(rnd.Uint32())}[rnd.IntN(7)]
		try(data)
	}
}
