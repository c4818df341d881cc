package pooler

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"pgdrover/shard"
)

// rowMove carries out an UPDATE whose rows get keys that the shards compute, in the open transaction. One shard after the other locks
// those that match; then all are changed where they are, or stored on the shards of their new keys and deleted.
type rowMove struct {
	c     *client
	p     *shard.Plan
	m     *fanMessages
	fx    effects
	count int64
}

// moveSource is a shard with rows that the statement changes.
type moveSource struct {
	at    int
	types []byte // of the statement's parameters there, as a Parse has them
	stay  shard.Places
	away  shard.Places
	to    map[int]*shard.Places // those of away, by their new shard
}

// runMoveRows is runMove for Move.Rows.
func (c *client) runMoveRows(p *shard.Plan, m *fanMessages) ([]byte, error) {
	mv := rowMove{c: c, p: p, m: m, fx: m.effects()}
	sources := make([]moveSource, len(p.Parts))
	for i := range sources {
		if err := mv.lock(i, &sources[i]); err != nil {
			return nil, err
		}
	}
	if !slices.ContainsFunc(sources, func(s moveSource) bool { return s.stay.Count+s.away.Count > 0 }) {
		// Constants of SET are calculated when an UPDATE is planned, whether or not it finds rows.
		if err := mv.updateAt(&sources[0]); err != nil {
			return nil, unplaced(err)
		}
	}
	for _, step := range []func(*moveSource) error{mv.update, mv.store, mv.remove} {
		for i := range sources {
			if err := step(&sources[i]); err != nil {
				return nil, unplaced(err)
			}
		}
	}
	return appendTag(nil, "UPDATE "+strconv.FormatInt(mv.count, 10)), nil
}

// lock finds out which rows of a part match, and where they go. Before, the shard is shown the statement itself: it finds its mistakes, knows the types
// of its parameters, and says what RETURNING returns.
func (mv *rowMove) lock(i int, s *moveSource) error {
	part := mv.p.Parts[i]
	s.at, s.types, s.to = part.Shard, []byte{0, 0}, map[int]*shard.Places{}
	if i == 0 || mv.m.parse != nil {
		f, err := mv.run(s.at, mv.show(), func(f *fan) { f.hide = i > 0 || mv.m.parse != nil })
		if err != nil {
			return mv.m.positioned(err)
		}
		if f.params != nil {
			s.types = f.params
		}
	}
	formats := binary.BigEndian.AppendUint16(nil, uint16(2+mv.p.Move.Rows.Keys()))
	formats = append(formats, 0, 0, 0, 0)
	for range mv.p.Move.Rows.Keys() {
		formats = append(formats, 0, 1)
	}
	f, err := mv.run(s.at, mv.query(s, part.Text, formats), keepRows)
	if err != nil {
		return unplaced(err)
	}
	for _, row := range f.keep[0] {
		if err := mv.place(s, row); err != nil {
			return err
		}
	}
	return nil
}

// keepRows has a fan of one shard hold its rows.
func keepRows(f *fan) { f.hide, f.keep = true, make([][][]byte, 1) }

// place notes where a row goes that was locked.
func (mv *rowMove) place(s *moveSource, row []byte) error {
	var fields bindParams // laid out alike behind the formats
	if err := fields.parse(append([]byte{0, 0}, row[headerLen:]...)); err != nil {
		return err
	}
	if n := 2 + mv.p.Move.Rows.Keys(); len(fields.values) != n {
		return fmt.Errorf("%w: row of %d columns, want %d", errOutOfStep, len(fields.values), n)
	}
	to, err := mv.p.Move.Rows.Locate(fields.values[2:])
	if err != nil {
		return err
	}
	list := &s.stay
	if to >= 0 && to != s.at {
		if s.to[to] == nil {
			s.to[to] = &shard.Places{}
		}
		list = s.to[to]
		s.away.Add(fields.values[0], fields.values[1])
	}
	list.Add(fields.values[0], fields.values[1])
	return nil
}

// show is the statement without running it.
func (mv *rowMove) show() []byte {
	body := string(mv.m.parse)
	if mv.m.parse == nil {
		body = string(mv.m.query) + "\x00\x00\x00"
	}
	return append(appendParseBody(nil, "", body), 'D', 0, 0, 0, 6, 'S', 0, 'S', 0, 0, 0, 4)
}

// query has a shard run a text with the statement's parameters; results are the formats of the columns of the result.
func (mv *rowMove) query(s *moveSource, text, results []byte) []byte {
	values, _ := mv.m.bound()
	b := appendBind(appendParseBody(nil, "", string(text)+"\x00"+string(s.types)), slices.Concat(values, results))
	return append(b, describeAndRun...)
}

// run has a shard do what msg says.
func (mv *rowMove) run(at int, msg []byte, set func(*fan)) (*fan, error) {
	return mv.c.movePart(mv.p, shard.Part{Shard: at}, msg, mv.fx, set)
}

// update changes the rows that stay.
func (mv *rowMove) update(s *moveSource) error {
	if s.stay.Count == 0 {
		return nil
	}
	return mv.updateAt(s)
}

func (mv *rowMove) updateAt(s *moveSource) error {
	_, results := mv.m.bound()
	f, err := mv.run(s.at, mv.query(s, mv.p.Move.Rows.Update(&s.stay), results), func(f *fan) { f.hide = true })
	if err != nil {
		return err
	}
	mv.count += f.affected
	return mv.all(f.affected, s.stay.Count)
}

// store inserts the rows that go where they come to.
func (mv *rowMove) store(s *moveSource) error {
	for _, to := range slices.Sorted(maps.Keys(s.to)) {
		rows, err := mv.run(s.at, mv.query(s, mv.p.Move.Rows.Values(s.to[to]), moveFormats(nil, mv.p.Move)), keepRows)
		if err != nil {
			return err
		}
		n, err := mv.c.insertMoved(mv.p, mv.m, to, rows, mv.fx)
		if err != nil {
			return err
		}
		mv.count += n
		if err := mv.all(n, s.to[to].Count); err != nil {
			return err
		}
	}
	return nil
}

// remove deletes the rows that have gone.
func (mv *rowMove) remove(s *moveSource) error {
	if s.away.Count == 0 {
		return nil
	}
	msg := appendBind(appendParseBody(nil, "", string(mv.p.Move.Rows.Remove(&s.away))+"\x00\x00\x00"), []byte{0, 0, 0, 0, 0, 0})
	f, err := mv.run(s.at, append(msg, describeAndRun...), func(f *fan) { f.hide = true })
	if err != nil {
		return err
	}
	return mv.all(f.affected, s.away.Count)
}

// all refuses to go on when a shard has done something else with rows that were locked.
func (mv *rowMove) all(did, want int64) error {
	if did == want {
		return nil
	}
	return errNotMoved(want, did)
}
