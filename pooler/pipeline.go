package pooler

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"pgdrover/internal/connect"
	"pgdrover/shard"
)

// pipeline carries out a unit message by message, in a transaction of our own unless one is open: what comes up to Sync is atomic
// (PostgreSQL manual, "Pipelining").
type pipeline struct {
	c       *client
	planner *planner
	out     []byte
	behind  []byte // what the client has sent behind the message under way
}

// pipelineIsBlock is the first server_version_num to which a pipeline is a transaction block for SET LOCAL, DECLARE and the like, from its second
// Execute on.
const pipelineIsBlock = 180000

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
		u.behind = b[n:]
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
	if shard.IsSyntax(err) {
		if err := u.flush(); err != nil {
			return err
		}
		return c.askParse(err, string(rest))
	}
	if err != nil {
		return c.inFailure(err)
	}
	plan, err := prep.Plan(&bindParams{})
	if c.router.tx.failed && (err != nil || !passesFailure(&plan) && plan.Control != shard.Empty) {
		return errFailedTransaction()
	}
	if e := ours(err); e != nil && e.Code == "42P01" && prep.Query() { // other errors may depend on the parameters
		return e
	}
	if len(name) == 0 {
		c.unnamed.parsed(c.unnamed.parse(rest, true))
	} else {
		if c.stmts[string(name)].stmt != nil {
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
	p, err := c.planner()
	if err != nil {
		return err
	}
	c.router.planWith(p, c.environment())
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
	st := c.stmts[string(name)].stmt
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
	if len(name) > 0 && r.portals[string(name)] != nil {
		return &Error{Severity: "ERROR", Code: "42P03", Message: fmt.Sprintf("cursor %q already exists", name)}
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
	if r.tx.failed && !passesFailure(&plan) {
		return errFailedTransaction()
	}
	if plan.Kind == shard.NextID {
		drawn, err := c.withIDs(&plan)
		if err != nil {
			return err
		}
		plan = *drawn
	}
	r.setPortal(name, &portal{plan: plan, prep: prep, parse: slices.Clone(body), bind: slices.Clone(rest), seq: r.tx.seq})
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
		if alone(&po.plan) {
			if !po.plan.Rows {
				u.out = append(u.out, 'n', 0, 0, 0, 4)
				return nil
			}
			if po.late = u.executesNext(name); po.late {
				return nil
			}
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
	return c.askShard(at, false, ask, func(typ byte, body []byte) error {
		if typ == 't' || typ == 'T' || typ == 'n' {
			u.out = appendMessage(u.out, typ, body)
		}
		return nil
	})
}

// executesNext reports whether the next message executes the portal.
func (u *pipeline) executesNext(portal []byte) bool {
	b := u.behind
	if len(b) == 0 || b[0] != 'E' {
		return false
	}
	name, _, err := cstring(b[headerLen:])
	return err == nil && bytes.Equal(name, portal)
}

// askShard has a shard answer msg, which ends with Query or Sync, on a server of the session's: in the open transaction, if that has
// shards, which the shard joins.
func (c *client) askShard(at int, writes bool, msg []byte, each func(typ byte, body []byte) error) error {
	tx := byte('T')
	switch {
	case len(c.router.tx.legs) > 0:
		if err := c.enter(at, writes); err != nil {
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
	default: // a shard that is only asked has no part in the transaction
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
	err := c.askLinked(tx, msg, each)
	var se *connect.ServerError
	if err != nil && !errors.As(err, &se) {
		c.srv.dead.Store(true)
	}
	return err
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
	switch {
	case po == nil:
		return errNoPortal(name)
	case po.parse == nil:
		return &Error{
			Severity: "ERROR", Code: "0A000", Message: fmt.Sprintf("portal %q of an earlier pipeline cannot be used in one for several shards", name),
			Hint: "Sync before and behind its Execute.",
		}
	case po.ended != "":
		return u.again(name, po)
	}
	t := turn{c: c, unit: u, m: fanMessages{parse: po.parse, bind: po.bind, describe: po.late}}
	po.late = false
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
	open := c.router.tx.open
	switch {
	case !open && p.NoTx:
		err = t.carryOut(p)
	case !open && alone(p) && p.Writes && len(u.behind) == headerLen && u.behind[0] == 'S': // nothing else has to be atomic with it
		defer c.doneTx()
		err = t.carryOut(p)
	default:
		err = u.statement(&t, p)
	}
	if err == nil && c.router.tx.implicit {
		c.router.tx.block = u.planner.ServerVersion() >= pipelineIsBlock
	}
	switch {
	case err != nil:
	case p.Control == shard.Commit || p.Control == shard.Rollback || p.Control == shard.Discard && p.NoTx:
		clear(c.router.portals) // they end with their transaction
	default:
		po.ended = lastTag(u.out)
	}
	return err
}

// again executes a portal that has been executed to its end: nothing is left of its rows (PostgreSQL manual, "Extended Query": Execute).
func (u *pipeline) again(name []byte, po *portal) error {
	if !po.plan.Rows || po.plan.Kind == shard.CopyOut || strings.HasPrefix(po.ended, "COPY ") {
		return &Error{Severity: "ERROR", Code: "55000", Message: fmt.Sprintf("portal %q cannot be run", name)}
	}
	tag := po.ended
	if i := strings.LastIndexByte(tag, ' '); i >= 0 {
		tag = tag[:i] + " 0"
	}
	u.out = appendTag(u.out, tag)
	return nil
}

// lastTag is the command tag that answers end with, "" if they do not.
func lastTag(answers []byte) string {
	tag := ""
	for len(answers) > 0 {
		n := int(binary.BigEndian.Uint32(answers[1:])) + 1
		if tag = ""; answers[0] == 'C' {
			tag = string(bytes.TrimSuffix(answers[headerLen:n], []byte{0}))
		}
		answers = answers[n:]
	}
	return tag
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
