package pooler

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

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
	changed   []namedPortal      // what portals were before the unit that is planned, in the order in which it names them
	types     []uint32           // scratch
	params    bindParams         // scratch
	inUnit    []unitStmt         // scratch: statements of the unit under way
}

type unitStmt struct {
	name []byte
	prep *shard.Prepared // nil of one that is missing
}

type namedPortal struct {
	name   string
	portal *portal // nil if there was none
}

// portal is what a Bind has made.
type portal struct {
	plan  shard.Plan
	prep  *shard.Prepared
	parse []byte // text and parameter types of its statement
	bind  []byte // of the Bind behind the names
	late  bool   // it is described when it is executed
	ended string // the command tag once it has been executed
	seq   int    // of the savepoint before it
}

// routeUnit takes messages of the extended protocol to where they belong. Mostly that is one shard, which gets them as they are.
func (c *client) routeUnit(stop int) error {
	r := c.router
	behind := c.srv != nil && c.unsynced // Flush
	if behind && c.replies.skipping {
		if err := c.handle(stop); err != nil || c.duplex != nil {
			return err
		}
		return c.learn()
	}
	p, err := c.planner()
	if err != nil {
		return c.reject(stop, err)
	}
	r.planWith(p, c.environment())
	at, alone, err := c.planUnit(c.in.b[c.in.r:stop])
	switch {
	case err == nil && !alone && behind && !r.tx.open:
		err = c.errHeld(at)
		fallthrough
	case err != nil && (len(r.unit) == 0 && len(r.inUnit) == 0 && !shard.IsSyntax(err) || behind && !r.tx.open):
		r.unit = r.unit[:0]
		return c.reject(stop, c.inFailure(err))
	case err == nil && alone:
		plans := r.unit
		if err := c.enter(at, writes(plans)); err != nil {
			r.unit = r.unit[:0]
			return c.reject(stop, err)
		}
		r.last = at
		c.created = false
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
	for _, was := range slices.Backward(r.changed) { // it begins anew
		r.setPortal([]byte(was.name), was.portal)
	}
	r.changed = r.changed[:0]
	u := pipeline{c: c, planner: p}
	return u.run(stop)
}

// planWith has what comes next planned by p in env. Plans that were made otherwise are of no use.
func (r *router) planWith(p *planner, env shard.Env) {
	if r.planned != p || r.plannedE != env {
		r.prepared, r.unnamed, r.again = nil, nil, nil
		r.planned, r.plannedE = p, env
	}
}

// planUnit plans what is executed in a unit. alone says that one shard can do all of it, and r.unit is then what it does.
func (c *client) planUnit(b []byte) (at int, alone bool, err error) {
	r := c.router
	tx := &r.tx
	r.unit, r.inUnit, r.runs, r.changed = r.unit[:0], r.inUnit[:0], r.runs[:0], r.changed[:0]
	if !tx.open && !tx.implicit && c.srv == nil {
		r.dropPortals()
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
				r.inUnit = append(r.inUnit, unitStmt{name: stName})
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
			anew = changesMeaning(&plan)
			if len(name) > 0 {
				if r.portals[string(name)] != nil {
					return 0, false, nil // which one shard may not know
				}
				r.changePortal(name, &portal{plan: plan, prep: prep, seq: tx.seq})
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
		case 'C':
			if len(body) > 2 && body[0] == 'P' {
				r.changePortal(body[1:len(body)-1], nil)
			}
		case 'D':
			if len(body) < 2 {
				return 0, false, errBroken(msg[0])
			}
			if body[0] != 'S' {
				break
			}
			name := bytes.TrimSuffix(body[1:], []byte{0})
			prep, perr := c.preparedFor(name)
			if perr != nil {
				return 0, false, perr
			}
			if prep == nil {
				r.inUnit = append(r.inUnit, unitStmt{name: name})
				break // likewise
			}
			if prep.Control() == shard.ShowHint {
				return 0, false, nil // no server knows it
			}
			if prep.Home() >= 0 {
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
		case shard.Commit:
			if p.Chain && tx.sets {
				return at, false
			}
		}
		switch {
		case !tx.open:
			return at, true
		case len(tx.legs) != 1: // what several shards, or none yet, have to hear is said to each
			return at, false
		}
		return tx.legs[0].shard, at < 0 || at == tx.legs[0].shard
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
	st := c.stmts[string(name)].stmt
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

// dropPortals forgets the portals with a name, which end with their transaction. The place of the unnamed one is used again.
func (r *router) dropPortals() {
	if len(r.portals) > 0 {
		maps.DeleteFunc(r.portals, func(name string, _ *portal) bool { return name != "" })
	}
}

// changePortal is setPortal while a unit is planned.
func (r *router) changePortal(name []byte, po *portal) {
	r.changed = append(r.changed, namedPortal{string(name), r.portals[string(name)]})
	r.setPortal(name, po)
}

// setPortal notes what a portal is, nil for none.
func (r *router) setPortal(name []byte, po *portal) {
	if po == nil {
		delete(r.portals, string(name))
		return
	}
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
