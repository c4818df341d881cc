package hash

import (
	"cmp"
	"strings"
)

// sign is the sign of a numeric, in the order of values.
type sign int8

const (
	signMinusInfinity sign = iota - 2
	signNegative
	signZero
	signPositive
	signInfinity
	signNaN // greater than all others
)

// Limits of a numeric as it is stored.
const (
	maxWeight = 1<<15 - 1 // of the first digit of base 10000
	maxScale  = 1<<14 - 1 // decimal digits after the point
)

// maxExponent is the largest exponent that is read; PostgreSQL goes further only for zeros.
const maxExponent = 1_000_000

func special(s sign) Value { return Value{kind: kindNumeric, sign: s} }

// textNumeric reads a numeric: blanks, sign, decimal digits with a point, exponent; or NaN and infinities.
func textNumeric(s string) (Value, error) {
	t := trim(s)
	unsigned, negative := t, false
	if t != "" && (t[0] == '-' || t[0] == '+') {
		unsigned, negative = t[1:], t[0] == '-'
	}
	if unsigned == "" {
		return Value{}, syntax(s)
	}
	if !isDigit(unsigned[0]) && unsigned[0] != '.' {
		switch {
		case hasPrefixFold(t, "nan") && len(t) == 3:
			return special(signNaN), nil
		case !hasPrefixFold(unsigned, "inf") || len(unsigned) != 3 && (len(unsigned) != 8 || !hasPrefixFold(unsigned, "infinity")):
			return Value{}, syntax(s)
		case negative:
			return special(signMinusInfinity), nil
		}
		return special(signInfinity), nil
	}
	if versioned(unsigned) {
		return Value{}, ErrDepends
	}

	mantissa, exponent := unsigned, 0
	if i := strings.IndexAny(unsigned, "eE"); i >= 0 {
		var err error
		if exponent, err = numericExponent(unsigned[i+1:]); err != nil {
			return Value{}, err
		}
		mantissa = unsigned[:i]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	if whole == "" && fraction == "" || !allDigits(whole) || !allDigits(fraction) {
		return Value{}, syntax(s)
	}
	if len(fraction)-exponent > maxScale {
		return Value{}, ErrInvalid
	}
	digits := whole
	if fraction != "" {
		digits += fraction
	}
	return newNumeric(negative, digits, len(whole)-1+exponent)
}

// numericExponent reads what follows the e.
func numericExponent(s string) (int, error) {
	negative := false
	if s != "" && (s[0] == '-' || s[0] == '+') {
		negative = s[0] == '-'
		s = s[1:]
	}
	if s == "" || !allDigits(s) {
		return 0, ErrDepends // strtol, which older versions use, knows blanks too
	}
	n := 0
	for i := range len(s) {
		if n = n*10 + int(s[i]-'0'); n > maxExponent {
			return 0, ErrDepends
		}
	}
	if negative {
		n = -n
	}
	return n, nil
}

func allDigits(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return true
}

// newNumeric makes a numeric of decimal digits, of which the first stands for that many times 10 to the power of weight.
func newNumeric(negative bool, digits string, weight int) (Value, error) {
	rest := strings.TrimLeft(digits, "0")
	weight -= len(digits) - len(rest)
	rest = strings.TrimRight(rest, "0")
	if rest == "" {
		return special(signZero), nil
	}
	v := Value{kind: kindNumeric, sign: signPositive}
	if negative {
		v.sign = signNegative
	}
	first := weight >> 2 // rounds down
	if first > maxWeight {
		return Value{}, ErrInvalid
	}
	v.hi = uint64(int64(first))
	at := weight&3 - 3 // index in rest of the first decimal digit of the first group; not positive
	out := make([]byte, 0, (len(rest)-at+3)/4*2)
	for ; at < len(rest); at += 4 {
		group := 0
		for i := at; i < at+4; i++ {
			group *= 10
			if i >= 0 && i < len(rest) {
				group += int(rest[i] - '0')
			}
		}
		out = append(out, byte(group), byte(group>>8))
	}
	v.s = share(out)
	return v, nil
}

// group returns the i-th digit of base 10000, zero beyond the last.
func (v Value) group(i int) int {
	if 2*i+1 >= len(v.s) {
		return 0
	}
	return int(v.s[2*i]) | int(v.s[2*i+1])<<8
}

// decimal is newNumeric the other way round: decimal digits without zeros at the ends, and the first one's weight.
func (v Value) decimal() (digits string, weight int) {
	out := make([]byte, 0, 2*len(v.s))
	for i := range len(v.s) / 2 {
		g := v.group(i)
		out = append(out, byte('0'+g/1000), byte('0'+g/100%10), byte('0'+g/10%10), byte('0'+g%10))
	}
	rest := strings.TrimLeft(string(out), "0")
	return strings.TrimRight(rest, "0"), int(v.int())*4 + 3 - (len(out) - len(rest))
}

// binaryNumeric reads the count of digits of base 10000, the first one's weight, sign, scale and the digits.
// Digits that the scale would hide are cut off, as PostgreSQL does.
func binaryNumeric(b string) (Value, error) {
	if len(b) < 8 {
		return Value{}, ErrInvalid
	}
	count := int(bigEndian(b[:2]))
	weight := int(int16(bigEndian(b[2:4])))
	scale := int(bigEndian(b[6:8]))
	if scale > maxScale || len(b) != 8+2*count {
		return Value{}, ErrInvalid
	}
	digits := make([]byte, 0, 4*count)
	for i := range count {
		g := bigEndian(b[8+2*i : 10+2*i])
		if g >= 10000 {
			return Value{}, ErrInvalid
		}
		digits = append(digits, byte('0'+g/1000), byte('0'+g/100%10), byte('0'+g/10%10), byte('0'+g%10))
	}
	negative := false
	switch bigEndian(b[4:6]) {
	case 0x0000:
	case 0x4000:
		negative = true
	case 0xC000:
		return special(signNaN), nil
	case 0xD000:
		return special(signInfinity), nil
	case 0xF000:
		return special(signMinusInfinity), nil
	default:
		return Value{}, ErrInvalid
	}
	if keep := (weight+1)*4 + scale; keep < len(digits) {
		digits = digits[:max(keep, 0)]
	}
	return newNumeric(negative, share(digits), weight*4+3)
}

// hashNumeric is hash_numeric_extended: the hash of the digits, mixed with the weight.
func (v Value) hashNumeric(seed uint64) uint64 {
	switch v.sign {
	case signZero:
		return seed - 1
	case signNegative, signPositive:
		return hashBytes(v.s, seed) ^ uint64(v.int())
	default:
		return seed
	}
}

func (v Value) compareNumeric(o Value) int {
	if c := cmp.Compare(v.sign, o.sign); c != 0 || v.sign != signNegative && v.sign != signPositive {
		return c
	}
	c := cmp.Compare(v.int(), o.int())
	for i := 0; c == 0 && i < max(len(v.s), len(o.s))/2; i++ {
		c = cmp.Compare(v.group(i), o.group(i))
	}
	if v.sign == signNegative {
		return -c
	}
	return c
}

// textOfNumeric writes a numeric without zeros at its end, as trim_scale does: how many there were makes no difference.
func (v Value) textOfNumeric() string {
	switch v.sign {
	case signNaN:
		return "NaN"
	case signInfinity:
		return "Infinity"
	case signMinusInfinity:
		return "-Infinity"
	case signZero:
		return "0"
	}
	digits, weight := v.decimal()
	var b strings.Builder
	if v.sign == signNegative {
		b.WriteByte('-')
	}
	switch {
	case weight < 0:
		b.WriteString("0." + strings.Repeat("0", -weight-1) + digits)
	case weight >= len(digits)-1:
		b.WriteString(digits + strings.Repeat("0", weight-len(digits)+1))
	default:
		b.WriteString(digits[:weight+1] + "." + digits[weight+1:])
	}
	return b.String()
}

// round rounds a numeric to a number of decimal digits after the point, which may be negative, half away from zero, and
// checks that no more than precision digits are left.
func (v Value) round(precision, scale int) (Value, error) {
	switch v.sign {
	case signNaN, signZero:
		return v, nil
	case signInfinity, signMinusInfinity:
		return Value{}, ErrInvalid
	}
	digits, weight := v.decimal()
	if keep := weight + 1 + scale; keep < 0 {
		return special(signZero), nil
	} else if keep < len(digits) {
		up := digits[keep] >= '5'
		digits, weight = "0"+digits[:keep], weight+1 // room for a carry
		if up {
			digits = increment(digits)
		}
	}
	r, err := newNumeric(v.sign == signNegative, digits, weight)
	if err != nil || r.sign == signZero {
		return r, err
	}
	if _, weight = r.decimal(); weight+1 > precision-scale {
		return Value{}, ErrInvalid
	}
	return r, nil
}

// increment adds one to the last of some decimal digits, of which the first is not 9.
func increment(digits string) string {
	b := []byte(digits)
	i := len(b) - 1
	for b[i] == '9' {
		b[i] = '0'
		i--
	}
	b[i]++
	return string(b)
}
