package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// A Proxy passes TCP connections on to a target and makes the network between them as bad as a test needs
// it. Faults may be changed at any time, from any goroutine, and apply to open and to new connections
// alike. Without faults it forwards bytes and half-closes faithfully.
type Proxy struct {
	Host string // "127.0.0.1"
	Port int

	target   string
	listener *net.TCPListener
	faults   faults
	ctx      context.Context // done when Close has been called
	cancel   context.CancelFunc
	workers  sync.WaitGroup

	mu     sync.Mutex
	links  map[*link]struct{} // guarded by mu
	served int                // guarded by mu
}

// NewProxy starts a proxy on a free port of 127.0.0.1. target is "host:port" or the path of a Unix socket.
func NewProxy(target string) (*Proxy, error) {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, fmt.Errorf("proxy to %s: %w", target, err)
	}
	p := &Proxy{
		Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port,
		target: target, listener: l, links: map[*link]struct{}{},
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.faults.init()
	p.workers.Add(1)
	go p.accept()
	return p, nil
}

// StartProxy starts a proxy for a test, which ends with it.
func StartProxy(tb testing.TB, target string) *Proxy {
	tb.Helper()
	p, err := NewProxy(target)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.Close)
	return p
}

// Proxy starts a proxy in front of the cluster for a test.
func (c *Cluster) Proxy(tb testing.TB) *Proxy {
	tb.Helper()
	return StartProxy(tb, net.JoinHostPort(c.Host, strconv.Itoa(c.Port)))
}

// Addr is "host:port" of the proxy.
func (p *Proxy) Addr() string { return net.JoinHostPort(p.Host, strconv.Itoa(p.Port)) }

// Open returns the number of connections that are open now, Served of those that ever were.
func (p *Proxy) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// Served returns the number of connections that were accepted and not rejected.
func (p *Proxy) Served() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.served
}

// Cut closes all open connections on both sides in the ordinary way.
func (p *Proxy) Cut() { p.each(func(l *link) { l.close(FIN) }) }

// Reset closes all open connections on both sides with a TCP reset.
func (p *Proxy) Reset() { p.each(func(l *link) { l.close(RST) }) }

func (p *Proxy) each(do func(*link)) {
	p.mu.Lock()
	links := make([]*link, 0, len(p.links))
	for l := range p.links {
		links = append(links, l)
	}
	p.mu.Unlock()
	for _, l := range links {
		do(l)
	}
}

// Close stops the proxy, cuts its connections and waits until nothing of it runs any more.
func (p *Proxy) Close() {
	p.cancel()
	_ = p.listener.Close()
	p.Cut()
	p.workers.Wait()
}

func (p *Proxy) accept() {
	defer p.workers.Done()
	for {
		c, err := p.listener.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // a connection that ended before it was accepted
		}
		if p.faults.rejects() {
			shut(c, RST)
			continue
		}
		p.workers.Add(1)
		go p.serve(c)
	}
}

// serve connects a client with the target and forwards both directions until both have ended.
func (p *Proxy) serve(client *net.TCPConn) {
	defer p.workers.Done()
	network := "tcp"
	if strings.HasPrefix(p.target, "/") {
		network = "unix"
	}
	var d net.Dialer
	server, err := d.DialContext(p.ctx, network, p.target)
	if err != nil {
		shut(client, RST)
		return
	}
	l := &link{client: client, server: server.(duplex), faults: &p.faults, gone: make(chan struct{})}
	if !p.add(l) {
		l.close(FIN)
		return
	}
	defer p.remove(l)
	both := make(chan struct{})
	go func() {
		l.pump(ToServer)
		close(both)
	}()
	l.pump(ToClient)
	<-both
	l.close(FIN)
}

func (p *Proxy) add(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		return false
	}
	p.links[l] = struct{}{}
	p.served++
	return true
}

func (p *Proxy) remove(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}
