package pooler

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"

	"pgdrover/internal/connect"
	"pgdrover/shard"
)

// runScript carries out a text of several statements that one shard cannot do alone, each by itself, in one transaction unless the text
// says otherwise (PostgreSQL manual, "Multiple Statements in a Simple Query").
func (c *client) runScript(stop int, p *planner, text []byte, stmts []shard.Statement) error {
	tx := &c.router.tx
	u := pipeline{c: c, planner: p}
	c.begin()
	if err := u.script(text, stmts); err != nil {
		msg, err := errorBytes(err)
		if err != nil {
			return err
		}
		u.out = append(u.out, msg...)
		switch {
		case tx.implicit:
			if err := c.rollbackLegs(); err != nil {
				return err
			}
		case tx.open:
			tx.failed = true
		}
	}
	c.in.r = stop
	c.queryDone(now())
	return u.sync()
}

// script carries out statements one by one. What stands behind one that changes what others mean is planned again.
func (u *pipeline) script(text []byte, stmts []shard.Statement) error {
	c := u.c
	anew := false
	for i := range stmts {
		st := &stmts[i]
		t := turn{c: c, unit: u, m: fanMessages{query: text[st.Start:st.End], chars: utf8.RuneCount(text[:st.Start])}}
		plan := &st.Plan
		if anew || st.Later {
			again, err := u.planAgain(&t.m)
			if err != nil {
				return err
			}
			plan = again
		}
		if err := u.statement(&t, plan); err != nil {
			return err
		}
		anew = anew || changesMeaning(plan) || plan.Kind == shard.Command && (plan.Control == shard.Rollback || plan.Control == shard.RollbackTo)
	}
	return nil
}

// planAgain plans one statement of a text with what those before it have changed.
func (u *pipeline) planAgain(m *fanMessages) (*shard.Plan, error) {
	c := u.c
	p, err := c.planner()
	if err != nil {
		return nil, err
	}
	stmts, err := p.Query(context.Background(), c.environment(), m.query)
	var se *shard.Error
	switch {
	case errors.As(err, &se) && se.Position > 0:
		moved := *se
		moved.Position += m.chars
		return nil, &moved
	case err != nil:
		return nil, err
	case len(stmts) != 1:
		return nil, &Error{Severity: "ERROR", Code: "0A000", Message: "a SET changes where the statements of this text end", Hint: "Send the statements one by one."}
	}
	return &stmts[0].Plan, nil
}

// statement carries out one of several statements.
func (u *pipeline) statement(t *turn, p *shard.Plan) error {
	tx := &u.c.router.tx
	if p.Kind == shard.Command {
		switch p.Control {
		case shard.Begin:
			if tx.implicit { // what came before is part of the block
				return u.adopt(t, p)
			}
			return t.carryOut(p)
		case shard.Commit, shard.Rollback, shard.Empty, shard.SetHint, shard.ShowHint:
			return t.carryOut(p)
		case shard.Savepoint, shard.Release, shard.RollbackTo:
			if !tx.open || tx.implicit {
				return errNoBlock(p.Control)
			}
		}
	}
	if tx.failed {
		return t.carryOut(p) // which says so
	}
	if declares(p) && t.m.parse != nil && (!tx.open || tx.implicit && !tx.block) { // in a text of several statements it may be
		return &Error{Severity: "ERROR", Code: "25P01", Message: "DECLARE CURSOR can only be used in transaction blocks"}
	}
	if p.NoTx {
		return &Error{Severity: "ERROR", Code: "25001", Message: "this statement cannot run inside a transaction block, a pipeline or a text of several statements"}
	}
	u.own()
	return t.carryOut(p)
}

// declares reports whether p is DECLARE CURSOR: of what one shard does only that has a name.
func declares(p *shard.Plan) bool { return p.Kind == shard.Forward && p.Name != "" }

// errNoBlock is the error for a savepoint in what is a transaction for other reasons than BEGIN.
func errNoBlock(what shard.Control) *Error {
	command := map[shard.Control]string{shard.Savepoint: "SAVEPOINT", shard.Release: "RELEASE SAVEPOINT", shard.RollbackTo: "ROLLBACK TO SAVEPOINT"}[what]
	return &Error{Severity: "ERROR", Code: "25P01", Message: command + " can only be used in transaction blocks"}
}

// adopt makes the implicit transaction of what came before the block that BEGIN opens.
func (u *pipeline) adopt(t *turn, p *shard.Plan) error {
	tx := &u.c.router.tx
	if options := beginOptions(p.Text); options != "" && len(tx.legs) > 0 {
		if err := t.setTransaction(options); err != nil {
			return err
		}
	}
	tx.implicit, tx.begin = false, p.Text
	return t.tag(beginTag(p.Text))
}

// setTransaction gives the block that is open other modes, on the shards that have joined and on those that will.
func (t *turn) setTransaction(options string) error {
	c := t.c
	set := shard.Plan{Kind: shard.Gather, Control: shard.Set, Name: "transaction", Text: "SET TRANSACTION " + options, Limit: -1}
	for _, l := range c.router.tx.legs {
		set.Parts = append(set.Parts, shard.Part{Shard: l.shard})
	}
	if len(set.Parts) > 0 {
		if t.unit != nil {
			if err := t.unit.flush(); err != nil {
				return err
			}
		}
		if _, err := c.runPlan(&set, &fanMessages{query: []byte(set.Text)}); err != nil {
			return err
		}
	}
	set.Kind = shard.Command
	c.router.note(&set)
	return nil
}

// beginOptions returns the transaction modes of BEGIN or START TRANSACTION.
func beginOptions(text string) string {
	f := strings.Fields(strings.TrimRight(text, "; \t\r\n"))
	if len(f) > 0 {
		f = f[1:]
	}
	if len(f) > 0 && (strings.EqualFold(f[0], "transaction") || strings.EqualFold(f[0], "work")) {
		f = f[1:]
	}
	return strings.Join(f, " ")
}

// shifted returns se with its position counted from the beginning of the whole text.
func shifted(se *connect.ServerError, chars int) *connect.ServerError {
	if chars == 0 {
		return se
	}
	at, err := strconv.Atoi(se.Field('P'))
	if err != nil {
		return se
	}
	return withPosition(se, strconv.Itoa(at+chars))
}

// withPosition returns se with another position, or without one for "".
func withPosition(se *connect.ServerError, position string) *connect.ServerError {
	out := *se
	out.Body, out.Fields = nil, nil
	for _, f := range se.Fields {
		if f.Code == 'P' {
			if position == "" {
				continue
			}
			f.Value = position
		}
		out.Fields = append(out.Fields, f)
		out.Body = append(out.Body, f.Code)
		out.Body = append(out.Body, f.Value...)
		out.Body = append(out.Body, 0)
	}
	out.Body = append(out.Body, 0)
	return &out
}

// positioned counts the position of an error of a server's from the beginning of the whole text.
func (m *fanMessages) positioned(err error) error {
	var se *connect.ServerError
	if errors.As(err, &se) {
		return shifted(se, m.chars)
	}
	return err
}
