package hash

import "fmt"

// A Type is a built-in type that a sharding key may have. There is one of each, so that pointers may be compared.
type Type struct {
	Name     string // as format_type writes it, without a modifier
	OID      uint32
	ArrayOID uint32

	aliases  []string
	modifier bool // may be written with one, as numeric(10,2)
	kind     kind
	bits     int // integers: their size
	text     func(string) (Value, error)
	binary   func(string) (Value, error)
}

func (t *Type) String() string { return t.Name }

// Collatable reports whether the type's equality and order depend on a collation: the caller must check that it is
// deterministic, and C for Compare.
func (t *Type) Collatable() bool { return t.kind == kindText || t.kind == kindBpchar }

// SameFamily reports whether values of both types are compared and hashed alike, such that "a = b" across them pins a
// key: smallint, integer and bigint; text and varchar; inet and cidr.
func (t *Type) SameFamily(o *Type) bool { return t.kind == o.kind }

// A RefusedError says why a type cannot be the type of a sharding key.
type RefusedError struct {
	Type   string // as the user named it, or its OID
	Reason string
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("type %s cannot be a sharding key: %s", e.Type, e.Reason)
}

// cidrOID tells cidr from inet, whose values it shares.
const cidrOID = 650

// supported is the table of types. Each row's hash is that of its default hash operator class.
var supported = [...]*Type{
	{Name: "smallint", OID: 21, ArrayOID: 1005, aliases: []string{"int2"}, kind: kindInt, bits: 16, text: textInt(16), binary: binaryInt(2)},
	{Name: "integer", OID: 23, ArrayOID: 1007, aliases: []string{"int4", "int"}, kind: kindInt, bits: 32, text: textInt(32), binary: binaryInt(4)},
	{Name: "bigint", OID: 20, ArrayOID: 1016, aliases: []string{"int8"}, kind: kindInt, bits: 64, text: textInt(64), binary: binaryInt(8)},
	{Name: "oid", OID: 26, ArrayOID: 1028, kind: kindOID, text: textOID, binary: binaryOID},
	{Name: "boolean", OID: 16, ArrayOID: 1000, aliases: []string{"bool"}, kind: kindBool, text: textBool, binary: binaryBool},
	{Name: "numeric", OID: 1700, ArrayOID: 1231, aliases: []string{"decimal", "dec"}, modifier: true, kind: kindNumeric, text: textNumeric, binary: binaryNumeric},
	{Name: "uuid", OID: 2950, ArrayOID: 2951, kind: kindUUID, text: textUUID, binary: binaryUUID},
	{Name: "text", OID: 25, ArrayOID: 1009, kind: kindText, text: textText, binary: textText},
	{Name: "character varying", OID: 1043, ArrayOID: 1015, aliases: []string{"varchar", "char varying"}, modifier: true, kind: kindText, text: textText, binary: textText},
	{Name: "character", OID: 1042, ArrayOID: 1014, aliases: []string{"char", "bpchar"}, modifier: true, kind: kindBpchar, text: textBpchar, binary: textBpchar},
	{Name: "bytea", OID: 17, ArrayOID: 1001, kind: kindBytea, text: textBytea, binary: binaryBytea},
	{Name: "date", OID: 1082, ArrayOID: 1182, kind: kindDate, text: textDate, binary: binaryDate},
	{Name: "time without time zone", OID: 1083, ArrayOID: 1183, aliases: []string{"time"}, modifier: true, kind: kindTime, text: textTime, binary: binaryTime},
	{Name: "timestamp without time zone", OID: 1114, ArrayOID: 1115, aliases: []string{"timestamp"}, modifier: true, kind: kindTimestamp, text: textTimestamp, binary: binaryTimestamp(kindTimestamp)},
	{Name: "timestamp with time zone", OID: 1184, ArrayOID: 1185, aliases: []string{"timestamptz"}, modifier: true, kind: kindTimestamptz, text: textTimestamptz, binary: binaryTimestamp(kindTimestamptz)},
	{Name: "inet", OID: 869, ArrayOID: 1041, kind: kindInet, text: textInet, binary: binaryInet},
	{Name: "cidr", OID: cidrOID, ArrayOID: 651, kind: kindInet, text: textCIDR, binary: binaryCIDR},
}

// Reasons that several types share.
const (
	whyUnknown = "it is none of the types whose hash is known to be the same on every server; types that extensions or users define are not among them"
	whyArray   = "the hash of an array depends on how the server stores it; use the elements as several key columns"
	whyRange   = "ranges have several texts for one value, and their hash depends on the subtype's own"
	whyOID     = "it stands for an object by its OID, which differs from server to server"
	whyNoHash  = "PostgreSQL has no hash operator class for it"
)

// A refusal is a row of the table of types that are known and not supported. An OID of 0 is a type of an extension
// or a class of types, whose OIDs differ per database.
type refusal struct {
	name    string
	oid     uint32
	aliases []string
	why     string
}

var refused = [...]refusal{
	{"real", 700, []string{"float4"}, "floating-point numbers are rounded when they are read; use numeric"},
	{"double precision", 701, []string{"float8", "float"}, "floating-point numbers are rounded when they are read; use numeric"},
	{"time with time zone", 1266, []string{"timetz"}, "its zone comes from the session's TimeZone where the text has none; use time"},
	{"interval", 1186, nil, "its text is read by IntervalStyle, and different intervals are equal"},
	{"money", 790, nil, "its text is read by lc_monetary; use numeric"},
	{"name", 19, nil, "it is cut at the server's name length; use text"},
	{`"char"`, 18, nil, "its text is read differently by different versions; use text"},
	{"bit", 1560, nil, "bit strings are padded and cut by their length; use bytea"},
	{"bit varying", 1562, []string{"varbit"}, "bit strings are padded and cut by their length; use bytea"},
	{"json", 114, nil, whyNoHash},
	{"jsonb", 3802, nil, "its hash follows the server's own reading of the document; use a column with the value in question"},
	{"xml", 142, nil, whyNoHash},
	{"macaddr", 829, nil, "its many texts are not read here; use text or bytea"},
	{"macaddr8", 774, nil, "its many texts are not read here; use text or bytea"},
	{"pg_lsn", 3220, nil, "its texts are not read here; use numeric or bigint"},
	{"xid", 28, nil, "transaction numbers mean nothing on another server"},
	{"xid8", 5069, nil, "transaction numbers mean nothing on another server"},
	{"cid", 29, nil, "command numbers mean nothing on another server"},
	{"tid", 27, nil, "a row's place means nothing on another server"},
	{"regclass", 2205, nil, whyOID},
	{"regtype", 2206, nil, whyOID},
	{"regproc", 24, nil, whyOID},
	{"regprocedure", 2202, nil, whyOID},
	{"regoper", 2203, nil, whyOID},
	{"regoperator", 2204, nil, whyOID},
	{"regrole", 4096, nil, whyOID},
	{"regnamespace", 4089, nil, whyOID},
	{"regconfig", 3734, nil, whyOID},
	{"regdictionary", 3769, nil, whyOID},
	{"regcollation", 4191, nil, whyOID},
	{"aclitem", 1033, nil, whyOID},
	{"point", 600, nil, whyNoHash},
	{"line", 628, nil, whyNoHash},
	{"lseg", 601, nil, whyNoHash},
	{"box", 603, nil, whyNoHash},
	{"path", 602, nil, whyNoHash},
	{"polygon", 604, nil, whyNoHash},
	{"circle", 718, nil, whyNoHash},
	{"tsvector", 3614, nil, whyNoHash},
	{"tsquery", 3615, nil, whyNoHash},
	{"record", 2249, nil, "the hash of a row depends on the types inside; use its fields as several key columns"},
	{"int4range", 3904, nil, whyRange},
	{"int8range", 3926, nil, whyRange},
	{"numrange", 3906, nil, whyRange},
	{"tsrange", 3908, nil, whyRange},
	{"tstzrange", 3910, nil, whyRange},
	{"daterange", 3912, nil, whyRange},
	{"int4multirange", 4451, nil, whyRange},
	{"int8multirange", 4536, nil, whyRange},
	{"nummultirange", 4532, nil, whyRange},
	{"tsmultirange", 4533, nil, whyRange},
	{"tstzmultirange", 4534, nil, whyRange},
	{"datemultirange", 4535, nil, whyRange},
	{"oidvector", 30, nil, whyArray},
	{"int2vector", 22, nil, whyArray},
	{"enum", 0, []string{"anyenum"}, "the hash of an enum is that of its label's OID, which differs from server to server; use text"},
	{"citext", 0, nil, "its hash depends on the server's rules for lower case; use text with lower() applied"},
	{"hstore", 0, nil, "its hash depends on how the server stores it; use text"},
}

// byOID and byName are the tables turned around; nothing writes to them.
var byOID, byName = index()

// entry is what a name or an OID leads to: a type, or a refusal.
type entry struct {
	typ  *Type
	name string
	why  string
}

func index() (oids map[uint32]entry, names map[string]entry) {
	oids, names = map[uint32]entry{}, map[string]entry{}
	for _, t := range supported {
		e := entry{typ: t, name: t.Name}
		oids[t.OID] = e
		oids[t.ArrayOID] = entry{name: t.Name + "[]", why: whyArray}
		names[t.Name] = e
		for _, a := range t.aliases {
			names[a] = e
		}
	}
	for _, r := range refused {
		e := entry{name: r.name, why: r.why}
		if r.oid != 0 {
			oids[r.oid] = e
		}
		names[r.name] = e
		for _, a := range r.aliases {
			names[a] = e
		}
	}
	return oids, names
}

// Types returns the supported types in the order of the table, for documents and messages.
func Types() []*Type { return append([]*Type(nil), supported[:]...) }

// TypeByOID returns the type with an OID of pg_type. The error is a RefusedError.
func TypeByOID(oid uint32) (*Type, error) {
	e, ok := byOID[oid]
	switch {
	case !ok:
		return nil, &RefusedError{Type: fmt.Sprintf("with OID %d", oid), Reason: whyUnknown}
	case e.typ == nil:
		return nil, &RefusedError{Type: e.name, Reason: e.why}
	}
	return e.typ, nil
}
