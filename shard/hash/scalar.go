package hash

import (
	"strings"
)

// textInt reads an integer of a size in bits.
func textInt(bits int) func(string) (Value, error) {
	limit := uint64(1) << (bits - 1) // the absolute value of the smallest
	return func(s string) (Value, error) {
		t := trim(s)
		negative := false
		if t != "" && (t[0] == '-' || t[0] == '+') {
			negative = t[0] == '-'
			t = t[1:]
		}
		if t == "" {
			return Value{}, syntax(s)
		}
		var n uint64
		for i := range len(t) {
			if !isDigit(t[i]) {
				if versioned(t) {
					return Value{}, ErrDepends
				}
				return Value{}, syntax(s)
			}
			if n <= limit/10 {
				n = n*10 + uint64(t[i]-'0')
			} else {
				n = limit + 1 // out of range, whatever digits follow
			}
		}
		switch {
		case negative && n <= limit:
			return number(kindInt, -int64(n)), nil
		case !negative && n < limit:
			return number(kindInt, int64(n)), nil
		}
		return Value{}, ErrInvalid
	}
}

// binaryInt reads an integer of a size in bytes.
func binaryInt(size int) func(string) (Value, error) {
	return func(b string) (Value, error) {
		if len(b) != size {
			return Value{}, ErrInvalid
		}
		shift := 64 - 8*size
		return number(kindInt, int64(bigEndian(b)<<shift)>>shift), nil
	}
}

// bigEndian returns up to eight bytes as a number.
func bigEndian(b string) uint64 {
	var n uint64
	for i := range len(b) {
		n = n<<8 | uint64(b[i])
	}
	return n
}

// textOID reads an OID. Signs wrap around, and a leading zero means octal from PostgreSQL 16 on: both are left alone.
func textOID(s string) (Value, error) {
	t := trim(s)
	if t == "" {
		return Value{}, syntax(s)
	}
	var n uint64
	for i := range len(t) {
		if !isDigit(t[i]) || i == 1 && t[0] == '0' {
			return Value{}, ErrDepends
		}
		if n = n*10 + uint64(t[i]-'0'); n > 1<<32-1 {
			return Value{}, ErrDepends
		}
	}
	return number(kindOID, int64(n)), nil
}

func binaryOID(b string) (Value, error) {
	if len(b) != 4 {
		return Value{}, ErrInvalid
	}
	return number(kindOID, int64(bigEndian(b))), nil
}

// boolWords are what boolean reads, and how much of each is needed to tell it from the others.
var boolWords = [...]struct {
	word  string
	least int
	value int64
}{{"true", 1, 1}, {"false", 1, 0}, {"yes", 1, 1}, {"no", 1, 0}, {"on", 2, 1}, {"off", 2, 0}, {"1", 1, 1}, {"0", 1, 0}}

func textBool(s string) (Value, error) {
	t := trim(s)
	for _, w := range boolWords {
		if len(t) >= w.least && len(t) <= len(w.word) && hasPrefixFold(t, w.word[:len(t)]) {
			return number(kindBool, w.value), nil
		}
	}
	return Value{}, syntax(s)
}

func binaryBool(b string) (Value, error) {
	if len(b) != 1 {
		return Value{}, ErrInvalid
	}
	if b[0] != 0 {
		return number(kindBool, 1), nil
	}
	return number(kindBool, 0), nil
}

// textUUID reads 32 hexadecimal digits, with a dash allowed after every fourth but the last, and braces around all.
func textUUID(s string) (Value, error) {
	t := s
	if len(t) > 1 && t[0] == '{' && t[len(t)-1] == '}' {
		t = t[1 : len(t)-1]
	}
	v := Value{kind: kindUUID}
	for i := range 32 {
		if i > 0 && i%4 == 0 && t != "" && t[0] == '-' {
			t = t[1:]
		}
		if t == "" {
			return Value{}, ErrInvalid
		}
		d := hexDigit(t[0])
		if d > 15 {
			return Value{}, syntax(s)
		}
		v.hi, v.lo = v.hi<<4|v.lo>>60, v.lo<<4|uint64(d)
		t = t[1:]
	}
	if t != "" {
		return Value{}, ErrInvalid
	}
	return v, nil
}

func binaryUUID(b string) (Value, error) {
	if len(b) != 16 {
		return Value{}, ErrInvalid
	}
	return Value{kind: kindUUID, hi: bigEndian(b[:8]), lo: bigEndian(b[8:])}, nil
}

// textText reads text and varchar, whose binary format is the same. No encoding has a zero byte.
func textText(s string) (Value, error) {
	if strings.IndexByte(s, 0) >= 0 {
		return Value{}, ErrInvalid
	}
	return Value{kind: kindText, s: s}, nil
}

// textBpchar reads character, whose trailing blanks do not count.
func textBpchar(s string) (Value, error) {
	if strings.IndexByte(s, 0) >= 0 {
		return Value{}, ErrInvalid
	}
	return Value{kind: kindBpchar, s: strings.TrimRight(s, " ")}, nil
}

func binaryBytea(b string) (Value, error) { return Value{kind: kindBytea, s: b}, nil }

// textBytea reads the hex format and the escape format.
func textBytea(s string) (Value, error) {
	if strings.IndexByte(s, 0) >= 0 {
		return Value{}, ErrInvalid
	}
	if strings.HasPrefix(s, `\x`) {
		return byteaHex(s[2:])
	}
	if strings.IndexByte(s, '\\') < 0 {
		return Value{kind: kindBytea, s: s}, nil
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '\\':
			out = append(out, s[i])
		case i+1 < len(s) && s[i+1] == '\\':
			out = append(out, '\\')
			i++
		case i+3 < len(s) && s[i+1]-'0' < 4 && s[i+2]-'0' < 8 && s[i+3]-'0' < 8:
			out = append(out, (s[i+1]-'0')<<6|(s[i+2]-'0')<<3|(s[i+3]-'0'))
			i += 3
		default:
			return Value{}, ErrInvalid
		}
	}
	return Value{kind: kindBytea, s: string(out)}, nil
}

// byteaHex reads pairs of digits; blanks may stand between pairs, but not within.
func byteaHex(s string) (Value, error) {
	out := make([]byte, 0, len(s)/2)
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case ' ', '\n', '\t', '\r':
			continue
		default:
			if i+1 == len(s) {
				return Value{}, ErrInvalid
			}
			high, low := hexDigit(c), hexDigit(s[i+1])
			if high > 15 || low > 15 {
				return Value{}, ErrInvalid
			}
			out = append(out, high<<4|low)
			i++
		}
	}
	return Value{kind: kindBytea, s: string(out)}, nil
}
