package pooler

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"pgdrover/internal/catalog"
	"pgdrover/internal/connect"
	"pgdrover/shard"
)

// shardTx is the transaction block of a session of a sharded database. A shard joins when it is first used; what has been said since BEGIN
// that concerns every shard is said to it then.
type shardTx struct {
	open      bool
	failed    bool
	base      session    // the session's parameters before it, which a shard has when it joins
	sets      bool       // a SET for the session is among what was said: what it did is to be found out when the transaction is over
	stale     bool       // what plans depend on may have been changed by what was said
	over      []param    // what that is now, where it is not reported
	begin     string     // the BEGIN, with its options
	said      []saying   // since then, in order
	seq       int        // of the last savepoint
	chained   bool       // begin comes from the transaction before, AND CHAIN
	legs      []*leg     // the shards that have joined; the linked server is that of the current one
	hint      shard.Hint // SET and SET LOCAL pgdrover.shard since BEGIN
	hinted    bool
	stays     *shard.Hint        // what the session's hint is if the transaction commits; nil = as it was
	cursors   map[string]int     // shards of the cursors that were declared
	ddl       bool               // something was created, altered or dropped
	unread    bool               // the planner does not know of it yet
	planner   *planner           // what plans are made with since then; nil = the database's
	elsewhere []*catalog.Catalog // of shards that had not joined when it was made, by shard
	implicit  bool               // of our own making, for one statement or one pipeline
	block     bool               // implicit, and a transaction block to PostgreSQL all the same: see pipelineIsBlock
	single    bool               // the statement that is carried out is all there will be
}

// leg is one shard's part of a transaction or of a statement.
type leg struct {
	shard    int
	pool     *pool
	srv      *server
	wrote    bool
	xid      string // the transaction's number there, once it is asked for
	asked    bool   // it was asked for behind the last statement
	synced   bool   // that was sent in the extended protocol, with Sync
	tag      string // what it has answered to PREPARE TRANSACTION
	decision string // the decision of a two-phase commit that it is to forget
	// copying: it reads CopyData, and cannot be asked anything. What a COPY over shards may need was asked before.
	copying bool
}

// saying is a statement that every shard of the transaction has to hear: SAVEPOINT, or SET.
type saying struct {
	savepoint string // its name, "" for SET
	text      string
	set       string // what SET is about
	local     bool   // it ends with the transaction
	seq       int    // counts the savepoints of the transaction
	chained   bool   // it comes from the transaction before, AND CHAIN
}

// kept is what a session knows of a server of its own that is not linked, because another shard's is.
type kept struct {
	in       []byte // read and not dealt with
	pins     *string
	pinAsk   bool
	dirty    bool
	notifies bool // NOTIFY was seen in the transaction
	after    after
	resets   []reset
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
	if declares(p) {
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
		if options := beginOptions(p.Text); tx.begin == "" {
			tx.begin = p.Text
		} else if options != "" {
			tx.said = append(tx.said, saying{text: "SET TRANSACTION " + options, set: "transaction"})
		}
	case shard.Savepoint:
		tx.seq++
		tx.said = append(tx.said, saying{savepoint: p.Name, text: p.Text, seq: tx.seq})
	case shard.RollbackTo:
		tx.failed, tx.stale, tx.unread = false, true, tx.ddl
		if i := tx.savepoint(p.Name); i >= 0 {
			maps.DeleteFunc(r.portals, func(_ string, po *portal) bool { return po.seq >= tx.said[i].seq })
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
		r.noteCustom(p.Name)
		tx.said = append(tx.said, saying{text: p.Text, set: p.Name, local: p.Local || firstWords(p.Text, "SET", "CONSTRAINTS")})
		tx.stale = tx.stale || changesMeaning(p)
		tx.sets = tx.sets || !p.Local
	case shard.Discard:
		tx.stale, tx.sets = true, true
	case shard.Commit:
		tx.over, tx.stale, r.known = nil, p.Chain, false
		tx.keepSaid(p.Chain, func(s *saying) bool { return !s.local })
	case shard.Rollback:
		tx.over, tx.stale, r.known = nil, p.Chain, false
		tx.keepSaid(p.Chain, func(s *saying) bool { return strings.EqualFold(s.set, "transaction") })
	}
	if !tx.open && p.Control == shard.Discard && p.NoTx || p.Control == shard.Set && p.Name == "" && firstWords(p.Text, "RESET", "ALL") {
		r.hint = shard.Hint{}
	}
}

// keepSaid drops what was said when a transaction ends; one that follows AND CHAIN begins with the same characteristics, and goes on with what keep
// accepts.
func (tx *shardTx) keepSaid(chain bool, keep func(*saying) bool) {
	savepoint := func(s saying) bool { return s.savepoint != "" }
	switch {
	case !chain:
		tx.said, tx.begin = tx.said[:0], ""
		return
	case tx.failed && !slices.ContainsFunc(tx.said, savepoint): // PostgreSQL takes back what was said of the transaction itself when it fails
		if !tx.chained {
			tx.begin = "BEGIN"
		}
		tx.said = slices.DeleteFunc(tx.said, func(s saying) bool { return !s.chained })
		return
	}
	tx.said = slices.DeleteFunc(tx.said, func(s saying) bool { return savepoint(s) || !keep(&s) })
	for i := range tx.said {
		tx.said[i].chained = true
	}
	tx.chained = true
}

// firstWords reports whether text begins with the words, which are in upper case.
func firstWords(text string, words ...string) bool {
	f := strings.Fields(text)
	if len(f) < len(words) {
		return false
	}
	for i, w := range words {
		if !strings.EqualFold(strings.TrimRight(f[i], ";"), w) {
			return false
		}
	}
	return true
}

// changesMeaning reports whether p changes what a statement behind it means.
func changesMeaning(p *shard.Plan) bool {
	switch {
	case p.DDL:
		return true
	case p.Kind != shard.Command:
		return false
	}
	switch p.Control {
	case shard.SetHint, shard.Discard:
		return true
	case shard.Set:
		return p.Name == "" && !firstWords(p.Text, "SET", "CONSTRAINTS") || isAnalysis(p.Name) || strings.EqualFold(p.Name, "names")
	}
	return false
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

// passesFailure reports whether a failed transaction lets p through.
func passesFailure(p *shard.Plan) bool {
	if p.Kind != shard.Command {
		return false
	}
	switch p.Control {
	case shard.Commit, shard.Rollback, shard.RollbackTo, shard.PrepareTransaction:
		return true
	}
	return false
}

// inFailure is the error for a statement that could not be planned: in a failed transaction PostgreSQL looks no further than its grammar.
func (c *client) inFailure(err error) error {
	if e := ours(err); !c.router.tx.failed || e == nil || e.Code == "42601" {
		return err
	}
	return errFailedTransaction()
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
			return c.errHeld(at)
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
	if l.srv.dead.Load() && c.srv != l.srv {
		return errShardGone(l.pool.key.shard, errLostInTransaction)
	}
	return c.switchTo(l)
}

var errLostInTransaction = errors.New("the connection was lost in the transaction")

// errHeld says why a session without a transaction block cannot use another shard.
func (c *client) errHeld(at int) error {
	if c.unsynced {
		return &Error{
			Severity: "ERROR", Code: "0A000", Message: "a pipeline cannot go on with another shard behind Flush",
			Detail: fmt.Sprintf("What came before the Flush was done on shard %q, this is for shard %q.", c.pool.key.shard, c.router.pool(at).key.shard),
			Hint:   "Send Sync, or BEGIN first.",
		}
	}
	return errPinned(c.pool.key.shard, c.router.pool(at).key.shard)
}

// switchTo links the server of l, which is one of the transaction's.
func (c *client) switchTo(l *leg) error {
	tx := &c.router.tx
	if c.srv == l.srv {
		return nil
	}
	if err := c.synced(); err != nil {
		return err
	}
	c.park()
	c.pool = l.pool
	c.relink(l.srv)
	i := slices.Index(tx.legs, l)
	tx.legs = append(slices.Delete(tx.legs, i, i+1), l)
	return nil
}

// synced ends a stretch of the extended protocol on the linked server, which the client has not ended: its Sync will go to another shard.
// In a transaction block it ends nothing else.
func (c *client) synced() error {
	if c.srv == nil || !c.unsynced || !c.router.tx.open {
		return nil
	}
	c.unsynced = false
	c.region++
	skipped := c.replies.skipping
	c.replies.skipping = false
	err := c.srv.exchangeIn('T', []byte{'S', 0, 0, 0, 4}, syncTimeout, nil)
	if err != nil && !(skipped && c.srv.tx == 'E') {
		c.srv.dead.Store(true)
		return errShardGone(c.pool.key.shard, err)
	}
	return nil
}

// enlist has a shard join the open transaction.
func (c *client) enlist(at int) (*leg, error) {
	r := c.router
	tx := &r.tx
	if len(tx.legs) > 0 {
		if err := c.mayGrow(at); err != nil {
			return nil, err
		}
		if err := c.synced(); err != nil {
			return nil, err
		}
	}
	if len(tx.legs) == 0 && c.srv != nil { // the session is held there
		if c.pool != r.pool(at) {
			return nil, c.errHeld(at)
		}
		l := &leg{shard: at, pool: c.pool, srv: c.srv}
		if err := c.tell(l, tx.opening()); err != nil {
			return nil, err
		}
		tx.legs = append(tx.legs, l)
		return l, nil
	}
	c.park()
	l, err := c.join(at)
	if err != nil {
		if len(tx.legs) > 0 {
			back := tx.current()
			c.pool = back.pool
			c.relink(back.srv)
		}
		return nil, err
	}
	tx.legs = append(tx.legs, l)
	return l, nil
}

// enlistAll has all shards of a plan join the open transaction that have not joined yet, at once if there are several. Without an error the others can
// be entered one by one.
func (c *client) enlistAll(parts []shard.Part) (err error) {
	tx := &c.router.tx
	var fresh []int
	for i := range parts {
		if at := parts[i].Shard; tx.leg(at) == nil && !slices.Contains(fresh, at) {
			fresh = append(fresh, at)
		}
	}
	if len(fresh) < 2 || len(tx.legs) == 0 && c.srv != nil {
		return nil // enlist does the same for one, and looks after a session that is held
	}
	if err := c.mayGrow(fresh[1]); err != nil {
		return err
	}
	if err := c.synced(); err != nil {
		return err
	}
	c.park()
	var legs []*leg
	defer func() {
		if err != nil && len(tx.legs) > 0 {
			back := tx.current()
			c.pool = back.pool
			c.relink(back.srv)
		}
	}()
	for _, at := range fresh {
		l, err := c.reserve(at, len(tx.legs)+len(legs) > 0)
		if err != nil {
			for _, l := range legs {
				c.letGo(l)
			}
			return err
		}
		c.park()
		legs = append(legs, l)
	}
	text := tx.opening()
	errs := c.onLegs(legs, false, func(l *leg) error { return l.hear(text) })
	for i, l := range legs {
		if errs[i] == nil {
			tx.legs = append(tx.legs, l)
			continue
		}
		l.srv.kept = kept{}
		l.srv.link.Store(nil)
		if e := l.notJoined(text, errs[i]); err == nil {
			err = e
		}
	}
	return err
}

// join links a server of a shard that has heard what the transaction's others have.
func (c *client) join(at int) (*leg, error) {
	l, err := c.reserve(at, len(c.router.tx.legs) > 0)
	if err != nil {
		return nil, err
	}
	return l, c.tell(l, c.router.tx.opening())
}

// reserve links a server of a shard that has the parameters of before the transaction. holding: there are servers of other shards.
func (c *client) reserve(at int, holding bool) (*leg, error) {
	r := c.router
	tx := &r.tx
	c.pool = r.pool(at)
	session := c.session // may have been changed in the transaction, which is said to the shard inside its own
	c.session = tx.base
	c.inShards.Store(holding)
	err := c.checkout()
	c.inShards.Store(false)
	if session == tx.base {
		session = c.session
	}
	tx.base, c.session = c.session, session
	if err != nil {
		return nil, shardError(c.pool.key.shard, err)
	}
	return &leg{shard: at, pool: c.pool, srv: c.srv}, nil
}

// opening is what a shard has to hear when it joins.
func (tx *shardTx) opening() string {
	text := tx.begin
	if text == "" {
		text = "BEGIN"
	}
	for _, s := range tx.said {
		text += "\n;" + s.text
	}
	return text
}

// tell has the linked server, which is joining, hear what was said before. If it does not accept that, it leaves again.
func (c *client) tell(l *leg, text string) error {
	over := c.p.lookout(l)
	err := l.hear(text)
	over()
	if l.srv.mute.Load() {
		err = errNoAnswer
	}
	if err == nil {
		return nil
	}
	c.unlink()
	return l.notJoined(text, err)
}

// hear says to a server that is joining what was said before.
func (l *leg) hear(text string) error {
	return l.srv.exchangeIn('T', appendQuery(nil, text), syncTimeout, nil)
}

// notJoined closes a server that could not join, and says why.
func (l *leg) notJoined(text string, err error) error {
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
func (c *client) mayGrow(at int) error {
	tx := &c.router.tx
	if c.pinned() || slices.ContainsFunc(tx.legs, func(l *leg) bool { return l.srv.kept.pins != nil }) {
		return errPinned(tx.current().pool.key.shard, c.router.pool(at).key.shard)
	}
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
	k := kept{pins: c.pins.Load(), pinAsk: c.pinAsk, dirty: c.dirty, notifies: c.notifies, after: c.after, resets: c.resets}
	if !c.sin.empty() {
		k.in = slices.Clone(c.sin.bytes())
		c.sin.r = c.sin.w
		c.sin.rest()
	}
	s.kept = k
	c.unlink()
	c.dirty = false
	s.link.Store(c)
}

// relink is linkTo for a server that was parked.
func (c *client) relink(s *server) {
	k := s.kept
	s.kept = kept{}
	for b := k.in; len(b) > 0; {
		n := copy(c.sin.room(), b)
		c.sin.took(n, true)
		b = b[n:]
	}
	c.pinAsk, c.dirty, c.notifies, c.after, c.resets = k.pinAsk, k.dirty, k.notifies, k.after, k.resets
	c.mu.Lock()
	c.srv = s
	c.mu.Unlock()
	c.pins.Store(k.pins)
	c.link.Store(s)
	c.state.Store(stateActive)
}

func appendTag(b []byte, tag string) []byte {
	b = append(b, 'C')
	b = binary.BigEndian.AppendUint32(b, uint32(4+len(tag)+1))
	b = append(b, tag...)
	return append(b, 0)
}
