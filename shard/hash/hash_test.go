package hash

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Hashes that PostgreSQL gives, for a test without a server: hashint8extended(42, seed) and so on.
func TestHashesArePostgreSQLs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		typ, text string
		seed      uint64
		want      int64
	}{
		{"bigint", "42", 0, 8010225493015854792},
		{"bigint", "42", PartitionSeed, 7363975540656877951},
		{"bigint", "-9223372036854775808", PartitionSeed, -6050265599104649060},
		{"integer", "-1", PartitionSeed, -5017072347659237694},
		{"oid", "4294967295", 1, 3987656643895367148},
		{"text", "", PartitionSeed, -5700645584453517373},
		{"text", "abcdefghijkl", PartitionSeed, -7876791541613377658},
		{"text", "日本語 and more", 0, -8167040409919239081},
		{"character", "abc  ", PartitionSeed, 3628778498291917250},
		{"uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", PartitionSeed, 424513190990560493},
		{"numeric", "-12345.678900", PartitionSeed, 6445526082213146339},
		{"numeric", "0.000", PartitionSeed, 8816678312871386364},
		{"numeric", "NaN", PartitionSeed, 8816678312871386365},
		{"numeric", "1e-8", 0, 7507508252608306358},
		{"timestamp", "1999-12-31 23:59:59.5", PartitionSeed, 6390024372019561871},
		{"time", "24:00:00", PartitionSeed, 1510475873825010920},
		{"inet", "10.1.2.3/8", PartitionSeed, -4436950161078454001},
		{"inet", "2001:db8::1", PartitionSeed, -8118293289677678482},
	} {
		typ, err := TypeByName(c.typ)
		if err != nil {
			t.Fatal(err)
		}
		v, err := typ.ParseString(c.text)
		if err != nil {
			t.Fatal(err)
		}
		if got := int64(v.Hash(c.seed)); got != c.want {
			t.Errorf("%s %q, seed %d:\ngot  %d\nwant %d", c.typ, c.text, c.seed, got, c.want)
		}
	}
}

func TestIntegersOfAllSizesAreOneFamily(t *testing.T) {
	t.Parallel()
	var values []Value
	for _, name := range []string{"smallint", "integer", "bigint"} {
		typ, err := TypeByName(name)
		if err != nil {
			t.Fatal(err)
		}
		v, err := typ.ParseString("-42")
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, v)
	}
	seen := map[Value]bool{values[0]: true}
	if !seen[values[1]] || !seen[values[2]] || values[0] != Int(-42) {
		t.Errorf("%v are not equal", values)
	}
	integer, _ := TypeByOID(23)
	bigint, _ := TypeByOID(20)
	numeric, _ := TypeByOID(1700)
	if !integer.SameFamily(bigint) || bigint.SameFamily(numeric) {
		t.Error("numeric is another family than the integers")
	}
	if n, err := numeric.ParseString("-42"); err != nil || n == values[0] || n.Compare(values[0]) == 0 {
		t.Errorf("a numeric equals an integer (%v)", err)
	}
}

func TestNullComesLastAndHashesToNothing(t *testing.T) {
	t.Parallel()
	if Null().Compare(Int(math.MaxInt64)) != 1 || Int(0).Compare(Null()) != -1 || Null().Compare(Null()) != 0 {
		t.Error("NULL is not last")
	}
	if Row() != 0 || Row(Null(), Null()) != 0 || Row(Null(), Int(1)) != Row(Int(1)) || Null().Hash(1) != 0 {
		t.Error("NULL contributes to the hash")
	}
	if Null().Text() != "NULL" {
		t.Errorf("NULL is written %s", Null())
	}
}

func TestNoPartitionHasABadModulus(t *testing.T) {
	t.Parallel()
	for _, p := range [][2]int{{0, 0}, {-1, 0}, {2, -1}, {2, 2}} {
		if Satisfies(0, p[0], p[1]) {
			t.Errorf("MODULUS %d, REMAINDER %d", p[0], p[1])
		}
	}
}

func TestClonedValuesOutliveTheirBytes(t *testing.T) {
	t.Parallel()
	text, _ := TypeByName("text")
	b := []byte("abc")
	v, err := text.ParseText(b)
	if err != nil {
		t.Fatal(err)
	}
	kept := v.Clone()
	b[0] = 'x'
	if kept.Text() != "abc" || v.Text() != "xbc" {
		t.Errorf("%s, %s", kept, v)
	}
}

func TestTypesAreFoundByEveryNameOfTheirs(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"bigint": "bigint", "INT8": "bigint", " int ": "integer", "pg_catalog.int2": "smallint", `"int4"`: "integer", "character varying(20)": "character varying", "varchar": "character varying", "varchar (3)": "character varying",
		"char": "character", "char(3)": "character", "bpchar": "character", "character": "character", "numeric(10,2)": "numeric", "numeric(3, -2)": "numeric", "decimal": "numeric",
		"timestamp": "timestamp without time zone", "timestamp(3) with time zone": "timestamp with time zone", "timestamp  with  time zone": "timestamp with time zone", "timestamptz": "timestamp with time zone", "time(0)": "time without time zone",
		"bool": "boolean", "uuid": "uuid", "inet": "inet", "cidr": "cidr", "bytea": "bytea", "date": "date", "oid": "oid", "text": "text",
	} {
		typ, err := TypeByName(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if typ.Name != want {
			t.Errorf("%s is %s, want %s", name, typ, want)
		}
		if same, err := TypeByOID(typ.OID); same != typ {
			t.Errorf("%s by OID: %v, %v", name, same, err)
		}
	}
}

func TestTypesWithoutAPortableHashAreRefusedByName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"citext": "type citext cannot be a sharding key: ", "enum": "type enum ", "float8": "type double precision ", "double precision": "type double precision ", "timetz": "type time with time zone ", "time(3) with time zone": "type time with time zone ",
		"interval": "type interval ", "jsonb": "type jsonb ", "name": "type name ", `"char"`: `type "char" `, `pg_catalog."char"`: `type "char" `, "pg_catalog.char": `type "char" `, "int4range": "type int4range ", "record": "type record ",
		"bigint[]": "type bigint[] cannot be a sharding key: the hash of an array", "integer array": "type integer array ", "shop.colour": "type shop.colour cannot be a sharding key: it is none", "INTEGERS": "type INTEGERS ", `"Int4"`: `type "Int4" `,
	} {
		_, err := TypeByName(name)
		var refused *RefusedError
		if !errors.As(err, &refused) || !strings.HasPrefix(err.Error(), want) || refused.Reason == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for oid, want := range map[uint32]string{1007: "type integer[] ", 701: "type double precision ", 16999: "type with OID 16999 ", 3802: "type jsonb ", 0: "type with OID 0 "} {
		_, err := TypeByOID(oid)
		var refused *RefusedError
		if !errors.As(err, &refused) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("OID %d: %v", oid, err)
		}
	}
	for name, want := range map[string]string{
		"bigint(3)": "type modifier is not allowed for type bigint", "varchar(x)": `type name "varchar(x)": its modifier is not one or two numbers in parentheses`, "varchar(3": `type name "varchar(3": its modifier is not one or two numbers in parentheses`, "": `type name "" is empty`,
	} {
		if _, err := TypeByName(name); err == nil || err.Error() != want {
			t.Errorf("%q: got %v\nwant %s", name, err, want)
		}
	}
}

func TestErrorsNameTheValueAndTheType(t *testing.T) {
	t.Parallel()
	bigint, _ := TypeByName("bigint")
	date, _ := TypeByName("date")
	_, err1 := bigint.ParseString("4x")
	_, err2 := date.ParseString("today")
	_, err3 := bigint.ParseBinary([]byte{1})
	_, err4 := bigint.ParseString(strings.Repeat("x", 1000))
	var got []string
	for _, err := range []error{err1, err2, err3, err4} {
		got = append(got, err.Error())
	}
	want := []string{
		`"4x" for type bigint: invalid value`,
		`"today" for type date: the value depends on the server's settings or version`,
		`1 bytes in binary format for type bigint: invalid value`,
		`"` + strings.Repeat("x", 60) + `"… for type bigint: invalid value`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestKeysOfCommonTypesAreRoutedWithoutAllocation(t *testing.T) {
	for _, c := range []struct{ typ, text string }{
		{"bigint", "-9223372036854775807"},
		{"integer", "42"},
		{"smallint", "7"},
		{"text", "a text that is longer than a few bytes"},
		{"varchar", "äöü"},
		{"character", "abc   "},
		{"uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"},
		{"date", "2024-02-29"},
		{"timestamp", "2024-02-29 12:34:56.789"},
		{"timestamptz", "2024-02-29 12:34:56.789+02"},
		{"boolean", "true"},
		{"inet", "2001:db8::1"},
		{"bytea", "abc"},
	} {
		typ, err := TypeByName(c.typ)
		if err != nil {
			t.Fatal(err)
		}
		b := []byte(c.text)
		var binary []byte
		if typ.kind == kindInt {
			binary = make([]byte, typ.bits/8)
		} else if typ.kind == kindUUID {
			binary = make([]byte, 16)
		} else if typ.kind == kindText || typ.kind == kindBytea {
			binary = b
		}
		var here int
		n := testing.AllocsPerRun(100, func() {
			v, err := typ.ParseText(b)
			if err != nil {
				t.Fatal(err)
			}
			if Satisfies(Row(v, v), 16, 3) {
				here++
			}
			if binary != nil {
				if v, err = typ.ParseBinary(binary); err != nil {
					t.Fatal(err)
				}
				if Satisfies(Row(v), 16, 3) {
					here++
				}
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", c.typ, n)
		}
	}
}

func FuzzParseText(f *testing.F) {
	for name, texts := range edges {
		typ, err := TypeByName(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, s := range texts {
			f.Add(typ.OID, []byte(s))
		}
	}
	f.Fuzz(func(t *testing.T, oid uint32, s []byte) {
		typ, err := TypeByOID(oid)
		if err != nil {
			return
		}
		v, err := typ.ParseText(s)
		checkParsed(t, typ, v, err)
	})
}

func FuzzParseBinary(f *testing.F) {
	for _, typ := range Types() {
		for _, n := range []int{0, 1, 2, 4, 8, 16, 20} {
			f.Add(typ.OID, make([]byte, n))
			f.Add(typ.OID, bytes.Repeat([]byte{2}, n))
		}
	}
	numeric := uint32(1700)
	f.Add(numeric, []byte{0, 2, 0, 0, 0x40, 0, 0, 1, 0, 1, 0x26, 0x0f})
	f.Add(numeric, []byte{0, 1, 0xff, 0xf0, 0, 0, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, oid uint32, b []byte) {
		typ, err := TypeByOID(oid)
		if err != nil {
			return
		}
		v, err := typ.ParseBinary(b)
		checkParsed(t, typ, v, err)
	})
}

// checkParsed checks what must hold of anything that was parsed: one of the two errors, or a value whose text is read back as the
// same value and that equals itself.
func checkParsed(t *testing.T, typ *Type, v Value, err error) {
	if err != nil {
		if !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrDepends) || v != Null() {
			t.Fatalf("%v, %v", v, err)
		}
		return
	}
	again, err := typ.ParseString(v.Text())
	if err != nil || again != v || again.Compare(v) != 0 || Row(again) != Row(v) {
		t.Fatalf("%q is read back as %q, %v", v.Text(), again, err)
	}
	for _, typmod := range []int32{-1, 0, 3, 7, 10<<16 + 2 + 4} {
		if a, err := typ.Assign(v, typmod); err == nil && a.Compare(a) != 0 {
			t.Fatalf("%q is assigned as %v", v.Text(), a)
		}
	}
}
