package pooler

import (
	"errors"
	"fmt"
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
	tx.end()
}

// letGo takes a leg's server off the session and gives it back to its pool, or closes it if it is not at rest.
func (c *client) letGo(l *leg) {
	s := l.srv
	if c.srv == s {
		c.unlink()
	} else {
		s.link.Store(nil)
		s.linkedAt.Store(now())
	}
	switch {
	case s.dead.Load():
		s.close("server closed the connection")
	case s.tx != 'I':
		s.close("left in a transaction")
	default:
		l.pool.release(s)
	}
}

// rollbackLegs ends the transaction on every shard.
func (c *client) rollbackLegs() {
	tx := &c.router.tx
	for _, l := range tx.legs {
		if l.srv.tx != 'I' && !l.srv.dead.Load() {
			if err := l.srv.exchange(appendQuery(nil, "ROLLBACK"), syncTimeout, nil); err != nil {
				l.srv.dead.Store(true)
			}
		}
		c.letGo(l)
	}
	c.endTx(false)
	c.doneTx()
}

// doneTx counts a transaction that did not end on the way of a plain session.
func (c *client) doneTx() {
	t := now()
	c.queryDone(t)
	c.xactDone(t)
	c.idleAt.Store(t)
}

// commitLegs commits on every shard. If one shard wrote it is the first, and the others only read: what they say is of no
// consequence. An *Error says that nothing was committed.
func (c *client) commitLegs() error {
	tx := &c.router.tx
	var writer *leg
	writers := 0
	for _, l := range tx.legs {
		if l.wrote {
			writer = l
			writers++
		}
	}
	if writers > 1 {
		return c.commitTwoPhase()
	}
	if writer != nil {
		tag, err := writer.commit()
		if err != nil || tag != "COMMIT" {
			return c.commitFailed(writer, tag, err)
		}
		c.letGo(writer)
	}
	for _, l := range tx.legs {
		if l == writer {
			continue
		}
		if _, err := l.commit(); err != nil {
			l.srv.dead.Store(true)
		}
		c.letGo(l)
	}
	c.endTx(true)
	c.doneTx()
	return nil
}

// commit sends COMMIT and returns the tag of the answer.
func (l *leg) commit() (string, error) { return l.say("COMMIT") }

// say runs a statement that ends the transaction and returns its tag.
func (l *leg) say(text string) (tag string, err error) {
	err = l.srv.exchange(appendQuery(nil, text), commitTimeout, func(typ byte, body []byte) error {
		if typ == 'C' {
			tag = string(body[:len(body)-1])
		}
		return nil
	})
	return tag, err
}

// commitFailed rolls back what is left after the shard that wrote did not commit, and returns what the client is told.
func (c *client) commitFailed(l *leg, tag string, err error) error {
	var se *connect.ServerError
	name := l.pool.key.shard
	switch {
	case err == nil:
		err = &Error{Severity: "ERROR", Code: "40000", Message: fmt.Sprintf("the transaction was rolled back by shard %q", name), Detail: "It answered COMMIT with " + tag + "."}
	case errors.As(err, &se):
		err = fromServer(se)
	default:
		l.srv.dead.Store(true)
		c.rollbackLegs()
		return fatalError{&Error{
			Severity: "FATAL", Code: "08007", Message: fmt.Sprintf("connection to shard %q was lost during COMMIT", name),
			Detail: "Whether the transaction was committed is not known: " + err.Error(),
		}}
	}
	c.rollbackLegs()
	return err
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

// shardError says which shard an error of checkout is about.
func shardError(shard string, err error) error {
	var f fatalError
	var e *Error
	switch {
	case errors.As(err, &f):
		e = f.e
	case errors.As(err, &e):
	default:
		return err
	}
	out := *e
	out.Severity = "ERROR"
	out.Message = fmt.Sprintf("shard %q: %s", shard, e.Message)
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
		if l.srv != c.srv {
			l.srv.link.Store(nil)
			l.srv.close("client disconnect while server was not ready")
		}
	}
	c.router.tx.legs = nil
}
