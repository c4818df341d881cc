package pooler

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"syscall"
	"time"
)

// errWouldBlock says that a descriptor has nothing to read, or no room to write.
var errWouldBlock = errors.New("would block")

// conn is the seam between a session and its two sockets. Only the owner of a conn (a session, or the
// pool for an idle server) may call its methods, with one exception: interrupt may come from anywhere,
// and a write may run beside a loop.
//
// rawConn is the fast path: the owner stays inside one syscall.RawConn.Read callback, so that it can wait for
// readability without a read that only returns EAGAIN. netConn is the plain path, used for TLS.
type conn interface {
	// loop calls step, and again each time the descriptor may have become readable, until step returns true.
	// It returns os.ErrDeadlineExceeded after interrupt. The descriptor that step gets is of no use to it: step is
	// what syscall.RawConn.Read wants, so that nothing lies between.
	loop(step func(fd uintptr) bool) error
	// read returns what is there. more says that there may be more at once; errWouldBlock that there is
	// nothing (on a netConn, which blocks, only after interrupt: loop then returns). The end of the stream is io.EOF.
	read(p []byte) (n int, more bool, err error)
	// write writes what the socket takes without waiting: n < len(p) comes with errWouldBlock.
	// A netConn writes everything or, if its socket is full, nothing.
	write(p []byte) (n int, err error)
	// writeAll waits until everything is written.
	writeAll(p []byte) error
	// finish writes the end of an answer. It does not wait: what the socket does not take is its tail. trails reports whether
	// one is being written, stuck whether for too long, and behind waits for it.
	finish(p []byte) error
	trails() bool
	stuck() bool
	behind(limit time.Duration) error
	// direct reports whether write never waits.
	direct() bool
	// interrupt makes a loop that waits, and with writes also a writeAll that waits, return
	// os.ErrDeadlineExceeded, now or at the next wait. resume ends that.
	interrupt(writes bool)
	resume()
	// gather and ungather: see rawConn.
	gather() bool
	ungather()
	// within runs f with a deadline of d for everything it does on the connection.
	within(d time.Duration, f func(net.Conn) error) error
	netConn() net.Conn
	fd() int
	close()
}

// past is a deadline that is over.
var past = time.Unix(1, 0)

// newConn returns the fast path for a plain socket and the other for everything else.
func newConn(nc net.Conn) (conn, error) {
	if lc, ok := nc.(*loginConn); ok {
		return &rawConn{nc: lc.Conn, rc: lc.rc, sys: lc.fd}, nil
	}
	under := nc
	tc, isTLS := nc.(*tls.Conn)
	if isTLS {
		under = tc.NetConn()
	}
	rc, err := rawConnOf(under)
	if err != nil {
		return nil, err
	}
	fd := -1
	if err := rc.Control(func(f uintptr) { fd = int(f) }); err != nil {
		return nil, err
	}
	if isTLS {
		return &netConn{nc: nc, sys: fd}, nil
	}
	return &rawConn{nc: nc, rc: rc, sys: fd}, nil
}

type rawConn struct {
	nc  net.Conn
	rc  syscall.RawConn
	sys int
	tailed

	gathering *gather // nil until a large answer comes
}

func (c *rawConn) loop(step func(uintptr) bool) error { return c.rc.Read(step) }

func (c *rawConn) read(p []byte) (int, bool, error) {
	n, err := recv(c.sys, p)
	// After a short read there is no second one to see EAGAIN: data that comes later wakes the loop,
	// and an end of stream that came with this data is seen by the watcher.
	return n, err == nil && n == len(p), err
}

func (c *rawConn) write(p []byte) (int, error) {
	if c.tail != nil {
		if c.trails() {
			return 0, errWouldBlock
		}
		if err := c.behind(0); err != nil {
			return 0, err
		}
	}
	return send(c.sys, p)
}

func (c *rawConn) writeAll(p []byte) error {
	rest, err := c.begin(p)
	if err != errWouldBlock {
		return err
	}
	return c.writeRest(rest)
}

func (c *rawConn) finish(p []byte) error {
	rest, err := c.begin(p)
	if err != errWouldBlock {
		return err
	}
	c.trail(rest, c.writeRest)
	return nil
}

// begin writes behind a tail what the socket takes without waiting. A rest comes with errWouldBlock.
func (c *rawConn) begin(p []byte) (rest []byte, err error) {
	if err := c.behind(0); err != nil {
		return nil, err
	}
	n, err := send(c.sys, p)
	return p[n:], err
}

// writeRest waits for room first. The first call of the callback comes after the runtime has reset its readiness state, so no wake-up
// between the last write and the wait is lost.
func (c *rawConn) writeRest(p []byte) error {
	var werr error
	err := c.rc.Write(func(uintptr) bool {
		var n int
		n, werr = send(c.sys, p)
		p = p[n:]
		return werr != errWouldBlock
	})
	if err != nil {
		return err
	}
	return werr
}

func (c *rawConn) direct() bool { return true }

func (c *rawConn) interrupt(writes bool) { interruptConn(c.nc, writes) }
func (c *rawConn) resume()               { _ = c.nc.SetDeadline(time.Time{}) }
func (c *rawConn) netConn() net.Conn     { return c.nc }
func (c *rawConn) fd() int               { return c.sys }
func (c *rawConn) close()                { _ = c.nc.Close() }

func (c *rawConn) within(d time.Duration, f func(net.Conn) error) error {
	if err := c.behind(d); err != nil {
		return err
	}
	return withinDeadline(newQuietConn(c.nc, c.rc), d, f)
}

// interruptConn leaves errors aside: they only say that the connection is closed already.
func interruptConn(nc net.Conn, writes bool) {
	_ = nc.SetReadDeadline(past)
	if writes {
		_ = nc.SetWriteDeadline(past)
	}
}

func withinDeadline(nc net.Conn, d time.Duration, f func(net.Conn) error) error {
	if err := nc.SetDeadline(time.Now().Add(d)); err != nil {
		return err
	}
	if err := f(nc); err != nil {
		return err
	}
	return nc.SetDeadline(time.Time{})
}

// netConn is a conn over TLS. A write deadline breaks a TLS stream for good, so interrupt(writes) is
// only for connections that are about to be closed.
type netConn struct {
	nc          net.Conn
	sys         int
	interrupted bool // what read has seen, for loop; the reader's
	tailed
}

func (c *netConn) loop(step func(uintptr) bool) error {
	c.interrupted = false
	for !step(uintptr(c.sys)) {
		if c.interrupted {
			return os.ErrDeadlineExceeded
		}
	}
	return nil
}

func (c *netConn) read(p []byte) (int, bool, error) {
	n, err := c.nc.Read(p)
	if n > 0 {
		return n, false, nil
	}
	if isTimeout(err) {
		c.interrupted, err = true, errWouldBlock
	}
	return 0, false, err
}

func (c *netConn) write(p []byte) (int, error) {
	if c.trails() || !hasRoom(c.sys) {
		return 0, errWouldBlock
	}
	if err := c.writeAll(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (c *netConn) writeAll(p []byte) error {
	if err := c.behind(0); err != nil {
		return err
	}
	_, err := c.nc.Write(p)
	return err
}

func (c *netConn) finish(p []byte) error {
	if err := c.behind(0); err != nil {
		return err
	}
	if hasRoom(c.sys) {
		return c.writeAll(p)
	}
	c.trail(p, func(p []byte) error {
		_, err := c.nc.Write(p)
		return err
	})
	return nil
}

func (c *netConn) gather() bool          { return false }
func (c *netConn) ungather()             {}
func (c *netConn) direct() bool          { return false }
func (c *netConn) interrupt(writes bool) { interruptConn(c.nc, writes) }
func (c *netConn) resume()               { _ = c.nc.SetDeadline(time.Time{}) }
func (c *netConn) netConn() net.Conn     { return c.nc }
func (c *netConn) fd() int               { return c.sys }

// close does not wait for room for TLS's own last words.
func (c *netConn) close() {
	nc := c.nc
	if tc, ok := nc.(*tls.Conn); ok && !hasRoom(c.sys) {
		nc = tc.NetConn()
	}
	_ = nc.Close()
}

func (c *netConn) within(d time.Duration, f func(net.Conn) error) error {
	if err := c.behind(d); err != nil {
		return err
	}
	return withinDeadline(c.nc, d, f)
}
