package pooler

import (
	"encoding/binary"
	"fmt"

	"pgdrover/shard"
)

// replayBatch is how many bytes of rows one statement carries: a server reads all of it before it answers.
const replayBatch = 1 << 20

// replayedRows are the rows that the first shard has written.
type replayedRows struct {
	described []byte   // the RowDescription of what the client gets
	shown     []byte   // the rows that it gets
	types     []uint32 // of the columns that are repeated
	values    [][]byte // their values in each row, laid out as those of a Bind
}

// runReplay carries out a write of a reference table in the open transaction: the statement itself on the first shard, which finds its mistakes,
// and then, shard by shard, what has become of each row.
func (c *client) runReplay(p *shard.Plan, m *fanMessages) ([]byte, error) {
	if !c.router.tx.open {
		return nil, errUnplanned(p)
	}
	lead, err := c.movePart(p, p.Parts[0], m.leading(p), m.effects(), func(f *fan) { f.hide, f.keep = true, make([][][]byte, 1) })
	if err != nil {
		return nil, m.positioned(err)
	}
	rows, err := readReplayed(lead, p.Replay)
	if err != nil {
		return nil, closing(err)
	}
	for _, part := range p.Parts[1:] {
		if len(rows.values) == 0 {
			break
		}
		if err := c.replayOn(p, part, rows); err != nil {
			return nil, unplaced(err)
		}
	}
	var out []byte
	if p.Rows && m.parse == nil {
		out = append(out, rows.described...)
	}
	return appendTag(append(out, rows.shown...), lead.commandTag()), nil
}

// leading is the statement for the first shard: in the extended protocol, because what is repeated comes in the formats in which it is stored
// again.
func (m *fanMessages) leading(p *shard.Plan) []byte {
	types, values, results := []byte{0, 0}, []byte{0, 0, 0, 0}, []byte{0, 0}
	if m.parse != nil {
		_, types, _ = cstring(m.parse)
		var params bindParams
		if params.parse(m.bind) == nil {
			values, results = m.bind[:len(m.bind)-len(params.rest)], params.rest
		}
	}
	b := appendParseBody(nil, "", string(p.Parts[0].Text)+"\x00"+string(types))
	b = appendBind(b, append(append([]byte(nil), values...), leadFormats(results, p.Replay)...))
	return append(b, 'D', 0, 0, 0, 6, 'P', 0, 'E', 0, 0, 0, 9, 0, 0, 0, 0, 0, 'S', 0, 0, 0, 4)
}

// leadFormats are the formats of the rows of the first shard: of the client's columns as it has asked for them, then of what is repeated.
func leadFormats(results []byte, r *shard.Replay) []byte {
	codes := results[2:]
	if len(codes) <= 2 { // none is text, one is for all
		one := append([]byte{0, 0}, codes...)
		one = one[len(one)-2:]
		codes = nil
		for range r.Shown {
			codes = append(codes, one...)
		}
	}
	out := binary.BigEndian.AppendUint16(nil, uint16(len(codes)/2+len(r.Columns)))
	out = append(out, codes...)
	return appendFormats(out, r.Columns, 1)
}

// appendFormats appends the formats of a number of rows that are repeated.
func appendFormats(b []byte, columns []shard.MoveColumn, rows int) []byte {
	for range rows {
		for _, c := range columns {
			format := byte(0)
			if c.Binary {
				format = 1
			}
			b = append(b, 0, format)
		}
	}
	return b
}

// readReplayed takes the answer of the first shard apart.
func readReplayed(lead *fan, r *shard.Replay) (*replayedRows, error) {
	types, err := columnTypes(lead.described)
	if err != nil || len(types) != r.Shown+len(r.Columns) {
		return nil, fmt.Errorf("%w: description of %d columns, want %d", errOutOfStep, len(types), r.Shown+len(r.Columns))
	}
	rows := &replayedRows{described: firstColumns(lead.described, r.Shown), types: types[r.Shown:]}
	for i, c := range r.Columns {
		if !c.Typed {
			rows.types[i] = 0 // the column's own, whatever its number is there
		}
	}
	for _, row := range lead.keep[0] {
		fields := row[headerLen+2:]
		at := 0
		for range r.Shown {
			if len(fields)-at < 4 {
				return nil, errOutOfStep
			}
			if n := int(int32(binary.BigEndian.Uint32(fields[at:]))); n > 0 {
				at += n
			}
			if at += 4; at > len(fields) {
				return nil, errOutOfStep
			}
		}
		if r.Shown > 0 {
			shown := binary.BigEndian.AppendUint16(nil, uint16(r.Shown))
			rows.shown = appendMessage(rows.shown, 'D', append(shown, fields[:at]...))
		}
		rows.values = append(rows.values, fields[at:])
	}
	return rows, nil
}

// firstColumns is a RowDescription of the first n columns only. The message was read before, and is in order.
func firstColumns(msg []byte, n int) []byte {
	body := msg[headerLen+2:]
	at := 0
	for range n {
		_, rest, _ := cstring(body[at:])
		at = len(body) - len(rest) + 18
	}
	return appendMessage(nil, 'T', append(binary.BigEndian.AppendUint16(nil, uint16(n)), body[:at]...))
}

// replayOn has another shard store what the first one has.
func (c *client) replayOn(p *shard.Plan, part shard.Part, rows *replayedRows) error {
	var done int64
	for left := rows.values; len(left) > 0; {
		var msg []byte
		msg, left = rows.next(p.Replay, left)
		f, err := c.movePart(p, part, msg, effects{}, func(f *fan) { f.hide = true })
		if err != nil {
			return err
		}
		done += f.affected
	}
	if done != int64(len(rows.values)) {
		return errReplay(p.Replay.Table, c.router.of.m.Shards()[part.Shard], len(rows.values), done)
	}
	return nil
}

// next is what repeats the next rows, and which are left then. Rows that are repeated one by one go out together as far as their answers fit
// into any socket.
func (r *replayedRows) next(replay *shard.Replay, rows [][]byte) (msg []byte, left [][]byte) {
	limit, most := replayBatch, replay.Most
	if replay.Most == 1 {
		limit, most = moveBatch, len(rows)
	}
	n, size := 0, 0
	for n < min(most, len(rows)) && (n == 0 || size+len(rows[n]) <= limit) {
		size += len(rows[n])
		n++
	}
	each := n // rows of one statement
	if replay.Most == 1 {
		each = 1
	}
	body := append(replay.Text(each), 0)
	body = binary.BigEndian.AppendUint16(body, uint16(each*len(r.types)))
	for range each {
		for _, t := range r.types {
			body = binary.BigEndian.AppendUint32(body, t)
		}
	}
	msg = appendParseBody(nil, "", string(body))
	for i := 0; i < n; i += each {
		bind := binary.BigEndian.AppendUint16(nil, uint16(each*len(r.types)))
		bind = appendFormats(bind, replay.Columns, each)
		bind = binary.BigEndian.AppendUint16(bind, uint16(each*len(r.types)))
		for _, values := range rows[i : i+each] {
			bind = append(bind, values...)
		}
		msg = appendBind(msg, append(bind, 0, 0))
		msg = append(msg, 'E', 0, 0, 0, 9, 0, 0, 0, 0, 0)
	}
	return append(msg, 'S', 0, 0, 0, 4), rows[n:]
}

// errReplay says that a shard does not have the rows that the first one has. Either another transaction has written them, which is over on
// the first shard and about to be on this one, or the copies are not the same.
func errReplay(t *shard.Table, name string, want int, got int64) *Error {
	return &Error{
		Severity: "ERROR", Code: "40001", Message: fmt.Sprintf("the rows of reference table %q are not the same on shard %q yet", t.Name, name),
		Detail: fmt.Sprintf("The first shard has written %d rows, this one %d: another transaction is about to be committed there, or the copies differ.", want, got),
		Hint:   "Run the transaction again. If that does not help, compare the copies of the table.",
	}
}
