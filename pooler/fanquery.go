package pooler

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"pgdrover/internal/connect"
	"pgdrover/shard"
	"pgdrover/shard/copyrows"
)

// beginOwn opens a transaction for one statement that has to be atomic over several shards.
func (c *client) beginOwn() {
	tx := &c.router.tx
	tx.open, tx.implicit, tx.begin, tx.base = true, true, "BEGIN", c.session
}

// endOwn ends it.
func (c *client) endOwn(out []byte, err error) ([]byte, error) {
	if err != nil {
		return nil, c.commitRefused(err)
	}
	return out, c.commitLegs()
}

// fanMessages makes what a shard is sent.
type fanMessages struct {
	query []byte // of the simple protocol
	chars int    // what stands before it in the whole text, in characters, for error positions
	// of the extended protocol: what Parse and Bind carry behind their names
	parse, bind []byte
	describe    bool // the portal is described as well, for the client
}

// of returns the messages for one part.
func (m *fanMessages) of(p *shard.Part) []byte {
	if m.parse == nil {
		if p.Text != nil {
			return appendQuery(nil, p.Text)
		}
		return appendQuery(nil, m.query)
	}
	body, bind := string(m.parse), m.bind
	if p.Text != nil {
		_, types, _ := cstring(m.parse)
		if p.Params != nil {
			types, bind = selectTypes(types, p.Params), selectValues(bind, p.Params)
		}
		body = string(p.Text) + "\x00" + string(types)
	}
	b := appendBind(appendParseBody(nil, "", body), bind)
	if m.describe {
		b = append(b, 'D', 0, 0, 0, 6, 'P', 0)
	}
	b = append(b, 'E', 0, 0, 0, 9, 0, 0, 0, 0, 0)
	return append(b, 'S', 0, 0, 0, 4)
}

// known takes the position out of an error about a shard's own text, unless it is where that text is still the client's.
func (m *fanMessages) known(err error, text []byte) error {
	var se *connect.ServerError
	if text == nil || !errors.As(err, &se) {
		return err
	}
	at, perr := strconv.Atoi(se.Field('P'))
	own := m.query
	if m.parse != nil {
		own = textOf(m.parse)
	}
	same := 0
	for same < len(text) && same < len(own) && text[same] == own[same] {
		same++
	}
	if perr == nil && at <= utf8.RuneCount(text[:same]) {
		return err
	}
	return unplaced(err)
}

// effects is what the statement may leave behind on a server.
func (m *fanMessages) effects() effects {
	if m.parse != nil {
		return effectsOfBody(m.parse)
	}
	return effectsOf(m.query, firstWord(m.query), true)
}

// selectTypes is the parameter types of a Parse that has only some of the parameters.
func selectTypes(types []byte, params []int) []byte {
	n := (len(types) - 2) / 4
	out := binary.BigEndian.AppendUint16(nil, uint16(len(params)))
	for _, i := range params {
		if i < n {
			out = append(out, types[2+4*i:6+4*i]...)
		} else {
			out = append(out, 0, 0, 0, 0)
		}
	}
	return out
}

// selectValues is the same of a Bind. The message was read before, and is in order.
func selectValues(bind []byte, params []int) []byte {
	var p bindParams
	if p.parse(bind) != nil {
		return bind
	}
	out := binary.BigEndian.AppendUint16(nil, uint16(len(params)))
	for _, i := range params {
		format := byte(0)
		if _, isBinary, _ := p.Param(i); isBinary {
			format = 1
		}
		out = append(out, 0, format)
	}
	out = binary.BigEndian.AppendUint16(out, uint16(len(params)))
	for _, i := range params {
		v, _, null := p.Param(i)
		if null {
			out = append(out, 0xff, 0xff, 0xff, 0xff)
			continue
		}
		out = binary.BigEndian.AppendUint32(out, uint32(len(v)))
		out = append(out, v...)
	}
	return append(out, p.rest...)
}

// runPlan has the shards of a plan carry it out and returns the CommandComplete, with whatever has to come before it. Rows have
// gone to the client.
func (c *client) runPlan(p *shard.Plan, m *fanMessages) ([]byte, error) {
	switch p.Kind {
	case shard.Gather, shard.CopyOut:
	case shard.Split:
	case shard.Everywhere:
		return c.runEverywhere(p, m)
	case shard.ReplayRows:
		return c.runReplay(p, m)
	case shard.MoveRow:
		return c.runMove(p, m)
	case shard.Explain:
		return c.runExplain(p, m)
	default:
		return nil, errUnplanned(p)
	}
	legs, err := c.assemble(p)
	if err != nil {
		return nil, err
	}
	fx := m.effects()
	for _, l := range legs {
		l.note(fx)
	}
	f := &fan{c: c, legs: legs, rows: true, limit: p.Limit, skip: p.Offset, hide: m.parse != nil && !m.describe}
	if p.Kind == shard.Split && p.Rows {
		f.keep = make([][][]byte, len(legs))
	}
	if p.Kind == shard.CopyOut {
		if f.merger, err = copyrows.NewMerger(p.Copy.Options("", 0), len(legs)); err != nil {
			c.disband(legs, true)
			return nil, err
		}
	}
	f.asks = c.router.tx.single && p.Writes && len(legs) > 1
	err = f.run(func(i int) []byte { return m.of(&p.Parts[i]) })
	c.disband(legs, err == nil && f.failed == nil)
	if err != nil {
		return nil, closing(err)
	}
	if err := f.error(); err != nil {
		return nil, m.positioned(m.known(err, p.Parts[slices.Index(legs, f.failed.leg)].Text))
	}
	c.noteDDL(f.tag)
	if f.merger != nil {
		return f.endCopy()
	}
	if f.keep != nil {
		return f.inOrder(p)
	}
	return appendTag(nil, f.commandTag()), nil
}

// runEverywhere has every shard do the same, in order. The first is alone: what it refuses the others never see, and two clients that
// do this meet there.
func (c *client) runEverywhere(p *shard.Plan, m *fanMessages) ([]byte, error) {
	var out []byte
	var heard [][]byte
	for i := range p.Parts {
		one := *p
		one.Parts = p.Parts[i : i+1]
		if p.Lock != "" {
			if _, err := c.movePart(p, p.Parts[i], appendQuery(nil, p.Lock), effects{}, func(*fan) {}); err != nil {
				return nil, unplaced(err)
			}
		}
		legs, err := c.assemble(&one)
		if err != nil {
			return nil, c.partly(p, i, err)
		}
		f := &fan{c: c, legs: legs, rows: i == 0, limit: -1, hide: m.parse != nil, heard: heard}
		err = f.run(func(int) []byte { return m.of(&p.Parts[i]) })
		c.disband(legs, err == nil && f.failed == nil)
		if err != nil {
			return nil, closing(err)
		}
		if err := f.error(); err != nil {
			return nil, c.partly(p, i, m.positioned(err))
		}
		if i == 0 {
			out, heard = appendTag(nil, f.commandTag()), f.notices
		}
		c.noteDDL(f.tag)
	}
	return out, nil
}

// noteDDL has plans made anew after a command with this tag: by this transaction at once, by others when it is over.
func (c *client) noteDDL(tag string) {
	switch {
	case !changesCatalog(tag):
	case c.router.tx.open:
		c.router.tx.noteDDL()
	default:
		c.db.ddl.Add(1)
	}
}

// partly says how far a statement came that cannot be rolled back, and how to go on.
func (c *client) partly(p *shard.Plan, done int, err error) error {
	var e *Error
	var se *connect.ServerError
	switch {
	case !p.NoTx || done == 0:
		return err
	case errors.As(err, &se):
		e = fromServer(se)
		e.Message = fmt.Sprintf("shard %q: %s", c.router.of.m.Shards()[p.Parts[done].Shard], e.Message)
	case errors.As(err, &e):
		e = &Error{Severity: e.Severity, Code: e.Code, Message: e.Message, Detail: e.Detail} // which names the shard
	default:
		return err
	}
	names := c.router.of.m.Shards()
	var did, left []string
	for i, part := range p.Parts {
		if i < done {
			did = append(did, names[part.Shard])
		} else {
			left = append(left, fmt.Sprintf("/* shard=%s */", names[part.Shard]))
		}
	}
	e.Detail = fmt.Sprintf("It has been carried out on %q and cannot be taken back there. %s", did, e.Detail)
	e.Hint = "Mend the cause, and run it with each of these in front, which is for one shard only: " + strings.Join(left, ", ") + "."
	return e
}

// assemble returns the legs for the parts of a plan, in order: of the open transaction, or for this statement alone.
func (c *client) assemble(p *shard.Plan) ([]*leg, error) {
	r := c.router
	legs := make([]*leg, 0, len(p.Parts))
	if r.tx.open {
		if err := c.enlistAll(p.Parts); err != nil {
			return nil, err
		}
		for i := range p.Parts {
			if err := c.enter(p.Parts[i].Shard, p.Writes); err != nil {
				return nil, err
			}
			legs = append(legs, r.tx.leg(p.Parts[i].Shard))
		}
		if err := c.synced(); err != nil {
			return nil, err
		}
		c.park()
		return legs, nil
	}
	if c.srv != nil { // the session is held on a shard
		at := slices.IndexFunc(p.Parts, func(part shard.Part) bool { return r.pool(part.Shard) != c.pool })
		if at >= 0 || c.unsynced {
			return nil, c.errHeld(p.Parts[max(at, 0)].Shard)
		}
		legs = append(legs, &leg{shard: p.Parts[0].Shard, pool: c.pool, srv: c.srv})
		c.park()
		return legs, nil
	}
	for i := range p.Parts {
		at := p.Parts[i].Shard
		c.pool = r.pool(at)
		c.inShards.Store(i > 0)
		err := c.checkout()
		c.inShards.Store(false)
		if err != nil {
			c.disband(legs, true)
			return nil, shardError(r.pool(at).key.shard, err)
		}
		legs = append(legs, &leg{shard: at, pool: c.pool, srv: c.srv})
		c.park()
	}
	return legs, nil
}

// disband gives back the servers of legs that do not belong to a transaction. ok says that they are known to be well.
func (c *client) disband(legs []*leg, ok bool) {
	for _, l := range legs {
		l.srv.unOwner = 0
	}
	if tx := &c.router.tx; tx.open {
		if len(tx.legs) > 0 {
			l := tx.current()
			c.pool = l.pool
			c.relink(l.srv)
		}
		return
	}
	for _, l := range legs {
		if !ok && l.srv.tx != 'I' {
			l.srv.dead.Store(true)
		}
		c.letGo(l)
	}
}

// closing makes an error of fan.run one that ends the session.
func closing(err error) error { return sessionOver{err} }

// sessionOver is an error after which nothing can be said to the client.
type sessionOver struct{ error }

func (e sessionOver) Unwrap() error { return e.error }

// commandTag is the tag for the client.
func (f *fan) commandTag() string {
	switch {
	case !f.counted:
		return f.tag
	case f.tag == "SELECT" || f.tag == "FETCH":
		return f.tag + " " + strconv.FormatInt(f.sent, 10)
	}
	return f.tag + " " + strconv.FormatInt(f.affected, 10)
}

// inOrder puts the rows of RETURNING in the order of the statement's rows.
func (f *fan) inOrder(p *shard.Plan) ([]byte, error) {
	var out []byte
	at := make([]int, len(f.keep))
	for _, part := range p.Order {
		if at[part] >= len(f.keep[part]) {
			return nil, &Error{
				Severity: "ERROR", Code: "0A000", Message: "RETURNING of an INSERT over several shards that leaves rows out",
				Detail: "The order of its rows cannot be told.", Hint: "Leave out RETURNING, or insert the rows one by one.",
			}
		}
		out = append(out, f.keep[part][at[part]]...)
		at[part]++
	}
	for part := range at {
		if at[part] != len(f.keep[part]) {
			return nil, errUnplanned(p)
		}
	}
	return appendTag(out, f.commandTag()), nil
}

func errUnplanned(p *shard.Plan) *Error {
	return &Error{
		Severity: "ERROR", Code: "0A000", Message: "this statement cannot be carried out over several shards yet",
		Detail: fmt.Sprintf("Its plan is of kind %d over %d shards.", p.Kind, len(p.Parts)),
		Hint:   "Name a shard in a comment, /* shard=… */, or a value of the sharding key in WHERE.",
	}
}

func appendRowDescription(b []byte, column string) []byte {
	at := len(b)
	b = append(b, 'T', 0, 0, 0, 0, 0, 1)
	b = append(b, column...)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 25, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0) // text
	binary.BigEndian.PutUint32(b[at+1:], uint32(len(b)-at-1))
	return b
}

func appendDataRow(b []byte, value string) []byte {
	b = append(b, 'D')
	b = binary.BigEndian.AppendUint32(b, uint32(4+2+4+len(value)))
	b = append(b, 0, 1)
	b = binary.BigEndian.AppendUint32(b, uint32(len(value)))
	return append(b, value...)
}
