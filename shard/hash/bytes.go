package hash

import "math/bits"

// jenkins is the state of Bob Jenkins' 2006 hash as PostgreSQL uses it (src/common/hashfn.c).
type jenkins struct{ a, b, c uint32 }

// newJenkins starts a hash over length bytes. A seed counts as a block of twelve bytes, except zero, which is none.
func newJenkins(length int, seed uint64) jenkins {
	x := 0x9e3779b9 + uint32(length) + 3923095
	h := jenkins{x, x, x}
	if seed != 0 {
		h.a += uint32(seed >> 32)
		h.b += uint32(seed)
		h.mix()
	}
	return h
}

func (h *jenkins) mix() {
	a, b, c := h.a, h.b, h.c
	a -= c
	a ^= bits.RotateLeft32(c, 4)
	c += b
	b -= a
	b ^= bits.RotateLeft32(a, 6)
	a += c
	c -= b
	c ^= bits.RotateLeft32(b, 8)
	b += a
	a -= c
	a ^= bits.RotateLeft32(c, 16)
	c += b
	b -= a
	b ^= bits.RotateLeft32(a, 19)
	a += c
	c -= b
	c ^= bits.RotateLeft32(b, 4)
	b += a
	h.a, h.b, h.c = a, b, c
}

// sum mixes a last time and returns the 64-bit result.
func (h jenkins) sum() uint64 {
	a, b, c := h.a, h.b, h.c
	c ^= b
	c -= bits.RotateLeft32(b, 14)
	a ^= c
	a -= bits.RotateLeft32(c, 11)
	b ^= a
	b -= bits.RotateLeft32(a, 25)
	c ^= b
	c -= bits.RotateLeft32(b, 16)
	a ^= c
	a -= bits.RotateLeft32(c, 4)
	b ^= a
	b -= bits.RotateLeft32(a, 14)
	c ^= b
	c -= bits.RotateLeft32(b, 24)
	return uint64(b)<<32 | uint64(c)
}

// hashBytes is hash_bytes_extended.
func hashBytes(k string, seed uint64) uint64 {
	h := newJenkins(len(k), seed)
	for len(k) >= 12 {
		h.a += word(k)
		h.b += word(k[4:])
		h.c += word(k[8:])
		h.mix()
		k = k[12:]
	}
	// The lowest byte of c belongs to the length, hence the shift by one byte more.
	h.a += word(k)
	if len(k) > 4 {
		h.b += word(k[4:])
	}
	if len(k) > 8 {
		h.c += word(k[8:]) << 8
	}
	return h.sum()
}

// word returns the first four bytes of k as a little-endian number; missing ones are zero.
func word(k string) uint32 {
	if len(k) >= 4 {
		return uint32(k[0]) | uint32(k[1])<<8 | uint32(k[2])<<16 | uint32(k[3])<<24
	}
	var w uint32
	for i := range len(k) {
		w |= uint32(k[i]) << (8 * i)
	}
	return w
}

// hashInt is hashint8extended. It folds the high half in such that a value that fits 32 bits, signed or not, hashes as
// it does as an int2, int4, oid, date or boolean.
func hashInt(n int64, seed uint64) uint64 {
	high := uint32(n >> 32)
	if n < 0 {
		high = ^high
	}
	h := newJenkins(4, seed)
	h.a += uint32(n) ^ high
	return h.sum()
}
