package copyrows

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestEndMarkerByVersion(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind    Kind
		version int
		data    string
		rows    int
		message string
	}{
		{CSV, 17, "a\n\\.\nb\n", 1, ""},
		{CSV, 18, "a\n\\.\nb\n", 3, ""},
		{CSV, 17, "a\n\\.", 2, ""},
		{CSV, 17, "a\n\\.\r", 1, "end-of-copy marker does not match previous newline style"},
		{CSV, 18, "a\n\\.\r", 1, "unquoted carriage return found in data"},
		{Text, 17, "a\n\\.\nb\n", 1, ""},
		{Text, 18, "a\n\\.\nb\n", 1, ""},
		{Text, 17, "a\nb\\.\nc\n", 2, ""},
		{Text, 18, "a\nb\\.\nc\n", 1, "end-of-copy marker is not alone on its line"},
		{Text, 17, "a\n\\.b\n", 1, "end-of-copy marker corrupt"},
		{Text, 18, "a\n\\.b\n", 1, "end-of-copy marker is not alone on its line"},
	} {
		f := Format{Kind: c.kind, Version: c.version}
		got := read(t, f, []string{"a"}, []byte(c.data))
		message := ""
		if got.Err != nil {
			message = got.Err.Message
		}
		if len(got.Rows) != c.rows || message != c.message {
			t.Errorf("kind %d, version %d, %q:\ngot  %d rows, %q\nwant %d rows, %q", c.kind, c.version, c.data, len(got.Rows), message, c.rows, c.message)
		}
		sameWhenCut(t, f, []string{"a"}, []byte(c.data), got, single([]byte(c.data)))
	}
}

func TestDefaultMarker(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		f    Format
		data string
		want []string
	}{
		{Format{HasDefault: true, Default: `\D`}, "\\D\t\\\\D\tD\n", []string{"DEFAULT", `"\\D"`, `"D"`}},
		{Format{Kind: CSV, HasDefault: true, Default: `\D`}, "\\D,\"\\D\",\n", []string{"DEFAULT", `"\\D"`, "NULL"}},
		{Format{Kind: CSV, HasDefault: true}, ",x,\"\"\n", []string{"NULL", `"x"`, `""`}},
		{Format{Kind: CSV, HasDefault: true, HasNull: true, Null: "x"}, ",x,\"\"\n", []string{"DEFAULT", "NULL", `""`}},
	} {
		c.f.Version = 16
		got := read(t, c.f, abc, []byte(c.data))
		if got.Err != nil || len(got.Rows) != 1 {
			t.Fatalf("%q: %+v", c.data, got)
		}
		if diff := cmp.Diff(c.want, got.Rows[0].Key); diff != "" {
			t.Errorf("%q (want -, got +)\n%s", c.data, diff)
		}
	}
}

func TestEscapesBeyondASCIIAreMarked(t *testing.T) {
	t.Parallel()
	r, err := New(Format{Version: 15, Encoding: "LATIN1"}, abc, []int{2, 0, 1})
	if err != nil {
		t.Fatal(err)
	}
	var got []bool
	err = r.Feed([]byte("\\351\t\xe9\t\\x41\\xe9\n\\101\t\\\xe9\t\\n\n"), func(_ []byte, key []Field) error {
		got = append(got, key[1].ServerBytes, key[2].ServerBytes, key[0].ServerBytes)
		return nil
	})
	if diff := cmp.Diff([]bool{true, false, true, false, false, false}, got); err != nil || diff != "" {
		t.Errorf("%v (want -, got +)\n%s", err, diff)
	}
}

func TestLineIsThatOfTheRow(t *testing.T) {
	t.Parallel()
	r, err := New(Format{Kind: CSV, Version: 15, Header: true}, []string{"a"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []int
	row := func([]byte, []Field) error {
		got = append(got, r.Line())
		return nil
	}
	err = errors.Join(r.Feed([]byte("a\n1\n\"2\n\n2\"\n3\n4"), row), r.End(row))
	if diff := cmp.Diff([]int{2, 5, 6, 7}, got); err != nil || diff != "" {
		t.Errorf("%v (want -, got +)\n%s", err, diff)
	}
}

func TestOptionsThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		f       Format
		columns []string
		key     []int
		want    error
	}{
		{Format{Encoding: "SJIS"}, abc, nil, ErrEncoding},
		{Format{Kind: CSV, Encoding: "gb-18030"}, abc, nil, ErrEncoding},
		{Format{Encoding: "Shift_JIS_2004"}, abc, nil, ErrEncoding},
		{Format{Encoding: "no such"}, abc, nil, ErrEncoding},
		{Format{Encoding: "-"}, abc, nil, ErrEncoding},
		{Format{Kind: Binary, Encoding: "SJIS"}, abc, nil, nil},
		{Format{Encoding: "utf-8"}, abc, nil, nil},
		{Format{Encoding: "ISO_8859-5"}, abc, nil, nil},
		{Format{Encoding: "EUC_JIS_2004"}, abc, nil, nil},
		{Format{Delimiter: 'x'}, abc, nil, ErrOption},
		{Format{Delimiter: '\n'}, abc, nil, ErrOption},
		{Format{Delimiter: 0xe9}, abc, nil, ErrOption},
		{Format{Kind: CSV, Quote: '\\'}, abc, nil, ErrOption},
		{Format{Kind: CSV, Quote: '\r'}, abc, nil, ErrOption},
		{Format{Kind: CSV, Quote: ','}, abc, nil, ErrOption},
		{Format{Kind: CSV, Escape: '\n'}, abc, nil, ErrOption},
		{Format{HasNull: true, Null: "\n"}, abc, nil, ErrOption},
		{Format{Kind: 7}, abc, nil, ErrOption},
		{Format{}, nil, nil, ErrOption},
		{Format{}, abc, []int{3}, ErrOption},
		{Format{}, abc, []int{-1}, ErrOption},
		{Format{}, abc, []int{1, 1}, ErrOption},
	} {
		c.f.Version = 15
		if _, err := New(c.f, c.columns, c.key); !errors.Is(err, c.want) {
			t.Errorf("format %+v, key %v: got %v, want %v", c.f, c.key, err, c.want)
		}
	}
	if _, err := New(Format{}, abc, nil); !errors.Is(err, ErrOption) {
		t.Errorf("without a version: got %v, want %v", err, ErrOption)
	}
	if _, err := NewMerger(Format{}, 0); !errors.Is(err, ErrOption) {
		t.Errorf("no servers: got %v, want %v", err, ErrOption)
	}
}

func TestRowsLongerThanTheLimitAreErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		f    Format
		data string
		ok   bool
	}{
		{Format{}, "a\n" + strings.Repeat("x", 99) + "\nb\n", true},
		{Format{}, "a\n" + strings.Repeat("x", 100) + "\nb\n", false},
		{Format{}, strings.Repeat("x", 101), false},
		{Format{Kind: CSV}, `"` + strings.Repeat("\n", 101), false},
		{Format{Kind: CSV}, `"` + strings.Repeat("x", 99) + "\r\r", false}, // the line is that at which the row starts, however it is cut
		{Format{Kind: CSV, Header: true}, strings.Repeat("x", 101) + "\n", false},
		{Format{Kind: Binary}, string(signature) + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x60", false},
		{Format{Kind: Binary}, string(signature) + "\x00\x00\x00\x00\x00\x00\x00\x60", false},
	} {
		c.f.Version, c.f.MaxRow = 15, 100
		data := []byte(c.data)
		got := read(t, c.f, []string{"a"}, data)
		if ok := got.Err == nil; ok != c.ok || !ok && got.Err.Code != codeTooLong {
			t.Errorf("%+v, %q: got %v, want ok %t", c.f, data, got.Err, c.ok)
		}
		sameWhenCut(t, c.f, []string{"a"}, data, got, single(data), [][]byte{data[:len(data)/2], data[len(data)/2:]})
	}
}

func TestErrorOfTheCallbackStaysAndStops(t *testing.T) {
	t.Parallel()
	r, err := New(Format{Version: 15}, []string{"a"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	stop, calls := errors.New("stop"), 0
	row := func([]byte, []Field) error {
		calls++
		return stop
	}
	for range 2 {
		if err := r.Feed([]byte("1\n2\n"), row); !errors.Is(err, stop) {
			t.Errorf("got %v, want %v", err, stop)
		}
	}
	if err := r.End(row); !errors.Is(err, stop) || calls != 1 {
		t.Errorf("got %v after %d calls, want %v after 1", err, calls, stop)
	}
}

func TestMergerRefusesWhatIsNotOneStream(t *testing.T) {
	t.Parallel()
	discard := func([]byte) error { return nil }
	feed := func(f Format, first, second string) error {
		m, err := NewMerger(f, 2)
		if err != nil {
			t.Fatal(err)
		}
		return errors.Join(m.Feed(0, []byte(first), discard), m.End(0, discard), m.Feed(1, []byte(second), discard), m.End(1, discard))
	}
	head := string(signature) + "\x00\x00\x00\x00\x00\x00\x00\x00"
	for _, c := range []struct {
		f             Format
		first, second string
		want          string
	}{
		{Format{Kind: CSV, Header: true}, "a,b\n1,2\n", "b,a\n", "different headers"},
		{Format{Kind: CSV}, "a,b", "", "unexpected EOF"},
		{Format{Kind: CSV}, "\"\n", "", "unexpected EOF"},
		{Format{}, "a\\", "", "unexpected EOF"},
		{Format{Kind: Binary}, head, head + "\xff\xff", "unexpected EOF"},
		{Format{Kind: Binary}, head + "\xff\xff\x00", head + "\xff\xff", "after EOF marker"},
		{Format{Kind: Binary}, "x", head + "\xff\xff", "unexpected EOF"},
	} {
		if err := feed(c.f, c.first, c.second); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q and %q: got %v, want %q", c.first, c.second, err, c.want)
		}
	}
}

// A payload of many lines that end in a carriage return took a second for each 100 kB: the line feed that none of them has was looked for
// in all of the rest for every line, as was an escape in csv. The kind of line end that the data does not have is now sought only up to the one it has, and an escape
// up to the next quote. If it were so again this test would not end.
func TestLargePayloadsAreReadInLinearTime(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		f   Format
		row string
	}{
		{Format{}, "1\r"},
		{Format{}, "1\n"},
		{Format{}, "1\r\n"},
		{Format{}, "\\\r1\n"},
		{Format{Kind: CSV}, "1\r"},
		{Format{Kind: CSV, Escape: '\\'}, "\"1\"\n"},
		{Format{Kind: CSV, Escape: '\\'}, "\"\\\"\"\r"},
	} {
		c.f.Version = 15
		r, err := New(c.f, []string{"a"}, []int{0})
		if err != nil {
			t.Fatal(err)
		}
		const rows = 1 << 20
		data := bytes.Repeat([]byte(c.row), rows)
		got := 0
		row := func([]byte, []Field) error {
			got++
			return nil
		}
		if err := errors.Join(r.Feed(data, row), r.End(row)); err != nil || got != rows {
			t.Errorf("%q: got %d rows and %v, want %d", c.row, got, err, rows)
		}
	}
}

func TestNothingIsAllocatedPerRow(t *testing.T) {
	for name, b := range samples() {
		r, row := b.reader(t)
		if n := testing.AllocsPerRun(20, func() {
			for p := b.data; len(p) > 0; {
				k := min(len(p), 8000) // so that rows are cut
				if err := r.Feed(p[:k], row); err != nil {
					t.Fatal(err)
				}
				p = p[k:]
			}
		}); n > 1 {
			t.Errorf("%s: got %v allocations for %d rows, want none", name, n, b.rows)
		}
	}
}

type sample struct {
	f    Format
	head []byte
	data []byte
	rows int
}

func (s sample) reader(tb testing.TB) (*Reader, RowFunc) {
	tb.Helper()
	r, err := New(s.f, []string{"id", "name", "note", "amount", "raw", "at"}, []int{0, 1})
	if err != nil {
		tb.Fatal(err)
	}
	row := func([]byte, []Field) error { return nil }
	if err := r.Feed(s.head, row); err != nil {
		tb.Fatal(err)
	}
	return r, row
}

func samples() map[string]sample {
	var text, escaped, csv, quoted, bin bytes.Buffer
	const rows = 2000
	for i := range rows {
		fmt.Fprintf(&text, "%d\tname of %d\tsome more text to read over\t%d.25\t\\N\t2026-01-01 00:00:00+00\n", i, i, i*7)
		fmt.Fprintf(&escaped, "%d\tname\\tof %d\tsome more text\\nto read over\t%d.25\t\\\\x%032x\t2026-01-01 00:00:00+00\n", i, i, i*7, i)
		fmt.Fprintf(&csv, "%d,name of %d,some more text to read over,%d.25,,2026-01-01 00:00:00+00\n", i, i, i*7)
		fmt.Fprintf(&quoted, "\"%d\",\"name \"\"of\"\" %d\",\"some more text\nto read over\",\"%d.25\",,\"2026-01-01 00:00:00+00\"\n", i, i, i*7)
		bin.WriteString("\x00\x06\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00\x05value\x00\x00\x00\x1bsome more text to read over\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x0812345678")
	}
	head := append(bytes.Clone(signature), 0, 0, 0, 0, 0, 0, 0, 0)
	return map[string]sample{
		"text":    {Format{Version: 15}, nil, text.Bytes(), rows},
		"escaped": {Format{Version: 15}, nil, escaped.Bytes(), rows},
		"csv":     {Format{Kind: CSV, Version: 15}, nil, csv.Bytes(), rows},
		"quoted":  {Format{Kind: CSV, Version: 15}, nil, quoted.Bytes(), rows},
		"binary":  {Format{Kind: Binary}, head, bin.Bytes(), rows},
	}
}

func BenchmarkFeed(b *testing.B) {
	for name, s := range samples() {
		b.Run(name, func(b *testing.B) {
			r, row := s.reader(b)
			b.SetBytes(int64(len(s.data)))
			b.ReportAllocs()
			before := cpuTime(b)
			for b.Loop() {
				for p := s.data; len(p) > 0; {
					k := min(len(p), 1<<16)
					if err := r.Feed(p[:k], row); err != nil {
						b.Fatal(err)
					}
					p = p[k:]
				}
			}
			b.ReportMetric(float64(len(s.data))*float64(b.N)/1e6/(cpuTime(b)-before).Seconds(), "MB/CPU-s")
		})
	}
}

// cpuTime is what the process has used: on a busy machine the clock says little.
func cpuTime(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func FuzzFeed(f *testing.F) {
	for _, s := range []string{"a\t1\n", "\"a\n\"\"b\",1\r\n", "\\.\n", "a\\", string(signature) + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\xff\xff\xff\xff\x00\x00\x00\x01x\xff\xff"} {
		for kind := range uint8(6) {
			f.Add([]byte(s), kind, uint64(1))
		}
	}
	formats := []Format{{}, {Kind: CSV}, {Kind: Binary}, {Kind: CSV, Escape: '\\', Header: true, HasNull: true, Null: "N"}, {Delimiter: 'A', Header: true}, {Kind: CSV, Version: 18}}
	f.Fuzz(func(t *testing.T, data []byte, kind uint8, seed uint64) {
		format := formats[int(kind)%len(formats)]
		format.Version = max(format.Version, 15)
		format.MaxRow = 200
		columns := []string{"a", "b"}
		whole := read(t, format, columns, data)
		sameWhenCut(t, format, columns, data, whole, single(data), cut(rand.New(rand.NewPCG(seed, 0)), data, 30))
		raw := string(whole.Header)
		for _, row := range whole.Rows {
			raw += row.Raw
		}
		if !strings.HasPrefix(string(data), raw) {
			t.Errorf("rows of %q do not follow each other: %q", data, raw)
		}
		// What one server is sent are rows of the whole, in their order: it must see the same rows.
		var some strings.Builder
		var want []readRow
		some.Write(whole.Header)
		for i, row := range whole.Rows {
			if seed>>(i%64)&1 == 1 {
				some.WriteString(row.Raw)
				want = append(want, row)
			}
		}
		if len(want) == 0 || whole.Err != nil {
			return
		}
		part := read(t, format, columns, []byte(some.String()))
		if diff := cmp.Diff(want, part.Rows); diff != "" || part.Err != nil {
			t.Errorf("of %q one server is sent %q: %v (sent -, read +)\n%s", data, some.String(), part.Err, diff)
		}
	})
}
