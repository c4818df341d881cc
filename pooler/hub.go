package pooler

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"pgdrover/internal/connect"
	"pgdrover/internal/wire"
)

// hub is one connection of ours that listens for the clients of a pool that have the same client_encoding. Its goroutines are run,
// which reads, and write. A hub whose connection is lost is not mended: notifications may have been missed, so its clients
// are closed and told why.
type hub struct {
	pool     *pool
	encoding string
	ready    chan struct{} // closed when s or openErr is set
	done     chan struct{} // closed when the connection is over
	wake     chan struct{} // has room for one
	s        *server       // valid after ready
	openErr  error         // valid after ready

	mu       sync.Mutex                  // before client.inboxMu
	clients  map[string]map[*client]bool // by channel, and whether they have been told that they listen; guarded by mu
	out      []byte                      // commands to be written; guarded by mu
	sent     []chan<- error              // who waits for their answers, nil for nobody; guarded by mu
	over     bool                        // it takes nobody any more; guarded by mu
	emptyAt  int64                       // since when there has been no client; guarded by mu
	whyClose string                      // why we close it, "" if we do not; guarded by mu
}

const (
	// hubLinger is how long a hub without clients is kept.
	hubLinger = 10 * time.Second
	// maxHubMessage bounds what the server may send to a hub, in bytes; a notification has 8000.
	maxHubMessage = 64 << 10
)

var errHubOver = errors.New("the listening connection was closed")

// subscribe has a hub of the pool listen for c: the one it has, or nil. It returns when the server has confirmed that.
func (p *pool) subscribe(c *client, has *hub, channels []string) (*hub, error) {
	for range 3 {
		h := has
		if h == nil {
			h = p.findHub(c.encoding())
		} else if h.encoding != c.encoding() {
			return h, fatalError{errListenEncoding(h.encoding)}
		}
		select {
		case <-h.ready:
		case <-p.p.ctx.Done():
			return has, errClosing
		}
		if h.openErr != nil {
			return has, h.openErr
		}
		err := h.subscribe(c, channels)
		if err == nil || has != nil || err != errHubOver {
			return h, err
		}
		p.forgetHub(h)
	}
	return has, errHubOver
}

// findHub returns the hub for an encoding, opening it if need be.
func (p *pool) findHub(encoding string) *hub {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h := p.hubs[encoding]; h != nil {
		return h
	}
	h := &hub{
		pool: p, encoding: encoding, clients: map[string]map[*client]bool{}, emptyAt: now(),
		ready: make(chan struct{}), done: make(chan struct{}), wake: make(chan struct{}, 1),
	}
	if p.hubs == nil {
		p.hubs, p.allHubs = map[string]*hub{}, map[*hub]struct{}{}
	}
	p.hubs[encoding] = h
	p.allHubs[h] = struct{}{}
	go h.run()
	return h
}

// forgetHub has findHub open another one, whether or not h has ended yet.
func (p *pool) forgetHub(h *hub) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hubs[h.encoding] == h {
		delete(p.hubs, h.encoding)
	}
}

func (h *hub) subscribe(c *client, channels []string) error {
	answer := make(chan error, 1)
	h.mu.Lock()
	if h.over {
		h.mu.Unlock()
		return errHubOver
	}
	for _, n := range channels {
		if h.clients[n] == nil {
			h.clients[n] = map[*client]bool{}
		}
		if !h.clients[n][c] {
			h.clients[n][c] = false // not told yet
		}
	}
	h.command(listenCommands("LISTEN ", channels), answer)
	h.mu.Unlock()
	t := time.NewTimer(syncTimeout)
	defer t.Stop()
	var err error
	select {
	case err = <-answer:
	case <-h.done:
		err = errHubOver
	case <-t.C:
		err = fmt.Errorf("no answer to LISTEN in %s", syncTimeout)
	}
	if err == nil {
		err = h.confirm(c, channels)
	}
	if err != nil {
		h.unsubscribe(c, channels)
	}
	return err
}

// confirm makes a client one that relies on the hub. Before that, it may be given another one.
func (h *hub) confirm(c *client, channels []string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return errHubOver
	}
	for _, n := range channels {
		h.clients[n][c] = true
	}
	return nil
}

func (h *hub) unsubscribe(c *client, channels []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var empty []string
	for _, n := range channels {
		delete(h.clients[n], c)
		if len(h.clients[n]) == 0 && h.clients[n] != nil {
			delete(h.clients, n)
			empty = append(empty, n)
		}
	}
	if len(h.clients) == 0 {
		h.emptyAt = now()
	}
	if len(empty) > 0 && !h.over {
		h.command(listenCommands("UNLISTEN ", empty), nil)
	}
}

// command queues a command for write. The caller holds mu, so that commands go out in the order of what they are for.
func (h *hub) command(sql string, answer chan<- error) {
	h.out = appendQuery(h.out, sql)
	h.sent = append(h.sent, answer)
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

func (h *hub) run() {
	s, err := h.open()
	if err != nil {
		h.openErr = err
		h.end(err)
		close(h.ready)
		return
	}
	h.pool.mu.Lock()
	h.s = s
	h.pool.mu.Unlock()
	close(h.ready)
	h.mu.Lock()
	closing := h.whyClose != ""
	h.mu.Unlock()
	if closing {
		h.end(errClosing)
		return
	}
	go h.write()
	h.end(h.read())
}

// open logs in to the server, within the limits that span pools.
func (h *hub) open() (*server, error) {
	s, err := h.pool.openOwn()
	if err != nil {
		return nil, err
	}
	if h.encoding != "" {
		err = s.exchange(query(setQuery, []string{"client_encoding"}, []*string{&h.encoding}), syncTimeout, nil)
	}
	if err != nil {
		s.close("listening connection: " + err.Error())
		return nil, err
	}
	return s, nil
}

func (h *hub) write() {
	for {
		select {
		case <-h.wake:
		case <-h.done:
			return
		}
		h.mu.Lock()
		out := h.out
		h.out = nil
		h.mu.Unlock()
		if len(out) == 0 {
			continue
		}
		nc := h.s.conn.netConn()
		_ = nc.SetWriteDeadline(time.Now().Add(syncTimeout))
		if _, err := nc.Write(out); err != nil {
			h.close("writing to it failed: " + err.Error())
			return
		}
	}
}

// read deals with what the server says, until the connection is over.
func (h *hub) read() error {
	r := wire.NewBufferedReader(h.s.conn.netConn(), maxHubMessage)
	var failed error
	for {
		typ, body, err := r.Next()
		if err != nil {
			return errors.Join(failed, err)
		}
		switch typ {
		case 'A':
			h.notify(body)
		case 'E':
			se, err := connect.ParseServerError(body)
			if err != nil {
				return err
			}
			failed = se
		case 'Z':
			h.mu.Lock()
			if len(h.sent) == 0 {
				h.mu.Unlock()
				return fmt.Errorf("%w: ReadyForQuery that nobody asked for", errOutOfStep)
			}
			answer := h.sent[0]
			h.sent = h.sent[1:]
			h.mu.Unlock()
			if answer != nil {
				answer <- failed // it has room
			}
			failed = nil
		}
	}
}

// notify brings a notification to all who listen to its channel.
func (h *hub) notify(body []byte) {
	channel, ok := channelOf(body)
	if !ok {
		return
	}
	msg := binary.BigEndian.AppendUint32([]byte{'A'}, uint32(4+len(body)))
	msg = append(msg, body...)
	var wake, full []*client
	h.mu.Lock()
	for c := range h.clients[channel] {
		switch w, f := c.post(msg); {
		case w:
			wake = append(wake, c)
		case f:
			full = append(full, c)
		}
	}
	h.mu.Unlock()
	for _, c := range wake {
		c.interrupt(reasonInbox)
	}
	for _, c := range full {
		c.kill(errInboxFull())
	}
}

// end takes the hub off the books and closes the clients that relied on it.
func (h *hub) end(cause error) {
	p := h.pool
	h.mu.Lock()
	h.over = true
	why := h.whyClose
	if why == "" {
		why = cause.Error()
	}
	lost := map[*client]bool{}
	for _, cs := range h.clients {
		for c, told := range cs {
			if told {
				lost[c] = true
			}
		}
	}
	h.mu.Unlock()
	close(h.done) // those who wait for an answer give up
	for c := range lost {
		c.kill(errListenLost(why))
	}
	if h.s != nil {
		h.s.close("listening connection: " + why)
	}
	p.forgetHub(h)
	p.mu.Lock()
	delete(p.allHubs, h)
	p.mu.Unlock()
	p.p.changed()
}

// close ends the connection, and with it run.
func (h *hub) close(why string) {
	h.mu.Lock()
	h.over = true
	if h.whyClose == "" {
		h.whyClose = why
	}
	h.mu.Unlock()
	select {
	case <-h.ready:
	default:
		return // run ends by itself when opening fails, and otherwise finds out below
	}
	if h.s != nil {
		_ = h.s.conn.netConn().SetDeadline(past)
	}
}

// sweepHubs closes hubs that nobody needs, and under server_fast_close the clients of those that are to be replaced.
func (p *pool) sweepHubs(t int64) {
	p.mu.Lock()
	linger := int64(hubLinger)
	if p.held() {
		linger = 0
	}
	hubs := make([]*hub, 0, len(p.allHubs))
	for h := range p.allHubs {
		if h.s != nil {
			hubs = append(hubs, h)
		}
	}
	p.mu.Unlock()
	fast := p.p.settings().ServerFastClose
	for _, h := range hubs {
		stale := h.s.closeNeeded.Load()
		h.mu.Lock()
		idle := len(h.clients) == 0 && (stale || h.over || t-h.emptyAt >= linger)
		h.over = h.over || idle
		var retire []*client
		if stale && fast {
			for _, cs := range h.clients {
				for c := range cs {
					retire = append(retire, c)
				}
			}
		}
		h.mu.Unlock()
		if idle {
			h.close("nobody listens")
		}
		for _, c := range retire {
			c.interrupt(reasonRetire)
		}
	}
}

// retireHubs has new listeners use new connections; closing says that the old ones end now.
func (p *pool) retireHubs(closing string) {
	p.mu.Lock()
	clear(p.hubs)
	var hubs []*hub
	for h := range p.allHubs {
		if h.s != nil {
			h.s.closeNeeded.Store(true)
		}
		hubs = append(hubs, h)
	}
	p.mu.Unlock()
	if closing == "" {
		return
	}
	for _, h := range hubs {
		h.close(closing)
	}
}
