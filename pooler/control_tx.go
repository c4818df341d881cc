package pooler

import (
	"fmt"
	"slices"
	"strings"

	"pgdrover/internal/config"
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
		switch {
		case tx.open:
			return t.beginAgain(p)
		case c.mode == config.PoolStatement:
			return fatalError{errProtocol("transaction blocks not allowed in statement pooling mode")}
		case c.srv != nil: // the session is held there
			return t.begin(p)
		default:
			tx.open, tx.begin, tx.base = true, p.Text, c.session
			return t.tag(beginTag(p.Text))
		}
	case shard.Commit, shard.Rollback:
		return t.endBlock(p)
	case shard.Deallocate:
		if t.unit != nil && c.stmts[p.Name].stmt != nil { // no shard knows it by this name
			c.setStmt(p.Name, nil)
			return t.tag("DEALLOCATE")
		}
	case shard.SetHint:
		return t.setHint(p)
	case shard.ShowHint:
		return t.showHint(p)
	case shard.PrepareTransaction:
		return t.prepareTransaction(p)
	case shard.CommitPrepared:
		if len(c.router.pools) > 1 {
			return t.fail(&Error{
				Severity: "ERROR", Code: "0A000", Message: "it is not known which shard has prepared the transaction \"" + p.Name + "\"",
				Hint: "Name it in a comment, /* shard=… */.",
			})
		}
	case shard.Set:
		if what := needsBlock(p); what != "" && tx.implicit && !tx.block && t.m.parse != nil { // what PostgreSQL says in a pipeline, and not in a text of several statements
			e := &Error{Severity: "WARNING", Code: "25P01", Message: what + " can only be used in transaction blocks"}
			t.unit.out = append(t.unit.out, e.message()...)
		}
		c.router.noteCustom(p.Name)
		if name := c.restores(p); name != "" && tx.open {
			return t.fail(&Error{
				Severity: "ERROR", Code: "0A000", Message: fmt.Sprintf("RESET of parameter %q is not supported in a transaction on a sharded database", name),
				Detail: "Its value was given when the client connected, and is another than the servers' own.", Hint: "Use SET, or RESET it outside of the transaction.",
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

// needsBlock names the forms of SET that do nothing outside of a transaction block, "" for others.
func needsBlock(p *shard.Plan) string {
	switch {
	case p.Local:
		return "SET LOCAL"
	case p.Name == "" && firstWords(p.Text, "SET", "CONSTRAINTS"):
		return "SET CONSTRAINTS"
	case strings.EqualFold(p.Name, "transaction"):
		return "SET TRANSACTION"
	}
	return ""
}

// begin opens a transaction block on the shard that the session is held on.
func (t *turn) begin(p *shard.Plan) error {
	c := t.c
	tx := &c.router.tx
	if t.unit == nil {
		return t.forward(c.anyShard(), p)
	}
	tx.open, tx.begin, tx.base = true, p.Text, c.session
	return t.tag(beginTag(p.Text))
}

// beginAgain is BEGIN in a transaction block: a warning, and the modes that it names hold (PostgreSQL manual, "BEGIN").
func (t *turn) beginAgain(p *shard.Plan) error {
	if options := beginOptions(p.Text); options != "" {
		if err := t.setTransaction(options); err != nil {
			if t.unit != nil {
				return err
			}
			return t.c.rejectRaw(t.stop, err)
		}
	}
	e := &Error{Severity: "WARNING", Code: "25001", Message: "there is already a transaction in progress"}
	return t.answer(appendTag(e.message(), beginTag(p.Text)))
}

// restores returns the name of a parameter that the client has connected with and that p resets, "" without one.
func (c *client) restores(p *shard.Plan) string {
	if c.initial == noEnv || c.initial == (env{}) {
		return ""
	}
	for _, r := range findResets([]byte(p.Text)) {
		for _, i := range envParams(c.initial) {
			if r.touches(i.name) {
				return i.name
			}
		}
	}
	return ""
}

// prepareTransaction is PREPARE TRANSACTION, which one shard can do.
func (t *turn) prepareTransaction(p *shard.Plan) error {
	c := t.c
	tx := &c.router.tx
	switch {
	case strings.HasPrefix(p.Name, gidPrefix):
		return t.fail(&Error{
			Severity: "ERROR", Code: "42939", Message: fmt.Sprintf("transaction identifiers that begin with %q are pgdrover's own", gidPrefix), Hint: "Use another identifier.",
		})
	case !tx.open:
		return t.forward(c.anyShard(), p) // the server says what it thinks of it
	case tx.failed && !c.failedThere():
		err := c.rollbackLegs()
		if err != nil {
			return t.fail(err)
		}
		return t.tag("ROLLBACK")
	case len(tx.legs) > 1:
		return t.fail(&Error{
			Severity: "ERROR", Code: "0A000", Message: "PREPARE TRANSACTION is not supported for a transaction on several shards",
			Hint: "COMMIT it: pgdrover commits several shards in two phases by itself.",
		})
	case t.unit == nil:
		return t.forward(c.anyShard(), p)
	}
	if err := t.forward(c.anyShard(), p); err != nil {
		return err
	}
	return c.finishLegs(true)
}

// failedThere reports whether the transaction has failed on the one shard that has joined, which therefore knows of it.
func (c *client) failedThere() bool {
	tx := &c.router.tx
	return len(tx.legs) == 1 && tx.legs[0].srv.tx == 'E'
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
		}
	default:
		return t.forward(c.anyShard(), p)
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
		return t.forward(c.anyShard(), p)
	case p.Chain && tx.sets: // what the next one begins with is found out
	case t.unit == nil && len(tx.legs) == 1 && (commit || p.Control == shard.Rollback || c.failedThere()):
		return t.forward(tx.legs[0].shard, p)
	}
	if tx.implicit {
		e := &Error{Severity: "WARNING", Code: "25P01", Message: "there is no transaction in progress"}
		if p.Chain {
			e = &Error{Severity: "ERROR", Code: "25P01", Message: strings.ToUpper(strings.TrimSuffix(firstOf(p.Text), ";")) + " AND CHAIN can only be used in transaction blocks"}
			return t.fail(e)
		}
		if t.unit != nil {
			t.unit.out = append(t.unit.out, e.message()...)
		}
	}
	next := *tx
	next.keepSaid(p.Chain, func(s *saying) bool { return strings.EqualFold(s.set, "transaction") })
	next.said = slices.Clone(next.said)
	tag := "ROLLBACK"
	var err error
	if commit {
		tag = "COMMIT"
		err = c.commitLegs()
	} else {
		err = c.rollbackLegs()
	}
	if err != nil {
		if t.unit != nil {
			return err
		}
		return c.rejectRaw(t.stop, err)
	}
	if p.Chain {
		tx.open, tx.begin, tx.said, tx.chained, tx.base = true, next.begin, next.said, next.chained, c.session
	}
	return t.tag(tag)
}

func firstOf(text string) string {
	if f := strings.Fields(text); len(f) > 0 {
		return f[0]
	}
	return ""
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
		c.router.note(p)
		return nil
	}
	c.begin()
	out, err := c.runPlan(&all, &t.m)
	c.queryDone(now())
	if err != nil {
		return c.rejectRaw(t.stop, err)
	}
	c.router.note(p)
	return t.answer(out)
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
		stays := p.Hint
		r.tx.stays = &stays
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
	var out []byte
	if t.m.parse == nil { // in the extended protocol Describe asks for it
		out = appendRowDescription(nil, p.Name)
	}
	out = appendDataRow(out, value)
	return t.answer(appendTag(out, "SHOW"))
}
