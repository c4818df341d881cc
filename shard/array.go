package shard

import (
	"encoding/binary"

	"pgdrover/shard/hash"
)

// binaryArray reads the binary format of an array of at most one dimension (array_recv).
func binaryArray(sh *shape, t *hash.Type, raw []byte, values []hash.Value) ([]hash.Value, bool) {
	word := func() (uint32, bool) {
		if len(raw) < 4 {
			return 0, false
		}
		n := binary.BigEndian.Uint32(raw)
		raw = raw[4:]
		return n, true
	}
	dims, ok := word()
	if !ok {
		return values, false
	}
	if _, ok = word(); !ok { // flags
		return values, false
	}
	element, ok := word()
	switch {
	case !ok || dims > 1:
		return values, false
	case dims == 0:
		return values, true
	}
	if own, err := hash.TypeByOID(element); err != nil || !own.SameFamily(t) {
		return values, false
	}
	count, ok := word()
	if _, lower := word(); !ok || !lower {
		return values, false
	}
	for range count {
		size, ok := word()
		if !ok {
			return values, false
		}
		if int32(size) == -1 {
			continue
		}
		if uint64(size) > uint64(len(raw)) || len(values) >= maxValues {
			return values, false
		}
		v, out := parse(sh, t, raw[:size], true)
		raw = raw[size:]
		switch out {
		case readOK:
			values = append(values, v)
		case readUnsure:
			return values, false
		}
	}
	return values, len(raw) == 0
}

// textArray reads '{a,"b",NULL}'; arrays with bounds or more dimensions, and what is not well formed, pin nothing.
func textArray(sh *shape, t *hash.Type, raw []byte, values []hash.Value) ([]hash.Value, bool) {
	raw = trimBlank(raw)
	if len(raw) < 2 || raw[0] != '{' || raw[len(raw)-1] != '}' {
		return values, false
	}
	raw = trimBlank(raw[1 : len(raw)-1])
	if len(raw) == 0 {
		return values, true
	}
	for {
		element, quoted, rest, ok := arrayElement(raw)
		if !ok || len(values) >= maxValues {
			return values, false
		}
		if quoted || !isNullWord(element) {
			v, out := parse(sh, t, element, false)
			switch out {
			case readOK:
				values = append(values, v)
			case readUnsure:
				return values, false
			}
		}
		if len(rest) == 0 {
			return values, true
		}
		if rest[0] != ',' {
			return values, false
		}
		raw = rest[1:]
	}
}

func isNullWord(b []byte) bool {
	return len(b) == 4 && b[0]|0x20 == 'n' && b[1]|0x20 == 'u' && b[2]|0x20 == 'l' && b[3]|0x20 == 'l'
}

// arrayElement reads one element, up to the comma behind it or the end. The bytes are a copy if it was quoted.
func arrayElement(raw []byte) (element []byte, quoted bool, rest []byte, ok bool) {
	raw = trimLeft(raw)
	if len(raw) > 0 && raw[0] == '"' {
		out := make([]byte, 0, len(raw))
		for i := 1; i < len(raw); i++ {
			switch raw[i] {
			case '\\':
				i++
				if i == len(raw) {
					return nil, false, nil, false
				}
				out = append(out, raw[i])
			case '"':
				return out, true, trimLeft(raw[i+1:]), true
			default:
				out = append(out, raw[i])
			}
		}
		return nil, false, nil, false
	}
	end := 0
	for end < len(raw) && raw[end] != ',' {
		switch raw[end] {
		case '{', '}', '"', '\\':
			return nil, false, nil, false
		}
		end++
	}
	element = trimBlank(raw[:end])
	return element, false, raw[end:], len(element) > 0
}

func blank(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

func trimLeft(b []byte) []byte {
	for len(b) > 0 && blank(b[0]) {
		b = b[1:]
	}
	return b
}

func trimBlank(b []byte) []byte {
	b = trimLeft(b)
	for len(b) > 0 && blank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}
