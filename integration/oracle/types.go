package oracle

import (
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"
)

// A kind is a type that columns have, with the values that rows and literals are made of.
type kind struct {
	name  string // as SQL writes it
	oid   uint32
	array uint32
	pool  []string // values in text form, few enough that they meet
	odd   []string // SQL that stands where a value should: of another type, out of range, malformed, computed, NULL
	close uint32   // a type that a client may declare for a parameter instead; 0 for none
	bare  bool     // literals need no quotes
}

var words = []string{"", " ", "a", "A", "b", "x", "yy", "naïve", "ß", "東京", "🙂", "o'clock", `back\slash`, `"quoted"`, "null", "5", "-1", "a b", "a%_"}

// The kinds. The same values occur in several on purpose.
var (
	kInt2 = &kind{
		name: "smallint", oid: 21, array: 1005, close: 23, bare: true,
		pool: []string{"0", "1", "2", "3", "5", "7", "-1", "-5", "32767", "-32768"},
		odd:  []string{"32768", "'x'", "2.0", "2.5", "'2'::text", "NULL", "1+1", "2::numeric", "- 5", "2147483648"},
	}
	kInt4 = &kind{
		name: "integer", oid: 23, array: 1007, close: 20, bare: true,
		pool: []string{"0", "1", "2", "3", "4", "5", "7", "11", "-1", "-7", "2147483647", "-2147483648"},
		odd:  []string{"2147483648", "'1e1'", "'x'", "5.0", "4.5", "'5'::text", "NULL", "2+3", "5::bigint", "-(-5)", "+5", "5::float8", "true"},
	}
	kInt8 = &kind{
		name: "bigint", oid: 20, array: 1016, close: 23, bare: true,
		pool: []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "12", "15", "19", "20", "21", "33", "-1", "-2", "-8", "5000000000", "9223372036854775807", "-9223372036854775808"},
		odd: []string{
			"99999999999999999999", "'99999999999999999999'", "'1e3'", "'abc'", "' 7 '", "7.0", "7.5", "7::smallint", "7::numeric", "'7'::text", "NULL", "3+4", "-(-7)", "+7", "- 2", "7::float8", "'7.0'", "true",
			"NULL::bigint", "(7)", "7::int::bigint", "9223372036854775808", "'7'::int", "'-8'::bigint", "-8::int",
		},
	}
	kNumeric = &kind{
		name: "numeric", oid: 1700, array: 1231, close: 20, bare: true,
		pool: []string{"0", "1", "2", "1.5", "-2.25", "100", "12345678901234567890", "0.001", "7"},
		odd:  []string{"'NaN'", "'x'", "7.00", "1e2", "'1e2'", "NULL", "7::float8", "1.5::real", "7::int", "'7'::text", "7::bigint", "'Infinity'"},
	}
	kText = &kind{
		name: "text", oid: 25, array: 1009, close: 1043, pool: words,
		odd: []string{"NULL", "5", "'a'::varchar", "'a'::bpchar", "'a '::char(3)", "'a'||'b'", "upper('a')", "'a'::name", "NULL::text", "'a' COLLATE \"C\"", "U&'\\0061'", "B'1'"},
	}
	kVarchar = &kind{
		name: "varchar(20)", oid: 1043, array: 1015, close: 25, pool: words,
		odd: []string{"NULL", "5", "'a'::text", "'a'::varchar", "'abc'::varchar(1)", "'a'::bpchar", "'b' COLLATE \"C\""},
	}
	kBpchar = &kind{
		name: "char(6)", oid: 1042, array: 1014, close: 25, pool: []string{"a", "b", "x", "yy", "ß", "5", "東", "A"},
		odd: []string{"NULL", "'a  '", "'a '::text", "'a'::varchar", "'a '::char(3)", "'abcdefgh'"},
	}
	kBool = &kind{
		name: "boolean", oid: 16, array: 1000, bare: true, pool: []string{"true", "false"},
		odd: []string{"'t'", "'off'", "'yes'", "NULL", "1", "'x'", "1::boolean", "not true", "'1'"},
	}
	kUUID = &kind{
		name: "uuid", oid: 2950, array: 2951,
		pool: []string{"00000000-0000-0000-0000-000000000000", "11111111-1111-1111-1111-111111111111", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12", "ffffffff-ffff-ffff-ffff-ffffffffffff", "123e4567-e89b-12d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174001"},
		odd:  []string{"'{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}'", "'A0EEBC999C0B4EF8BB6D6BB9BD380A11'", "'x'", "NULL", "'11111111-1111-1111-1111-111111111111'::text", "5"},
	}
	kBytea = &kind{
		name: "bytea", oid: 17, array: 1001, pool: []string{`\x`, `\x00`, `\x01`, `\xdeadbeef`, `\xff00ff`, `\x61`},
		odd: []string{`'a'`, `'\xf'`, `E'\\x61'`, "NULL", `'\x61'::text`, `'a'::text::bytea`, `'\xDEADBEEF'`},
	}
	kDate = &kind{
		name: "date", oid: 1082, array: 1182, close: 1114, pool: []string{"2024-01-01", "2024-02-29", "2023-12-31", "1999-01-08", "2030-06-15", "infinity", "0044-03-15 BC"},
		odd: []string{"'Jan 1 2024'", "'20240101'", "'01/02/2024'", "'2024-02-30'", "NULL", "'2024-01-01'::timestamp", "'2024-01-01 10:00'", "'2024-01-01'::text", "date '2023-12-31' + 1", "'epoch'", "'-infinity'", "5"},
	}
	kTime = &kind{
		name: "time", oid: 1083, array: 1183, pool: []string{"00:00:00", "12:30:00", "23:59:59.999999", "24:00:00", "06:07:08.5"},
		odd: []string{"'noon'", "'12:30'", "'12:30 PM'", "'123000'", "'25:00'", "NULL", "'12:30+02'", "'2024-01-01 12:30'", "'12:30'::interval"},
	}
	kTimestamp = &kind{
		name: "timestamp", oid: 1114, array: 1115, close: 1184, pool: []string{"2024-01-01 00:00:00", "2024-02-29 12:00:00.123456", "1969-12-31 23:59:59", "infinity", "2024-01-01 10:20:30"},
		odd: []string{"'2024-01-01'", "'2024-01-01 00:00:00+02'", "'2024-01-01'::date", "'Jan 1 2024 10:20:30'", "'2024-01-01 00:00'::timestamptz", "NULL", "'x'", "'2024-01-01T10:20:30Z'", "'epoch'"},
	}
	kTimestamptz = &kind{
		name: "timestamptz", oid: 1184, array: 1185, close: 1114, pool: []string{"2024-01-01 00:00:00+00", "2024-02-29 12:00:00.123456+00", "1969-12-31 23:59:59+00", "infinity", "2024-01-01 10:20:30+00"},
		odd: []string{"'2024-01-01'", "'2024-01-01 02:00:00+02'", "'2024-01-01'::date", "'2024-01-01 00:00'::timestamp", "'2024-01-01 00:00:00'", "NULL", "'x'", "'2024-01-01T10:20:30Z'", "'2024-01-01 00:00:00 Europe/Rome'"},
	}
	kInet = &kind{
		name: "inet", oid: 869, array: 1041, pool: []string{"10.0.0.1", "10.0.0.0/8", "192.168.1.0/24", "::1", "fe80::1/64", "10.0.0.2"},
		odd: []string{"'10.0.0.1/32'", "'10.0.0.0/8'::cidr", "'10.0.0.256'", "NULL", "'::0001'", "'10.0.0.1'::text", "'10.0.0.1'::cidr"},
	}
	kOID = &kind{
		name: "oid", oid: 26, array: 1028, close: 20, bare: true, pool: []string{"0", "1", "5", "7", "42", "4294967295"},
		odd: []string{"-1", "4294967296", "'x'", "7::bigint", "7::int", "NULL", "'-1'", "'7'::text", "5.0"},
	}
	kTexts = &kind{name: "text[]", oid: 1009, pool: []string{"{}", "{a}", "{a,b}", `{NULL,"x y"}`, "{東京}"}, odd: []string{"NULL", "'{'"}}
	kJSONB = &kind{name: "jsonb", oid: 3802, pool: []string{"{}", `{"a": 1}`, `{"a": [1, 2], "b": null}`, "null", "5"}, odd: []string{"NULL", "'{'"}}
)

// keyKinds have a table each, which is sharded by a column of the kind.
var keyKinds = []*kind{kInt2, kInt4, kInt8, kNumeric, kText, kVarchar, kBpchar, kBool, kUUID, kBytea, kDate, kTime, kTimestamp, kTimestamptz, kInet, kOID}

// expressionKinds are what the grammar makes expressions of.
var expressionKinds = []*kind{kInt4, kInt8, kText, kBool, kNumeric, kDate, kTimestamp, kText, kInt4}

// plain is the name without a modifier, as part of a table's name.
func (k *kind) plain() string {
	name, _, _ := strings.Cut(k.name, "(")
	return name
}

// cast is the type that values are cast to: without a modifier, which would cut them off.
func (k *kind) cast() string {
	if k == kBpchar {
		return "bpchar"
	}
	return k.plain()
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// encodeBinary is a value's binary format; not ok for text that is no value of the type.
func encodeBinary(m *pgtype.Map, oid uint32, text string) (b []byte, ok bool) {
	t, found := m.TypeForOID(oid)
	if !found {
		return nil, false
	}
	if oid == kText.oid || oid == kVarchar.oid || oid == kBpchar.oid {
		return []byte(text), true
	}
	v, err := t.Codec.DecodeValue(m, oid, pgtype.TextFormatCode, []byte(text))
	if err != nil {
		return nil, false
	}
	b, err = m.Encode(oid, pgtype.BinaryFormatCode, v, []byte{})
	return b, err == nil && b != nil
}

// kindOf returns the kind with a type number, for messages.
func kindOf(oid uint32) string {
	for _, k := range append([]*kind{kTexts, kJSONB}, keyKinds...) {
		if k.oid == oid {
			return k.name
		}
	}
	return fmt.Sprint("type ", oid)
}
