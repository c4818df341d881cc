package pooler

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// memConn is a conn in memory. What is put with feed is read in pieces of any size; what is written goes to written, and
// to answer, whose result can then be read, as if the peer had replied at once.
type memConn struct {
	looping sync.Mutex // held by loop, as RawConn.Read keeps the descriptor from others who would read
	mu      sync.Mutex
	cond    *sync.Cond
	in      []byte // to be read; guarded by mu
	eof     bool   // behind in; guarded by mu
	written []byte // guarded by mu
	stopR   bool   // interrupted; guarded by mu
	stopW   bool   // guarded by mu
	closed  bool   // guarded by mu
	room    int    // bytes that write takes before it would block, -1 for no limit; guarded by mu
	keep    bool   // whether written is kept
	tailed

	answer func(p []byte) []byte
	gone   func() bool     // whether the peer has hung up behind its answer
	piece  func(n int) int // how much of n bytes one read or write takes; nil for all
}

var _ conn = (*memConn)(nil)

func newMemConn() *memConn {
	c := &memConn{room: -1, keep: true}
	c.cond = sync.NewCond(&c.mu)
	return c
}

// feed adds bytes to be read.
func (c *memConn) feed(p []byte) {
	c.mu.Lock()
	c.in = append(c.in, p...)
	c.mu.Unlock()
	c.cond.Broadcast()
}

// hangUp ends the stream behind what was fed.
func (c *memConn) hangUp() {
	c.mu.Lock()
	c.eof = true
	c.mu.Unlock()
	c.cond.Broadcast()
}

// setRoom lets n more bytes be written before a write blocks; -1 is any number.
func (c *memConn) setRoom(n int) {
	c.mu.Lock()
	c.room = n
	c.mu.Unlock()
	c.cond.Broadcast()
}

func (c *memConn) unread() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.in)
}

// got returns what was written so far.
func (c *memConn) got() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]byte(nil), c.written...)
}

func (c *memConn) loop(step func(uintptr) bool) error {
	c.looping.Lock()
	defer c.looping.Unlock()
	for {
		c.mu.Lock()
		stop := c.stopR
		c.mu.Unlock()
		if stop {
			return os.ErrDeadlineExceeded
		}
		if step(0) {
			return nil
		}
		c.mu.Lock()
		for len(c.in) == 0 && !c.eof && !c.closed && !c.stopR {
			c.cond.Wait()
		}
		c.mu.Unlock()
	}
}

func (c *memConn) read(p []byte) (int, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return 0, false, net.ErrClosed
	case len(c.in) == 0 && c.eof:
		return 0, false, io.EOF
	case len(c.in) == 0:
		return 0, false, errWouldBlock
	}
	n := min(len(p), len(c.in))
	if c.piece != nil {
		n = max(1, min(n, c.piece(n)))
	}
	n = copy(p, c.in[:n])
	c.in = c.in[:copy(c.in, c.in[n:])] // keeps the memory, so that the fake itself does not allocate
	return n, n == len(p), nil
}

func (c *memConn) gather() bool { return true }
func (c *memConn) ungather()    {}

func (c *memConn) write(p []byte) (int, error) {
	if c.trails() {
		return 0, errWouldBlock
	}
	if err := c.behind(0); err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.put(p)
}

func (c *memConn) put(p []byte) (int, error) {
	if c.closed {
		return 0, net.ErrClosed
	}
	n := len(p)
	if c.room >= 0 {
		n = min(n, c.room)
		c.room -= n
	}
	if c.keep {
		c.written = append(c.written, p[:n]...)
	}
	if c.answer != nil && n > 0 {
		c.in = append(c.in, c.answer(p[:n])...)
		c.eof = c.eof || c.gone != nil && c.gone()
		c.cond.Broadcast()
	}
	if n < len(p) {
		return n, errWouldBlock
	}
	return n, nil
}

func (c *memConn) finish(p []byte) error {
	n, err := c.write(p)
	if err != errWouldBlock {
		return err
	}
	c.trail(p[n:], c.writeRest)
	return nil
}

func (c *memConn) writeAll(p []byte) error {
	if err := c.behind(0); err != nil {
		return err
	}
	return c.writeRest(p)
}

func (c *memConn) writeRest(p []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if c.stopW {
			return os.ErrDeadlineExceeded
		}
		n, err := c.put(p)
		if err != errWouldBlock {
			return err
		}
		p = p[n:]
		c.cond.Wait()
	}
}

func (c *memConn) direct() bool { return true }

func (c *memConn) interrupt(writes bool) {
	c.mu.Lock()
	c.stopR = true
	c.stopW = c.stopW || writes
	c.mu.Unlock()
	c.cond.Broadcast()
}

func (c *memConn) resume() {
	c.mu.Lock()
	c.stopR, c.stopW = false, false
	c.mu.Unlock()
}

func (c *memConn) within(d time.Duration, f func(net.Conn) error) error {
	if err := c.behind(d); err != nil {
		return err
	}
	return f(memNet{c})
}

func (c *memConn) netConn() net.Conn { return memNet{c} }
func (c *memConn) fd() int           { return -1 }

func (c *memConn) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cond.Broadcast()
}

// memNet is a memConn as a net.Conn.
type memNet struct{ c *memConn }

func (n memNet) Read(p []byte) (int, error) {
	n.c.mu.Lock()
	for len(n.c.in) == 0 && !n.c.eof && !n.c.closed {
		n.c.cond.Wait()
	}
	n.c.mu.Unlock()
	k, _, err := n.c.read(p)
	return k, err
}

func (n memNet) Write(p []byte) (int, error) {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	return n.c.put(p)
}

func (n memNet) Close() error                     { n.c.close(); return nil }
func (n memNet) LocalAddr() net.Addr              { return &net.UnixAddr{} }
func (n memNet) RemoteAddr() net.Addr             { return &net.UnixAddr{} }
func (n memNet) SetDeadline(time.Time) error      { return nil }
func (n memNet) SetReadDeadline(time.Time) error  { return nil }
func (n memNet) SetWriteDeadline(time.Time) error { return nil }
