package pooler

import (
	"fmt"
	"slices"
	"strings"
)

// A session of a sharded database has its parameters on many servers. What it sets outside a transaction is learned from the server that it was
// set on, and given to the others when they are next used, as for every session of transaction mode; but here that goes for
// every parameter, also those that a session with one server need not follow. What it sets in a transaction is said to each shard
// that takes part, inside the transaction, so that ROLLBACK undoes it everywhere.

// sessionQuery lists what the session itself has set; custom parameters are not in pg_settings.
const sessionQuery = `SELECT name, setting FROM pg_catalog.pg_settings WHERE source OPERATOR(pg_catalog.=) 'session'`

// maxCustom bounds the custom parameters that a session may have.
const maxCustom = 200

// noteCustom remembers the name of a custom parameter, which the server does not list.
func (r *router) noteCustom(name string) {
	if strings.Contains(name, ".") && len(r.custom) < maxCustom && !slices.ContainsFunc(r.custom, func(n string) bool { return strings.EqualFold(n, name) }) {
		r.custom = append(r.custom, name)
	}
}

// askSession is askParameters for everything that is not asked for by name there.
func (c *client) askSession() error {
	s := c.srv
	found := map[string]string{}
	row := func(typ byte, body []byte) error {
		if typ != 'D' {
			return nil
		}
		f, err := dataRow(body)
		if err != nil || len(f) < 2 || f[0] == nil {
			return fmt.Errorf("%w: bad row", errOutOfStep)
		}
		if f[1] != nil && (*f[1] != "" || len(f) == 2) {
			found[strings.ToLower(*f[0])] = *f[1]
		}
		return nil
	}
	if err := s.ask(appendQuery(nil, sessionQuery), row); err != nil {
		return err
	}
	if len(c.router.custom) > 0 {
		if err := s.ask(query(askQuery, c.router.custom, nil), row); err != nil {
			return err
		}
	}
	known := func(name string) bool {
		return s.reports(name) || isFollowing(name, c.p.extra) || slices.ContainsFunc(envParams(c.initial), func(p param) bool { return strings.EqualFold(p.name, name) })
	}
	for _, of := range [...]*session{&s.session, &c.session} {
		*of = newSession(envKeep(of.all, func(n string) bool { _, ok := found[strings.ToLower(n)]; return ok || known(n) }))
		for n, v := range found {
			if !known(n) {
				of.set(n, v)
			}
		}
	}
	return nil
}

// settleParameters learns what the parameters are after a transaction on the shards of legs, and tells the client what has changed.
func (c *client) settleParameters(legs []*leg) error {
	tx := &c.router.tx
	before := c.session
	c.session = tx.base
	for _, l := range legs {
		s := l.srv
		if s.dead.Load() || s.tx != 'I' {
			continue
		}
		if tx.sets || s.kept.dirty {
			c.park()
			c.pool = l.pool
			c.relink(s)
			if err := c.askParameters(); err != nil {
				s.dead.Store(true)
			}
			c.park()
		}
		c.session = s.session
	}
	var out []byte
	changed, _ := envDiff(before.all, c.session.all)
	for _, p := range changed {
		if len(legs) > 0 && legs[0].srv.reports(p.name) {
			out = appendParameterStatus(out, p.name, p.value)
			c.noteParameter(p.name, p.value)
		}
	}
	if len(out) == 0 {
		return nil
	}
	return clientWrite(c.conn.writeAll(out))
}

// askLinked has the linked server answer a message of ours that may fail for the client's reasons.
func (c *client) askLinked(tx byte, msg []byte, each func(typ byte, body []byte) error) error {
	return c.following(c.srv, func() error { return c.srv.exchangeIn(tx, msg, syncTimeout, each) })
}

// following does something with a server of the session's that may fail the transaction there, which takes back at once what it has set: the session takes over
// what the server reports meanwhile.
func (c *client) following(s *server, do func() error) error {
	before := s.session.all
	err := do()
	if s.session.all == before {
		return err
	}
	var out []byte
	changed, _ := envDiff(before, s.session.all)
	for _, p := range changed {
		if v, ok := envGet(c.session.all, p.name); ok && v == p.value {
			continue // from another shard
		}
		c.session.set(p.name, p.value)
		c.noteParameter(p.name, p.value)
		out = appendParameterStatus(out, p.name, p.value)
	}
	if werr := c.toClient(out); werr != nil {
		return werr
	}
	return err
}

// overlaid are the parameters that plans depend on and that are not reported.
var overlaid = [...]string{"search_path", "role", "session_authorization"}

// refreshMeaning finds out what plans depend on after a SET in the open transaction.
func (c *client) refreshMeaning() error {
	tx := &c.router.tx
	if !tx.open || !tx.stale || tx.failed || len(tx.legs) == 0 || c.srv == nil || !c.replies.empty() {
		return nil
	}
	if err := c.synced(); err != nil {
		return err
	}
	var now []param
	err := c.srv.exchangeIn('T', query(askQuery, overlaid[:], nil), syncTimeout, func(typ byte, body []byte) error {
		if f, err := dataRow(body); typ == 'D' && err == nil && len(f) == 3 && f[0] != nil && f[1] != nil {
			now = append(now, param{*f[0], *f[1]})
		}
		return nil
	})
	if err != nil {
		c.srv.dead.Store(true)
		return errShardGone(c.pool.key.shard, err)
	}
	tx.stale, tx.over = false, now
	c.router.known = false
	return nil
}
