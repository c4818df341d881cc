package pooler

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"pgdrover/internal/connect"
	"pgdrover/shard"
)

// shardTx is the transaction block of a session of a sharded database. A shard joins when it is first used; what has been said since BEGIN
// that concerns every shard is said to it then.
type shardTx struct {
	open     bool
	failed   bool
	begin    string     // the BEGIN, with its options
	said     []saying   // since then, in order
	legs     []*leg     // the shards that have joined; the linked server is that of the current one
	hint     shard.Hint // SET and SET LOCAL pgdrover.shard since BEGIN
	hinted   bool
	stays    *shard.Hint    // what the session's hint is if the transaction commits; nil = as it was
	cursors  map[string]int // shards of the cursors that were declared
	ddl      bool           // something was created, altered or dropped
	implicit bool           // of our own making, for one statement or one pipeline
}

// leg is one shard's part of a transaction or of a statement.
type leg struct {
	shard int
	pool  *pool
	srv   *server
	wrote bool
	// copying: it reads CopyData, and cannot be asked anything. What a COPY over shards may need was asked before.
	copying bool
}

// saying is a statement that every shard of the transaction has to hear: SAVEPOINT, or SET.
type saying struct {
	savepoint string // its name, "" for SET
	text      string
}

// end forgets a transaction that is over.
func (tx *shardTx) end() { *tx = shardTx{said: tx.said[:0], legs: tx.legs[:0]} }

func (tx *shardTx) leg(shard int) *leg {
	for _, l := range tx.legs {
		if l.shard == shard {
			return l
		}
	}
	return nil
}

// current is the leg whose server was linked last.
func (tx *shardTx) current() *leg { return tx.legs[len(tx.legs)-1] }

// note keeps what later shards have to be told of a statement that was carried out.
func (r *router) note(p *shard.Plan) {
	tx := &r.tx
	if p.Kind == shard.Forward && p.Name != "" {
		if tx.cursors == nil {
			tx.cursors = map[string]int{}
		}
		tx.cursors[p.Name] = p.Shard
	}
	if p.Kind != shard.Command {
		return
	}
	switch p.Control {
	case shard.Begin:
		if tx.begin == "" {
			tx.begin = p.Text
		}
	case shard.Savepoint:
		tx.said = append(tx.said, saying{p.Name, p.Text})
	case shard.RollbackTo:
		if i := tx.savepoint(p.Name); i >= 0 {
			tx.said = tx.said[:i+1]
		}
	case shard.Release:
		if i := tx.savepoint(p.Name); i >= 0 {
			kept := tx.said[:i]
			for _, s := range tx.said[i+1:] {
				if s.savepoint == "" {
					kept = append(kept, s)
				}
			}
			tx.said = kept
		}
	case shard.Set:
		tx.said = append(tx.said, saying{text: p.Text})
	case shard.Commit, shard.Rollback:
		tx.said = tx.said[:0]
	}
}

// savepoint returns the newest savepoint of that name in said, or -1.
func (tx *shardTx) savepoint(name string) int {
	for i, s := range slices.Backward(tx.said) {
		if s.savepoint == name {
			return i
		}
	}
	return -1
}

// endsFailure reports whether a failed transaction lets p through.
func endsFailure(p *shard.Plan) bool {
	if p.Kind != shard.Command {
		return false
	}
	switch p.Control {
	case shard.Commit, shard.Rollback, shard.RollbackTo, shard.PrepareTransaction:
		return true
	}
	return false
}

func errFailedTransaction() *Error {
	return &Error{
		Severity: "ERROR", Code: "25P02", Message: "current transaction is aborted, commands ignored until end of transaction block",
	}
}

// enter makes the shard's server the linked one, or outside a transaction block its pool the one that is asked. A shard that is new to the
// transaction joins it.
func (c *client) enter(at int, writes bool) error {
	r := c.router
	tx := &r.tx
	if !tx.open {
		if c.srv != nil && c.pool != r.pool(at) {
			return errPinned(c.pool.key.shard, r.pool(at).key.shard)
		}
		c.pool = r.pool(at)
		return nil
	}
	l := tx.leg(at)
	if l == nil {
		var err error
		if l, err = c.enlist(at); err != nil {
			return err
		}
	}
	if writes && !l.wrote {
		if err := c.mayWrite(l); err != nil {
			return err
		}
		l.wrote = true
	}
	c.switchTo(l)
	return nil
}

// switchTo links the server of l, which is one of the transaction's.
func (c *client) switchTo(l *leg) {
	tx := &c.router.tx
	if c.srv == l.srv {
		return
	}
	c.park()
	c.pool = l.pool
	c.relink(l.srv)
	i := slices.Index(tx.legs, l)
	tx.legs = append(slices.Delete(tx.legs, i, i+1), l)
}

// enlist has a shard join the open transaction.
func (c *client) enlist(at int) (*leg, error) {
	r := c.router
	tx := &r.tx
	if len(tx.legs) > 0 {
		if err := tx.mayGrow(); err != nil {
			return nil, err
		}
	}
	c.park()
	c.pool = r.pool(at)
	if err := c.checkout(); err != nil {
		return nil, shardError(c.pool.key.shard, err)
	}
	l := &leg{shard: at, pool: c.pool, srv: c.srv}
	begin := tx.begin
	if begin == "" {
		begin = "BEGIN"
	}
	if err := c.tell(l, begin); err != nil {
		return nil, err
	}
	for _, s := range tx.said {
		if err := c.tell(l, s.text); err != nil {
			return nil, err
		}
	}
	tx.legs = append(tx.legs, l)
	return l, nil
}

// tell has the linked server, which is joining, hear what was said before. If it does not accept that, it leaves again.
func (c *client) tell(l *leg, text string) error {
	err := l.srv.exchangeIn('T', appendQuery(nil, text), syncTimeout, nil)
	if err == nil {
		return nil
	}
	c.unlink()
	l.srv.close("joining a transaction failed: " + err.Error())
	var se *connect.ServerError
	if errors.As(err, &se) {
		return &Error{
			Severity: "ERROR", Code: se.Code(), Message: se.Message(), Hint: se.Field('H'),
			Detail: fmt.Sprintf("Shard %q said so of %q when it joined the transaction.", l.pool.key.shard, text),
		}
	}
	return errShardGone(l.pool.key.shard, err)
}

// mayGrow reports why a second shard may not join, if it may not: its snapshot would be another one.
func (tx *shardTx) mayGrow() error {
	if level := isolation(tx.begin, tx.said); level != "" {
		return &Error{
			Severity: "ERROR", Code: "0A000", Message: fmt.Sprintf("a transaction that is %s cannot use a second shard", level),
			Detail: "Each shard would have a snapshot of its own.",
			Hint:   "Use READ COMMITTED, or keep the transaction on one shard.",
		}
	}
	return nil
}

// isolation returns the isolation level above READ COMMITTED that a transaction asks for, "" without one.
func isolation(begin string, said []saying) string {
	level := ""
	look := func(text string) {
		t := strings.ToUpper(strings.Join(strings.Fields(text), " "))
		switch {
		case strings.Contains(t, "REPEATABLE READ"):
			level = "REPEATABLE READ"
		case strings.Contains(t, "SERIALIZABLE"):
			level = "SERIALIZABLE"
		case strings.Contains(t, "READ COMMITTED"), strings.Contains(t, "READ UNCOMMITTED"):
			level = ""
		}
	}
	look(begin)
	for _, s := range said {
		if s.savepoint == "" {
			look(s.text)
		}
	}
	return level
}

// park unlinks the server of the current leg without giving it back.
func (c *client) park() {
	s := c.srv
	if s == nil {
		return
	}
	c.unlink()
	s.link.Store(c)
}

// relink is linkTo for a server that was parked.
func (c *client) relink(s *server) {
	c.mu.Lock()
	c.srv = s
	c.mu.Unlock()
	c.link.Store(s)
	c.linkedAt.Store(s.linkedAt.Load())
	c.state.Store(stateActive)
}

func appendTag(b []byte, tag string) []byte {
	b = append(b, 'C')
	b = binary.BigEndian.AppendUint32(b, uint32(4+len(tag)+1))
	b = append(b, tag...)
	return append(b, 0)
}
