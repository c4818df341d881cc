package pooler

import (
	"errors"
	"fmt"
	"strings"

	"pgdrover/internal/config"
	"pgdrover/internal/connect"
)

// RESET, SET … TO DEFAULT and DISCARD ALL bring back what a session began with: for a session of PostgreSQL's, what its startup
// packet said. The server's startup packet was ours, so what the client's said is set again behind such a command,
// inside the same transaction, before the client hears that the server is ready. ROLLBACK then undoes both.

// restoreQuery sets parameters that have been reset; those that are not in pg_settings tell by their value. $3 says which
// are for the transaction only.
const restoreQuery = `SELECT n, pg_catalog.set_config(n, v, l) FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), ` +
	`pg_catalog.unnest($2::pg_catalog.text[]), pg_catalog.unnest($3::pg_catalog.bool[])) WITH ORDINALITY t(n, v, l, o) ` +
	`WHERE CASE pg_catalog.lower(n) WHEN 'role' THEN pg_catalog.current_setting(n, true) OPERATOR(pg_catalog.=) ` + roleDefault +
	` ELSE coalesce((SELECT s.source OPERATOR(pg_catalog.<>) 'session' FROM pg_catalog.pg_settings s ` +
	`WHERE pg_catalog.lower(s.name) OPERATOR(pg_catalog.=) pg_catalog.lower(n)), ` +
	`pg_catalog.current_setting(n, true) OPERATOR(pg_catalog.=) ANY ('{"",none}'::pg_catalog.text[])) END ORDER BY o`

// after is what has to be done between the server's ReadyForQuery and the client's.
type after uint8

const (
	afterReset  after = 1 << iota // restore what the client began with
	afterListen                   // take over what the server listens to
)

// willRun notes what a statement may do that is on its way to the server.
func (c *client) willRun(fx effects) {
	if fx.effect == 0 || !c.pooled() {
		return
	}
	if fx.effect&setsParameter != 0 {
		c.dirty = true
	}
	if fx.effect&(sets|setsParameter) != 0 {
		c.setsAhead = true
	}
	if fx.effect&keepsState != 0 {
		c.pinAsk = true
	}
	if fx.effect&listening != 0 {
		c.after |= afterListen
	}
	if fx.effect&notifies != 0 {
		c.notifies = true
	}
	if fx.resets == nil {
		return
	}
	for _, r := range *fx.resets {
		for _, p := range envParams(c.initial) {
			if r.touches(p.name) {
				c.after |= afterReset
				c.resets = append(c.resets, r)
				if r.relied {
					c.refusal = errReliesOnReset(p.name)
				}
				break
			}
		}
	}
}

// willRunLater is willRun for a statement of the extended protocol, several of which may stand between two Syncs.
func (c *client) willRunLater(fx effects) {
	if c.after&afterReset != 0 && fx.effect&(resets|listening) == 0 && c.pooled() {
		for _, p := range envParams(c.initial) {
			if c.resets[0].touches(p.name) {
				c.refusal = errReliesOnReset(p.name)
				break
			}
		}
	}
	c.willRun(fx)
}

// pooled reports whether the client's server may serve others between two transactions.
func (c *client) pooled() bool { return c.mode != config.PoolSession && c.repl == "none" }

func errReliesOnReset(name string) *Error {
	e := fatal("0A000", "RESET must be the last statement of its message in transaction pooling mode")
	e.Detail = fmt.Sprintf("Parameter %q was given when the client connected. What follows the RESET in the same message would run under the server's own default.", name)
	e.Hint = "Send the RESET, SET ... TO DEFAULT or DISCARD ALL by itself, or use pool_mode = \"session\"."
	return e
}

// restore sets again what commands have reset. It returns what the client has to hear of it.
func (c *client) restore() (out []byte, err error) {
	s := c.srv
	rs := c.resets
	c.resets = nil
	var names, values, locals []string
	for _, p := range envParams(c.initial) {
		for i := len(rs) - 1; i >= 0; i-- {
			if rs[i].touches(p.name) {
				names, values = append(names, p.name), append(values, p.value)
				locals = append(locals, fmt.Sprint(rs[i].local))
				break
			}
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	list := func(v []string) string { return textArray(len(v), func(i int) *string { return &v[i] }) }
	before := s.session.all
	set := map[string]bool{}
	err = s.exchangeIn(s.tx, extendedQuery(restoreQuery, list(names), list(values), list(locals)), syncTimeout, func(typ byte, body []byte) error {
		if typ != 'D' {
			return nil
		}
		f, err := dataRow(body)
		if err != nil || len(f) != 2 || f[0] == nil {
			return fmt.Errorf("%w: bad row", errOutOfStep)
		}
		set[*f[0]] = true
		return nil
	})
	var se *connect.ServerError
	if errors.As(err, &se) {
		return nil, fatalError{&Error{
			Severity: "FATAL", Code: se.Code(), Message: "invalid server parameter: " + se.Message(),
			Detail: fmt.Sprintf("The server does not take back what this client connected with (%s).", strings.Join(names, ", ")),
		}}
	}
	if err != nil {
		return nil, err
	}
	for i, n := range names {
		if set[n] && !s.reports(n) {
			s.session.set(n, values[i])
			c.session.set(n, values[i])
			c.dirty = true // it may be rolled back
		}
	}
	for _, p := range envParams(s.session.all) {
		if v, _ := envGet(before, p.name); v != p.value && s.reports(p.name) {
			c.session.set(p.name, p.value)
			c.noteParameter(p.name, p.value)
			out = appendParameterStatus(out, p.name, p.value)
		}
	}
	return out, nil
}

// holdReady reports whether a ReadyForQuery, behind which nothing is outstanding, has to wait for something of ours.
func (c *client) holdReady() bool {
	if c.srv.tx == 'E' {
		c.after &^= afterReset // it is rolled back
		c.resets = nil
	}
	c.heldReady = c.after&afterReset != 0 || c.after&afterListen != 0 && c.srv.tx == 'I'
	return c.heldReady
}

// endUnit does what has to be done before the client hears that the server is ready, and lets it hear so.
func (c *client) endUnit() error {
	c.heldReady = false
	c.syncing.Store(true)
	defer c.syncing.Store(false)
	var out []byte
	if c.after&afterReset != 0 {
		c.after &^= afterReset
		said, err := c.restore()
		if err != nil {
			return c.serverFailed(err)
		}
		out = said
	}
	if c.after&afterListen != 0 && c.srv.tx == 'I' {
		c.after &^= afterListen
		if err := c.takeOverListening(); err != nil {
			return c.serverFailed(err)
		}
	}
	return clientWrite(c.conn.writeAll(appendReady(out, c.srv.tx)))
}
