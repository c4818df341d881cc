package pooler

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"pgdrover/internal/auth"
	"pgdrover/internal/config"
)

// client is one session of an application. Its goroutine (run) reads the client, and while a server is
// linked and the traffic is a simple back and forth, also the server. When both directions have to move at once
// a second goroutine (duplex.go) takes the direction from server to client; then mu guards what both touch.
type client struct {
	// What every query needs, in the order in which it is needed: a client that has been silent for a moment is in no cache any more.
	p        *Pooler
	conn     conn
	pool     *pool   // of the linked server, or the one that is asked for the next; the session's own
	srv      *server // linked server; written by the owner under mu
	mu       sync.Mutex
	readies  *server // see readying; guarded by mu
	duplex   *duplex // non-nil while a second goroutine reads the server
	router   *router // of a sharded database, else nil
	session  session
	stepFn   func(uintptr) bool // step and relayStep; made once, so that loop does not allocate
	relayFn  func(uintptr) bool
	repl     string // "none", "logical", "physical"
	mode     config.PoolMode
	tracking bool // prepared statements are renamed and followed
	noPQExec bool // disable_pqexec

	copyIn     bool // the server reads CopyData
	copyBoth   bool
	unsynced   bool // messages of the extended protocol were forwarded and no Sync behind them
	answers    bool // the last message forwarded makes the server send what it has to say
	half       bool // the end of a COPY was forwarded last, whose answer may have to wait for a Sync that is still to come
	early      bool // something that the server may answer was sent, and its answer not read yet
	skipToSync bool // an error of ours: the client's messages up to Sync go nowhere
	barrier    bool // nothing more is forwarded before everything that was has been answered
	dropBound  bool // there is something in drops
	setsAhead  bool // something was sent that may change parameters, and has not been answered; see meaning
	created    bool // a statement has, by its command tag, created, altered or dropped something; a router sets it to false
	dirty      bool // unreported parameters may have changed: ask before the server is released
	pinAsk     bool // something may keep the server: ask before it is released
	notifies   bool // NOTIFY was seen: the transaction cannot be prepared
	listens    bool // LISTEN was seen while linked
	heldReady  bool // a ReadyForQuery is kept from the client until what after says is done
	after      after
	drop       bool // the rest of a client message goes nowhere
	eat        bool // the rest of a server message is swallowed
	mute       bool // a write to the client has failed half-way: whatever came next would be read as part of a row
	retry      bool // the unit now on its way may be sent again: nothing of it has been answered
	sawFatal   bool // the linked server has said FATAL
	ended      bool // relayStep has read all that is expected

	sentNothing bool // the server did not take a byte of the unit
	closed      bool
	parting     bool // finish says the last words, which no interrupt may cut short

	in       inbuf  // from the client
	body     int    // bytes of a client message that are still to come and go to the server as they are, or nowhere
	unitFrom int    // where in `in` the unit begins that may be sent again
	send     []byte // what the next server write begins with: part of in or fwd
	fwd      []byte // for the server, when it is not a plain stretch of in

	replies   replies
	region    uint64 // counts Syncs forwarded
	maybe     int    // Syncs that a COPY swallows if it reads any data, and does not if it fails before
	completed int    // statements that the server has completed since a router set it to 0

	sin     inbuf  // from the server
	sbody   int    // bytes of a server message that are still to come
	out     []byte // for the client, when it is not a plain stretch of sin
	last    []byte // for the client: the end of its answers, valid while ended
	instead []byte // what the client gets in the place of the server's last message, if anything
	held    []byte // a FATAL kept back while retry is possible

	relayErr error // how the last read of the server ended

	// For SHOW and the sweep, which run on other goroutines. Times are now(); 0 is "not".
	state      atomic.Uint32
	reasons    atomic.Uint32
	link       atomic.Pointer[server] // srv for readers
	queryAt    atomic.Int64
	requestAt  atomic.Int64
	xactAt     atomic.Int64
	idleAt     atomic.Int64           // since when nobody has spoken, while a server is linked or none is
	command    atomic.Uint64          // first letters of what it last ran
	pins       atomic.Pointer[string] // why the server is kept between transactions; nil if it is not
	armed      atomic.Bool
	watched    atomic.Bool // see watchOver
	gone       atomic.Bool // the client has closed its side
	dying      atomic.Bool // it was killed; for those who work for it on other goroutines
	syncing    atomic.Bool // a server is got ready for a unit: what runs on it is ours, and no cancel request means that
	cancelNext atomic.Bool // a cancel request came for a unit that no server has been sent yet
	stopping   atomic.Bool

	waitAt atomic.Int64
	bell   chan struct{} // see ring; has room for one
	wait   waiter

	unnamed unnamed // statement
	unFx    effects // of the last one
	inbox           // notifications; see listen.go

	// What some need.
	stmts     map[string]named      // prepared statements by the client's names
	texts     int                   // bytes of them
	maxStmts  int                   // max_prepared_statements
	bound     []byte                // the name in the last Bind
	tells     *prepared             // that one, if the next message describes its portal to a client that does not know its columns
	asks      *prepared             // whose columns the server was asked for because of the Bind that comes next
	odd       env                   // see meaning
	odds      int                   // how many of them there have been
	drops     map[string]dropTarget // portals that drop statements
	dropping  string                // the statement that the server is about to drop
	initial   env                   // what it asked for when it connected, where that differs from the servers' own
	resets    []reset               // for after
	refusal   *Error                // why a message is not forwarded
	pending   []byte                // for the client: what it had no room for when duplex mode began
	counted   counted               // see left
	leftMoved int                   // see leftForGood

	fanned     atomic.Pointer[fanned] // the servers of several shards that work for it at once
	late       atomic.Pointer[Error]  // what it is told with reasonLate
	killErr    atomic.Pointer[Error]  // what it is told with reasonKill
	deadlock   atomic.Pointer[Error]  // what it is told in the place of its cancelled statement
	inShards   atomic.Bool            // it holds servers of a transaction while it waits for the one of a further shard
	cancelAt   atomic.Int64           // queryAt of the statement over shards that a cancel request came for: it begins no further round
	cancelWait atomic.Int32           // cancel requests under way for this client
	notifiedAt atomic.Int64
	leftAt     atomic.Int64 // when it closed its side, or the last answer came after that; see leftForGood
	nStmts     atomic.Int32
	lastQuery  atomic.Pointer[string]
	appName    atomic.Pointer[string]

	// Who it is.
	id        uint64
	home      *pool // where it is counted; never changes
	db        *database
	user      *user // the login user's limits and counters
	loginName string
	addr      peerAddr
	tls       string
	creds     auth.Result
	cancelKey []byte
	connected time.Time
}

// reason is why a session was interrupted; several may come together.
type reason uint32

const (
	reasonHungUp   reason = 1 << iota // the client's side is closed
	reasonServer                      // the linked server has something to say, or is gone
	reasonCanceled                    // a cancel request came while it was waiting for a server
	reasonNotify                      // tell a waiting client that it waits
	reasonDrain                       // close when no transaction is open, because of a shutdown
	reasonRetire                      // close when no transaction is open, because the server is to be replaced
	reasonInbox                       // notifications have come
	reasonLate                        // it has waited too long for a server; late says so

	// The client is to be closed at once, with the error in killErr.
	reasonKill
)

// clientState values for SHOW CLIENTS.
const (
	stateLogin uint32 = iota
	stateIdle
	stateWaiting
	stateActive
)

var errClientGone = errors.New("client closed the connection")

// fatalError ends a session after the error has been sent.
type fatalError struct{ e *Error }

func (f fatalError) Error() string { return f.e.Message }

// interrupt wakes the session wherever it is parked. It may be called from any goroutine.
func (c *client) interrupt(r reason) {
	kill := r&reasonKill != 0
	if kill {
		c.dying.Store(true)
	}
	c.reasons.Or(uint32(r))
	c.mu.Lock()
	if !c.closed {
		if f := c.fanned.Load(); f != nil && kill {
			f.interrupt()
		}
		if !c.parting {
			c.conn.interrupt(kill)
		}
		if c.srv != nil {
			c.srv.conn.interrupt(kill)
		}
		if s := c.readies; s != nil && s != c.srv {
			s.conn.interrupt(kill)
		}
	}
	c.mu.Unlock()
	c.ring()
}

// ring wakes the session where it waits for something else than a connection. One ring is kept for it if it does not wait.
func (c *client) ring() {
	select {
	case c.bell <- struct{}{}:
	default:
	}
}

func ringAll(cs []*client) {
	for _, c := range cs {
		c.ring()
	}
}

// hungUp is told once. What is read later must go on to the end of the stream, because no wake-up will come for it.
func (c *client) hungUp() {
	c.gone.Store(true)
	c.leftAt.Store(now())
	c.interrupt(reasonHungUp)
}

func (c *client) readable() {}

// kill closes the client with an error. The first one wins.
func (c *client) kill(e *Error) {
	c.killErr.CompareAndSwap(nil, e)
	c.interrupt(reasonKill)
}

// takeReasons resumes the connections and returns why they were interrupted. In duplex mode the server's is resumed by pump, which
// would otherwise not notice that it was meant too.
func (c *client) takeReasons() reason {
	c.conn.resume()
	if c.duplex == nil && c.srv != nil {
		c.srv.conn.resume()
	}
	return reason(c.reasons.Swap(0))
}

// run tells a client that it has logged in, and serves it until it is gone. It owns the connection.
func (c *client) run(hello []byte) {
	err := c.conn.writeAll(hello)
	if err == nil && !c.in.empty() {
		err = c.process() // sent along with the login
	}
	if err == nil {
		err = c.serve()
	}
	c.finish(err)
}

func (c *client) serve() error {
	for {
		err := c.conn.loop(c.stepFn)
		if err == nil {
			err = c.relayErr
			c.relayErr = nil
			if err == nil {
				return nil
			}
		}
		if c.duplex != nil && errors.Is(err, io.EOF) {
			c.awaitAnswers()
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if err := c.interrupted(); err != nil {
			return err
		}
	}
}

// step is called when the client may have sent something. It returns true when the session is over or was
// interrupted, with the cause in relayErr.
func (c *client) step() bool {
	for {
		n, more, err := c.conn.read(c.in.room())
		if err == errWouldBlock {
			c.in.rest()
			return false
		}
		if err != nil {
			c.relayErr = err
			return true
		}
		c.in.took(n, more)
		c.p.giveWay(&c.in)
		c.pool.counters.BytesReceived.Add(int64(n))
		if c.armed.Load() {
			c.disarm()
		}
		if err := c.process(); err != nil {
			c.relayErr = err
			return true
		}
		c.in.rest()
		if c.p.shutdown.Load() != 0 && c.p.draining() && c.atRest() {
			c.relayErr = fatalError{errShutdown()}
			return true
		}
		if !more && !c.gone.Load() && c.watched.Load() { // otherwise the next read tells whether that was the end of the stream
			return false
		}
	}
}

// watchOver has the watcher tell when the client leaves. The janitor calls it, for sessions that are not over at once, and the session itself
// before it waits for something else than its client. Until then each read goes on to the end of what is there.
func (c *client) watchOver() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.watched.Load() {
		return
	}
	if err := c.p.watch.add(c.conn.fd(), c); err != nil {
		c.p.log.Error().Err(err).Uint64("client", c.id).Msg("watching a client failed") // it goes on as before
		return
	}
	c.watched.Store(true)
}

// unwatch ends that, for a connection that others may go on with.
func (c *client) unwatch() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watched.Swap(false) {
		c.p.watch.release(c.conn.fd())
	}
}

// interrupted deals with the reasons of an interrupt while the session waits for its client.
func (c *client) interrupted() error {
	r := c.takeReasons()
	if r&reasonKill != 0 {
		return c.killed()
	}
	if c.duplex != nil {
		c.mu.Lock()
		over := c.duplex.over
		c.mu.Unlock()
		if over {
			<-c.duplex.done
			err := c.duplex.err
			c.duplex = nil
			if err != nil {
				return err
			}
		}
	}
	if c.duplex == nil && r&reasonServer != 0 && c.linked() {
		if err := c.serverSpoke(); err != nil {
			return err
		}
	}
	if c.duplex == nil { // otherwise it is pump's
		if err := c.deliver(); err != nil {
			return err
		}
	}
	switch {
	case r&(reasonDrain|reasonRetire) == 0 || !c.atRest():
	case r&reasonDrain != 0:
		return fatalError{errShutdown()}
	case c.srv != nil && c.srv.closeNeeded.Load(), c.hub != nil && c.hub.s.closeNeeded.Load():
		return fatalError{errReconfigured()}
	}
	return nil // hungUp: the next read finds the end of the stream
}

// atRest reports whether the client could be closed now without losing it anything: no transaction is open, nothing is
// unanswered, and it has not begun to say anything.
func (c *client) atRest() bool {
	if c.duplex != nil || c.conn.trails() && !c.conn.stuck() || !c.in.empty() || hasInput(c.conn.fd()) {
		return false
	}
	return c.srv == nil || c.srv.tx == 'I' && c.replies.empty() && !c.unsynced && c.body == 0 && !c.copyIn && !c.copyBoth
}

// killed is why the session ends. Nothing makes it an error of one statement.
func (c *client) killed() error {
	if e := c.killErr.Load(); e != nil {
		return sessionOver{fatalError{e}}
	}
	return sessionOver{fatalError{errKilled()}}
}

// linked reports whether a server is linked. In duplex mode the other goroutine may release it at any time.
func (c *client) linked() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.srv != nil
}

// finish tells the client why, if there is something to tell, and lets go of everything.
func (c *client) finish(err error) {
	told := false
	c.stopDuplex()
	if f, ok := errors.AsType[fatalError](err); ok {
		c.mu.Lock()
		c.parting = true
		c.mu.Unlock()
		if c.sbody == 0 && !c.mute { // otherwise the client is in the middle of a message
			told = c.say(f.e) == nil
		}
		c.p.logPoolerError(c, f.e)
	}
	c.leaveShards()
	if s := c.srv; s != nil {
		// A server in the middle of something is not rolled back but closed, which is what PgBouncer does.
		gone := err == nil || errors.Is(err, errTerminate) || errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET)
		idle := c.replies.empty() && !c.unsynced && s.tx == 'I' && c.body == 0 && !c.copyIn && c.maybe == 0 && c.sin.empty() && c.sbody == 0
		s.midway = s.midway || c.body > 0 && !c.drop || len(c.send) > 0
		switch {
		case idle && gone && c.mode == config.PoolSession && c.repl == "none":
			c.unlink()
			c.pool.releaseSession(s)
		case idle && gone && c.pinned():
			c.unlink()
			c.pool.releasePinned(s)
		case !c.replies.empty():
			// The query would go on for nobody.
			c.unlink()
			go s.abandon("client disconnect while server was not ready")
		default:
			c.unlink()
			s.close("client disconnect while server was not ready")
		}
	}
	c.leaveChannels()
	c.replies.reset(c.undo)
	for name, st := range c.stmts {
		c.p.stmts.unref(st.stmt)
		delete(c.stmts, name)
	}
	if errors.Is(err, errTerminate) || errors.Is(err, io.EOF) {
		c.awaitTail()
	}
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	if c.watched.Load() {
		c.p.watch.remove(c.conn.fd())
	}
	if told {
		c.hearOut()
	}
	c.conn.close()
	c.in.r, c.in.w = 0, 0
	c.in.free()
	c.sin.r, c.sin.w = 0, 0
	c.sin.free()
	c.p.clientGone(c, err)
}

// say sends an error message to the client without waiting long for it.
func (c *client) say(e *Error) error {
	c.conn.resume()
	return c.conn.within(time.Second, func(nc netWriter) error {
		_, err := nc.Write(e.message())
		return err
	})
}

// How long a client is heard out, and how many bytes of it at most.
const (
	hearOutTime  = 3 * time.Second
	hearOutBytes = 64 << 20
)

// hearOut reads what a client still sends that was told why its session ends, and throws it away, for a moment: to close a connection with bytes
// unread resets it, and one that sends everything before it reads would see that instead.
func (c *client) hearOut() {
	if c.in.empty() && !hasInput(c.conn.fd()) { // of a message that has come in part, more is under way
		return
	}
	// What fails here leaves the client no worse off.
	nc := c.conn.netConn()
	if tc, ok := nc.(*tls.Conn); ok {
		_ = tc.CloseWrite()
		nc = tc.NetConn()
	}
	_ = unix.Shutdown(c.conn.fd(), unix.SHUT_WR)
	_ = nc.SetReadDeadline(time.Now().Add(hearOutTime))
	defer context.AfterFunc(c.p.ctx, func() { _ = nc.SetReadDeadline(past) })()
	buf := c.p.bufs.get()
	defer c.p.bufs.put(buf)
	for n := 0; n < hearOutBytes; {
		k, err := nc.Read(buf[:])
		if err != nil {
			return
		}
		n += k
	}
}

// undo takes back what a message would have done that the server skips.
func (c *client) undo(k replyKind, d *replyData) {
	switch k {
	case replyParseNamed, replySayParsed, replySayClosed:
		c.setStmt(d.name, d.before)
		c.told(d.name, d.before, d.columns)
		c.p.stmts.unref(d.before)
		c.p.stmts.unref(d.after)
	case replyBindDrop:
		delete(c.drops, d.name)
	case replyParseUnname, replyCloseUnname, replyParseOwn:
		// The server may still have another client's unnamed statement.
		if k == replyParseOwn {
			c.unnamed.sentAgain(d.gen)
		} else {
			c.unnamed.skipped(d.gen)
			text, _, _ := cstring(c.unnamed.text)
			c.unFx = effectsOf(text, firstWord(text), true)
		}
		if c.srv != nil {
			c.srv.unOwner = 0
		}
	case replyCloseOwn:
		if d.name != "" && c.srv != nil {
			c.srv.closeLater(d.name)
		}
	}
	if d.prep != nil && !d.prep.confirmed && c.srv != nil {
		c.srv.prepared.remove(c.p.stmts, d.prep)
	}
}

// setStmt makes name mean st (nil: nothing), moving the references along.
func (c *client) setStmt(name string, st *stmt) {
	old := c.stmts[name].stmt
	if old == st {
		return
	}
	c.p.stmts.ref(st)
	if st == nil {
		delete(c.stmts, name)
	} else {
		if c.stmts == nil {
			c.stmts = map[string]named{}
		}
		c.stmts[name] = named{stmt: st}
	}
	c.p.stmts.unref(old)
	c.texts += costOf(name, st) - costOf(name, old)
	c.nStmts.Store(int32(len(c.stmts)))
}

// hasRoom reports whether a client may have another statement of that name and text.
func (c *client) hasRoom(name, body []byte) bool {
	return c.texts+stmtCost+len(name)+len(body) <= maxClientTexts
}

// costOf is what a statement counts towards maxClientTexts.
func costOf(name string, st *stmt) int {
	if st == nil {
		return 0
	}
	return stmtCost + len(name) + len(st.body)
}
