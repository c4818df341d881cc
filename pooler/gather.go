package pooler

import (
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// gatherFrom is how many bytes of an answer have come before its reader waits for more than the next few.
	gatherFrom = 2 << 20
	// gatherBytes is what it waits for then, and gatherFor how long at most.
	gatherBytes = 64 << 10
	gatherFor   = time.Millisecond
)

// gather lets the kernel collect the parts of a large answer. PostgreSQL writes 8 kB at a time, and a reader that is woken for each of them
// costs several times what it costs to move the bytes. SO_RCVLOWAT has the kernel wake it for gatherBytes, or for the end of the stream. The last
// part of the answer is smaller: the timer gives up waiting for more.
type gather struct {
	arm, disarm func() // of the timer
	on          bool
	late        atomic.Bool // the timer has ended it
}

func (c *rawConn) newGather() *gather {
	t := time.AfterFunc(time.Hour, c.gatherNoMore)
	t.Stop()
	return &gather{arm: func() { t.Reset(gatherFor) }, disarm: func() { t.Stop() }}
}

// gatherNoMore is called by the timer.
func (c *rawConn) gatherNoMore() {
	c.gathering.late.Store(true)
	// The kernel looks whether there is enough now. Control keeps the descriptor from being closed meanwhile.
	_ = c.rc.Control(func(fd uintptr) { lowWater(int(fd), 1) })
}

// gather is called before the owner waits in the middle of a large answer. It reports false when the answer no longer comes in
// large parts.
func (c *rawConn) gather() bool {
	if c.gathering == nil {
		c.gathering = c.newGather()
	}
	g := c.gathering
	if g.late.Swap(false) {
		g.on = false
		return false
	}
	if !g.on {
		g.on = true
		lowWater(c.sys, gatherBytes)
	}
	g.arm() // last: it must not be over before there is something that it has to end
	return true
}

// ungather is called when nothing more is expected.
func (c *rawConn) ungather() {
	if g := c.gathering; g != nil && g.on {
		g.disarm()
		g.on = false
		g.late.Store(false)
		lowWater(c.sys, 1)
	}
}

// lowWater sets how much has to be there for a socket to be readable. A kernel or a kind of socket that does not have it goes on as before.
func lowWater(fd, n int) { _ = unix.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, n) }
