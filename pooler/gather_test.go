package pooler

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A large answer comes to its end although what is left of it is less than the kernel was told to wait for, and the connection is as before
// behind it.
func TestTheEndOfALargeAnswerIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	c, far := gatherPair(t)
	lowWater := func() int {
		n, err := unix.GetsockoptInt(c.fd(), syscall.SOL_SOCKET, syscall.SO_RCVLOWAT)
		if err != nil {
			t.Error(err)
		}
		return n
	}
	const total = 2*gatherFrom + 100
	const pause = gatherFrom + 10 // here the other side waits until everything has been read
	seen := make(chan int, 1)
	go func() {
		piece := make([]byte, 8192)
		for sent := 0; sent < total; {
			n := min(len(piece), total-sent)
			if sent < pause {
				n = min(n, pause-sent)
			}
			if _, err := far.Write(piece[:n]); err != nil {
				return
			}
			if sent += n; sent == pause {
				<-seen
			}
		}
	}()
	in := inbuf{pool: &bufPool{}}
	got := 0
	gathered := false
	read := func() error {
		return c.loop(func(uintptr) bool {
			for {
				n, more, err := c.read(in.room())
				if errors.Is(err, errWouldBlock) {
					return false
				}
				if err != nil {
					t.Error(err)
					return true
				}
				in.took(n, more)
				in.r = in.w // dealt with
				if got += n; got == pause {
					seen <- got
				}
				if got == total {
					c.ungather()
					return true
				}
				if !more {
					in.gather(c)
					gathered = gathered || lowWater() == gatherBytes
					return false
				}
			}
		})
	}
	if err := read(); err != nil {
		t.Fatalf("after %d of %d bytes: %v", got, total, err)
	}
	if !gathered {
		t.Error("the answer was never gathered")
	}
	if n := lowWater(); n != 1 {
		t.Errorf("behind the answer SO_RCVLOWAT is %d", n)
	}
	in.rest()
	if in.streams() {
		t.Error("an answer that has ended still counts")
	}
	// An interrupt reaches a loop that gathers.
	if !c.gather() {
		t.Fatal("it does not gather")
	}
	c.interrupt(false)
	if err := c.loop(func(uintptr) bool { return false }); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the interrupt is told as %v", err)
	}
	c.ungather()
	if n := lowWater(); n != 1 {
		t.Errorf("in the end SO_RCVLOWAT is %d", n)
	}
}

// A session once waited for ever: the timer was set before SO_RCVLOWAT, and on a busy machine it was over before that. Here it is over as soon as
// it is set.
func TestATimerThatIsOverAtOnceLosesNothing(t *testing.T) {
	t.Parallel()
	c, far := gatherPair(t)
	// At first the kernel wakes for less, because the window is small.
	go func() { _, _ = far.Write(make([]byte, 8<<20)) }()
	if _, err := io.CopyN(io.Discard, c.nc, 8<<20); err != nil {
		t.Fatal(err)
	}
	c.gathering = &gather{arm: c.gatherNoMore, disarm: func() {}}
	buf := make([]byte, 100)
	for range 100 {
		read := make(chan error, 1)
		go func() {
			read <- c.loop(func(uintptr) bool {
				if _, _, err := c.read(buf); err == nil {
					return true
				}
				c.gather()
				return false
			})
		}()
		if _, err := far.Write(buf); err != nil {
			t.Fatal(err)
		}
		if err := <-read; err != nil {
			t.Fatalf("it waits for ever: %v", err)
		}
	}
}

// gatherPair returns one end of a connection as sessions have it, and the other.
func gatherPair(tb testing.TB) (*rawConn, net.Conn) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	for _, nc := range []net.Conn{near, far} {
		tb.Cleanup(func() { _ = nc.Close() })
		if err := nc.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			tb.Fatal(err)
		}
	}
	c, err := newConn(near)
	if err != nil {
		tb.Fatal(err)
	}
	return c.(*rawConn), far
}
