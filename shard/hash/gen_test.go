package hash

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// edges are texts that are worth trying whatever the seed, per type: good ones, bad ones and ones that only some servers read.
var edges = map[string][]string{
	"smallint": {"0", "-0", "+0", "1", "-1", "32767", "32768", "-32768", "-32769", " 7 ", "\t7\n", "\v7\f\r", "007", "", " ", "-", "+", "1.0", "1e3", "0x10", "0b1", "0o7", "1_000", "_1", "1_", "--1", "1 2", "99999999999999999999999999", "99999999999999999999999999x", "١"},
	"integer":  {"2147483647", "2147483648", "-2147483648", "-2147483649", "4294967296", "0", "-1", "true", "0x7fffffff", "+5"},
	"bigint": {
		"9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809", "4294967295", "4294967296", "-4294967296", "-4294967297",
		"18446744073709551616", "18446744073709551615", "92233720368547758070", "0", "-1", " 42", "42 ", "4 2", "0x7fffffffffffffff", "000000000000000000000000000001",
	},
	"oid":     {"0", "1", "4294967295", "4294967296", "-1", "-2147483648", "-2147483649", "010", "0x10", "+3", " 5 ", "", "00", "1 1"},
	"boolean": {"t", "T", "true", "TRUE", "tru", "tr", "f", "false", "fals", "y", "ye", "yes", "n", "no", "on", "of", "off", "o", "1", "0", "11", "00", "", " true ", "truee", "yess", "2", "\tyes\n", "nope"},
	"numeric": {
		"0", "-0", "0.0", "0e5", "0.000e-5", "1", "1.0", "1.00", "-1.50", "10", "100", "1000", "10000", "100000000", "9999", "9999.9999", "0.1", "0.0001", "0.00001", "0.00012345",
		"NaN", "nan", "-NaN", "+nan", "Infinity", "-Infinity", "inf", "+inf", "-inf", "+Infinity", "INF", "infinit", "nano", " NaN ", " -inf ", "1e10", "1E-10", "1e+3", "1e", "1e+", "e5", ".", "+.", ".5", "5.", "5.e1", ".5e1", "1..2", "1.2.3", "1 2",
		" 1.5 ", "1 e5", "1e 5", "1_000", "0x1F", "1e131071", "1e131072", "1e140000", "1e-16383", "1e-16384", "0e-16384", "0e200000", "9.9e131071", "123456789012345678901234567890.123456789012345678901234567890",
		"-99999999999999999999", "1e1000001", "0e9999999", "+-1", "--1", "1e--1", strings.Repeat("9", 2000), "0." + strings.Repeat("0", 1999) + "1", "00000001.10000000", "0b1", "0o7", "1e1_0", "",
	},
	"uuid": {
		"00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}", "a0eebc999c0b4ef8bb6d6bb9bd380a11",
		"a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11", "{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11-", "-a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc99--9c0b-4ef8-bb6d-6bb9bd380a11",
		"{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}", " a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1", "g0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "", "{}", "a0-eebc999c0b4ef8bb6d6bb9bd380a11",
	},
	"text":              {"", " ", "a", "abcdefghijk", "abcdefghijkl", "abcdefghijklm", "abcdefghijklmnopqrstuvwxyz", "ä", "日本語", "🐘", "e\u0301", "é", "a ", " a", "NULL", "\\", "'", "\n", strings.Repeat("x", 5000)},
	"character varying": {"", " ", "a", "a ", "日本語 "},
	"character":         {"", " ", "   ", "a", "a ", "a  ", " a", "a\t", "a\u00a0", "日本語   "},
	"bytea": {
		"", `\x`, `\x00`, `\xDEADbeef`, `\x de ad`, `\x d e`, `\x1`, `\xzz`, `\\`, `\000`, `\377`, `\400`, `\12`, `\8`, `a\\b`, `a\`, "abc", "ä", `\x00 `, ` \x00`, `\X00`, "\\x\n00\t11\r", "\\x\v00", `\001\\x`, `\x0g`,
	},
	"date": {
		"2000-01-01", "1999-12-31", "2024-02-29", "2023-02-29", "2024-02-30", "1900-02-29", "0001-01-01", "0001-12-31 BC", "0001-01-01 BC", "0044-03-15 BC", "4714-11-24 BC", "4714-11-23 BC", "4714-01-01 BC", "0000-01-01", "0000-01-01 BC", "9999-12-31", "10000-01-01", "99999-01-01", "294276-12-31",
		"5874897-12-31", "5874898-01-01", "9999999-01-01", "infinity", "-infinity", "Infinity", "+infinity", "epoch", "now", "today", "tomorrow", "yesterday", "01/02/2003", "2003-1-2", "20030102", "2003-001", "Jan 2 2003", "2003-13-01", "2003-00-10", "2003-01-00", "2003-01-32", "2003-01-02 ", " 2003-01-02", "2003-01-02 04:05", "2003-01-02 bc", "200-01-01", "02-03-04", "J2451187", "", "2003-01-02BC", "12345678-01-01", "0005-02-29 BC", "0004-02-29 BC", "2003-01-02 AD",
	},
	"time without time zone": {
		"00:00:00", "00:00", "23:59:59.999999", "24:00:00", "24:00:00.000001", "24:00", "25:00:00", "12:60:00", "12:00:60", "12:00:61", "12:34:56.1", "12:34:56.1234567", "12:34:56.", "23:59:59.9999999", "12:34:56+02", "12:34 PM", "1:02:03", "120304", "allballs", "now", "12:34:56 ", "12:3", "12:34:5", "12:34:56.000000", "04:05:06 UTC", "12:34:56.12:00", "00:00:00.000001", "12:34.5", "00:61",
	},
	"timestamp without time zone": {
		"2000-01-01 00:00:00", "2000-01-01", "2000-01-01T00:00:00", "2000-01-01t00:00:00", "1999-12-31 23:59:59.999999", "2000-01-01 00:00:00.000001", "4714-11-24 00:00:00 BC", "4714-11-23 23:59:59.999999 BC", "294276-12-31 23:59:59.999999", "294277-01-01 00:00:00", "294276-12-31T23:59:59", "infinity", "-infinity", "epoch", "now", "2024-02-30 00:00:00", "2024-01-01 24:00:00",
		"2024-01-01 12:00:60", "2024-01-01 12:00+02", "2024-01-01 12:00Z", "2024-01-01 12:00", "2024-01-01  12:00", "2024-01-01 12:00:00 BC", "2024-01-01 BC", "0001-01-01 00:00:00 BC", "0000-01-01 00:00:00", "10000-01-01 00:00:00", "10000-01-01T00:00:00", "2024-01-01 ", "2024-01-01 12", "2024-01-01T", "2024-01-01 25:00:00", "2024-06-30 12:00:00 America/New_York", "2024-01-01 12:00:00.5 BC", "2024-01-01T12:00:00.5 BC", "5874897-12-31 00:00:00", "9999999-01-01",
	},
	"timestamp with time zone": {
		"2000-01-01 00:00:00+00", "2000-01-01 00:00:00Z", "2000-01-01T00:00:00Z", "2000-01-01T00:00:00.123456Z", "2000-01-01 00:00:00+01", "2000-01-01 00:00:00-01:30", "2000-01-01 00:00:00+01:02:03", "2000-01-01 00:00:00+15:59:59", "2000-01-01 00:00:00-15:59:59", "2000-01-01 00:00:00+16", "2000-01-01 00:00:00", "2000-01-01", "2000-01-01+00", "2000-01-01 00:00:00 UTC", "2000-01-01 00:00:00 +00", "2000-01-01 00:00:00+0130", "2000-01-01 00:00:00+1",
		"infinity", "-infinity", "now", "4714-11-24 00:00:00+00 BC", "4714-11-24 00:00:00+01 BC", "4714-11-23 23:00:00-02 BC", "4714-11-23 23:00:00-01 BC", "294276-12-31 23:59:59.999999+00", "294277-01-01 00:30:00+01", "294276-12-31 23:30:00-01", "294277-01-01 00:00:00+00", "0044-03-15 12:00:00+00 BC", "0044-03-15 12:00:00Z BC", "2024-02-30 00:00:00+00", "2024-01-01 12:00Z", "2024-01-01 12:00+05:30", "2024-01-01 12:00:00z", "2024-01-01 12:00:00+00:60", "2024-01-01 12:00:00-00", "2024-01-01T12:00:00+02:00", "10000-01-01T00:00:00Z", "2024-01-01 12:00:00ZZ", "2024-01-01 12:00:00Z+01", "2024-01-01 12:00:00+00:00:00:00", "2024-07-01 12:00:00 Europe/Berlin",
	},
	"inet": {
		"0.0.0.0", "255.255.255.255", "10.0.0.1", "10.0.0.1/32", "10.0.0.1/8", "10.0.0.0/8", "10/8", "10.1/16", "10.1/24", "1.2.3.4.", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.02.03.04", "1.2.3.4/33", "1.2.3.4/", "1.2.3.4/08", "1.2.3.4/-1", " 1.2.3.4", "1.2.3.4 ", "0x7f.1", "",
		"::", "::1", "::/0", "::1.2.3.4", "::ffff:1.2.3.4", "::ffff:1.2.3.4/96", "::ffff:0:0", "fe80::1", "fe80::1%eth0", "2001:db8::/32", "2001:DB8:0:0:1:0:0:1", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1::3:4:5:6:7:8", "1:2:3:4:5:6:7:8:9", "1::2::3", ":::", ":", "1:2", "12345::", "::1/128", "::1/129", "::1/064", "0:0:0:0:0:0:1.2.3.4", "::1:2", "::0.1.0.0", "0:0:1::", "1:0:0:2::3", "::1.2.3.04", "::ffff:1.2.3.4/129", "1.2.3.4/4294967304", "::g",
	},
	"cidr": {
		"0.0.0.0/0", "10.0.0.0/8", "10.0.0.1/8", "10.0.0.1", "10.0.0.1/32", "10", "10.1", "192.168", "224.0.0.0", "224", "240.0.0.0", "192.168.1/24", "0xC0A80000", "0x0a", "2001:db8::/32", "2001:db8::1/32", "::", "::1", "::1/128", "::/0", "::ffff:1.2.3.0/120", "128.0.0.0/1", "1.2.3.4/33", "",
	},
}

// noise is what mutated texts are made of.
const noise = "0123456789 +-.:/_eExXTtZzBCabcdefnif{}\\\t%äoy"

func mutate(r *rand.Rand, s string) string {
	runes, letters := []rune(s), []rune(noise)
	for range 1 + r.IntN(2) {
		c := letters[r.IntN(len(letters))]
		switch i := r.IntN(len(runes) + 1); {
		case r.IntN(3) == 0 || i == len(runes):
			runes = append(runes[:i:i], append([]rune{c}, runes[i:]...)...)
		case r.IntN(2) == 0:
			runes = append(runes[:i:i], runes[i+1:]...)
		default:
			runes[i] = c
		}
	}
	return string(runes)
}

// anyInt returns a number of any size, often next to a power of two.
func anyInt(r *rand.Rand, bits int) int64 {
	n := int64(r.Uint64()) >> (64 - 1 - r.IntN(bits))
	if r.IntN(4) == 0 {
		n = int64(1)<<r.IntN(bits) + int64(r.IntN(5)) - 2
	}
	return n
}

func digits(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = '0' + byte(r.IntN(10))
		if r.IntN(3) == 0 {
			b[i] = "09"[r.IntN(2)]
		}
	}
	return string(b)
}

func anyDate(r *rand.Rand) (date, era string) {
	year := 1900 + r.IntN(200)
	switch r.IntN(8) {
	case 0:
		year = r.IntN(10000)
	case 1:
		year = r.IntN(300000)
	case 2:
		year, era = r.IntN(4800), " BC"
	}
	return fmt.Sprintf("%04d-%02d-%02d", year, 1+r.IntN(12), 1+r.IntN(31)), era
}

func anyTime(r *rand.Rand) string {
	s := fmt.Sprintf("%02d:%02d", r.IntN(24), r.IntN(60))
	if r.IntN(6) != 0 {
		s += fmt.Sprintf(":%02d", r.IntN(60))
		if r.IntN(2) == 0 {
			s += "." + digits(r, 1+r.IntN(6))
		}
	}
	return s
}

func pick(r *rand.Rand, of ...string) string { return of[r.IntN(len(of))] }

// anyText returns a random text of a type, mostly a good one.
func anyText(r *rand.Rand, t *Type) string {
	s := goodText(r, t)
	if r.IntN(4) == 0 {
		s = mutate(r, s)
	}
	return s
}

func goodText(r *rand.Rand, t *Type) string {
	switch t.kind {
	case kindInt:
		return fmt.Sprint(anyInt(r, t.bits))
	case kindOID:
		return fmt.Sprint(r.Uint32() >> r.IntN(32))
	case kindBool:
		return pick(r, "true", "false", "t", "f", "yes", "no", "on", "off", "1", "0", "TRUE", "Off")
	case kindNumeric:
		s := pick(r, "", "", "-", "+") + digits(r, 1+r.IntN(1+r.IntN(40)))
		if r.IntN(2) == 0 {
			s += "." + digits(r, r.IntN(1+r.IntN(40)))
		}
		if r.IntN(5) == 0 {
			s += pick(r, "e", "E") + pick(r, "", "-", "+") + digits(r, 1+r.IntN(3))
		}
		return s
	case kindUUID:
		return fmt.Sprintf(pick(r, "%08x-%04x-%04x-%04x-%012x", "%08X%04X%04X%04X%012X", "{%08x-%04x-%04x-%04x-%012x}"), r.Uint32(), r.Uint32()>>16, r.Uint32()>>16, r.Uint32()>>16, r.Uint64()>>16)
	case kindBytea:
		b := make([]byte, r.IntN(40))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		if r.IntN(3) != 0 {
			return fmt.Sprintf("\\x%x", b)
		}
		var s strings.Builder
		for _, c := range b {
			if c >= ' ' && c < 0x7f && c != '\\' {
				s.WriteByte(c)
			} else {
				fmt.Fprintf(&s, `\%03o`, c)
			}
		}
		return s.String()
	case kindDate:
		date, era := anyDate(r)
		return date + era
	case kindTime:
		return anyTime(r)
	case kindTimestamp:
		date, era := anyDate(r)
		return date + pick(r, " ", "T") + anyTime(r) + era
	case kindTimestamptz:
		date, era := anyDate(r)
		zone := pick(r, "Z", "+00", fmt.Sprintf("%+03d", r.IntN(31)-15), fmt.Sprintf("%+03d:%02d", r.IntN(31)-15, r.IntN(60)), fmt.Sprintf("-%02d:%02d:%02d", r.IntN(16), r.IntN(60), r.IntN(60)))
		return date + pick(r, " ", "T") + anyTime(r) + zone + era
	case kindInet:
		return anyInet(r)
	default:
		alphabet := []rune("abcXYZ 019_-äöß日本語🐘\u0301")
		s := make([]rune, r.IntN(40))
		for i := range s {
			s[i] = alphabet[r.IntN(len(alphabet))]
		}
		return string(s) + strings.Repeat(" ", r.IntN(3))
	}
}

func anyInet(r *rand.Rand) string {
	if r.IntN(2) == 0 {
		s := fmt.Sprintf("%d.%d.%d.%d", r.IntN(256), r.IntN(256), r.IntN(256), r.IntN(3))
		if r.IntN(2) == 0 {
			s += fmt.Sprintf("/%d", r.IntN(34))
		}
		return s
	}
	words := make([]string, 8)
	for i := range words {
		words[i] = fmt.Sprintf("%x", r.Uint32()>>(16+r.IntN(17)))
	}
	s := strings.Join(words, ":")
	switch r.IntN(3) {
	case 0:
		i := r.IntN(7)
		j := i + 1 + r.IntN(8-i)
		s = strings.Join(words[:i], ":") + "::" + strings.Join(words[j:], ":")
	case 1:
		s = pick(r, "::", "::ffff:", "::1:", "0:0:0:0:0:0:") + fmt.Sprintf("%d.%d.%d.%d", r.IntN(2), r.IntN(256), r.IntN(256), r.IntN(256))
	}
	if r.IntN(2) == 0 {
		s += fmt.Sprintf("/%d", r.IntN(130))
	}
	return s
}
