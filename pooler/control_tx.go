package pooler

import (
	"fmt"
	"strings"

	"pgdrover/shard"
)

// control carries out transaction control and session commands on a sharded database. What concerns one shard only is forwarded to it like
// any other statement; what no shard has heard of yet is answered here.
func (t *turn) control(p *shard.Plan) error {
	c := t.c
	tx := &c.router.tx
	switch p.Control {
	case shard.Empty:
		return t.answer([]byte{'I', 0, 0, 0, 4})
	case shard.Begin:
		if !tx.open {
			tx.open, tx.begin = true, p.Text
			return t.tag(beginTag(p.Text))
		}
	case shard.Commit, shard.Rollback:
		return t.endBlock(p)
	case shard.SetHint:
		return t.setHint(p)
	case shard.ShowHint:
		return t.showHint(p)
	case shard.PrepareTransaction:
		if len(tx.legs) > 1 {
			return t.fail(&Error{
				Severity: "ERROR", Code: "0A000", Message: "PREPARE TRANSACTION is not supported for a transaction on several shards",
				Hint: "COMMIT it: pgdrover commits several shards in two phases by itself.",
			})
		}
	}
	switch {
	case !tx.open:
		return t.forward(c.anyShard(), p)
	case len(tx.legs) == 0:
		return t.controlAlone(p)
	case len(tx.legs) == 1 || !concernsAll(p.Control):
		return t.forward(c.legOf(p), p)
	}
	return t.controlAll(p)
}

// concernsAll reports whether every shard of a transaction has to hear a command.
func concernsAll(k shard.Control) bool {
	switch k {
	case shard.Savepoint, shard.Release, shard.RollbackTo, shard.Set:
		return true
	}
	return false
}

// legOf is the shard that a command for one of the transaction's shards is meant for: the one that has the cursor.
func (c *client) legOf(p *shard.Plan) int {
	if at, ok := c.router.tx.cursors[p.Name]; ok && p.Control == shard.Close {
		return at
	}
	return c.anyShard()
}

// controlAlone answers a command in a transaction block that no shard has joined yet.
func (t *turn) controlAlone(p *shard.Plan) error {
	c := t.c
	tx := &c.router.tx
	tag := ""
	switch p.Control {
	case shard.Savepoint:
		tag = "SAVEPOINT"
	case shard.Release, shard.RollbackTo:
		if tx.savepoint(p.Name) < 0 {
			return t.fail(&Error{Severity: "ERROR", Code: "3B001", Message: fmt.Sprintf("savepoint %q does not exist", p.Name)})
		}
		tag = "RELEASE"
		if p.Control == shard.RollbackTo {
			tag = "ROLLBACK"
			tx.failed = false
		}
	case shard.Begin:
		e := &Error{Severity: "WARNING", Code: "25001", Message: "there is already a transaction in progress"}
		return t.answer(appendTag(e.message(), beginTag(p.Text)))
	default:
		return t.forward(c.router.last, p)
	}
	c.router.note(p)
	return t.tag(tag)
}

func beginTag(text string) string {
	if f := strings.Fields(text); len(f) > 0 && strings.EqualFold(f[0], "start") {
		return "START TRANSACTION"
	}
	return "BEGIN"
}

// endBlock is COMMIT and ROLLBACK.
func (t *turn) endBlock(p *shard.Plan) error {
	c := t.c
	tx := &c.router.tx
	commit := p.Control == shard.Commit && !tx.failed
	switch {
	case !tx.open: // the server warns
		return t.forward(c.router.last, p)
	case len(tx.legs) == 1 && (commit || p.Control == shard.Rollback || tx.legs[0].srv.tx == 'E'):
		return t.forward(tx.legs[0].shard, p)
	}
	begin := tx.begin
	tag := "ROLLBACK"
	if commit {
		tag = "COMMIT"
		if err := c.commitLegs(); err != nil {
			return t.fail(err)
		}
	} else {
		c.rollbackLegs()
	}
	if p.Chain {
		tx.open, tx.begin = true, begin
	}
	return t.tag(tag)
}

// controlAll has every shard of the transaction carry out a command.
func (t *turn) controlAll(p *shard.Plan) error {
	c := t.c
	tx := &c.router.tx
	all := *p
	all.Kind, all.Limit = shard.Gather, -1
	all.Parts = nil
	for _, l := range tx.legs {
		all.Parts = append(all.Parts, shard.Part{Shard: l.shard})
	}
	if t.unit != nil {
		if err := t.fan(&all); err != nil {
			return err
		}
	} else {
		c.begin()
		out, err := c.runPlan(&all, &t.m)
		c.queryDone(now())
		if err != nil {
			return c.rejectRaw(t.stop, err)
		}
		if p.Control == shard.RollbackTo {
			tx.failed = false
		}
		if err := t.answer(out); err != nil {
			return err
		}
	}
	c.router.note(p)
	if p.Control == shard.RollbackTo {
		tx.failed = false
	}
	return nil
}

// setHint is SET and RESET of pgdrover.shard and pgdrover.shard_key.
func (t *turn) setHint(p *shard.Plan) error {
	r := t.c.router
	tag := "SET"
	if p.Hint == (shard.Hint{}) {
		tag = "RESET"
	}
	if p.Local {
		if r.tx.open {
			r.tx.hint, r.tx.hinted = p.Hint, true
			return t.tag(tag)
		}
		e := &Error{Severity: "WARNING", Code: "25P01", Message: "SET LOCAL can only be used in transaction blocks"}
		return t.answer(appendTag(e.message(), tag))
	}
	if r.tx.open {
		r.tx.hint, r.tx.hinted = p.Hint, true
		r.tx.stays = &p.Hint
		return t.tag(tag)
	}
	r.hint = p.Hint
	return t.tag(tag)
}

func (t *turn) showHint(p *shard.Plan) error {
	h := t.c.environment().Hint
	value := h.Shard
	if p.Name != "pgdrover.shard" {
		value = h.Key
	}
	out := appendRowDescription(nil, p.Name)
	out = appendDataRow(out, value)
	return t.answer(appendTag(out, "SHOW"))
}
