package pgtest

import (
	"sync"
	"time"
)

// A Direction is one half of a connection through a Proxy.
type Direction int

// The two directions.
const (
	ToServer Direction = iota
	ToClient
)

// An Ending says how a connection is closed.
type Ending int

// The endings.
const (
	FIN Ending = iota // in order: the other side reads what was sent, then end of file
	RST               // reset: the other side's reads and writes fail, unread bytes are lost
)

// faults is what a Proxy does to its connections at the moment.
type faults struct {
	mu      sync.Mutex
	changed chan struct{} // guarded by mu; closed and replaced at every change
	conduct [2]conduct    // guarded by mu; by Direction
	reject  bool          // guarded by mu
	cuts    int           // guarded by mu
}

// conduct is what happens to the bytes of one direction.
type conduct struct {
	latency  time.Duration
	rate     int // bytes per second; 0 = as fast as they come
	hold     bool
	cutEpoch int // counts calls of CutAfter; 0 = never cut
	cutAfter int64
	cutHow   Ending
}

func (f *faults) init() { f.changed = make(chan struct{}) }

func (f *faults) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
	close(f.changed)
	f.changed = make(chan struct{})
}

// now returns a direction's conduct and a channel that is closed when it may have changed.
func (f *faults) now(d Direction) (conduct, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.conduct[d], f.changed
}

func (f *faults) rejects() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reject
}

func (f *faults) countCut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cuts++
}

// Latency delays every piece of data in a direction; 0 ends it.
func (p *Proxy) Latency(d Direction, delay time.Duration) {
	p.faults.change(func() { p.faults.conduct[d].latency = delay })
}

// Slow lets a direction pass no more than so many bytes per second, so that its sender meets full buffers;
// 0 ends it.
func (p *Proxy) Slow(d Direction, bytesPerSecond int) {
	p.faults.change(func() { p.faults.conduct[d].rate = bytesPerSecond })
}

// CutAfter closes each connection when n more bytes have passed in a direction, exactly there and in the
// middle of a message if need be. For open connections the count begins now, for new ones with their first byte.
func (p *Proxy) CutAfter(d Direction, n int64, how Ending) {
	p.faults.change(func() {
		c := &p.faults.conduct[d]
		c.cutEpoch, c.cutAfter, c.cutHow = c.cutEpoch+1, n, how
	})
}

// Cuts returns the number of connections that CutAfter has closed.
func (p *Proxy) Cuts() int {
	p.faults.mu.Lock()
	defer p.faults.mu.Unlock()
	return p.faults.cuts
}

// NoCut ends what CutAfter began, for both directions.
func (p *Proxy) NoCut() {
	p.faults.change(func() {
		for i := range p.faults.conduct {
			// -1 rather than epoch 0, which would make the next CutAfter look like an earlier one.
			p.faults.conduct[i].cutAfter, p.faults.conduct[i].cutEpoch = -1, p.faults.conduct[i].cutEpoch+1
		}
	})
}

// Blackhole holds back all bytes and ends of connections in both directions, and still accepts new ones:
// what a firewall or an unplugged cable looks like from outside. false lets everything held back go on.
func (p *Proxy) Blackhole(on bool) {
	p.faults.change(func() {
		for i := range p.faults.conduct {
			p.faults.conduct[i].hold = on
		}
	})
}

// Hold is Blackhole for one direction.
func (p *Proxy) Hold(d Direction, on bool) {
	p.faults.change(func() { p.faults.conduct[d].hold = on })
}

// RejectNew resets every new connection at once; open ones are left alone.
func (p *Proxy) RejectNew(on bool) {
	p.faults.change(func() { p.faults.reject = on })
}
