package pooler

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"
)

// cancelRequest carries out a CancelRequest. It reaches the query it was meant for, or nothing. The client hears
// nothing of it, as the protocol has it.
func (p *Pooler) cancelRequest(key []byte) {
	if len(key) < keyLen {
		return
	}
	k := append([]byte(nil), key...)
	k[7] = k[7]&^3 | keyHops
	p.mu.Lock()
	who := p.keys[string(k)]
	p.mu.Unlock()
	switch c := who.(type) {
	case *adminClient:
		c.cancelRequested()
	case *client:
		p.cancelClient(c)
	}
}

func (p *Pooler) cancelClient(c *client) {
	if c.state.Load() == stateWaiting {
		c.cancelNext.Store(true) // if it is being given a server at this moment
		c.interrupt(reasonCanceled)
		return
	}
	c.cancelAt.Store(c.queryAt.Load()) // before fanned is read: a round that is not seen here sees this
	if f := c.fanned.Load(); f != nil {
		if !f.decided {
			var wg sync.WaitGroup
			for _, s := range f.servers {
				wg.Go(func() { p.cancelServer(c, s) })
			}
			wg.Wait()
		}
		return
	}
	s := c.link.Load()
	if s == nil || c.syncing.Load() {
		c.cancelNext.Store(c.syncing.Load())
		return
	}
	p.cancelServer(c, s)
}

// cancelServer cancels what s runs for c, if it does run something for it.
func (p *Pooler) cancelServer(c *client, s *server) {
	pl := s.pool
	// From here until the request has arrived the server is not given to anybody else.
	pl.mu.Lock()
	if s.link.Load() != c || c.queryAt.Load() == 0 {
		pl.mu.Unlock()
		return
	}
	s.cancels++
	pl.mu.Unlock()
	c.cancelWait.Add(1)
	ctx, stop := context.WithTimeout(p.ctx, unlimited(p.settings().CancelWaitTimeout))
	defer stop()
	if err := s.sc.Cancel(ctx); err != nil {
		p.log.Warn().Err(err).Uint64("client", c.id).Msg("cancel request failed")
	}
	c.cancelWait.Add(-1)
	pl.mu.Lock()
	s.cancels--
	parked := s.parked && s.cancels == 0
	if parked {
		s.parked = false
	}
	pl.mu.Unlock()
	if parked {
		pl.free(s)
	}
}

// Layout of cancel keys, in the 8 bytes of protocol 3.0: the sign bit of byte 0 is clear, bytes 1 and 2 hold the
// peer number (little-endian), the low two bits of byte 7 how many more peers may pass a request on. Protocol 3.2
// has 32 more random bytes behind them.
const (
	keyLen     = 8
	longKeyLen = keyLen + 28
	keyHops    = 3
)

// newKey makes a cancel key and enters it for c.
func (p *Pooler) newKey(c any, minor int) []byte {
	n := keyLen
	if minor >= 2 {
		n = longKeyLen
	}
	key := make([]byte, n)
	peer := p.settings().PeerID
	for {
		_, _ = rand.Read(key) // never fails
		key[0] &= 0x7f
		key[1], key[2] = byte(peer), byte(peer>>8)
		key[7] = key[7]&^3 | keyHops
		p.mu.Lock()
		_, taken := p.keys[string(key)]
		if !taken {
			p.keys[string(key)] = c
		}
		p.mu.Unlock()
		if !taken {
			return key
		}
	}
}

func (p *Pooler) forgetKey(key []byte) {
	p.mu.Lock()
	delete(p.keys, string(key))
	p.mu.Unlock()
}

// A server that runs something for nobody is asked to stop every cancelAgain, and is closed after cancel_wait_timeout at the
// latest.
const (
	cancelAgain = 200 * time.Millisecond
	closingTime = 2 * time.Second // the same while the pooler closes

	cancelOnceTimeout = 3 * time.Second // of one request
)

// abandon ends what the server runs for nobody, and the server. A cancel request can overtake its query and find nothing to
// cancel, and behind one query there may be more: so the server is told that nothing more will come, and asked to stop again
// and again until it has ended the session itself. Until then it counts as in use.
func (s *server) abandon(why string) {
	p := s.pool
	p.mu.Lock()
	s.cancels++ // for SHOW: nobody will take it
	p.mu.Unlock()
	if s.sc.SecretKey != nil {
		ctx, stop := context.WithTimeout(context.Background(), unlimited(p.p.settings().CancelWaitTimeout))
		defer stop()
		defer context.AfterFunc(p.p.ctx, func() { time.AfterFunc(closingTime, stop) })()
		if err := s.cancelUntilEnd(ctx); err != nil {
			p.log.Warn().Err(err).Uint64("server", s.id).Msg("a query without a client may run on")
		}
	}
	s.close(why)
}

// cancelUntilEnd returns when the server has closed its side, or ctx is over.
func (s *server) cancelUntilEnd(ctx context.Context) error {
	s.midway = true // it can be told nothing after the end of the stream
	s.conn.resume()
	raw := s.sc.Raw // under TLS too: what still comes is not of interest
	if w, ok := raw.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite() // if that fails, so do the reads
	}
	buf := s.pool.p.bufs.get()
	defer s.pool.p.bufs.put(buf)
	for {
		failed := s.cancelOnce(ctx)
		if err := raw.SetReadDeadline(time.Now().Add(cancelAgain)); err != nil {
			return nil // it is closed
		}
		var err error
		for err == nil {
			_, err = raw.Read(buf[:])
		}
		switch {
		case !isTimeout(err):
			return nil
		case ctx.Err() != nil:
			return errors.Join(ctx.Err(), failed)
		}
	}
}

func (s *server) cancelOnce(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, cancelOnceTimeout)
	defer stop()
	return s.sc.Cancel(ctx)
}
