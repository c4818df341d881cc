package pooler

import (
	"context"
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
	s := c.link.Load()
	if s == nil || c.syncing.Load() {
		c.cancelNext.Store(c.syncing.Load())
		return
	}
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
	ctx, stop := context.WithTimeout(p.ctx, max(p.settings().CancelWaitTimeout, time.Second))
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
