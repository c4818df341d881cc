package hash

import (
	"math"
	"unicode/utf8"
)

// typmodHeader is what is added to every type modifier that has a length in it (VARHDRSZ).
const typmodHeader = 4

// Assign returns what a column of the type stores when the value is assigned to it, by INSERT, COPY or UPDATE: numbers and
// times are rounded to the column's modifier, surplus blanks of varchar and character are cut off. typmod is
// pg_attribute.atttypmod, -1 for none. ErrInvalid means that the value does not fit, ErrDepends that this cannot be told,
// or that the value is not of this type's family. A value that is compared with the column is not assigned: it keeps
// its form.
func (t *Type) Assign(v Value, typmod int32) (Value, error) {
	if v.IsNull() {
		return v, nil
	}
	r, err := t.assign(v, int(typmod))
	if err != nil {
		return Value{}, t.wrap(err, v.Text())
	}
	return r, nil
}

func (t *Type) assign(v Value, typmod int) (Value, error) {
	if v.kind != t.kind {
		return Value{}, ErrDepends
	}
	switch t.kind {
	case kindInt:
		if shift := 64 - t.bits; v.int()<<shift>>shift != v.int() {
			return Value{}, ErrInvalid
		}
	case kindText, kindBpchar:
		if typmod >= typmodHeader {
			return v.cut(typmod - typmodHeader)
		}
	case kindNumeric:
		if typmod >= typmodHeader {
			m := typmod - typmodHeader
			return v.round(m>>16&0xffff, m&0x7ff^0x400-0x400) // the scale is a signed number of eleven bits
		}
	case kindTime, kindTimestamp, kindTimestamptz:
		if typmod >= 0 && typmod < 6 {
			return v.roundTime(typmod), nil
		}
	case kindInet:
		if t.OID == cidrOID {
			if _, err := v.network(); err != nil {
				return Value{}, ErrDepends // a cast to cidr cuts, an assignment does not exist
			}
		}
	}
	return v, nil
}

// cut returns the first n characters, if the rest is blanks.
func (v Value) cut(n int) (Value, error) {
	if len(v.s) <= n {
		return v, nil
	}
	if !utf8.ValidString(v.s) {
		return Value{}, ErrDepends // how many characters there are, only the server's encoding tells
	}
	end, seen := len(v.s), 0
	for i := range v.s {
		if seen == n {
			end = i
			break
		}
		seen++
	}
	for i := end; i < len(v.s); i++ {
		if v.s[i] != ' ' {
			return Value{}, ErrInvalid
		}
	}
	v.s = v.s[:end]
	return v, nil
}

// roundTime rounds to a number of digits of the second, half away from zero; infinities stay.
func (v Value) roundTime(digits int) Value {
	n := v.int()
	if n == math.MaxInt64 || n == math.MinInt64 {
		return v
	}
	unit := int64(usPerSecond)
	for range digits {
		unit /= 10
	}
	if n >= 0 {
		n = (n + unit/2) / unit * unit
	} else {
		n = -((-n + unit/2) / unit * unit)
	}
	v.hi = uint64(n)
	return v
}
