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
	from := 0 // where the statements' positions count from
	for i := 0; i < len(stmts); i++ {
		st := &stmts[i]
		before := utf8.RuneCount(text[:from+st.Start])
		t := turn{c: c, unit: u, m: fanMessages{query: text[from+st.Start : from+st.End], chars: before}}
		if err := u.statement(&t, &st.Plan); err != nil {
			return err
		}
		if i+1 == len(stmts) || st.Plan.Kind != shard.Command || !changesMeaning(&st.Plan) && st.Plan.Control != shard.Rollback && st.Plan.Control != shard.RollbackTo {
			continue
		}
		from += stmts[i+1].Start
		p, err := c.planner()
		if err != nil {
			return err
		}
		if stmts, err = p.Query(context.Background(), c.environment(), text[from:]); err != nil {
			var se *shard.Error
			if errors.As(err, &se) && se.Position > 0 {
				moved := *se
				moved.Position += utf8.RuneCount(text[:from])
				err = &moved
			}
			return err
		}
		i = -1
	}
	return nil
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
		}
	}
	if p.NoTx {
		return &Error{Severity: "ERROR", Code: "25001", Message: "this statement cannot run inside a transaction block, a pipeline or a text of several statements"}
	}
	u.own()
	return t.carryOut(p)
}

// adopt makes the implicit transaction of what came before the block that BEGIN opens.
func (u *pipeline) adopt(t *turn, p *shard.Plan) error {
	c := u.c
	tx := &c.router.tx
	if options := beginOptions(p.Text); options != "" && len(tx.legs) > 0 {
		if err := u.flush(); err != nil {
			return err
		}
		set := shard.Plan{Kind: shard.Command, Control: shard.Set, Name: "transaction", Text: "SET TRANSACTION " + options, Limit: -1}
		own := *t
		own.m = fanMessages{query: []byte(set.Text)}
		if err := own.control(&set); err != nil {
			return err
		}
		u.out = u.out[:0] // nobody has asked for it
	}
	tx.implicit, tx.begin = false, p.Text
	return t.tag(beginTag(p.Text))
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
	out := *se
	out.Body, out.Fields = nil, nil
	for _, f := range se.Fields {
		if f.Code == 'P' {
			f.Value = strconv.Itoa(at + chars)
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
