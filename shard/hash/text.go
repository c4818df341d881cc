package hash

import (
	"encoding/hex"
	"fmt"
	"strconv"
)

// Text returns the value as PostgreSQL writes it under DateStyle ISO, TimeZone UTC and bytea_output hex, for messages
// and SHOW; ParseString reads it back. A numeric comes without zeros at its end, a cidr without the mask of a single
// address, and character without trailing blanks. NULL is "NULL".
func (v Value) Text() string {
	switch v.kind {
	case kindNull:
		return "NULL"
	case kindBool:
		if v.int() != 0 {
			return "t"
		}
		return "f"
	case kindDate:
		return textOfDate(v.int())
	case kindTime:
		return textOfTime(v.int())
	case kindTimestamp:
		return textOfTimestamp(v.int(), "")
	case kindTimestamptz:
		return textOfTimestamp(v.int(), "+00")
	case kindNumeric:
		return v.textOfNumeric()
	case kindUUID:
		return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", v.hi>>32, v.hi>>16&0xffff, v.hi&0xffff, v.lo>>48, v.lo&(1<<48-1))
	case kindText, kindBpchar:
		return v.s
	case kindBytea:
		return `\x` + hex.EncodeToString([]byte(v.s))
	case kindInet:
		return v.textOfInet()
	default:
		return strconv.FormatInt(v.int(), 10)
	}
}

// String makes a Value readable in messages of tests and logs.
func (v Value) String() string { return v.Text() }
