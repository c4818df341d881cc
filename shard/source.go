package shard

import (
	"math"
	"strconv"

	"pgdrover/internal/sqlparse"
	"pgdrover/shard/hash"

	pg "github.com/pganalyze/pg_query_go/v5"
)

// sourceKind says where a value comes from when a statement runs.
type sourceKind uint8

const (
	sourceNone    sourceKind = iota
	sourceNull               // NULL
	sourceLiteral            // a literal that was lifted out of the text
	sourceParam              // a parameter
	sourceFixed              // a constant that is part of the statement's shape
	sourceNextID             // an id that is drawn; index is where the row has DEFAULT or the call, -1 if nowhere
)

// source is a value that a statement has when it runs, and how it is read.
type source struct {
	kind     sourceKind
	index    int // of the literal or parameter, from 0
	class    sqlparse.Class
	negative bool // a minus sign stands before a number
	array    bool // an array of values
	fixed    hash.Value
	text     string // sourceFixed: the text, until it is read
	str      bool   // sourceFixed: it was a string
	cast     uint32 // OID of the type that it is cast to, or of the elements of its array; 0: what it is compared with decides

	typ    *hash.Type // it is read as this type; set by readAs
	number bool       // typ is numeric and the value is an integer
}

// untyped says that the value is a string without a type, which takes that of its context.
func (s *source) untyped() bool {
	switch s.kind {
	case sourceLiteral:
		return s.cast == 0 && (s.class == sqlparse.ClassString || s.class == sqlparse.ClassEscape || s.class == sqlparse.ClassDollar)
	case sourceFixed:
		return s.cast == 0 && s.str
	case sourceParam:
		return s.cast == 0
	}
	return false
}

// constant finds where the value of a constant comes from.
func (a *analysis) constant(c *pg.A_Const) source {
	if c.GetIsnull() {
		return source{kind: sourceNull}
	}
	n, negative, lifted := a.literalAt(c.GetLocation())
	switch v := c.GetVal().(type) {
	case *pg.A_Const_Sval:
		if lifted && a.literalIs(n, v.Sval.GetSval()) {
			return source{kind: sourceLiteral, index: n, class: a.literal(n).Class}
		}
		return source{kind: sourceFixed, text: v.Sval.GetSval(), str: true}
	case *pg.A_Const_Ival:
		text := itoa(int(v.Ival.GetIval()))
		if lifted && (a.literal(n).Class == sqlparse.ClassInt4 || a.literal(n).Class == sqlparse.ClassInt8) {
			return source{kind: sourceLiteral, index: n, class: a.literal(n).Class, negative: negative}
		}
		if a.folder.NewNumbers {
			return source{} // servers before 16 read it otherwise, or not at all
		}
		return source{kind: sourceFixed, text: text, class: sqlparse.ClassInt4}
	case *pg.A_Const_Boolval:
		text := "false"
		if v.Boolval.GetBoolval() {
			text = "true"
		}
		return source{kind: sourceFixed, text: text, str: true, cast: oidBool}
	case *pg.A_Const_Fval:
		if lifted {
			if class := a.literal(n).Class; class == sqlparse.ClassInt4 || class == sqlparse.ClassInt8 || class == sqlparse.ClassNumeric {
				return source{kind: sourceLiteral, index: n, class: class, negative: negative}
			}
			break
		}
		// A bigint; the least one is a numeric where it is lifted, and is none here either.
		if n, err := strconv.ParseInt(v.Fval.GetFval(), 10, 64); err == nil && n != math.MinInt64 && !a.folder.NewNumbers {
			return source{kind: sourceFixed, text: v.Fval.GetFval(), class: sqlparse.ClassInt8}
		}
	}
	return source{}
}

func (a *analysis) literal(n int) *sqlparse.Literal { return &a.folder.LiteralsOf(a.shape)[n] }

// literalIs checks that a literal has the value that the parser found.
func (a *analysis) literalIs(n int, value string) bool {
	got, err := a.literal(n).AppendValue(nil, a.text)
	return err == nil && string(got) == value
}

// Types of a family share what "=" means between them.
func sameFamilyOID(a, b uint32) bool {
	l, err := hash.TypeByOID(a)
	if err != nil {
		return false
	}
	r, err := hash.TypeByOID(b)
	return err == nil && l.SameFamily(r)
}

func isIntegerOID(oid uint32) bool { return oid == oidInt2 || oid == oidInt4 || oid == oidInt8 }

func isStringOID(oid uint32) bool { return oid == oidText || oid == oidVarchar }

// arrayOID returns the type of arrays of a type, 0 if it is not known.
func arrayOID(element uint32) uint32 {
	if t, err := hash.TypeByOID(element); err == nil {
		return t.ArrayOID
	}
	return 0
}

// elementOf returns the element type of an array type, 0 if it is not known.
func elementOf(array uint32) uint32 {
	for _, t := range hash.Types() {
		if t.ArrayOID == array {
			return t.OID
		}
	}
	return 0
}

// readAs says how a value is read that is compared with a column of type typ. It is not ok if the comparison may be another one than
// equality of that type.
func (a *analysis) readAs(s source, typ *hash.Type) (source, bool) {
	if s.kind == sourceNull {
		return s, true
	}
	cast := s.cast
	if s.kind == sourceParam {
		declared := a.declared(int32(s.index) + 1)
		if declared != 0 && s.array {
			declared = elementOf(declared)
			if declared == 0 {
				return s, false
			}
		}
		switch {
		case declared == 0:
		case cast == 0 || cast == declared || isIntegerOID(cast) && isIntegerOID(declared) || isStringOID(cast) && isStringOID(declared):
			cast = declared
		default:
			return s, false
		}
	}
	switch s.class {
	case sqlparse.ClassInt4, sqlparse.ClassInt8, sqlparse.ClassNumeric:
		if s.kind == sourceParam || s.str {
			break
		}
		return a.readNumber(s, typ, cast)
	case sqlparse.ClassBit, sqlparse.ClassHex:
		return s, false
	}
	s.typ = typ
	if cast != 0 {
		t, err := hash.TypeByOID(cast)
		if err != nil || !t.SameFamily(typ) {
			return s, false
		}
		s.typ = t
	}
	if !a.plainEquality(typ, s.typ) {
		return s, false
	}
	if s.kind != sourceFixed {
		return s, true
	}
	if s.array || typ.Collatable() && !a.asciiOr(s.text) {
		return s, false
	}
	v, err := s.typ.ParseString(s.text)
	s.fixed = v
	return s, err == nil
}

// asciiOr says whether a text has the same bytes on the server.
func (a *analysis) asciiOr(text string) bool {
	if a.env.UTF8 && a.cat.Encoding == "UTF8" {
		return true
	}
	return isASCII([]byte(text))
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// readNumber is readAs for a number in the text.
func (a *analysis) readNumber(s source, typ *hash.Type, cast uint32) (source, bool) {
	own := uint32(oidInt4)
	switch s.class {
	case sqlparse.ClassInt8:
		own = oidInt8
	case sqlparse.ClassNumeric:
		own = oidNumeric
	}
	if cast == 0 {
		cast = own
	}
	from, _ := hash.TypeByOID(own)
	to, err := hash.TypeByOID(cast)
	if err != nil || !to.SameFamily(from) && !(isInteger(from) && cast == oidNumeric) {
		return s, false // rounded, or no number
	}
	switch {
	case isInteger(typ) && isInteger(to):
		s.typ = to
	case typ.OID == oidNumeric && (to.OID == oidNumeric || isInteger(to)):
		s.typ, s.number = typ, true
	case typ.OID == oidOID && s.class == sqlparse.ClassInt4 && !s.negative && isInteger(to):
		s.typ, s.number = typ, true
	default:
		return s, false
	}
	if !a.plainEquality(typ, s.typ) {
		return s, false
	}
	if s.kind == sourceFixed {
		v, err := s.typ.ParseString(s.text)
		s.fixed = v
		return s, err == nil
	}
	return s, true
}

// errors of reading a value, as far as routing cares.
type readOutcome uint8

const (
	readOK     readOutcome = iota
	readNone               // the value can be equal to nothing: the server raises an error, or no row has it
	readUnsure             // the value depends on what the router does not know
)

// integerValue reads an integer literal.
func integerValue(l *sqlparse.Literal, text []byte, negative bool) (int64, bool) {
	n, ok := l.Int(text) // unsigned in the text, so that the sign can be turned
	if negative {
		n = -n
	}
	return n, ok
}
