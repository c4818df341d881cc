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
	timer *time.Timer
	on    bool
	late  atomic.Bool // the timer has ended it
}

// gather is called before the owner waits in the middle of a large answer. It reports false when the answer no longer comes in
// large parts.
func (c *rawConn) gather() bool {
	g := c.gathering
	switch {
	case g == nil:
		g = &gather{}
		g.timer = time.AfterFunc(gatherFor, func() {
			g.late.Store(true)
			// The kernel looks whether there is enough now. Control keeps the descriptor from being closed meanwhile.
			_ = c.rc.Control(func(fd uintptr) { lowWater(int(fd), 1) })
		})
		c.gathering = g
	case g.late.Swap(false):
		g.on = false
		return false
	default:
		g.timer.Reset(gatherFor)
	}
	if !g.on {
		g.on = true
		lowWater(c.sys, gatherBytes)
	}
	return true
}

// ungather is called when nothing more is expected.
func (c *rawConn) ungather() {
	if g := c.gathering; g != nil && g.on {
		g.timer.Stop()
		g.on = false
		g.late.Store(false)
		lowWater(c.sys, 1)
	}
}

// lowWater sets how much has to be there for a socket to be readable. A kernel or a kind of socket that does not have it goes on as before.
func lowWater(fd, n int) { _ = unix.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, n) }
