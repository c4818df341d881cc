package hash

// PartitionSeed is the seed that PostgreSQL hashes partition keys with (HASH_PARTITION_SEED).
const PartitionSeed = 0x7A5B22367996DCFD

// Combine folds the hash b of a further column into the hash a of those before it (hash_combine64).
func Combine(a, b uint64) uint64 {
	return a ^ (b + 0x49a0f4dd15e5a8e3 + a<<54 + a>>7)
}

// Row returns the hash of a key with these columns, in the order of the partition key. A NULL contributes
// nothing, not even its place: Row(NULL, x) is Row(x, NULL), as in PostgreSQL.
func Row(values ...Value) uint64 {
	var row uint64
	for i := range values {
		if !values[i].IsNull() {
			row = Combine(row, values[i].Hash(PartitionSeed))
		}
	}
	return row
}

// Satisfies reports whether a row with this hash belongs to the partition FOR VALUES WITH (MODULUS modulus, REMAINDER
// remainder). modulus must be positive; for others the answer is false.
func Satisfies(row uint64, modulus, remainder int) bool {
	return modulus > 0 && remainder >= 0 && row%uint64(modulus) == uint64(remainder)
}

// Hash returns what the second support function of the type's hash operator class returns for the value and this
// seed. NULL, which PostgreSQL never hashes, is 0.
func (v Value) Hash(seed uint64) uint64 {
	switch v.kind {
	case kindNull:
		return 0
	case kindText, kindBpchar, kindBytea:
		return hashBytes(v.s, seed)
	case kindUUID:
		return v.hashUUID(seed)
	case kindInet:
		return v.hashInet(seed)
	case kindNumeric:
		return v.hashNumeric(seed)
	default:
		return hashInt(v.int(), seed)
	}
}

// hashUUID is uuid_hash_extended: the hash of the sixteen bytes, which are held as two big-endian numbers.
func (v Value) hashUUID(seed uint64) uint64 {
	h := newJenkins(16, seed)
	h.a += swap(uint32(v.hi >> 32))
	h.b += swap(uint32(v.hi))
	h.c += swap(uint32(v.lo >> 32))
	h.mix()
	h.a += swap(uint32(v.lo))
	return h.sum()
}
