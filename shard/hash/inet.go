package hash

import (
	"net/netip"
	"strconv"
	"strings"
)

// Families and flags as they are stored and sent (PGSQL_AF_INET, PGSQL_AF_INET6).
const (
	familyIPv4 = 2
	familyIPv6 = 3
)

// newInet makes an inet of an address, which has no zone, and the length of its network part.
func newInet(a netip.Addr, mask int) Value {
	v := Value{kind: kindInet, mask: uint8(mask)}
	if a.Is4() {
		b := a.As4()
		v.lo = bigEndian(string(b[:]))
		return v
	}
	b := a.As16()
	v.six = true
	v.hi, v.lo = bigEndian(string(b[:8])), bigEndian(string(b[8:]))
	return v
}

// address returns an inet's address.
func (v Value) address() netip.Addr {
	b := v.addressBytes()
	if v.six {
		return netip.AddrFrom16(b)
	}
	return netip.AddrFrom4([4]byte(b[:4]))
}

// textInet reads an inet. PostgreSQL takes shortened addresses, zeros in front and some slips too; these are left alone.
func textInet(s string) (Value, error) {
	for i := range len(s) {
		if c := s[i]; hexDigit(c) > 15 && c != '.' && c != ':' && c != '/' {
			return Value{}, syntax(s)
		}
	}
	host, mask, masked := strings.Cut(s, "/")
	a, err := netip.ParseAddr(host)
	if err != nil {
		return Value{}, ErrDepends
	}
	n := a.BitLen()
	if masked {
		if len(mask) == 0 || len(mask) > 3 || !isDigit(mask[0]) || len(mask) > 1 && mask[0] == '0' {
			return Value{}, ErrDepends
		}
		n, err = strconv.Atoi(mask)
		if err != nil {
			return Value{}, ErrDepends
		}
		if n > a.BitLen() {
			return Value{}, ErrInvalid
		}
	}
	return newInet(a, n), nil
}

// textCIDR reads a cidr, which has no bits right of its network part.
func textCIDR(s string) (Value, error) {
	if strings.ContainsAny(s, "xX") {
		return Value{}, ErrDepends // a network may be written as one hexadecimal number
	}
	v, err := textInet(s)
	if err != nil {
		return Value{}, err
	}
	return v.network()
}

func (v Value) network() (Value, error) {
	if a := v.address(); netip.PrefixFrom(a, int(v.mask)).Masked().Addr() != a {
		return Value{}, ErrInvalid
	}
	return v, nil
}

// binaryInet reads family, length of the network part, a flag that does not matter, the address's length and the address.
func binaryInet(b string) (Value, error) {
	if len(b) < 4 {
		return Value{}, ErrInvalid
	}
	var a netip.Addr
	switch {
	case b[0] == familyIPv4 && len(b) == 8:
		a = netip.AddrFrom4([4]byte([]byte(b[4:])))
	case b[0] == familyIPv6 && len(b) == 20:
		a = netip.AddrFrom16([16]byte([]byte(b[4:])))
	default:
		return Value{}, ErrInvalid
	}
	if int(b[1]) > a.BitLen() || int(b[3]) != a.BitLen()/8 {
		return Value{}, ErrInvalid
	}
	return newInet(a, int(b[1])), nil
}

func binaryCIDR(b string) (Value, error) {
	v, err := binaryInet(b)
	if err != nil {
		return Value{}, err
	}
	return v.network()
}

// hashInet is hashinetextended: the hash of family, length of the network part, and address.
func (v Value) hashInet(seed uint64) uint64 {
	var b [18]byte
	a := v.addressBytes()
	b[1] = v.mask
	copy(b[2:], a[:])
	if v.six {
		b[0] = familyIPv6
		return hashBytes(share(b[:]), seed)
	}
	b[0] = familyIPv4
	return hashBytes(share(b[:6]), seed)
}

// textOfInet is inet_out; cidr_out would always show the length of the network part.
func (v Value) textOfInet() string {
	a := v.address()
	s := a.String()
	if v.six && v.hi == 0 && v.lo>>32 == 0 && v.lo>>16 != 0 { // an old way to embed IPv4 that netip does not write
		s = "::" + netip.AddrFrom4([4]byte{byte(v.lo >> 24), byte(v.lo >> 16), byte(v.lo >> 8), byte(v.lo)}).String()
	}
	if int(v.mask) != a.BitLen() {
		s += "/" + strconv.Itoa(int(v.mask))
	}
	return s
}
