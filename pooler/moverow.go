package pooler

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"pgdrover/internal/connect"
	"pgdrover/shard"
)

// moveBatch is how many bytes of rows are inserted before their answers are read: few enough for any socket, so that neither side waits for the
// other to read.
const moveBatch = 16 << 10

// runMove carries out an UPDATE that takes rows to another shard, in the open transaction: the statement itself on the shard where they
// come to, which finds its mistakes too, then shard by shard a DELETE whose rows are inserted there.
func (c *client) runMove(p *shard.Plan, m *fanMessages) ([]byte, error) {
	if !c.router.tx.open {
		return nil, errUnplanned(p)
	}
	if p.Move.Rows != nil {
		return c.runMoveRows(p, m)
	}
	fx := m.effects()
	update, err := c.movePart(p, p.Parts[0], m.of(&p.Parts[0]), fx, func(f *fan) { f.hide = m.parse != nil })
	if err != nil {
		return nil, m.positioned(err)
	}
	count := update.affected
	for i := 1; i < len(p.Parts); i++ {
		gone, err := c.movePart(p, p.Parts[i], m.removal(p, i), fx, func(f *fan) { f.hide, f.keep = true, make([][][]byte, 1) })
		if err != nil {
			return nil, unplaced(err)
		}
		n, err := c.insertMoved(p, m, p.Parts[0].Shard, gone, fx)
		if err != nil {
			return nil, unplaced(err)
		}
		count += n
	}
	return appendTag(nil, update.tag+" "+strconv.FormatInt(count, 10)), nil
}

// movePart has one shard do what msg says.
func (c *client) movePart(p *shard.Plan, part shard.Part, msg []byte, fx effects, set func(*fan)) (*fan, error) {
	one := *p
	one.Parts = []shard.Part{part}
	legs, err := c.assemble(&one)
	if err != nil {
		return nil, err
	}
	legs[0].note(fx)
	f := &fan{c: c, legs: legs, rows: true, limit: -1}
	set(f)
	err = f.run(func(int) []byte { return msg })
	c.disband(legs, err == nil && f.failed == nil)
	if err != nil {
		return nil, closing(err)
	}
	return f, f.error()
}

// removal is the DELETE for a part: in the extended protocol, because its rows come in the formats in which they are stored again.
func (m *fanMessages) removal(p *shard.Plan, part int) []byte {
	types := []byte{0, 0}
	if m.parse != nil {
		_, types, _ = cstring(m.parse)
	}
	values, _ := m.bound()
	b := appendParseBody(nil, "", string(p.Parts[part].Text)+"\x00"+string(types))
	b = appendBind(b, moveFormats(slices.Clone(values), p.Move))
	return append(b, describeAndRun...)
}

// describeAndRun are Describe and Execute of the unnamed portal, and Sync.
const describeAndRun = "D\x00\x00\x00\x06P\x00" + "E\x00\x00\x00\x09\x00\x00\x00\x00\x00" + "S\x00\x00\x00\x04"

// bound is the Bind of the statement: the parameters, and the formats of the result.
func (m *fanMessages) bound() (values, results []byte) {
	var params bindParams
	if m.parse == nil || params.parse(m.bind) != nil {
		return []byte{0, 0, 0, 0}, []byte{0, 0}
	}
	n := len(m.bind) - len(params.rest)
	return m.bind[:n:n], params.rest
}

// moveFormats appends the formats of the columns of a row that moves.
func moveFormats(b []byte, move *shard.Move) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(move.Columns)))
	for _, c := range move.Columns {
		format := byte(0)
		if c.Binary {
			format = 1
		}
		b = append(b, 0, format)
	}
	return b
}

// insertMoved stores the rows that a shard gives away on another one.
func (c *client) insertMoved(p *shard.Plan, m *fanMessages, to int, gone *fan, fx effects) (int64, error) {
	rows := gone.keep[0]
	if len(rows) == 0 {
		return 0, nil
	}
	types, err := columnTypes(gone.described)
	if err != nil || len(types) != len(p.Move.Columns) {
		return 0, fmt.Errorf("%w: description of %d columns, want %d", errOutOfStep, len(types), len(p.Move.Columns))
	}
	parse := append([]byte(nil), p.Move.Insert...)
	parse = binary.BigEndian.AppendUint16(append(parse, 0), uint16(len(types)))
	for i, t := range types {
		if !p.Move.Columns[i].Typed {
			t = 0 // the column's own, whatever its number is there
		}
		parse = binary.BigEndian.AppendUint32(parse, t)
	}
	_, results := m.bound()
	formats := moveFormats(nil, p.Move)
	var stored int64
	for i := 0; i < len(rows); {
		msg := appendParseBody(nil, "", string(parse))
		for size := 0; i < len(rows) && (size == 0 || size+len(rows[i]) <= moveBatch); i++ {
			size += len(rows[i])
			// The values of a DataRow are laid out as those of a Bind.
			values := append(append([]byte(nil), formats...), rows[i][headerLen:]...)
			msg = appendBind(msg, append(values, results...))
			msg = append(msg, 'E', 0, 0, 0, 9, 0, 0, 0, 0, 0)
		}
		msg = append(msg, 'S', 0, 0, 0, 4)
		f, err := c.movePart(p, shard.Part{Shard: to}, msg, fx, func(f *fan) { f.hide = true })
		if err != nil {
			return 0, err
		}
		stored += f.affected
	}
	if stored != int64(len(rows)) {
		return 0, errNotMoved(int64(len(rows)), stored)
	}
	return stored, nil
}

func errNotMoved(want, did int64) *Error {
	return &Error{
		Severity: "ERROR", Code: "0A000", Message: "not every row of an UPDATE could be moved to its shard",
		Detail: fmt.Sprintf("Of %d rows %d were changed.", want, did),
	}
}

// columnTypes returns the types of a RowDescription.
func columnTypes(msg []byte) ([]uint32, error) {
	if len(msg) < headerLen+2 {
		return nil, errOutOfStep
	}
	var types []uint32
	for b := msg[headerLen+2:]; len(b) > 0; {
		_, rest, err := cstring(b)
		if err != nil || len(rest) < 18 {
			return nil, errOutOfStep
		}
		types, b = append(types, binary.BigEndian.Uint32(rest[6:])), rest[18:]
	}
	return types, nil
}

// unplaced takes the position out of an error about a text that the client has not sent.
func unplaced(err error) error {
	var se *connect.ServerError
	if !errors.As(err, &se) || se.Field('P') == "" {
		return err
	}
	return withPosition(se, "")
}
