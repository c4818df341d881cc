package hash

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgdrover/internal/pgtest"
)

var seed = flag.Uint64("seed", 1, "seed of the values that are compared with a server")

// Two moduli without a common divisor: remainders by both are the hash itself, but for three of its bits.
const modulus1, modulus2 = 2147483647, 2147483646

// remainders returns a key's remainders by both.
func remainders(v Value) (int32, int32) {
	h := Row(v)
	return int32(h % modulus1), int32(h % modulus2)
}

// sendFunctions are the functions that give a value in the binary format of the wire.
var sendFunctions = map[string]string{
	"smallint": "int2send", "integer": "int4send", "bigint": "int8send", "oid": "oidsend", "boolean": "boolsend", "numeric": "numeric_send", "uuid": "uuid_send",
	"text": "textsend", "character varying": "varcharsend", "character": "bpcharsend", "bytea": "byteasend", "date": "date_send", "time without time zone": "time_send",
	"timestamp without time zone": "timestamp_send", "timestamp with time zone": "timestamptz_send", "inet": "inet_send", "cidr": "cidr_send",
}

// sqlName is the type as a declaration without a length: "character" would be of length one.
func sqlName(t *Type) string {
	if t.kind == kindBpchar {
		return "bpchar"
	}
	return t.Name
}

// place is the name of a type's table and function.
func place(t *Type) string { return "k_" + strings.ReplaceAll(t.Name, " ", "_") }

// session connects with settings, and gives up after a while.
func session(t *testing.T, c *pgtest.Cluster, settings ...string) (context.Context, *pgx.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	conn, err := c.Connect(ctx, "postgres")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(ctx)) })
	for _, s := range settings {
		if _, err := conn.Exec(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	return ctx, conn
}

// startServer starts a server with, for each type, a table that is partitioned by it and a function that tells what
// the server makes of a text.
func startServer(t *testing.T) *pgtest.Cluster {
	t.Helper()
	c := pgtest.Start(t)
	for _, typ := range Types() {
		c.MustExec(t, "postgres",
			fmt.Sprintf("CREATE TABLE %s (v %s) PARTITION BY HASH (v)", place(typ), sqlName(typ)),
			fmt.Sprintf(`CREATE FUNCTION %[1]s(s text, r1 int, r2 int, OUT ok bool, OUT same bool, OUT bin bytea, OUT txt text) LANGUAGE plpgsql AS $$
				DECLARE v %[2]s;
				BEGIN
					v := CAST(s AS %[2]s);
					ok := true;
					same := satisfies_hash_partition('%[1]s'::regclass, %[4]d, r1, v) AND satisfies_hash_partition('%[1]s'::regclass, %[5]d, r2, v);
					bin := %[3]s(v);
					txt := CAST(v AS text);
				EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
					ok := false; same := false;
				END $$`, place(typ), sqlName(typ), sendFunctions[typ.Name], modulus1, modulus2))
	}
	return c
}

// A reading is what the server makes of a text.
type reading struct {
	text     string
	ok, same bool // it is a value; its hash is the one expected
	binary   []byte
	output   string
}

// read asks the server about texts, with the hashes of values that it should find.
func read(ctx context.Context, t *testing.T, conn *pgx.Conn, typ *Type, texts []string, values []Value) []reading {
	t.Helper()
	r1, r2 := make([]int32, len(values)), make([]int32, len(values))
	for i, v := range values {
		r1[i], r2[i] = remainders(v)
	}
	rows, err := conn.Query(ctx, fmt.Sprintf(`SELECT u.s, f.ok, f.same, f.bin, coalesce(f.txt, '')
		FROM unnest($1::text[], $2::int[], $3::int[]) WITH ORDINALITY u(s, r1, r2, n), LATERAL %s(u.s, u.r1, u.r2) f ORDER BY u.n`, place(typ)), texts, r1, r2)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r reading, err error) {
		err = row.Scan(&r.text, &r.ok, &r.same, &r.binary, &r.output)
		return r, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// texts returns the edges of a type and some more.
func textsOf(r *rand.Rand, typ *Type, n int) []string {
	all := append([]string(nil), edges[typ.Name]...)
	for range n {
		all = append(all, anyText(r, typ))
	}
	return all
}

func TestEveryTextAndBinaryValueHashesAsOnTheServer(t *testing.T) {
	t.Parallel()
	c := startServer(t)
	n := 1500
	if testing.Short() {
		n = 200
	}
	for _, settings := range [][]string{
		{"SET DateStyle = 'ISO, MDY'", "SET TimeZone = 'UTC'"},
		{"SET DateStyle = 'SQL, DMY'", "SET TimeZone = 'America/St_Johns'", "SET IntervalStyle = 'sql_standard'", "SET bytea_output = 'escape'"},
		{"SET DateStyle = 'German, YMD'", "SET TimeZone = 'Asia/Kathmandu'", "SET timezone_abbreviations = 'India'"},
	} {
		iso := strings.Contains(settings[0], "ISO")
		for _, typ := range Types() {
			t.Run(typ.Name+", "+settings[0], func(t *testing.T) {
				ctx, conn := session(t, c, settings...)
				texts := textsOf(rand.New(rand.NewPCG(*seed, uint64(typ.OID))), typ, n)
				values, errs := make([]Value, len(texts)), make([]error, len(texts))
				for i, s := range texts {
					values[i], errs[i] = typ.ParseString(s)
				}
				read1 := read(ctx, t, conn, typ, texts, values)
				var outputs []string
				var again []Value
				var accepted, good int
				for i, r := range read1 {
					switch err := errs[i]; {
					case err == nil && !r.ok:
						t.Errorf("%q: read as %v, but the server rejects it", r.text, values[i])
					case err == nil && !r.same:
						t.Errorf("%q: read as %v, which hashes differently", r.text, values[i])
					case errors.Is(err, ErrInvalid) && r.ok:
						t.Errorf("%q: the server reads it as %s: %v", r.text, r.output, err)
					case err != nil && !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrDepends):
						t.Errorf("%q: %v", r.text, err)
					}
					if !r.ok {
						continue
					}
					good++
					v, err := typ.ParseBinary(r.binary)
					if err != nil {
						t.Errorf("%q: binary %x: %v", r.text, r.binary, err)
						continue
					}
					if errs[i] == nil {
						accepted++
						if v != values[i] {
							t.Errorf("%q: binary %x is\n%v, the text is\n%v", r.text, r.binary, v, values[i])
						}
					}
					outputs, again = append(outputs, r.output), append(again, v)
				}
				t.Logf("%d texts, %d of them good, %d of these read", len(texts), good, accepted)
				if accepted*10 < good*7 {
					t.Errorf("only %d of %d good texts are read", accepted, good)
				}
				if !iso {
					return // what the server writes in other styles, it does not read back for sure itself
				}
				for i, r := range read(ctx, t, conn, typ, outputs, again) {
					if !r.same {
						t.Errorf("%q: hashes differently than the server's", r.text)
					}
					v, err := typ.ParseString(r.text)
					if err != nil || v != again[i] {
						t.Errorf("the server's own output %q is read as %v, %v", r.text, v, err)
					}
					want := r.text
					switch {
					case typ.kind == kindNumeric && strings.Contains(want, "."):
						want = strings.TrimSuffix(strings.TrimRight(want, "0"), ".")
						if want == "-0" {
							want = "0"
						}
					case typ.kind == kindBpchar:
						want = strings.TrimRight(want, " ")
					case typ.kind == kindBool:
						want = want[:1]
					case typ.Name == "cidr":
						want = strings.TrimSuffix(strings.TrimSuffix(want, "/32"), "/128")
						if strings.Contains(want, ":") && strings.HasSuffix(r.text, "/32") {
							want = r.text
						}
					case typ.Name == "inet": // the cast to text shows the mask always
						if suffix := fmt.Sprintf("/%d", v.address().BitLen()); strings.HasSuffix(want, suffix) {
							want = strings.TrimSuffix(want, suffix)
						}
					}
					if v.Text() != want {
						t.Errorf("written as\n%q, the server's is\n%q", v.Text(), want)
					}
				}
			})
		}
	}
}

func TestOrderAndEqualityAreTheServers(t *testing.T) {
	t.Parallel()
	c := startServer(t)
	ctx, conn := session(t, c)
	for _, typ := range Types() {
		r := rand.New(rand.NewPCG(*seed, uint64(typ.OID)))
		var texts []string
		for _, s := range textsOf(r, typ, 600) {
			if _, err := typ.ParseString(s); err == nil {
				texts = append(texts, s)
			}
		}
		collate := ""
		if typ.Collatable() {
			collate = ` COLLATE "C"`
		}
		rows, err := conn.Query(ctx, fmt.Sprintf(`SELECT %s(v), coalesce(v = lag(v) OVER w, false) FROM (SELECT CAST(s AS %s) AS v FROM unnest($1::text[]) s) q
			WINDOW w AS (ORDER BY v%s) ORDER BY v%[3]s`, sendFunctions[typ.Name], sqlName(typ), collate), texts)
		if err != nil {
			t.Fatal(err)
		}
		var previous Value
		for i := 0; rows.Next(); i++ {
			var b []byte
			var equal bool
			if err := rows.Scan(&b, &equal); err != nil {
				t.Fatal(err)
			}
			v, err := typ.ParseBinary(b)
			if err != nil {
				t.Fatal(err)
			}
			want := -1
			if equal {
				want = 0
			}
			if i > 0 && (previous.Compare(v) != want || v.Compare(previous) != -want || (previous == v) != equal) {
				t.Errorf("%s: %v and %v compare as %d, want %d", typ, previous, v, previous.Compare(v), want)
			}
			previous = v.Clone()
		}
		if err := rows.Err(); err != nil {
			t.Fatalf("%s: %v", typ, err)
		}
	}
}

func TestBinaryParametersAreReadAsTheServerReadsThem(t *testing.T) {
	t.Parallel()
	c := startServer(t)
	ctx, conn := session(t, c)
	for _, typ := range Types() {
		r := rand.New(rand.NewPCG(*seed, uint64(typ.OID)))
		var binaries [][]byte
		for _, reading := range read(ctx, t, conn, typ, textsOf(r, typ, 100), make([]Value, 100+len(edges[typ.Name]))) {
			if !reading.ok || len(reading.binary) > 1000 {
				continue
			}
			binaries = append(binaries, reading.binary)
			b := append([]byte{}, reading.binary...) // never nil, which would be NULL
			for range 1 + r.IntN(3) {
				switch i := r.IntN(len(b) + 1); {
				case i == len(b) && r.IntN(4) == 0:
					b = append(b, byte(r.Uint32()))
				case len(b) > 0 && r.IntN(12) == 0:
					b = b[:len(b)-1]
				case i < len(b):
					b[i] = byte(r.Uint32()) >> r.IntN(8)
				}
			}
			binaries = append(binaries, b)
			b = make([]byte, len(b))
			for i := range b {
				b[i] = byte(r.Uint32())
			}
			binaries = append(binaries, b)
		}
		sql := fmt.Sprintf("SELECT satisfies_hash_partition('%s'::regclass, %d, $2, $1)", place(typ), modulus1)
		var accepted int
		for _, b := range binaries {
			v, err := typ.ParseBinary(b)
			if typ.Collatable() && !utf8.Valid(b) {
				continue // bytes of an unknown encoding are hashed as they are; this server rejects them
			}
			r1, _ := remainders(v)
			result := conn.PgConn().ExecParams(ctx, sql, [][]byte{b, fmt.Append(nil, r1)}, []uint32{typ.OID, 23}, []int16{1, 0}, nil).Read()
			var pgErr *pgconn.PgError
			switch {
			case result.Err != nil && !errors.As(result.Err, &pgErr):
				t.Fatal(result.Err)
			case err == nil && result.Err != nil:
				t.Errorf("%s: %x is read as %v, but the server says: %v", typ, b, v, result.Err)
			case err != nil && result.Err == nil:
				t.Errorf("%s: %x is good for the server: %v", typ, b, err)
			case err == nil && string(result.Rows[0][0]) != "t":
				t.Errorf("%s: %x is read as %v, which hashes differently", typ, b, v)
			case err == nil:
				accepted++
			}
		}
		if accepted < 50 {
			t.Errorf("%s: only %d of %d binary values are good", typ, accepted, len(binaries))
		}
	}
}

func TestRowsOfCompositeKeysGoToTheServersPartition(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t)
	ctx, conn := session(t, c, "SET TimeZone = 'UTC'")
	columns := []string{"bigint", "text", "uuid", "timestamptz", "numeric", "int", "inet", "date"}
	partitions := [][2]int{{2, 0}, {4, 1}, {8, 3}, {24, 7}, {24, 15}, {24, 23}}
	ddl := "CREATE TABLE k (a bigint, b text, c uuid, d timestamptz, e numeric, f int, g inet, h date) PARTITION BY HASH (a, b, c, d, e, f, g, h)"
	c.MustExec(t, "postgres", ddl)
	for i, p := range partitions {
		c.MustExec(t, "postgres", fmt.Sprintf("CREATE TABLE k%d PARTITION OF k FOR VALUES WITH (MODULUS %d, REMAINDER %d)", i, p[0], p[1]))
	}
	types := make([]*Type, len(columns))
	for i, name := range columns {
		var err error
		if types[i], err = TypeByName(name); err != nil {
			t.Fatal(err)
		}
	}
	r := rand.New(rand.NewPCG(*seed, 0))
	input := make([][]*string, len(columns))
	const rows = 2000
	for range rows {
		for i, typ := range types {
			var cell *string
			for r.IntN(4) != 0 && cell == nil { // else NULL
				s := goodText(r, typ)
				if _, err := typ.ParseString(s); err == nil {
					cell = &s
				}
			}
			input[i] = append(input[i], cell)
		}
	}
	args := make([]any, len(input))
	for i := range input {
		args[i] = input[i]
	}
	if _, err := conn.Exec(ctx, `INSERT INTO k SELECT a::bigint, b, c::uuid, d::timestamptz, e::numeric, f::int, g::inet, h::date
		FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[]) u(a, b, c, d, e, f, g, h)`, args...); err != nil {
		t.Fatal(err)
	}
	result := conn.PgConn().ExecParams(ctx, "SELECT tableoid::regclass::text, a, b, c, d, e, f, g, h FROM k", nil, nil, nil, nil).Read()
	if result.Err != nil || len(result.Rows) != rows {
		t.Fatalf("%d rows, %v", len(result.Rows), result.Err)
	}
	for _, row := range result.Rows {
		values := make([]Value, len(types))
		for i, typ := range types {
			if cell := row[i+1]; cell != nil {
				var err error
				if values[i], err = typ.ParseText(cell); err != nil {
					t.Fatal(err)
				}
			}
		}
		got := ""
		for i, p := range partitions {
			if Satisfies(Row(values...), p[0], p[1]) {
				got += fmt.Sprintf("k%d", i)
			}
		}
		if got != string(row[0]) {
			t.Errorf("%v belongs to %s, want %s", values, got, row[0])
		}
	}
}
