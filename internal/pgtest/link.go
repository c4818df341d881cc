package pgtest

import (
	"net"
	"sync"
	"time"
)

// duplex is a connection whose halves close apart: TCP and Unix sockets.
type duplex interface {
	net.Conn
	CloseWrite() error
}

// A link is one connection through a Proxy.
type link struct {
	client, server duplex
	faults         *faults
	once           sync.Once
	gone           chan struct{} // closed by close
}

// close ends both sides. Only the first call counts.
func (l *link) close(how Ending) {
	l.once.Do(func() {
		close(l.gone)
		shut(l.client, how)
		shut(l.server, how)
	})
}

func shut(c net.Conn, how Ending) {
	if tcp, ok := c.(*net.TCPConn); ok && how == RST {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

// pump forwards one direction until its end of file, a fault that ends the connection, or close.
func (l *link) pump(d Direction) {
	from, to := l.client, l.server
	if d == ToClient {
		from, to = l.server, l.client
	}
	var (
		buf     = make([]byte, 32<<10)
		epoch   int   // of the cut that left counts for
		left    int64 // bytes until the cut
		pending []byte
		ended   bool
	)
	for {
		c, changed := l.faults.now(d)
		if c.cutEpoch != epoch {
			epoch, left = c.cutEpoch, c.cutAfter
		}
		cutting := epoch != 0 && c.cutAfter >= 0
		switch {
		case c.hold:
			select {
			case <-changed:
			case <-l.gone:
				return
			}
		case cutting && left == 0:
			l.close(c.cutHow)
			l.faults.countCut()
			return
		case len(pending) == 0 && ended:
			_ = to.CloseWrite()
			return
		case len(pending) == 0:
			n, err := from.Read(buf[:readSize(c, len(buf))])
			pending, ended = buf[:n], err != nil
			c, _ = l.faults.now(d) // reading may have taken long
			if !l.pause(c.latency) {
				return
			}
		default:
			n := len(pending)
			if c.rate > 0 {
				n = min(n, readSize(c, n))
			}
			if cutting {
				n = int(min(int64(n), left))
				left -= int64(n)
			}
			if _, err := to.Write(pending[:n]); err != nil {
				l.close(FIN)
				return
			}
			pending = pending[n:]
			if c.rate > 0 && !l.pause(time.Duration(n)*time.Second/time.Duration(c.rate)) {
				return
			}
		}
	}
}

// readSize is how much to take at once: of a slow direction what it may pass in a 50th of a second, so
// that the rest stays with its sender.
func readSize(c conduct, most int) int {
	if c.rate == 0 {
		return most
	}
	return min(most, max(1, c.rate/50))
}

// pause waits; it returns false when the connection has been closed meanwhile.
func (l *link) pause(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-l.gone:
		return false
	}
}
