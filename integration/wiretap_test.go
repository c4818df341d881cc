package integration

import (
	"bytes"
	"context"
	"net"
	"strconv"
	"sync"
	"testing"

	"pgdrover/internal/pgtest"
)

// wiretap is a proxy before a shard that knows what is said: when a message comes by, the network dies without a word, on that connection or
// on all of them.
type wiretap struct {
	Port int

	target   string
	listener net.Listener
	workers  sync.WaitGroup

	mu    sync.Mutex
	links map[*tapped]bool // guarded by mu
	trap  *trap            // guarded by mu
	stall chan struct{}    // while nothing passes on any connection; guarded by mu
	over  bool             // guarded by mu
}

// trap is what a wiretap waits for.
type trap struct {
	text   string
	behind bool // the message still passes, its answer does not
	whole  bool // every connection stalls, and new ones

	hit  chan struct{} // closed when it has come by
	link *tapped       // the connection on which it has; guarded by wiretap.mu
}

// await waits until the message has come by.
func (t *trap) await(ctx context.Context, tb testing.TB) {
	tb.Helper()
	select {
	case <-t.hit:
	case <-ctx.Done():
		tb.Fatalf("%q has not been said", t.text)
	}
}

type tapped struct {
	client, server net.Conn
	stall          chan struct{} // while nothing passes; guarded by wiretap.mu
}

func startWiretap(tb testing.TB, pg *pgtest.Cluster) *wiretap {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	w := &wiretap{Port: l.Addr().(*net.TCPAddr).Port, target: net.JoinHostPort(pg.Host, strconv.Itoa(pg.Port)), listener: l, links: map[*tapped]bool{}}
	w.workers.Go(w.accept)
	tb.Cleanup(w.close)
	return w
}

func (w *wiretap) close() {
	_ = w.listener.Close()
	w.open(nil)
	w.mu.Lock()
	w.over = true
	for l := range w.links {
		_ = l.client.Close()
		_ = l.server.Close()
	}
	w.mu.Unlock()
	w.workers.Wait()
}

// set waits for the message from now on.
func (w *wiretap) set(t trap) *trap {
	t.hit = make(chan struct{})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trap = &t
	return &t
}

// open lets pass what a trap, or for nil anything, has held back.
func (w *wiretap) open(t *trap) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stall != nil && (t == nil || t.whole) {
		close(w.stall)
		w.stall = nil
	}
	for l := range w.links {
		if l.stall != nil && (t == nil || t.link == l) {
			close(l.stall)
			l.stall = nil
		}
	}
}

func (w *wiretap) accept() {
	for {
		c, err := w.listener.Accept()
		if err != nil {
			return
		}
		w.workers.Go(func() { w.serve(c) })
	}
}

func (w *wiretap) serve(client net.Conn) {
	server, err := net.Dial("tcp", w.target)
	if err != nil {
		_ = client.Close()
		return
	}
	l := &tapped{client: client, server: server}
	w.mu.Lock()
	w.links[l] = true
	if w.over {
		_ = client.Close()
		_ = server.Close()
	}
	w.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { w.pump(l, client, server, true) })
	both.Go(func() { w.pump(l, server, client, false) })
	both.Wait()
	w.mu.Lock()
	delete(w.links, l)
	w.mu.Unlock()
}

// pump passes one direction on. An end that comes while nothing passes waits too.
func (w *wiretap) pump(l *tapped, from, to net.Conn, listens bool) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		b := buf[:n]
		if listens && n > 0 {
			w.listen(l, &b, to)
		}
		for s := w.stalled(l); s != nil; s = w.stalled(l) {
			<-s
		}
		if _, werr := to.Write(b); werr != nil || err != nil {
			_ = from.Close()
			_ = to.Close()
			return
		}
	}
}

func (w *wiretap) stalled(l *tapped) chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stall != nil {
		return w.stall
	}
	return l.stall
}

// listen springs the trap if b is what it waits for.
func (w *wiretap) listen(l *tapped, b *[]byte, to net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.trap
	if t == nil || !bytes.Contains(*b, []byte(t.text)) {
		return
	}
	w.trap, t.link = nil, l
	if t.whole {
		w.stall = make(chan struct{})
	} else {
		l.stall = make(chan struct{})
	}
	if t.behind {
		_, _ = to.Write(*b)
		*b = nil
	}
	close(t.hit)
}
