package pooler

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"pgdrover/internal/connect"
)

// endTx forgets a transaction that is over.
func (c *client) endTx(committed bool) {
	tx := &c.router.tx
	if committed && tx.stays != nil {
		c.router.hint = *tx.stays
	}
	if tx.ddl {
		c.db.ddl.Add(1)
	}
	if tx.over != nil {
		c.router.known = false
	}
	c.router.dropPortals()
	tx.end()
}

// doneTx counts a transaction that did not end on the way of a plain session.
func (c *client) doneTx() {
	t := now()
	c.queryDone(t)
	c.xactDone(t)
	c.idleAt.Store(t)
}

// queryXID asks for the transaction's number, which it has if it has changed anything.
const queryXID = `SELECT pg_catalog.txid_current_if_assigned()::pg_catalog.text`

// commitLegs commits on every shard. If one shard wrote it is the first, and the others only read: what they say is of no
// consequence. An error that does not end the session says that nothing was committed.
func (c *client) commitLegs() error {
	tx := &c.router.tx
	if c.queryAt.Load() == 0 {
		c.begin()
	}
	if err := c.synced(); err != nil {
		return c.commitRefused(err)
	}
	c.park()
	for _, l := range tx.legs {
		if l.srv.dead.Load() {
			return c.commitRefused(errShardGone(l.pool.key.shard, errLostInTransaction))
		}
	}
	writers, err := c.writers()
	if err != nil {
		return c.commitRefused(err)
	}
	if len(writers) > 1 {
		return c.commitTwoPhase(writers)
	}
	if len(writers) == 1 {
		if err := c.commitWriter(writers[0]); err != nil {
			return err
		}
	}
	c.commitReaders(writers)
	return c.finishLegs(true)
}

// commitReaders ends the transaction on the shards that only read.
func (c *client) commitReaders(writers []*leg) {
	readers := slices.DeleteFunc(slices.Clone(c.router.tx.legs), func(l *leg) bool { return slices.Contains(writers, l) })
	for i, err := range c.onLegs(readers, true, func(l *leg) error { _, err := l.say("COMMIT"); return err }) {
		if err != nil {
			readers[i].srv.dead.Store(true)
		}
	}
}

// commitRefused rolls back what cannot be committed because of err, which it returns.
func (c *client) commitRefused(err error) error {
	if ended := c.rollbackLegs(); ended != nil {
		return ended
	}
	return err
}

// writers returns the legs that have something to commit. With one leg it makes no difference.
func (c *client) writers() ([]*leg, error) {
	legs := c.router.tx.legs
	if len(legs) == 1 {
		return slices.Clone(legs), nil
	}
	errs := c.onLegs(legs, false, func(l *leg) error {
		if l.asked {
			return nil
		}
		return l.srv.exchangeIn('T', appendQuery(nil, queryXID), syncTimeout, func(typ byte, body []byte) (err error) {
			if typ == 'D' {
				l.xid, err = onlyValue(body)
			}
			return err
		})
	})
	var out []*leg
	for i, l := range legs {
		var se *connect.ServerError
		switch {
		case errors.As(errs[i], &se):
			return nil, errs[i]
		case errs[i] != nil:
			l.srv.dead.Store(true)
			return nil, errShardGone(l.pool.key.shard, errs[i])
		case l.xid != "" || l.srv.kept.notifies:
			out = append(out, l)
		}
	}
	return out, nil
}

// commitWriter commits on the only shard that wrote.
func (c *client) commitWriter(l *leg) error {
	var tag string
	err := c.onLegs([]*leg{l}, false, func(l *leg) (err error) { tag, err = l.say("COMMIT"); return err })[0]
	name := l.pool.key.shard
	var se *connect.ServerError
	switch {
	case tag == "COMMIT":
		if err != nil {
			l.srv.dead.Store(true)
		}
		return nil
	case err == nil:
		return c.commitRefused(&Error{Severity: "ERROR", Code: "40000", Message: fmt.Sprintf("the transaction was rolled back by shard %q", name), Detail: "It answered COMMIT with " + tag + "."})
	case errors.As(err, &se):
		return c.commitRefused(err)
	}
	l.srv.dead.Store(true)
	committed, known := c.p.fate(c.db, l)
	switch {
	case known && committed:
		return nil
	case known:
		return c.commitRefused(&Error{Severity: "ERROR", Code: "40000", Message: fmt.Sprintf("the transaction was rolled back: shard %q was lost during COMMIT", name), Detail: err.Error()})
	}
	return c.commitRefused(fatalError{&Error{
		Severity: "FATAL", Code: "08007", Message: fmt.Sprintf("connection to shard %q was lost during COMMIT", name),
		Detail: "Whether the transaction was committed is not known: " + err.Error(),
	}})
}

// fromServer makes an error of a server's one of ours.
func fromServer(se *connect.ServerError) *Error {
	return &Error{Severity: "ERROR", Code: se.Code(), Message: se.Message(), Detail: se.Field('D'), Hint: se.Field('H')}
}

func errShardGone(shard string, err error) *Error {
	return &Error{
		Severity: "ERROR", Code: "08006", Message: fmt.Sprintf("shard %q is not available", shard), Detail: err.Error(),
		Hint: "Statements that do not need this shard go on working.",
	}
}

func errPinned(has, wants string) *Error {
	return &Error{
		Severity: "ERROR", Code: "0A000", Message: fmt.Sprintf("this session is held on shard %q and cannot use shard %q", has, wants),
		Detail: "It has temporary objects, session-level advisory locks, cursors WITH HOLD or statements of PREPARE there.",
		Hint:   "Drop them first (DISCARD ALL).",
	}
}

func errHeldTwice(a, b string) *Error {
	return &Error{
		Severity: "FATAL", Code: "0A000", Message: fmt.Sprintf("this session would have to be held on shard %q and on shard %q", a, b),
		Detail: "It has temporary objects, session-level advisory locks, cursors WITH HOLD or statements of PREPARE on both.",
	}
}

func errSplitTransaction() *Error {
	return &Error{
		Severity: "FATAL", Code: "25000", Message: "one shard of a transaction on several has ended it by itself",
		Detail: "The transaction is rolled back on the others.",
	}
}

func errShardedReplication(database string) *Error {
	return &Error{
		Severity: "FATAL", Code: "0A000", Message: fmt.Sprintf("replication connections to the sharded database %q are not supported", database),
		Hint: "Connect to a shard's own server.",
	}
}

// shardError says which shard an error of checkout is about. It makes those that end a plain session errors of one statement, unless the
// session was killed.
func shardError(shard string, err error) error {
	var over sessionOver
	var f fatalError
	switch {
	case errors.As(err, &over):
		return err
	case !errors.As(err, &f):
		return err
	}
	out := *f.e
	out.Severity = "ERROR"
	out.Message = fmt.Sprintf("shard %q: %s", shard, f.e.Message)
	return &out
}

// commitTimeout bounds COMMIT on a shard, which may wait for its standbys.
const commitTimeout = time.Hour

// leaveShards closes the servers of a transaction that the client has left, but for the linked one.
func (c *client) leaveShards() {
	if c.router == nil {
		return
	}
	for _, l := range c.router.tx.legs {
		if l.srv != c.srv && l.srv.link.Load() == c { // otherwise it has been given back
			l.srv.link.Store(nil)
			if l.srv.tx == 0 { // in the middle of something
				go l.srv.abandon("client disconnect while server was not ready")
			} else {
				l.srv.close("client disconnect while server was not ready")
			}
		}
	}
	c.router.tx.legs = nil
}
