package pooler

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"pgdrover/internal/config"
	"pgdrover/internal/connect"
)

// rig is a Pooler without listeners, whose pools hold servers in memory.
type rig struct {
	p *Pooler
	n atomic.Int64
}

func newRig(tb testing.TB, settings string) *rig {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "config.toml")
	text := "listen_addr = \"\"\nunix_socket_dir = \"/nonexistent\"\n" + settings + "\n[databases.\"*\"]\nhost = \"127.0.0.1\"\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	m, err := config.Open(file, config.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	p, err := New(Options{Config: m, Log: zerolog.Nop()})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		for _, pl := range p.allPools() { // a failed test may have left some
			pl.mu.Lock()
			left := slices.Collect(maps.Keys(pl.servers))
			pl.mu.Unlock()
			for _, s := range left {
				s.close("test is over")
			}
		}
		p.Close()
	})
	return &rig{p: p}
}

// fakePool is a pool that opens no servers: it has those that are added.
type fakePool struct {
	r  *rig
	pl *pool
}

func (r *rig) pool(mode config.PoolMode) *fakePool {
	name := fmt.Sprintf("db%d", r.n.Add(1))
	d, _ := r.p.findDatabase(name)
	pl := r.p.findPool(d, "", "app", "none")
	set := *pl.conf.Load()
	set.PoolMode, set.ServerRoundRobin = mode, true
	pl.conf.Store(&set)
	return &fakePool{r, pl}
}

// fakeServer is a server with what it runs.
type fakeServer struct {
	*server
	mem     *memConn
	backend *backend
}

// server adds an idle server.
func (f *fakePool) server(piece func(int) int) *fakeServer {
	b := newBackend()
	mem := newMemConn()
	mem.answer, mem.piece = b.feed, piece
	mem.gone = func() bool { return b.broken != "" } // PostgreSQL ends the session, too
	p := f.r.p
	s := &server{
		id: p.lastID.Add(1), pool: f.pl, sc: &connect.Server{}, conn: mem, tx: 'I',
		createdAt: now(), releasedAt: now(), session: newSession(noEnv), base: noEnv,
	}
	s.prepared.init()
	f.pl.mu.Lock()
	set := *f.pl.conf.Load()
	f.pl.servers[s] = struct{}{}
	set.PoolSize = len(f.pl.servers)
	f.pl.conf.Store(&set)
	f.pl.retryAt = 1 << 62
	f.pl.idle = append(f.pl.idle, s)
	f.pl.mu.Unlock()
	return &fakeServer{s, mem, b}
}

// idle counts the servers that could be handed out.
func (f *fakePool) idle() int {
	f.pl.mu.Lock()
	defer f.pl.mu.Unlock()
	return len(f.pl.idle)
}

// fakeClient is a session with the application's side of its connection.
type fakeClient struct {
	*client
	mem *memConn
}

// client adds a client that has logged in.
func (f *fakePool) client(maxStmts int, piece func(int) int) *fakeClient {
	c := f.r.p.newClient(&startup{user: "app", repl: "none"}, peerAddr{uid: -1})
	mem := newMemConn()
	mem.piece = piece
	c.conn = mem
	c.pool, c.db, c.user, c.repl = f.pl, f.pl.db, f.pl.user, "none"
	c.mode = f.pl.conf.Load().PoolMode
	c.maxStmts = maxStmts
	c.tracking = c.mode != config.PoolSession && maxStmts > 0
	c.session = newSession(noEnv)
	return &fakeClient{c, mem}
}

// errIdle is what drive returns when the session waits for its client.
var errIdle = errors.New("the session waits for its client")

// drive feeds bytes and lets the session deal with them, as serve does.
func (c *fakeClient) drive(p []byte) error {
	c.mem.feed(p)
	for c.mem.unread() > 0 {
		if !c.linked() && (&fakePool{pl: c.pool}).idle() == 0 {
			return errors.New("no server is idle")
		}
		if !c.step() {
			continue
		}
		err := c.relayErr
		c.relayErr = nil
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = c.interrupted()
		}
		if err != nil {
			return err
		}
	}
	return errIdle
}

// leave ends the session as the end of the client's stream does.
func (c *fakeClient) leave() { c.finish(io.EOF) }

// within fails the test if f takes absurdly long, which means that it waits for something that never comes.
func within(tb testing.TB, f func()) {
	tb.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		tb.Fatal("still waiting after 10 s")
	}
}
