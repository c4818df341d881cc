package pooler

import (
	"net"
	"testing"
	"time"

	"pgdrover/internal/config"
)

// instantConn is a conn that costs next to nothing: one read gives what there is, and a write is answered at once.
type instantConn struct {
	memConn
	unread, reply []byte
}

func (c *instantConn) loop(step func(uintptr) bool) error {
	for !step(0) && len(c.unread) > 0 {
	}
	return nil
}

func (c *instantConn) read(p []byte) (int, bool, error) {
	if len(c.unread) == 0 {
		return 0, false, errWouldBlock
	}
	n := copy(p, c.unread)
	c.unread = c.unread[n:]
	return n, false, nil
}

func (c *instantConn) write(p []byte) (int, error) {
	c.unread = c.reply
	return len(p), nil
}

func (c *instantConn) writeAll(p []byte) error                              { _, err := c.write(p); return err }
func (c *instantConn) close()                                               {}
func (c *instantConn) interrupt(bool)                                       {}
func (c *instantConn) resume()                                              {}
func (c *instantConn) within(_ time.Duration, f func(net.Conn) error) error { return nil }

// What the pooler itself does for a query, from the client's bytes to the released server, without any system call.
func BenchmarkQuery(b *testing.B) {
	r := newRig(b, "")
	f := r.pool(config.PoolTransaction)
	unit := msg('Q', "select abalance from pgbench_accounts where aid = 12345;\x00")
	reply := append(append(msg('T', "\x00\x01abalance\x00", "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), msg('D', "\x00\x01\x00\x00\x00\x010")...), append(msg('C', "SELECT 1\x00"), msg('Z', "I")...)...)
	for range 20 {
		f.server(nil).server.conn = &instantConn{reply: reply}
	}
	const n = 400
	var clients [n]*fakeClient
	var conns [n]*instantConn
	for i := range clients {
		clients[i] = f.client(10, nil)
		conns[i] = &instantConn{}
		clients[i].client.conn = conns[i]
	}
	junk := make([]byte, 8<<20)
	for _, cold := range []bool{false, true} {
		name := "warm"
		if cold {
			name = "cold"
		}
		b.Run(name, func(b *testing.B) {
			var took time.Duration
			for i := range b.N {
				k := i % n
				if !cold {
					k = i % 4
				} else {
					for j := 0; j < len(junk); j += 64 {
						junk[j]++
					}
				}
				c := clients[k]
				conns[k].unread = unit
				t := time.Now()
				if c.step() {
					b.Fatal(c.relayErr)
				}
				took += time.Since(t)
				conns[k].unread = nil
			}
			b.ReportMetric(float64(took.Nanoseconds())/float64(b.N), "ns/query")
		})
	}
	for _, c := range clients {
		c.leave()
	}
}
