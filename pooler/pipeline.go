package pooler

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"pgdrover/internal/connect"
	"pgdrover/shard"
)

// extended is what a router knows of a session's statements and portals.
type extended struct {
	prepared  map[*stmt]*shard.Prepared // plans of the session's named statements, made with plannedBy and plannedIn
	planned   *planner
	plannedE  shard.Env
	unnamed   *shard.Prepared // of the unnamed statement, whose generation is unnamedG
	unnamedG  uint64
	again     *shard.Prepared // of the last Parse without a name, which had this body
	againBody []byte
	portals   map[string]*portal // that may be used by a later unit
	types     []uint32           // scratch
	params    bindParams         // scratch
	inUnit    []unitStmt         // scratch: statements of the unit under way
}

type unitStmt struct {
	name []byte
	prep *shard.Prepared
}

// portal is what a Bind has made.
type portal struct {
	plan  shard.Plan
	prep  *shard.Prepared
	parse []byte // text and parameter types of its statement
	bind  []byte // of the Bind behind the names
}

// routeUnit takes messages of the extended protocol to where they belong. Mostly that is one shard, which gets them as they are.
func (c *client) routeUnit(stop int) error {
	p, err := c.planner()
	if err != nil {
		return c.reject(stop, err)
	}
	r := c.router
	if env := c.environment(); r.planned != p || r.plannedE != env {
		r.prepared, r.unnamed, r.again = nil, nil, nil
		r.planned, r.plannedE = p, env
	}
	behind := c.srv != nil && c.unsynced // Flush
	if behind && c.replies.skipping {
		if err := c.handle(stop); err != nil || c.duplex != nil {
			return err
		}
		return c.learn()
	}
	at, alone, err := c.planUnit(c.in.b[c.in.r:stop])
	switch {
	case err == nil && !alone && behind && !r.tx.open:
		err = c.errHeld(at)
		fallthrough
	case err != nil && (len(r.unit) == 0 && len(r.inUnit) == 0 && !isSyntax(err) || behind && !r.tx.open):
		r.unit = r.unit[:0]
		return c.reject(stop, err)
	case err == nil && alone:
		plans := r.unit
		if err := c.enter(at, writes(plans)); err != nil {
			r.unit = r.unit[:0]
			return c.reject(stop, err)
		}
		r.last = at
		r.ddl = c.db.ddl.Load()
		c.completed = 0
		if err := c.handle(stop); err != nil {
			return err
		}
		if c.duplex != nil {
			return nil
		}
		return c.learn()
	}
	r.unit = r.unit[:0]
	u := pipeline{c: c, planner: p}
	return u.run(stop)
}

// planUnit plans what is executed in a unit. alone says that one shard can do all of it, and r.unit is then what it does.
func (c *client) planUnit(b []byte) (at int, alone bool, err error) {
	r := c.router
	tx := &r.tx
	r.unit, r.inUnit, r.runs = r.unit[:0], r.inUnit[:0], r.runs[:0]
	if len(r.portals) > 1 && !tx.open && !tx.implicit && c.srv == nil {
		clear(r.portals) // portals end with their transaction
	}
	if tx.implicit || tx.failed && (len(tx.legs) != 1 || tx.legs[0].srv.tx != 'E') {
		return 0, false, nil
	}
	at, alone = -1, true
	switch {
	case c.srv != nil && !tx.open:
		at = slices.Index(r.pools, c.pool) // it is held, or in the middle of a pipeline
	case tx.open && len(tx.legs) == 0 && !executes(b):
		return 0, false, nil // no shard has to join for this
	}
	var last portal
	have, anew := false, false // anew: what is planned behind this may mean something else then
	for len(b) > 0 && alone {
		n := int(binary.BigEndian.Uint32(b[1:])) + 1
		msg := b[:min(n, len(b))]
		b = b[len(msg):]
		body := msg[headerLen:]
		if anew && (msg[0] == 'P' || msg[0] == 'B') {
			return 0, false, nil
		}
		switch msg[0] {
		case 'P':
			name, rest, perr := cstring(body)
			if perr != nil {
				return 0, false, errBroken(msg[0])
			}
			prep, perr := r.prepare(name, rest)
			if perr != nil {
				return 0, false, perr
			}
			r.inUnit = append(r.inUnit, unitStmt{name: name, prep: prep})
		case 'B':
			name, rest, perr := cstring(body)
			if perr != nil {
				return 0, false, errBroken(msg[0])
			}
			stName, rest, perr := cstring(rest)
			if perr != nil {
				return 0, false, errBroken(msg[0])
			}
			prep, perr := c.preparedFor(stName)
			if perr != nil {
				return 0, false, perr
			}
			if prep == nil {
				break // the server says that there is no such statement
			}
			if perr := r.params.parse(rest); perr != nil {
				return 0, false, errBroken(msg[0])
			}
			plan, perr := prep.Plan(&r.params)
			if perr != nil {
				return 0, false, perr
			}
			last, have = portal{plan: plan, prep: prep}, true
			anew = plan.Kind == shard.Command && changesMeaning(&plan)
			if len(name) > 0 {
				r.setPortal(name, &portal{plan: plan, prep: prep})
			}
			if at, alone = c.joins(at, &plan); !alone {
				return 0, false, nil
			}
		case 'E':
			name, _, perr := cstring(body)
			if perr != nil {
				return 0, false, errBroken(msg[0])
			}
			switch po := r.portals[string(name)]; {
			case len(name) == 0 && have:
				r.unit = append(r.unit, last.plan)
				r.runs = append(r.runs, last.prep)
			case po == nil:
			default:
				if at, alone = c.joins(at, &po.plan); !alone {
					return 0, false, nil
				}
				r.unit = append(r.unit, po.plan)
				r.runs = append(r.runs, po.prep)
			}
		case 'D':
			if len(body) < 2 {
				return 0, false, errBroken(msg[0])
			}
			if body[0] != 'S' {
				break
			}
			prep, perr := c.preparedFor(bytes.TrimSuffix(body[1:], []byte{0}))
			if perr != nil {
				return 0, false, perr
			}
			if prep != nil && prep.Control() == shard.ShowHint {
				return 0, false, nil // no server knows it
			}
			if prep != nil && prep.Home() >= 0 {
				if at >= 0 && at != prep.Home() {
					return 0, false, nil
				}
				at = prep.Home()
			}
		}
	}
	if have {
		r.keepUnnamed(&last)
	}
	if len(r.unit) > 0 && !tx.open && c.srv == nil && !slices.ContainsFunc(r.unit, func(p shard.Plan) bool { return p.Control != shard.Begin }) {
		return 0, false, nil // no shard has to join for this
	}
	if at < 0 {
		at = c.anyShard()
	}
	if tx.failed && at != tx.legs[0].shard {
		return 0, false, nil // another shard knows nothing of the failure
	}
	return at, alone, nil
}

// prepare plans a Parse. Drivers that do not name their statements send the same one again and again: it is planned once. The plan
// is good until the next Parse of another statement.
func (r *router) prepare(name, body []byte) (*shard.Prepared, error) {
	if len(name) == 0 && r.again != nil && bytes.Equal(r.againBody, body) {
		return r.again, nil
	}
	if len(name) == 0 && len(body) <= keptText {
		r.again, r.againBody = nil, append(r.againBody[:0], body...)
		prep, err := r.planned.Prepare(context.Background(), r.plannedE, textOf(r.againBody), r.typesOf(r.againBody))
		if err == nil {
			r.again = prep
		}
		return prep, err
	}
	return r.planned.Prepare(context.Background(), r.plannedE, textOf(body), r.typesOf(body))
}

// executes reports whether there is an Execute among the messages.
func executes(b []byte) bool {
	for len(b) > 0 {
		if b[0] == 'E' {
			return true
		}
		b = b[min(int(binary.BigEndian.Uint32(b[1:]))+1, len(b)):]
	}
	return false
}

// joins reports whether a shard that does what came before can also do p, and which that is.
func (c *client) joins(at int, p *shard.Plan) (int, bool) {
	tx := &c.router.tx
	switch p.Kind {
	case shard.Forward:
		return p.Shard, at < 0 || at == p.Shard
	case shard.Anywhere:
		return at, true
	case shard.Command:
		switch p.Control {
		case shard.SetHint, shard.ShowHint, shard.PrepareTransaction, shard.CommitPrepared:
			return at, false
		case shard.Set:
			c.router.noteCustom(p.Name)
			if tx.open && c.restores(p) != "" {
				return at, false
			}
		}
		// What several shards, or none yet, have to hear is said to each.
		return at, len(tx.legs) == 1 && (at < 0 || at == tx.legs[0].shard) || !tx.open
	}
	return at, false
}

// preparedFor returns the plan of a statement by the client's name for it, nil if there is no such statement.
func (c *client) preparedFor(name []byte) (*shard.Prepared, error) {
	r := c.router
	for i := len(r.inUnit) - 1; i >= 0; i-- {
		if bytes.Equal(r.inUnit[i].name, name) {
			return r.inUnit[i].prep, nil
		}
	}
	if len(name) == 0 {
		if c.unnamed.text == nil {
			return nil, nil
		}
		if r.unnamed != nil && r.unnamedG == c.unnamed.gen {
			return r.unnamed, nil
		}
		prep, err := r.planned.Prepare(context.Background(), r.plannedE, textOf(c.unnamed.text), r.typesOf(c.unnamed.text))
		if err == nil {
			r.unnamed, r.unnamedG = prep, c.unnamed.gen
		}
		return prep, err
	}
	st := c.stmts[string(name)]
	if st == nil {
		return nil, nil
	}
	if prep := r.prepared[st]; prep != nil {
		return prep, nil
	}
	body := []byte(st.body)
	prep, err := r.planned.Prepare(context.Background(), r.plannedE, textOf(body), r.typesOf(body))
	if err != nil {
		return nil, err
	}
	if r.prepared == nil || len(r.prepared) > 2*len(c.stmts)+64 {
		r.prepared = map[*stmt]*shard.Prepared{}
	}
	r.prepared[st] = prep
	return prep, nil
}

// keepUnnamed is setPortal for the unnamed portal of a unit that one shard carries out. Where there is one already it takes its place.
func (r *router) keepUnnamed(last *portal) {
	po := r.portals[""]
	if po == nil {
		po = new(portal)
		r.setPortal(nil, po)
	}
	*po = *last
}

func (r *router) setPortal(name []byte, po *portal) {
	if r.portals == nil {
		r.portals = map[string]*portal{}
	}
	r.portals[string(name)] = po
}

// textOf is the query of a Parse's body.
func textOf(body []byte) []byte {
	text, _, err := cstring(body)
	if err != nil {
		return body
	}
	return text
}

// typesOf is its parameter types, valid until the next call.
func (r *router) typesOf(body []byte) []uint32 {
	r.types = r.types[:0]
	_, rest, err := cstring(body)
	if err != nil || len(rest) < 2 {
		return nil
	}
	n := int(binary.BigEndian.Uint16(rest))
	rest = rest[2:]
	for i := 0; i < n && len(rest) >= 4; i++ {
		r.types = append(r.types, binary.BigEndian.Uint32(rest))
		rest = rest[4:]
	}
	return r.types
}

func errBroken(typ byte) error {
	return fatalError{errProtocol(fmt.Sprintf("broken %s packet", messageName(typ)))}
}

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

// pipeline carries out a unit message by message, in a transaction of our own unless one is open: what comes up to Sync is atomic
// (PostgreSQL manual, "Pipelining").
type pipeline struct {
	c       *client
	planner *planner
	out     []byte
}

func (u *pipeline) run(stop int) error {
	c := u.c
	for c.in.r < stop {
		b := c.in.b[c.in.r:stop]
		n := int(binary.BigEndian.Uint32(b[1:])) + 1
		if n > len(b) {
			return fatalError{errProtocol("message is too long for a statement on several shards")}
		}
		if b[0] == 'S' {
			c.in.r += n
			return u.sync()
		}
		err := u.message(b[0], b[headerLen:n])
		c.in.r += n
		if err != nil {
			return u.failed(err, stop)
		}
	}
	return u.flush()
}

func (u *pipeline) flush() error {
	if len(u.out) == 0 {
		return nil
	}
	err := u.c.conn.writeAll(u.out)
	u.out = u.out[:0]
	return clientWrite(err)
}

// sync ends the unit.
func (u *pipeline) sync() error {
	c := u.c
	tx := &c.router.tx
	if tx.implicit {
		if err := u.flush(); err != nil {
			return err
		}
		if err := c.commitLegs(); err != nil {
			msg, err := errorBytes(err)
			if err != nil {
				return err
			}
			u.out = append(u.out, msg...)
		}
	}
	u.out = appendReady(u.out, c.status())
	return u.flush()
}

// failed tells the client, and leaves out everything up to Sync.
func (u *pipeline) failed(err error, stop int) error {
	c := u.c
	msg, err := errorBytes(err)
	if err != nil {
		return err
	}
	u.out = append(u.out, msg...)
	tx := &c.router.tx
	if tx.implicit {
		if err := c.rollbackLegs(); err != nil {
			return err
		}
	} else if tx.open {
		tx.failed = true
	}
	if err := u.flush(); err != nil {
		return err
	}
	c.skipToSync = true
	return c.skip(stop)
}

// errorBytes makes an ErrorResponse of an error; one that ends the session it returns.
func errorBytes(err error) ([]byte, error) {
	var f fatalError
	var over sessionOver
	if errors.As(err, &f) || errors.As(err, &over) {
		return nil, err
	}
	var se *connect.ServerError
	if errors.As(err, &se) {
		return errorMessage(se), nil
	}
	if e := ours(err); e != nil {
		return e.message(), nil
	}
	return nil, err
}

func (u *pipeline) message(typ byte, body []byte) error {
	c := u.c
	r := c.router
	switch typ {
	case 'P':
		return u.parse(body)
	case 'B':
		return u.bind(body)
	case 'D':
		return u.describe(body)
	case 'E':
		return u.execute(body)
	case 'C':
		if len(body) < 2 {
			return errBroken(typ)
		}
		name := string(body[1 : len(body)-1])
		if body[0] == 'P' {
			delete(r.portals, name)
		} else if name == "" {
			c.unnamed.forget()
		} else {
			c.setStmt(name, nil)
		}
		u.out = append(u.out, '3', 0, 0, 0, 4)
	}
	return nil
}

func (u *pipeline) parse(body []byte) error {
	c := u.c
	name, rest, err := cstring(body)
	if err != nil {
		return errBroken('P')
	}
	if err := u.refresh(); err != nil {
		return err
	}
	c.pool.counters.ClientParses.Add(1)
	// The plan itself is made again when it is needed, of a text that stays: this one is in a buffer.
	prep, err := u.planner.Prepare(context.Background(), c.router.plannedE, textOf(rest), c.router.typesOf(rest))
	if isSyntax(err) {
		if err := u.flush(); err != nil {
			return err
		}
		return c.askParse(err, string(rest))
	}
	if err != nil {
		return c.inFailure(err)
	}
	if c.router.tx.failed {
		if plan, err := prep.Plan(nil); err != nil || !endsFailure(&plan) {
			return errFailedTransaction()
		}
	}
	if len(name) == 0 {
		c.unnamed.parsed(c.unnamed.parse(rest, true))
	} else {
		if c.stmts[string(name)] != nil {
			return &Error{Severity: "ERROR", Code: "42P05", Message: fmt.Sprintf("prepared statement %q already exists", name)}
		}
		st := c.p.stmts.intern(rest, c.db.ddl.Load())
		c.setStmt(string(name), st)
		c.p.stmts.unref(st)
	}
	u.out = append(u.out, '1', 0, 0, 0, 4)
	return nil
}

// refresh has what comes next planned with what a statement before it has changed.
func (u *pipeline) refresh() error {
	c := u.c
	r := c.router
	p, err := c.planner()
	if err != nil {
		return err
	}
	if env := c.environment(); r.planned != p || r.plannedE != env {
		r.prepared, r.unnamed, r.again = nil, nil, nil
		r.planned, r.plannedE = p, env
	}
	u.planner = p
	return nil
}

// body returns the Parse's body of a statement.
func (u *pipeline) body(name []byte) ([]byte, error) {
	c := u.c
	if len(name) == 0 {
		if c.unnamed.text == nil {
			return nil, &Error{Severity: "ERROR", Code: "26000", Message: "unnamed prepared statement does not exist"}
		}
		return c.unnamed.text, nil
	}
	st := c.stmts[string(name)]
	if st == nil {
		return nil, &Error{Severity: "ERROR", Code: "26000", Message: fmt.Sprintf("prepared statement %q does not exist", name)}
	}
	return []byte(st.body), nil
}

func (u *pipeline) bind(b []byte) error {
	c := u.c
	r := c.router
	if err := u.refresh(); err != nil {
		return err
	}
	c.pool.counters.Binds.Add(1)
	name, rest, err := cstring(b)
	if err != nil {
		return errBroken('B')
	}
	stName, rest, err := cstring(rest)
	if err != nil {
		return errBroken('B')
	}
	body, err := u.body(stName)
	if err != nil {
		return err
	}
	r.inUnit = r.inUnit[:0]
	prep, err := c.preparedFor(stName)
	if err != nil {
		return err
	}
	if err := r.params.parse(rest); err != nil {
		return errBroken('B')
	}
	plan, err := prep.Plan(&r.params)
	if err != nil {
		return c.inFailure(err)
	}
	if r.tx.failed && !endsFailure(&plan) {
		return errFailedTransaction()
	}
	r.setPortal(name, &portal{plan: plan, prep: prep, parse: slices.Clone(body), bind: slices.Clone(rest)})
	u.out = append(u.out, '2', 0, 0, 0, 4)
	return nil
}

// describe asks a shard what a statement or portal returns.
func (u *pipeline) describe(b []byte) error {
	c := u.c
	r := c.router
	if len(b) < 2 {
		return errBroken('D')
	}
	name := b[1 : len(b)-1]
	at, ask := -1, []byte(nil)
	if b[0] == 'S' {
		body, err := u.body(name)
		if err != nil {
			return err
		}
		r.inUnit = r.inUnit[:0]
		prep, err := c.preparedFor(name)
		if err != nil {
			return err
		}
		if plan, err := prep.Plan(&bindParams{}); err == nil && plan.Kind == shard.Command && !plan.Rows {
			u.out = append(u.out, 't', 0, 0, 0, 6, 0, 0, 'n', 0, 0, 0, 4)
			return nil
		}
		if prep.Control() == shard.ShowHint {
			u.out = append(u.out, 't', 0, 0, 0, 6, 0, 0)
			plan, err := prep.Plan(&bindParams{})
			if err != nil {
				return err
			}
			u.out = appendRowDescription(u.out, plan.Name)
			return nil
		}
		at = prep.Home()
		ask = appendParseBody(nil, "", string(body))
		ask = append(ask, 'D', 0, 0, 0, 6, 'S', 0)
	} else {
		po := r.portals[string(name)]
		if po == nil {
			return errNoPortal(name)
		}
		if po.plan.Control == shard.ShowHint {
			u.out = appendRowDescription(u.out, po.plan.Name)
			return nil
		}
		if po.plan.Kind == shard.Command {
			u.out = append(u.out, 'n', 0, 0, 0, 4)
			return nil
		}
		if s, ok := po.plan.First(); ok {
			at = s
		}
		ask = appendParseBody(nil, "", string(po.parse))
		ask = appendBind(ask, po.bind)
		ask = append(ask, 'D', 0, 0, 0, 6, 'P', 0)
	}
	ask = append(ask, 'S', 0, 0, 0, 4)
	if at < 0 {
		at = c.anyShard()
	}
	tx := byte('T')
	switch {
	case len(c.router.tx.legs) > 0:
		if err := c.enter(at, false); err != nil {
			return err
		}
		if err := c.synced(); err != nil {
			return err
		}
	case c.srv != nil: // the session is held there
		if c.pool != c.router.pool(at) || c.unsynced {
			return c.errHeld(at)
		}
		tx = 'I'
	default: // a shard that only describes has no part in the transaction
		c.pool = c.router.pool(at)
		if err := c.checkout(); err != nil {
			return shardError(c.pool.key.shard, err)
		}
		tx = 'I'
		defer func() {
			s := c.srv
			l := &leg{pool: c.pool, srv: s}
			c.park()
			c.letGo(l)
		}()
	}
	return c.srv.exchangeIn(tx, ask, syncTimeout, func(typ byte, body []byte) error {
		if typ == 't' || typ == 'T' || typ == 'n' {
			u.out = appendMessage(u.out, typ, body)
		}
		return nil
	})
}

// own opens the transaction that a unit without one is carried out in.
func (u *pipeline) own() {
	if !u.c.router.tx.open {
		u.c.beginOwn()
	}
}

func (u *pipeline) execute(b []byte) error {
	c := u.c
	name, rest, err := cstring(b)
	if err != nil || len(rest) != 4 {
		return errBroken('E')
	}
	po := c.router.portals[string(name)]
	if po == nil || po.parse == nil {
		return errNoPortal(name)
	}
	t := turn{c: c, unit: u, m: fanMessages{parse: po.parse, bind: po.bind}}
	p := &po.plan
	if binary.BigEndian.Uint32(rest) != 0 && p.Rows {
		return &Error{
			Severity: "ERROR", Code: "0A000", Message: "fetching a part of a result is not supported for a statement on several shards",
			Hint: "Fetch all rows at once (fetch size 0), or use LIMIT and OFFSET.",
		}
	}
	c.router.runs = append(c.router.runs[:0], po.prep)
	c.begin()
	defer func() { c.queryDone(now()) }()
	if p.NoTx && !c.router.tx.open {
		return t.carryOut(p)
	}
	return u.statement(&t, p)
}

func errNoPortal(name []byte) *Error {
	return &Error{Severity: "ERROR", Code: "34000", Message: fmt.Sprintf("portal %q does not exist", name)}
}

func appendMessage(b []byte, typ byte, body []byte) []byte {
	b = append(b, typ)
	b = binary.BigEndian.AppendUint32(b, uint32(4+len(body)))
	return append(b, body...)
}

// appendBind appends a Bind of the unnamed statement and portal; values is what comes behind the names.
func appendBind(b, values []byte) []byte {
	b = append(b, 'B')
	b = binary.BigEndian.AppendUint32(b, uint32(4+2+len(values)))
	b = append(b, 0, 0)
	return append(b, values...)
}
