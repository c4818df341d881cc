package pooler

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"pgdrover/shard"
)

// router is the part of a session that only sharded databases have. It takes the place of the step from a unit of the client to the one
// pool of a plain session: it plans each statement and says which shard's server is linked when the unit is forwarded.
// A statement for one shard then goes the way of every other statement; those for several are carried out by fan.
type router struct {
	pools   []*pool           // by shard
	of      *sharding         // whose shards they are
	env     shard.Env         // what plans depend on
	envOf   env               // the parameters that env was made of
	known   bool              // env is up to date but for envOf
	last    int               // shard that was used last
	tx      shardTx           // the transaction block, if one is open
	hint    shard.Hint        // SET pgdrover.shard
	unit    []shard.Plan      // what the unit under way does, when the server has to say whether it did
	copying *copyIn           // COPY FROM STDIN to several shards, while it goes on
	runs    []timedPlan       // what the unit under way runs, for SHOW PLANS
	stmts   []shard.Statement // scratch: of the simple query under way
	base    session           // the session's parameters before the unit under way, while no transaction block is open
	custom  []string          // the custom parameters that were set
	// unsettled: the server has not said what state its transaction is in, because no Sync came behind the unit.
	unsettled bool
	// copyEnds: of a COPY with one shard the end was sent, and not yet the Sync behind it.
	copyEnds bool
	extended
}

func newRouter(c *client, d *database) *router {
	r := &router{}
	r.use(c, d.sharding.Load())
	return r
}

// use makes sh the map in force, with a pool for each of its shards.
func (r *router) use(c *client, sh *sharding) {
	if r.of == sh {
		return
	}
	pools := make([]*pool, len(sh.m.Shards()))
	for i, name := range sh.m.Shards() {
		user := c.loginName
		if forced := sh.conf.ShardServer(name).User; forced != "" {
			user = forced
		}
		pools[i] = c.p.findPool(c.db, name, user, "none")
		if user == c.loginName {
			pools[i].learn(&c.creds)
		}
	}
	r.pools, r.of = pools, sh
	r.last = min(r.last, len(pools)-1)
	r.prepared = nil
}

func (r *router) pool(shard int) *pool { return r.pools[shard] }

// greeter is the pool whose servers greet the client: of a shard that has answered before, if there is one, because others may be down.
func (r *router) greeter() *pool {
	untried := r.pools[0]
	for _, pl := range r.pools {
		pl.mu.Lock()
		knows, failed := pl.welcome != nil && pl.lastErr == nil, pl.lastErr != nil
		pl.mu.Unlock()
		if knows {
			return pl
		}
		if !failed && untried == r.pools[0] {
			untried = pl
		}
	}
	return untried
}

// route takes b[r:end] of the client to where it belongs. It is handle for sharded databases.
func (c *client) route(end int) error {
	for c.in.r < end {
		if c.router.copying != nil {
			if err := c.copyRouted(end); err != nil || c.body > 0 {
				return err
			}
			continue
		}
		if c.duplex != nil {
			if err := c.routeDuplex(end); err != nil || c.body > 0 {
				return err
			}
			continue
		}
		if err := c.learn(); err != nil {
			return err
		}
		if !c.router.tx.open {
			c.router.base = c.session
		}
		if c.deadlock.Load() != nil {
			c.deadlock.Store(nil) // it came too late
		}
		stop, err := c.segment(end)
		if err != nil {
			return err
		}
		if c.skipToSync {
			if err := c.skip(stop); err != nil {
				return err
			}
			continue
		}
		if err := c.routeSegment(stop); err != nil {
			return err
		}
		if c.body > 0 {
			return nil
		}
	}
	return nil
}

// routeDuplex deals with the next messages while one shard works on what came before. What belongs to a COPY goes there; the place of everything else depends
// on how that ends.
func (c *client) routeDuplex(end int) error {
	r := c.router
	c.mu.Lock()
	copying, unsynced := c.copyIn || c.copyBoth, c.unsynced
	c.mu.Unlock()
	if !copying && !r.copyEnds {
		return c.awaitDuplex()
	}
	stop, ends, err := c.copySegment(end, copying, unsynced)
	if err != nil {
		return err
	}
	done, err := c.joinIfDone()
	r.copyEnds = ends && !done
	if done || err != nil {
		return err
	}
	return c.forwardDuplex(stop)
}

// copySegment returns the end of what belongs to a COPY: up to its CopyDone or CopyFail, and in the extended protocol up to the Sync behind that. ends says
// that this Sync is still to come.
func (c *client) copySegment(end int, copying, unsynced bool) (stop int, ends bool, err error) {
	b, pos := c.in.b, c.in.r
	for pos < end {
		typ := b[pos]
		stop = min(pos+int(binary.BigEndian.Uint32(b[pos+1:]))+1, end)
		switch typ {
		case 'c', 'f':
			copying = false
			if !unsynced {
				return stop, false, nil
			}
		case 'S':
			if !copying {
				return stop, false, nil
			}
		case 'd', 'H', 'X':
		default:
			switch {
			case pos > c.in.r:
				return pos, !copying, nil
			case copying: // PostgreSQL says that it may not stand there
				return stop, false, nil
			}
			return 0, false, fatalError{errProtocol(fmt.Sprintf("message %q behind a COPY of the same pipeline on a sharded database, which has to end with Sync", typ))}
		}
		pos = stop
	}
	return end, !copying, nil
}

// awaitDuplex waits until everything that was asked of the server has been answered: where the next statement goes depends on it.
func (c *client) awaitDuplex() error {
	d := c.duplex
	<-d.done
	c.duplex = nil
	if errors.Is(d.err, errStopped) && reason(c.reasons.Load())&reasonKill != 0 {
		return c.killed()
	}
	return d.err
}

// segment returns the end of what is routed together: one simple query, or messages of the extended protocol up to Sync or Flush.
func (c *client) segment(end int) (stop int, err error) {
	b := c.in.b
	for pos := c.in.r; pos < end; pos = stop {
		stop = min(pos+int(binary.BigEndian.Uint32(b[pos+1:]))+1, end)
		switch b[pos] {
		case 'P', 'B', 'D', 'E', 'C':
			continue
		case 'd', 'c', 'f':
			if pos > c.in.r && !c.skipToSync {
				return 0, fatalError{errProtocol("CopyData on a sharded database before the server has said that it copies")}
			}
		}
		return stop, nil
	}
	return end, nil
}

func (c *client) routeSegment(stop int) error {
	switch c.in.b[c.in.r] {
	case 'Q':
		return c.routeQuery(stop)
	case 'F':
		return c.reject(stop, &Error{
			Severity: "ERROR", Code: "0A000", Message: "the function call protocol is not supported on a sharded database",
			Hint: "Call the function with SELECT.",
		})
	case 'X':
		return errTerminate
	case 'd', 'c', 'f': // left over from a COPY that has failed: PostgreSQL ignores it too
		c.in.r = stop
		return nil
	}
	return c.routeUnit(stop)
}

// environment is what plans depend on now.
func (c *client) environment() shard.Env {
	r := c.router
	if !r.known || r.envOf != c.session.all {
		r.env = shard.Env{User: c.home.key.user, StringsPlain: true, UTF8: true}
		for _, p := range append(envParams(c.session.all), r.tx.over...) {
			switch strings.ToLower(p.name) {
			case "role":
				if p.value != "none" {
					r.env.User = p.value
				}
			case "session_authorization":
				r.env.User = p.value
			case "search_path":
				r.env.SearchPath = p.value
			case "standard_conforming_strings":
				r.env.StringsPlain = p.value == "on"
			case "client_encoding":
				r.env.UTF8 = strings.EqualFold(p.value, "utf8") || strings.EqualFold(p.value, "unicode") || strings.EqualFold(p.value, "sql_ascii")
			}
		}
		r.envOf, r.known = c.session.all, true
	}
	e := r.env
	e.Hint = r.hint
	if r.tx.open && r.tx.hinted {
		e.Hint = r.tx.hint
	}
	return e
}

// maxKeptStatements bounds what a session keeps for the plans of its next simple query.
const maxKeptStatements = 4

// routeQuery plans a simple query and carries it out.
func (c *client) routeQuery(stop int) error {
	text := c.in.b[c.in.r+headerLen : stop]
	if i := bytes.IndexByte(text, 0); i >= 0 {
		text = text[:i]
	}
	c.router.runs = c.router.runs[:0]
	p, err := c.planner()
	if err != nil {
		return c.reject(stop, err)
	}
	stmts, err := p.AppendQuery(context.Background(), c.router.stmts[:0], c.environment(), text)
	if err != nil {
		return c.rejectText(stop, err, text)
	}
	if cap(stmts) <= maxKeptStatements {
		c.router.stmts = stmts
	}
	for i := range stmts {
		c.router.runs = append(c.router.runs, &stmts[i])
	}
	if c.router.tx.implicit { // a pipeline that Query ends, in the place of Sync
		return c.runScript(stop, p, text, stmts)
	}
	switch len(stmts) {
	case 0:
		return c.answerSegment(stop, []byte{'I', 0, 0, 0, 4})
	case 1:
		if plan := &stmts[0].Plan; plan.Kind == shard.Forward && !c.router.tx.failed {
			return c.forwardTo(stop, plan.Shard, *plan)
		}
		t := turn{c: c, stop: stop, m: fanMessages{query: text}}
		return t.carryOut(&stmts[0].Plan)
	}
	plans := make([]shard.Plan, len(stmts))
	for i := range stmts {
		plans[i] = stmts[i].Plan
	}
	if !stmts[len(stmts)-1].Later {
		if at, ok := c.together(plans); ok {
			return c.forwardTo(stop, at, plans...)
		}
	}
	return c.runScript(stop, p, text, stmts)
}

// planner returns the planner in force. Inside a transaction block the map stays what it was.
func (c *client) planner() (*planner, error) {
	if !c.router.tx.open {
		c.router.use(c, c.db.sharding.Load())
	}
	if err := c.refreshMeaning(); err != nil {
		return nil, err
	}
	return c.plannerFor(c.router.of)
}

// together reports whether one shard can do all of it by itself, transaction control included, and which.
func (c *client) together(plans []shard.Plan) (at int, ok bool) {
	at = -1
	tx := &c.router.tx
	switch len(tx.legs) {
	case 0:
		if tx.open {
			return 0, false // what was said since BEGIN has to be said to the shard first
		}
	case 1:
		at = tx.legs[0].shard
	default:
		return 0, false
	}
	if tx.failed && !c.failedThere() {
		return 0, false // no server knows of it
	}
	for i := range plans {
		p := &plans[i]
		if i+1 < len(plans) && (changesMeaning(p) || p.Chain) {
			return 0, false // what stands behind it has to be planned anew
		}
		switch p.Kind {
		case shard.Anywhere:
			continue
		case shard.Command:
			switch p.Control {
			case shard.SetHint, shard.ShowHint, shard.PrepareTransaction, shard.CommitPrepared:
				return 0, false
			case shard.Set:
				if c.restores(p) != "" {
					return 0, false
				}
			}
			continue
		case shard.Forward:
			if at >= 0 && at != p.Shard {
				return 0, false
			}
			at = p.Shard
		default:
			return 0, false
		}
	}
	if at < 0 {
		at = c.anyShard()
	}
	return at, true
}

// anyShard is a shard for what every shard can answer: one that the transaction has already, or the last one used, whose servers know this
// session's statements.
func (c *client) anyShard() int {
	if tx := &c.router.tx; len(tx.legs) > 0 {
		return tx.current().shard
	}
	if c.srv != nil { // the session is held there
		if at := slices.Index(c.router.pools, c.pool); at >= 0 {
			return at
		}
	}
	return c.router.last
}

// forwardTo has the linked server of a shard do what is in b[r:stop], as a session without shards would.
func (c *client) forwardTo(stop, at int, plans ...shard.Plan) error {
	r := c.router
	if err := c.enter(at, writes(plans)); err != nil {
		return c.reject(stop, err)
	}
	r.last = at
	for i := range plans {
		if plans[i].Control == shard.Set {
			r.noteCustom(plans[i].Name)
		}
	}
	r.unit = append(r.unit[:0], plans...)
	c.created = false
	c.completed = 0
	if err := c.handle(stop); err != nil {
		return err
	}
	if c.duplex != nil {
		return nil // learn is called when the answers have come
	}
	return c.learn()
}

func writes(plans []shard.Plan) bool {
	return slices.ContainsFunc(plans, func(p shard.Plan) bool { return p.Writes })
}

// learn takes note of what the linked server has made of the unit that was forwarded last.
func (c *client) learn() error {
	r := c.router
	tx := &r.tx
	if len(r.unit) == 0 && !r.unsettled {
		if tx.open && c.srv != nil && !c.unsynced {
			tx.failed = tx.failed || c.srv.tx == 'E' // a statement or portal may have been missing
		}
		return nil
	}
	status := byte('I')
	if c.srv != nil {
		status = c.srv.tx
	}
	done := min(c.completed, len(r.unit)) // an error may have ended it early
	rolledBack := false
	for i := range r.unit[:done] {
		p := &r.unit[i]
		r.note(p)
		if p.Kind == shard.Command && (p.Control == shard.Commit || p.Control == shard.Rollback) {
			rolledBack = p.Control == shard.Rollback
			if p.Chain { // the next one does not begin with endTx
				r.dropPortals()
				if tx.ddl {
					c.db.ddl.Add(1)
				}
			}
		}
	}
	committed := done == len(r.unit) && !rolledBack && !tx.failed
	wrote := writes(r.unit)
	if c.created {
		tx.noteDDL()
	}
	r.unit = r.unit[:0]
	r.unsettled = false
	switch {
	case c.srv != nil && c.unsynced: // behind Flush: it is not over
		r.unsettled = true
		return nil
	case status == 'I':
		if len(tx.legs) > 1 {
			return fatalError{errSplitTransaction()}
		}
		c.endTx(committed)
	default:
		if !tx.open {
			tx.open, tx.base = true, r.base
		}
		if len(tx.legs) == 0 {
			tx.legs = append(tx.legs, &leg{shard: r.last, pool: c.pool, srv: c.srv, wrote: wrote})
		}
		tx.failed = status == 'E'
	}
	return nil
}

// reject answers a unit with an error of our own. Inside a transaction block the transaction has failed with it, on every shard.
func (c *client) reject(stop int, err error) error {
	var f fatalError
	if errors.As(err, &f) {
		return err
	}
	e := ours(err)
	if e == nil {
		return err
	}
	if c.srv != nil && !c.router.tx.open && c.unsynced {
		// What came before in this pipeline must not be committed by the Sync that we will answer.
		c.replies.reset(c.undo)
		s := c.srv
		c.unlink()
		c.unsynced = false
		s.close("a pipeline was given up")
	}
	if tx := &c.router.tx; tx.open {
		if lost := c.synced(); lost != nil && ours(lost) == nil {
			return lost
		}
		tx.failed = true
	}
	simple := c.in.b[c.in.r] == 'Q' || c.in.b[c.in.r] == 'F'
	if simple {
		return c.answerSegment(stop, e.message())
	}
	if err := c.conn.writeAll(e.message()); err != nil {
		return err
	}
	c.skipToSync = true
	return c.skip(stop)
}

// answerSegment answers a simple query with msg and ReadyForQuery.
func (c *client) answerSegment(stop int, msg []byte) error {
	c.in.r = stop
	return c.conn.writeAll(appendReady(msg, c.status()))
}

// status is the transaction status that a ReadyForQuery of ours carries.
func (c *client) status() byte {
	switch {
	case c.router == nil || !c.router.tx.open:
		return 'I'
	case c.router.tx.failed:
		return 'E'
	}
	return 'T'
}

// ours returns err as an error to send, or nil if it is none.
func ours(err error) *Error {
	var e *Error
	var se *shard.Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.As(err, &se):
		return &Error{Severity: "ERROR", Code: se.Code, Message: se.Message, Detail: se.Detail, Hint: se.Hint, Position: se.Position}
	}
	return nil
}
