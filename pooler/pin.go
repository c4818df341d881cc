package pooler

import (
	"errors"
	"fmt"

	"pgdrover/internal/connect"
)

// A session keeps its server between transactions while there is something on it that only this session may see: temporary
// objects, session-level advisory locks, open cursors WITH HOLD, statements of PREPARE. Texts that may leave such things behind
// are known by their words; whether one did, the server is asked when the transaction is over, and then after each
// further transaction until nothing is left.

// pinQuery names what keeps a session on its server. Everything in a temporary schema depends on it, and pg_depend has an index.
const pinQuery = `SELECT pg_catalog.concat_ws(', ', ` +
	`CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_depend WHERE refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass ` +
	`AND refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()) THEN 'temporary objects' END, ` +
	`CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype OPERATOR(pg_catalog.=) 'advisory' ` +
	`AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()) THEN 'advisory locks' END, ` +
	`CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable) THEN 'cursors WITH HOLD' END, ` +
	`CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_prepared_statements WHERE from_sql) THEN 'PREPARE' END)`

// pinned reports whether the linked server is kept between transactions.
func (c *client) pinned() bool { return c.pins.Load() != nil }

// askPins finds out whether the linked server, which is idle, has to be kept.
func (c *client) askPins() error {
	var why string
	err := c.srv.ask(appendQuery(nil, pinQuery), func(typ byte, body []byte) error {
		if typ != 'D' {
			return nil
		}
		f, err := dataRow(body)
		if err != nil || len(f) != 1 || f[0] == nil {
			return fmt.Errorf("%w: bad row", errOutOfStep)
		}
		why = *f[0]
		return nil
	})
	if err != nil {
		return err
	}
	c.pinAsk = false
	if why == "" {
		c.pins.Store(nil)
	} else if old := c.pins.Load(); old == nil || *old != why {
		c.pins.Store(&why)
	}
	return nil
}

// ask is exchange for questions of ours behind a query of the client's, which a cancel request that comes late may hit.
func (s *server) ask(msg []byte, each func(typ byte, body []byte) error) error {
	for try := 0; ; try++ {
		err := s.exchange(msg, syncTimeout, each)
		var se *connect.ServerError
		if try < 3 && errors.As(err, &se) && se.Code() == "57014" {
			continue
		}
		return err
	}
}

// unclear reports whether there is something to find out, or to put in order, before the linked server may be released.
func (c *client) unclear() bool {
	return c.dirty || c.pinAsk || c.heldReady || c.echoing || c.maybe > 0
}

// forgetState is called when the server is unlinked.
func (c *client) forgetState() {
	if c.pinned() {
		c.pins.Store(nil)
	}
	c.pinAsk, c.heldReady, c.echoing, c.notifies = false, false, false, false
	c.after, c.resets = 0, nil
}

// tidy gets the linked server, which is idle, ready for others.
func (c *client) tidy() error {
	if c.echoing {
		if err := c.stopEcho(); err != nil {
			return err
		}
	}
	if c.dirty {
		if err := c.askParameters(); err != nil {
			return err
		}
	}
	if c.pinAsk || c.pinned() {
		return c.askPins()
	}
	return nil
}

// releasePinned takes back a server whose client has left with something of its own on it.
func (p *pool) releasePinned(s *server) {
	go func() {
		s.state.Store(serverTested)
		if err := s.simple("DISCARD ALL", resetTimeout); err != nil {
			s.close("DISCARD ALL failed: " + err.Error())
			return
		}
		s.discarded()
		p.free(s)
	}()
}

// pinText says why a client keeps its server, "" if it does not.
func (c *client) pinText() string {
	if p := c.pins.Load(); p != nil {
		return *p
	}
	return ""
}
