package pooler

import "encoding/binary"

// bindParams are the values of a Bind message.
type bindParams struct {
	formats []byte // int16 each
	rest    []byte // the formats of the result
	values  [][]byte
}

// parse reads a Bind's body behind the names. The values are valid as long as b.
func (p *bindParams) parse(b []byte) error {
	if len(b) < 2 {
		return errOutOfStep
	}
	n := 2 * int(binary.BigEndian.Uint16(b))
	b = b[2:]
	if len(b) < n+2 {
		return errOutOfStep
	}
	p.formats, b = b[:n], b[n:]
	count := int(binary.BigEndian.Uint16(b))
	b = b[2:]
	p.values = p.values[:0]
	for range count {
		if len(b) < 4 {
			return errOutOfStep
		}
		l := int(int32(binary.BigEndian.Uint32(b)))
		b = b[4:]
		if l < 0 {
			p.values = append(p.values, nil)
			continue
		}
		if l > len(b) {
			return errOutOfStep
		}
		p.values = append(p.values, b[:l:l])
		b = b[l:]
	}
	p.rest = b
	return nil
}

// Len implements shard.Params.
func (p *bindParams) Len() int { return len(p.values) }

// Param implements shard.Params.
func (p *bindParams) Param(i int) (value []byte, binary, null bool) {
	if i < 0 || i >= len(p.values) || p.values[i] == nil {
		return nil, false, true
	}
	switch len(p.formats) {
	case 0:
	case 2:
		binary = p.formats[1] == 1
	default:
		binary = 2*i+1 < len(p.formats) && p.formats[2*i+1] == 1
	}
	return p.values[i], binary, false
}
