package copyrows

import (
	"bytes"
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fill makes a table with values that are hard to copy, and empty ones of its kind to copy into.
func fill(t *testing.T, ctx context.Context, s server) {
	t.Helper()
	s.query(t, ctx, `
		CREATE TABLE origin (id bigint, name text, note text, amount numeric, raw bytea, at timestamptz);
		CREATE TABLE one (LIKE origin);
		CREATE TABLE two (LIKE origin);
		CREATE TABLE back (LIKE origin);
		SELECT setseed(0.5);
		INSERT INTO origin
		SELECT i, (ARRAY[NULL, '', 'plain', 'é' || i, 'a,b', E'tab\there', 'quote"d "" x', E'new\nline', E'cr\rlf\r\n', '\.', '\N', 'back\slash\', 'N', 'NULL', E'\x01\b\f\v', ' ', '''', ';|', i::text,
			'\x41', '\101', repeat('long "quoted", \ ' || E'\n', 400)])[1 + floor(random() * 22)::int],
			(ARRAY[NULL, '', 'x', E'\n', '"', '\', ','])[1 + floor(random() * 7)::int], CASE WHEN random() < .8 THEN random() * 1000 END, decode(md5(i::text), 'hex'), now()
		FROM generate_series(1, 1500) i;
		INSERT INTO origin SELECT NULL, NULL, NULL, NULL, NULL, NULL FROM generate_series(1, 3)`)
}

// outputs are formats in which the server writes and reads the table.
func outputs(version int) []Format {
	fs := []Format{
		{},
		{Delimiter: '|', HasNull: true, Null: "NIL"},
		{Kind: CSV},
		{Kind: CSV, Header: true},
		{Kind: CSV, Header: true, Delimiter: ';', Quote: '\'', Escape: '\\', HasNull: true, Null: "NULL"},
		{Kind: CSV, Escape: '\\'},
		{Kind: Binary},
	}
	if version >= 15 {
		fs = append(fs, Format{Header: true})
	}
	for i := range fs {
		fs[i].Version = version
	}
	return fs
}

var originColumns = []string{"id", "name", "note", "amount", "raw", "at"}

// differences counts the rows that only one of two queries has.
func differences(t *testing.T, ctx context.Context, s server, a, b string) string {
	t.Helper()
	return s.query(t, ctx, fmt.Sprintf("SELECT (SELECT count(*) FROM (%[1]s EXCEPT ALL %[2]s) d) + (SELECT count(*) FROM (%[2]s EXCEPT ALL %[1]s) d)", a, b))[0][0]
}

func TestRowsRoutedToTwoTablesAreTheRowsOfTheOriginal(t *testing.T) {
	t.Parallel()
	ctx, s := start(t)
	fill(t, ctx, s)
	rnd := rand.New(rand.NewPCG(*seed, 3))
	names := s.query(t, ctx, "SELECT coalesce('='||name, 'NULL') FROM origin ORDER BY id")
	for _, f := range outputs(s.version) {
		data := s.dump(t, ctx, "COPY (SELECT * FROM origin ORDER BY id) TO STDOUT "+f.options(nil))
		r, err := New(f, originColumns, []int{1, 0})
		if err != nil {
			t.Fatal(err)
		}
		var shards [2]bytes.Buffer
		var seen [][]string
		route := func(raw []byte, key []Field) error {
			h := fnv.New32a()
			if key[0].Null {
				seen = append(seen, []string{"NULL"})
			} else {
				seen = append(seen, []string{"=" + string(key[0].Value)})
			}
			_, _ = h.Write(append(bytes.Clone(key[0].Value), key[1].Value...))
			shard := &shards[h.Sum32()%2]
			if shard.Len() == 0 {
				shard.Write(r.Header())
			}
			shard.Write(raw)
			return nil
		}
		for _, p := range cut(rnd, data, 3000) {
			if err := r.Feed(p, route); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.End(route); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(names, seen); diff != "" {
			t.Fatalf("format %+v: names in the table -, read +\n%s", f, diff)
		}
		for i, table := range []string{"one", "two"} {
			shards[i].Write(r.Trailer())
			s.query(t, ctx, "TRUNCATE "+table)
			if err := s.load(ctx, "COPY "+table+" FROM STDIN "+f.options(nil), shards[i].Bytes()); err != nil {
				t.Fatalf("format %+v: %v", f, err)
			}
		}
		if n := differences(t, ctx, s, "SELECT * FROM origin", "(SELECT * FROM one UNION ALL SELECT * FROM two)"); n != "0" {
			t.Errorf("format %+v: %s rows differ from the original", f, n)
		}
		if n := s.query(t, ctx, "SELECT least((SELECT count(*) FROM one), (SELECT count(*) FROM two)) > 300")[0][0]; n != "t" {
			t.Errorf("format %+v: nearly all rows went to one table", f)
		}
	}
}

func TestMergedCopyOutIsOneWellFormedStream(t *testing.T) {
	t.Parallel()
	ctx, s := start(t)
	fill(t, ctx, s)
	s.query(t, ctx, "INSERT INTO one SELECT * FROM origin WHERE id % 3 = 0; INSERT INTO two SELECT * FROM origin WHERE id % 3 <> 0 OR id IS NULL")
	rnd := rand.New(rand.NewPCG(*seed, 4))
	for _, f := range outputs(s.version) {
		m, err := NewMerger(f, 3)
		if err != nil {
			t.Fatal(err)
		}
		var parts [3][][]byte
		for i, from := range []string{"one", "two", "(SELECT * FROM one WHERE false)"} {
			parts[i] = cut(rnd, s.dump(t, ctx, "COPY "+from+" TO STDOUT "+f.options(nil)), 700)
		}
		var out bytes.Buffer
		pieces := 0
		emit := func(p []byte) error {
			out.Write(p)
			pieces++
			return nil
		}
		for open := []int{0, 1, 2}; len(open) > 0; {
			i := rnd.IntN(len(open))
			part := open[i]
			if len(parts[part]) == 0 {
				err = m.End(part, emit)
				open = append(open[:i], open[i+1:]...)
			} else {
				err = m.Feed(part, parts[part][0], emit)
				parts[part] = parts[part][1:]
			}
			if err != nil {
				t.Fatalf("format %+v: %v", f, err)
			}
		}
		s.query(t, ctx, "TRUNCATE back")
		if err := s.load(ctx, "COPY back FROM STDIN "+f.options(nil), out.Bytes()); err != nil {
			t.Fatalf("format %+v: %v", f, err)
		}
		if n := differences(t, ctx, s, "SELECT * FROM back", "SELECT * FROM origin"); n != "0" {
			t.Errorf("format %+v: %s rows differ from the original", f, n)
		}
		want := 1503
		if f.Header || f.Kind == Binary { // the header line, or the trailer
			want++
		}
		if pieces != want {
			t.Errorf("format %+v: got %d pieces, want %d: one for each row", f, pieces, want)
		}
	}
}
