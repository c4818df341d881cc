// Package hash reads values of sharding keys as PostgreSQL reads them, and hashes and orders them as it does.
//
// A sharded table is a declaratively partitioned table whose partitions live on other servers. Which of them a row
// belongs to is decided by PostgreSQL's own rules: for HASH by satisfies_hash_partition, which calls the second support
// function of each key type's hash operator class (hashint8extended, hashtextextended, …) with a fixed seed and
// combines the results; for RANGE and LIST by the btree order of the type. This package is both, without a server:
//
//	t, err := hash.TypeByName("bigint")
//	v, err := t.ParseText([]byte("42"))         // or ParseBinary, or ParseString
//	hash.Satisfies(hash.Row(v), 4, 1)           // FOR VALUES WITH (MODULUS 4, REMAINDER 1)
//
// # What is read, and what is not
//
// A text that means different values under different settings (DateStyle, TimeZone), server versions or moments, or that
// the package does not read for sure as PostgreSQL does, is ErrDepends: the caller must not route by it. A text or a binary
// value that every server rejects is ErrInvalid: whichever server gets the statement raises the error. There
// is no third outcome; what is accepted has one value on every server from 14 to 18.
//
// A type whose hash is not the same on every server, or whose values cannot be read here for sure, is refused by name
// (RefusedError). Supported types and refusals are one table, in types.go.
//
// # Text
//
// Bytes are hashed as they are: they must be in the server's encoding. Text is hashed by its bytes only under a
// deterministic collation, and ordered by its bytes only under the collation C (or POSIX, or C.UTF-8 of
// PostgreSQL's own provider); the caller sees to both. Hashes are those of little-endian servers.
//
// # Modifiers
//
// varchar(3), numeric(10,2) or timestamp(0) change a value that is stored, but not one that is compared with the column:
// 'ab  ' is stored as 'ab ' in varchar(3), but "col = 'ab  '" looks for 'ab  '. Type.Assign does the former.
//
// The package starts no goroutines, keeps no state and imports nothing of this module. All of it may be called
// from any goroutine.
package hash
