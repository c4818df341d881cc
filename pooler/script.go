package pooler

import (
	"errors"
	"strconv"
	"unicode/utf8"

	"pgdrover/internal/connect"
	"pgdrover/shard"
)

// runScript carries out a text of several statements that one shard cannot do alone, each by itself, in one transaction unless the text
// says otherwise (PostgreSQL manual, "Multiple Statements in a Simple Query").
func (c *client) runScript(stop int, text []byte, stmts []shard.Statement) error {
	tx := &c.router.tx
	u := pipeline{c: c}
	c.begin()
	for i := range stmts {
		st := &stmts[i]
		t := turn{c: c, unit: &u, m: fanMessages{query: text[st.Start:st.End], chars: utf8.RuneCount(text[:st.Start])}}
		if err := u.statement(&t, &st.Plan); err != nil {
			msg, err := errorBytes(err)
			if err != nil {
				return err
			}
			u.out = append(u.out, msg...)
			if tx.implicit {
				c.rollbackLegs()
			} else if tx.open {
				tx.failed = true
			}
			break
		}
	}
	c.in.r = stop
	c.queryDone(now())
	return u.sync()
}

// statement carries out one of several statements.
func (u *pipeline) statement(t *turn, p *shard.Plan) error {
	tx := &u.c.router.tx
	if p.Kind == shard.Command {
		switch p.Control {
		case shard.Begin:
			if tx.implicit { // what came before is part of the block
				tx.implicit = false
				return t.tag(beginTag(p.Text))
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
