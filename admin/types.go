package admin

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgtype"
)

// typ is the PostgreSQL type of a result column or parameter.
type typ uint8

const (
	tText typ = iota
	tInt4
	tInt8
	tNumeric
	tBytea
	tFloat8
	tBool
)

// typeInfo describes a type on the wire, in documentation, and as the declared type of a SQLite column.
type typeInfo struct {
	name   string
	oid    uint32
	size   int16
	sqlite string
}

func (t typ) info() typeInfo {
	switch t {
	case tInt4:
		return typeInfo{"int4", pgtype.Int4OID, 4, "INTEGER"}
	case tInt8:
		return typeInfo{"int8", pgtype.Int8OID, 8, "INTEGER"}
	case tNumeric:
		return typeInfo{"numeric", pgtype.NumericOID, -1, "NUMERIC"}
	case tBytea:
		return typeInfo{"bytea", pgtype.ByteaOID, -1, "BLOB"}
	case tFloat8:
		return typeInfo{"float8", pgtype.Float8OID, 8, "REAL"}
	case tBool:
		return typeInfo{"bool", pgtype.BoolOID, 1, "INTEGER"}
	default:
		return typeInfo{"text", pgtype.TextOID, -1, "TEXT"}
	}
}

// column is one column of a result.
type column struct {
	name    string
	typ     typ
	meaning string // one line for the documentation; "" for columns of SELECTs
}

// Values in rows are nil, string, int64, float64, bool or []byte.

// appendText appends v in text format. Booleans and bytes print as PostgreSQL prints them.
func appendText(dst []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		return append(dst, v...)
	case int64:
		return strconv.AppendInt(dst, v, 10)
	case float64:
		switch {
		case math.IsInf(v, 1):
			return append(dst, "Infinity"...)
		case math.IsInf(v, -1):
			return append(dst, "-Infinity"...)
		}
		return strconv.AppendFloat(dst, v, 'g', -1, 64)
	case bool:
		if v {
			return append(dst, 't')
		}
		return append(dst, 'f')
	case []byte:
		dst = append(dst, `\x`...)
		return hex.AppendEncode(dst, v)
	default:
		return fmt.Append(dst, v)
	}
}

// encode returns v as a value of t in the given wire format (0 text, 1 binary); nil stays nil. The value
// must have been through coerce.
func (t typ) encode(m *pgtype.Map, format int16, v any) ([]byte, error) {
	if v == nil {
		return nil, nil
	}
	if format == 0 || t == tText {
		return appendText([]byte{}, v), nil
	}
	switch v := v.(type) {
	case int64:
		switch t {
		case tInt4:
			return binary.BigEndian.AppendUint32(nil, uint32(int32(v))), nil
		case tInt8:
			return binary.BigEndian.AppendUint64(nil, uint64(v)), nil
		case tNumeric:
			return m.Encode(pgtype.NumericOID, pgtype.BinaryFormatCode, pgtype.Numeric{Int: big.NewInt(v), Valid: true}, nil)
		}
	case float64:
		if t == tFloat8 {
			return binary.BigEndian.AppendUint64(nil, math.Float64bits(v)), nil
		}
		if t == tNumeric {
			return m.Encode(pgtype.NumericOID, pgtype.BinaryFormatCode, v, nil)
		}
	case bool:
		if v {
			return []byte{1}, nil
		}
		return []byte{0}, nil
	case []byte:
		return append([]byte{}, v...), nil
	}
	return nil, fmt.Errorf("cannot encode %T as %s", v, t.info().name)
}

// coerce turns a value as SQLite returns it into one that encode takes for t; ok is false if it has no
// such form.
func (t typ) coerce(v any) (_ any, ok bool) {
	if v == nil {
		return nil, true
	}
	switch t {
	case tText:
		if b, isBytes := v.([]byte); isBytes {
			return string(appendText(nil, b)), true
		}
		if s, isString := v.(string); isString {
			return s, true
		}
		return string(appendText(nil, v)), true
	case tInt4, tInt8:
		n, ok := v.(int64)
		if f, isFloat := v.(float64); isFloat && f == math.Trunc(f) && math.Abs(f) < 1<<53 {
			n, ok = int64(f), true
		}
		if t == tInt4 && n != int64(int32(n)) {
			return nil, false
		}
		return n, ok
	case tNumeric:
		switch v.(type) {
		case int64, float64:
			return v, true
		}
	case tFloat8:
		switch v := v.(type) {
		case int64:
			return float64(v), true
		case float64:
			return v, true
		}
	case tBool:
		switch v := v.(type) {
		case bool:
			return v, true
		case int64:
			return v != 0, true
		}
	case tBytea:
		switch v := v.(type) {
		case []byte:
			return v, true
		case string:
			return []byte(v), true
		}
	}
	return nil, false
}

// decodeParam turns a parameter from the wire into a value for SQLite. oid is the declared type.
func decodeParam(m *pgtype.Map, oid uint32, format int16, src []byte) (any, error) {
	if src == nil {
		return nil, nil
	}
	if format != pgtype.TextFormatCode && format != pgtype.BinaryFormatCode {
		return nil, errf("22023", "unsupported format code: %d", format)
	}
	dt, ok := m.TypeForOID(oid)
	if !ok {
		if format == pgtype.TextFormatCode {
			return string(src), nil
		}
		return nil, &pgError{code: "0A000", msg: fmt.Sprintf("the admin database does not know the parameter type with OID %d in binary format", oid), hint: "Send the parameter as text."}
	}
	v, err := dt.Codec.DecodeDatabaseSQLValue(m, oid, format, src)
	if err != nil {
		code := "22P02"
		if format == pgtype.BinaryFormatCode {
			code = "22P03"
		}
		return nil, &pgError{code: code, msg: fmt.Sprintf("invalid value for a parameter of type %s", dt.Name), detail: oneLine(err.Error())}
	}
	switch v := v.(type) {
	case nil, string, int64, float64, bool, []byte:
		if s, ok := v.(string); ok && (!utf8.ValidString(s) || strings.Contains(s, "\x00")) {
			return nil, errf(codeBadText, "invalid byte sequence for encoding \"UTF8\"")
		}
		if oid == pgtype.NumericOID {
			if s, ok := v.(string); ok {
				if f, err := strconv.ParseFloat(s, 64); err == nil {
					if n, err := strconv.ParseInt(s, 10, 64); err == nil {
						return n, nil
					}
					return f, nil
				}
			}
		}
		return v, nil
	case time.Time:
		return showTime(v), nil
	}
	return fmt.Sprint(v), nil
}
