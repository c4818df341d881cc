package pooler

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgdrover/internal/config"
	"pgdrover/internal/pgtest"
)

// replyOnce answers each unit with a canned reply, without allocating.
func replyOnce(reply []byte) func([]byte) []byte { return func([]byte) []byte { return reply } }

// The way of a query in transaction mode, from the client's bytes to the released server, allocates nothing.
func TestAQueryAllocatesNothing(t *testing.T) { // not parallel: it counts allocations
	r := newRig(t, "")
	row := string(msg('T', "\x00\x01c\x00", strings.Repeat("\x00", 18))) + string(msg('D', "\x00\x01\x00\x00\x00\x011"))
	done := row + string(msg('C', "SELECT 1\x00")) + string(msg('Z', "I"))
	bind := func(name string) []byte {
		return bytes.Join([][]byte{
			msg('B', "\x00", name, "\x00\x00\x00\x00\x00\x00\x00"), msg('D', "P\x00"), msg('E', "\x00\x00\x00\x00\x00"), msg('S'),
		}, nil)
	}
	for _, tc := range []struct {
		name, first  string // what is sent once, to prepare
		firstReply   string
		unit         []byte
		reply        string
		maxStmts     int
		wantServerIn string // part of what the server gets
	}{
		{name: "simple", unit: msg('Q', "select 1\x00"), reply: done, maxStmts: 10, wantServerIn: "select 1"},
		{
			name: "extended, unnamed", unit: append(msg('P', "\x00select 1\x00\x00\x00"), bind("")...),
			reply: string(msg('1')) + string(msg('2')) + done, maxStmts: 10, wantServerIn: "select 1",
		},
		{
			name: "extended, not followed", unit: append(msg('P', "\x00select 1\x00\x00\x00"), bind("")...),
			reply: string(msg('1')) + string(msg('2')) + done, wantServerIn: "select 1",
		},
		{
			name: "prepared", first: string(msg('P', "s\x00select 1\x00\x00\x00")) + string(msg('S')),
			firstReply: string(msg('1')) + string(msg('Z', "I")), unit: bind("s"),
			reply: string(msg('2')) + done, maxStmts: 10, wantServerIn: "PGDROVER_",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := r.pool(config.PoolTransaction)
			s := f.server(nil)
			c := f.client(tc.maxStmts, nil)
			if tc.first != "" {
				s.mem.answer = replyOnce([]byte(tc.firstReply))
				if err := c.drive([]byte(tc.first)); err != errIdle {
					t.Fatal(err)
				}
			}
			s.mem.answer = replyOnce([]byte(tc.reply))
			run := func() {
				c.mem.feed(tc.unit)
				if c.step() {
					t.Fatal(c.relayErr)
				}
			}
			run()
			if got := s.mem.got(); !bytes.Contains(got, []byte(tc.wantServerIn)) {
				t.Fatalf("the server got %q", got)
			}
			if got := c.mem.got(); !bytes.HasSuffix(got, []byte(tc.reply)) {
				t.Fatalf("the client got %q, want %q at the end", got, tc.reply)
			}
			c.mem.keep, s.mem.keep = false, false
			pgtest.AllocsAtMost(t, 0, 500, run)
			if f.idle() != 1 || c.srv != nil {
				t.Error("the server is not back in its pool")
			}
			c.leave()
		})
	}
}

// The same over real sockets, through rawConn.
func TestAQueryOverSocketsAllocatesNothing(t *testing.T) { // not parallel: it counts allocations
	r := newRig(t, "")
	unit := msg('Q', "select 1\x00")
	reply := append(msg('C', "SELECT 1\x00"), msg('Z', "I")...)
	f := r.pool(config.PoolTransaction)
	s := f.server(nil)
	c := f.client(10, nil)
	app, clientSide := socketPair(t)
	backendSide, pg := socketPair(t)
	var err error
	if c.client.conn, err = newConn(clientSide); err != nil {
		t.Fatal(err)
	}
	if s.server.conn, err = newConn(backendSide); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { // PostgreSQL's side
		defer close(ended)
		buf := make([]byte, 1024)
		for {
			n, err := pg.Read(buf)
			if err != nil {
				return
			}
			if buf[n-1] != 0 {
				continue
			}
			if _, err := pg.Write(reply); err != nil {
				return
			}
		}
	}()
	got := make([]byte, len(reply))
	deadline := time.Now().Add(20 * time.Second)
	for _, nc := range []net.Conn{app, pg} {
		if err := nc.SetDeadline(deadline); err != nil {
			t.Fatal(err)
		}
	}
	run := func() {
		if _, err := app.Write(unit); err != nil {
			t.Fatal(err)
		}
		if c.step() {
			t.Fatal(c.relayErr)
		}
		if n, err := app.Read(got); err != nil || n != len(reply) {
			t.Fatalf("%d bytes, %v", n, err)
		}
	}
	run()
	pgtest.AllocsAtMost(t, 0, 300, run)
	c.leave()
	s.close("test is over")
	_ = pg.Close()
	<-ended
}

// socketPair returns the two ends of a Unix stream connection.
func socketPair(tb testing.TB) (a, b *net.UnixConn) {
	tb.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(shortDir(tb), "s"), Net: "unix"})
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	a, err = net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr))
	if err != nil {
		tb.Fatal(err)
	}
	if b, err = l.AcceptUnix(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return a, b
}

// shortDir is a temporary directory whose name fits into a socket address.
func shortDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "pd")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
