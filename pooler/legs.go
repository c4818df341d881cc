package pooler

import (
	"slices"
	"sync"
)

// fanned are servers of several shards that work for one session at once.
type fanned struct {
	servers []*server
	decided bool // what they do must not be cancelled any more
}

func (f *fanned) interrupt() {
	for _, s := range f.servers {
		s.conn.interrupt(true)
	}
}

// setFan notes which servers work for the session, for those who cancel or kill it.
func (c *client) setFan(legs []*leg, decided bool) {
	if legs == nil {
		c.fanned.Store(nil)
		c.state.Store(stateIdle)
		return
	}
	f := &fanned{servers: make([]*server, len(legs)), decided: decided}
	for i, l := range legs {
		f.servers[i] = l.srv
	}
	c.fanned.Store(f)
	c.state.Store(stateActive)
	if c.dying.Load() {
		f.interrupt()
	}
}

// onLegs has every leg do something at once and returns what became of it, in their order. No server is linked meanwhile. A session that is
// killed begins nothing any more.
func (c *client) onLegs(legs []*leg, decided bool, do func(*leg) error) []error {
	errs := make([]error, len(legs))
	if len(legs) == 0 {
		return errs
	}
	c.setFan(legs, decided)
	one := func(i int) {
		switch l := legs[i]; {
		case c.dying.Load():
			errs[i] = errStopped
		case l.srv.dead.Load():
			errs[i] = errLostInTransaction
		default:
			over := c.p.lookout(l)
			errs[i] = do(l)
			over()
			if l.srv.mute.Load() {
				l.srv.dead.Store(true) // also if the answer has come at the last moment
				if isTimeout(errs[i]) {
					errs[i] = errNoAnswer
				}
			}
		}
	}
	var wg sync.WaitGroup
	for i := range legs[1:] {
		wg.Go(func() { one(i + 1) })
	}
	one(0)
	wg.Wait()
	c.setFan(nil, false)
	return errs
}

// say runs a statement that ends the transaction and returns its tag. With a tag it has been carried out, whatever err says.
func (l *leg) say(text string) (tag string, err error) {
	err = l.srv.exchange(appendQuery(nil, text), commitTimeout, func(typ byte, body []byte) error {
		if typ == 'C' {
			tag = string(body[:len(body)-1])
		}
		return nil
	})
	return tag, err
}

// odd reports whether the transaction did something on the shard that cannot be prepared.
func (l *leg) odd() bool {
	k := &l.srv.kept
	return k.notifies || k.pinAsk || k.pins != nil || k.after&afterListen != 0
}

// clear reports whether nothing has to be found out before the leg's server may serve others.
func (l *leg) clear() bool {
	k := &l.srv.kept
	return !k.pinAsk && k.pins == nil && !k.dirty && k.after == 0 && len(k.in) == 0
}

// rollbackLegs ends the transaction on every shard.
func (c *client) rollbackLegs() error {
	tx := &c.router.tx
	_ = c.synced() // a server that is lost is closed below
	c.park()
	open := slices.DeleteFunc(slices.Clone(tx.legs), func(l *leg) bool { return l.srv.tx == 'I' || l.srv.dead.Load() })
	for i, err := range c.onLegs(open, false, func(l *leg) error { _, err := l.say("ROLLBACK"); return err }) {
		if err != nil {
			open[i].srv.dead.Store(true)
		}
	}
	return c.finishLegs(false)
}

// finishLegs gives back the servers of a transaction that is over on every shard.
func (c *client) finishLegs(committed bool) error {
	tx := &c.router.tx
	c.park()
	legs := slices.Clone(tx.legs)
	err := c.settleParameters(legs)
	slices.SortStableFunc(legs, func(a, b *leg) int { // one that has to be kept stays linked
		switch {
		case a.clear() == b.clear():
			return 0
		case a.clear():
			return -1
		}
		return 1
	})
	for _, l := range legs {
		if c.pinned() && !l.clear() {
			l.srv.dead.Store(true)
			err = fatalError{errHeldTwice(c.pool.key.shard, l.pool.key.shard)}
		}
		c.letGo(l)
	}
	c.endTx(committed)
	c.doneTx()
	return err
}

// letGo takes a leg's server off the session and gives it back to its pool, or closes it if it is not at rest. If something of the session's
// is on it, it stays linked.
func (c *client) letGo(l *leg) {
	s := l.srv
	if s.link.Load() != c {
		return // it has been given back
	}
	if c.srv != s && (l.clear() || s.dead.Load() || s.tx != 'I') {
		s.kept = kept{}
		s.linkedAt.Store(now())
		s.link.Store(nil)
		switch {
		case s.dead.Load():
			s.close("server closed the connection")
		case s.tx != 'I':
			s.close("left in a transaction")
		default:
			ids := l.forgets()
			if len(ids) == 0 {
				l.pool.release(s)
				break
			}
			c.p.wg.Go(func() {
				s.removeDecisions(ids, "")
				l.pool.release(s)
			})
		}
		return
	}
	if c.srv != s {
		c.park()
		c.pool = l.pool
		c.relink(s)
	}
	if ids := l.forgets(); len(ids) > 0 && s.tx == 'I' {
		s.removeDecisions(ids, "")
	}
	if s.dead.Load() || s.tx != 'I' {
		c.unlink()
		s.close("left in a transaction")
		return
	}
	err := error(nil)
	if c.after&afterListen != 0 {
		c.after &^= afterListen
		err = c.takeOverListening()
	}
	if err == nil {
		err = c.tidy()
	}
	switch {
	case err != nil:
		c.unlink()
		s.close("putting a server in order failed: " + err.Error())
	case !c.pinned():
		c.release()
	}
}

// noteTag is commandTag for a server that is not linked: it notes what the session has to find out later.
func (l *leg) noteTag(tag string) {
	switch tag {
	case "SET", "RESET":
		l.srv.kept.dirty = true
	case "DISCARD ALL":
		l.srv.discarded()
		l.srv.kept.dirty = true
	case "DEALLOCATE ALL":
		l.srv.deallocated()
	}
}

// note notes what a text may leave behind on the server.
func (l *leg) note(fx effects) {
	k := &l.srv.kept
	k.pinAsk = k.pinAsk || fx.effect&keepsState != 0
	k.dirty = k.dirty || fx.effect&setsParameter != 0
	k.notifies = k.notifies || fx.effect&notifies != 0
	if fx.effect&listening != 0 {
		k.after |= afterListen
	}
}
