package hash

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math/bits"
	"strings"
)

// kind is what values have in common that PostgreSQL compares and hashes alike: the three integer types are one, text
// and varchar, inet and cidr.
type kind uint8

const (
	kindNull kind = iota
	kindInt
	kindOID
	kindBool
	kindDate
	kindTimestamp
	kindTimestamptz
	kindTime
	kindNumeric
	kindUUID
	kindText
	kindBpchar
	kindBytea
	kindInet
)

// A Value is a value of a key column in canonical form: two values are == exactly if PostgreSQL's = says so, across
// smallint, integer and bigint too, so that it may be a map key. The zero Value is NULL.
//
// A Value of text, varchar, character or bytea may share the bytes that it was parsed from, and is good until they
// change; Clone makes one that lasts.
type Value struct {
	kind kind
	sign sign  // numeric
	six  bool  // inet: of IPv6
	mask uint8 // inet: length of the network part

	// Integers, oid, boolean, date (days since 2000-01-01), timestamps (microseconds since then), time
	// (microseconds), numeric (weight): a signed number in hi. uuid and inet: the bytes, big-endian, an IPv4
	// address in lo.
	hi, lo uint64

	// text, varchar, bytea: the bytes. character: without trailing blanks. numeric: digits of base 10000, without
	// leading and trailing zeros, two bytes each, little-endian, as the server hashes them.
	s string
}

func number(k kind, n int64) Value { return Value{kind: k, hi: uint64(n)} }

func (v Value) int() int64 { return int64(v.hi) }

// Int returns the value of a smallint, integer or bigint for a key that was not parsed from bytes.
func Int(n int64) Value { return number(kindInt, n) }

// Null returns NULL.
func Null() Value { return Value{} }

// IsNull reports whether the value is NULL.
func (v Value) IsNull() bool { return v.kind == kindNull }

// Clone returns the value with bytes of its own.
func (v Value) Clone() Value {
	v.s = strings.Clone(v.s)
	return v
}

// Equal reports whether two values are equal, as v == o does. NULL equals NULL.
func (v Value) Equal(o Value) bool { return v == o }

// Compare returns -1, 0 or 1 in the btree order of the type, NULL last. Text is ordered by bytes, as under the collation C;
// under another one the caller must not use it. Values of different kinds, which PostgreSQL does not compare
// within one operator family, have some order too.
func (v Value) Compare(o Value) int {
	if v.kind != o.kind {
		switch {
		case v.IsNull():
			return 1
		case o.IsNull():
			return -1
		}
		return cmp.Compare(v.kind, o.kind)
	}
	switch v.kind {
	case kindText, kindBpchar, kindBytea:
		return strings.Compare(v.s, o.s)
	case kindUUID:
		return cmp.Or(cmp.Compare(v.hi, o.hi), cmp.Compare(v.lo, o.lo))
	case kindInet:
		return v.compareInet(o)
	case kindNumeric:
		return v.compareNumeric(o)
	default:
		return cmp.Compare(v.int(), o.int())
	}
}

// compareInet is network_cmp: family, the common part of the networks, their length, the whole address.
func (v Value) compareInet(o Value) int {
	if v.six != o.six {
		if o.six {
			return -1
		}
		return 1
	}
	a, b := v.addressBytes(), o.addressBytes()
	common := min(int(v.mask), int(o.mask))
	if c := comparePrefix(a, b, common); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(v.mask, o.mask), bytes.Compare(a[:], b[:]))
}

// comparePrefix compares the first n bits.
func comparePrefix(a, b [16]byte, n int) int {
	whole := n / 8
	if c := bytes.Compare(a[:whole], b[:whole]); c != 0 || n%8 == 0 {
		return c
	}
	shift := 8 - n%8
	return cmp.Compare(a[whole]>>shift, b[whole]>>shift)
}

// addressBytes returns an inet's address from the left, followed by zeros if it is of IPv4.
func (v Value) addressBytes() (b [16]byte) {
	if !v.six {
		binary.BigEndian.PutUint32(b[:], uint32(v.lo))
		return b
	}
	binary.BigEndian.PutUint64(b[:], v.hi)
	binary.BigEndian.PutUint64(b[8:], v.lo)
	return b
}

func swap(w uint32) uint32 { return bits.ReverseBytes32(w) }
