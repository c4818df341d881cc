package pooler

import (
	"errors"

	"pgdrover/internal/connect"
	"pgdrover/shard"
)

// turn is one statement that is being carried out on a sharded database: all of a simple query, or an Execute of a pipeline that is carried
// out message by message.
type turn struct {
	c    *client
	stop int       // where the simple query ends
	unit *pipeline // of an Execute; nil for a simple query
	m    fanMessages
}

// answer gives the client what the statement itself answers; a simple query's ReadyForQuery goes with it.
func (t *turn) answer(msg []byte) error {
	if t.unit != nil {
		t.unit.out = append(t.unit.out, msg...)
		return nil
	}
	return t.c.answerSegment(t.stop, msg)
}

func (t *turn) tag(tag string) error { return t.answer(appendTag(nil, tag)) }

// fail answers with an error of ours.
func (t *turn) fail(err error) error {
	if t.unit != nil {
		return err
	}
	return t.c.reject(t.stop, err)
}

// forward has one shard carry the statement out.
func (t *turn) forward(at int, p *shard.Plan) error {
	if t.unit == nil {
		return t.c.forwardTo(t.stop, at, *p)
	}
	one := *p
	one.Kind, one.Limit, one.Parts = shard.Gather, -1, []shard.Part{{Shard: at}}
	if err := t.fan(&one); err != nil {
		return err
	}
	t.c.router.note(p)
	if p.Control == shard.Deallocate && p.Name == "" || p.Control == shard.Discard && p.NoTx {
		t.c.dropStatements()
	}
	return nil
}

// carryOut does what the statement asks for.
func (t *turn) carryOut(p *shard.Plan) error {
	c := t.c
	tx := &c.router.tx
	if tx.failed && !passesFailure(p) && p.Control != shard.Empty {
		return t.fail(errFailedTransaction())
	}
	if p.Kind == shard.NextID {
		drawn, err := c.withIDs(p)
		if err != nil {
			return t.fail(err)
		}
		p = drawn
	}
	switch p.Kind {
	case shard.Forward:
		return t.forward(p.Shard, p)
	case shard.Anywhere:
		return t.forward(c.anyShard(), p)
	case shard.Command:
		return t.control(p)
	case shard.CopyIn:
		return t.copyFrom(p)
	}
	if t.unit != nil {
		return t.fan(p)
	}
	return t.fanQuery(p)
}

// fanQuery carries out a simple query that one shard cannot do alone.
func (t *turn) fanQuery(p *shard.Plan) error {
	c := t.c
	c.begin()
	ours := !c.router.tx.open && p.Writes && !p.NoTx && !alone(p)
	if ours {
		c.beginOwn()
		c.router.tx.single = true
	}
	out, err := c.runPlan(p, &t.m)
	var over sessionOver
	if errors.As(err, &over) {
		return err
	}
	if ours {
		out, err = c.endOwn(out, err)
	}
	switch {
	case c.router.tx.open:
		c.queryDone(now())
	case !ours: // otherwise it is counted
		c.doneTx()
	}
	if err != nil {
		return t.c.rejectRaw(t.stop, err)
	}
	return t.answer(out)
}

// alone says that one shard carries out the whole of p, as one statement: it needs no transaction of ours to be atomic.
func alone(p *shard.Plan) bool { return p.Kind == shard.Gather && len(p.Parts) == 1 }

// fan carries out an Execute.
func (t *turn) fan(p *shard.Plan) error {
	if err := t.unit.flush(); err != nil {
		return err
	}
	out, err := t.c.runPlan(p, &t.m)
	if err != nil {
		return err
	}
	return t.answer(out)
}

// rejectRaw is reject for errors that may be a server's, which the client gets in the server's own words.
func (c *client) rejectRaw(stop int, err error) error {
	var se *connect.ServerError
	if !errors.As(err, &se) {
		return c.reject(stop, err)
	}
	if c.router.tx.open {
		c.router.tx.failed = true
	}
	return c.answerSegment(stop, errorMessage(se))
}

// errorMessage is the ErrorResponse that was parsed.
func errorMessage(se *connect.ServerError) []byte { return appendMessage(nil, 'E', se.Body) }
