package pooler

import (
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pgdrover/internal/config"
	"pgdrover/internal/connect"
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

func (c *instantConn) writeAll(p []byte) error { _, err := c.write(p); return err }

func (c *instantConn) finish(p []byte) error                                { _, err := c.write(p); return err }
func (c *instantConn) close()                                               {}
func (c *instantConn) interrupt(bool)                                       {}
func (c *instantConn) resume()                                              {}
func (c *instantConn) within(_ time.Duration, f func(net.Conn) error) error { return nil }

// A login with trust and the end of the session, with the system calls of both sides.
func BenchmarkLogin(b *testing.B) {
	r := newRig(b, "auth_type = \"trust\"\nlog_connections = false\nlog_disconnections = false\n[users.app]\n")
	f := r.pool(config.PoolTransaction)
	f.pl.welcome = []connect.Param{{Name: "server_version", Value: "15.1"}, {Name: "client_encoding", Value: "UTF8"}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	a, err := newAcceptor(l, r.p.husks)
	if err != nil {
		b.Fatal(err)
	}
	defer a.Close()
	r.p.wg.Go(func() { r.p.accept(a) })
	sa := &unix.SockaddrInet4{Port: l.Addr().(*net.TCPAddr).Port, Addr: [4]byte{127, 0, 0, 1}}
	hello := msg(0, "\x00\x03\x00\x00user\x00app\x00database\x00"+f.pl.db.name+"\x00application_name\x00bench\x00client_encoding\x00UTF8\x00\x00")[1:]
	end := msg('X', "")
	buf := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			b.Fatal(err)
		}
		if err := unix.Connect(fd, sa); err != nil {
			b.Fatal(err)
		}
		if _, err := unix.Write(fd, hello); err != nil {
			b.Fatal(err)
		}
		if n, err := unix.Read(fd, buf); err != nil || n < 6 || buf[n-6] != 'Z' {
			b.Fatalf("%q %v", buf[:max(n, 0)], err)
		}
		if _, err := unix.Write(fd, end); err != nil {
			b.Fatal(err)
		}
		_ = unix.Close(fd)
	}
}

// What the pooler itself does for a query, from the client's bytes to the released server, without any system call: a simple one, and one that was
// prepared, as libpq and pgbench execute it.
func BenchmarkQuery(b *testing.B) {
	row := append(msg('T', "\x00\x01abalance\x00", "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), msg('D', "\x00\x01\x00\x00\x00\x010")...)
	end := append(msg('C', "SELECT 1\x00"), msg('Z', "I")...)
	for _, bench := range []struct {
		name        string
		unit, reply []byte
	}{
		{"simple", msg('Q', "select abalance from pgbench_accounts where aid = 12345;\x00"), slices.Concat(row, end)},
		{
			"prepared",
			slices.Concat(msg('B', "\x00s\x00\x00\x00\x00\x01\x00\x00\x00\x0512345\x00\x00"), msg('D', "P\x00"), msg('E', "\x00\x00\x00\x00\x00"), msg('S', "")),
			slices.Concat(msg('2', ""), row, end),
		},
	} {
		b.Run(bench.name, func(b *testing.B) { benchQuery(b, bench.unit, bench.reply) })
	}
}

func benchQuery(b *testing.B, unit, reply []byte) {
	r := newRig(b, "")
	f := r.pool(config.PoolTransaction)
	st := r.p.stmts.intern([]byte("select abalance from pgbench_accounts where aid = $1;\x00\x00\x00"), 0)
	for range 20 {
		s := f.server(nil).server
		s.conn = &instantConn{reply: reply}
		p, _ := s.prepared.add(r.p.stmts, stmtKey{st, noEnv}, 0)
		p.confirmed = true
	}
	const n = 400
	var clients [n]*fakeClient
	var conns [n]*instantConn
	for i := range clients {
		clients[i] = f.client(10, nil)
		conns[i] = &instantConn{}
		clients[i].client.conn = conns[i]
		clients[i].setStmt("s", st)
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
