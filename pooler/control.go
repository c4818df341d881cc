package pooler

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"

	"pgdrover/internal/config"
	"pgdrover/internal/connect"
	"pgdrover/internal/procs"
)

var _ Control = (*Pooler)(nil)

func consoleError(message string) *Error {
	return &Error{Severity: "ERROR", Code: "08P01", Message: message}
}

// named returns the database that a command names.
func (p *Pooler) named(name string) (*database, error) {
	if config.IsAdminDatabase(name) {
		return nil, consoleError("cannot do that to the admin database: " + name)
	}
	d, ok := p.findDatabase(name)
	if !ok {
		e := consoleError("no such database: " + name)
		e.Code = "3D000"
		return nil, e
	}
	return d, nil
}

// pause is whether a database, or everything, is paused.
type pause struct {
	paused  atomic.Bool
	resumes atomic.Uint64 // changes with paused under Pooler.mu; how often it was resumed: a PAUSE that still waits is then over
}

// Pause implements Control.
func (p *Pooler) Pause(ctx context.Context, name string) error {
	var d *database
	what := &p.pause
	if name != "" {
		if config.IsAdminDatabase(name) {
			return consoleError("cannot pause admin db: " + name)
		}
		var err error
		if d, err = p.named(name); err != nil {
			return err
		}
		what = &d.pause
	}
	p.mu.Lock()
	was, resumes := what.paused.Swap(true), what.resumes.Load()
	p.mu.Unlock()
	if was && d == nil {
		return consoleError("already suspended/paused")
	}
	resumed := func() bool { return what.resumes.Load() != resumes }
	for _, pl := range p.poolsOf(name) {
		for _, s := range pl.takeIdle(func(*server) bool { return true }) {
			s.close("paused")
		}
	}
	err := p.await(ctx, func() bool { return resumed() || !p.busy(name) })
	switch {
	case resumed(): // a PAUSE that came later is somebody else's
		e := consoleError("PAUSE was ended by RESUME")
		e.Code = "57014"
		return e
	case err != nil && !was:
		p.resume(d)
		return err
	case err != nil:
		return err
	}
	for _, pl := range p.poolsOf(name) {
		pl.dropOwn("paused")
	}
	return nil
}

// await waits for cond, which can become true when a server or client goes.
func (p *Pooler) await(ctx context.Context, cond func() bool) error {
	for {
		ch := p.changes()
		if cond() {
			return nil
		}
		select {
		case <-ch:
		case <-ctx.Done():
			return ctx.Err()
		case <-p.ctx.Done():
			return errClosing
		}
	}
}

// resume ends the pause of a database, or with nil that of everything, and lets those who wait go on.
func (p *Pooler) resume(d *database) {
	name, what := "", &p.pause
	if d != nil {
		name, what = d.name, &d.pause
	}
	p.mu.Lock()
	what.paused.Store(false)
	what.resumes.Add(1)
	p.mu.Unlock()
	p.changed()
	for _, pl := range p.poolsOf(name) {
		pl.mu.Lock()
		pl.retryAt = 0
		pl.grow()
		pl.mu.Unlock()
	}
}

// Resume implements Control.
func (p *Pooler) Resume(name string) error {
	if p.shutdown.Load() != 0 {
		return consoleError("pooler is shutting down")
	}
	if name == "" {
		if !p.paused.Load() {
			return consoleError("pooler is not paused/suspended")
		}
		p.resume(nil)
		return nil
	}
	d, err := p.named(name)
	if err != nil {
		return err
	}
	if !d.paused.Load() {
		return consoleError(fmt.Sprintf("database %s is not paused", name))
	}
	p.resume(d)
	return nil
}

// Kill implements Control.
func (p *Pooler) Kill(name string) error {
	if p.paused.Load() {
		return consoleError("already suspended/paused")
	}
	var d *database
	if name == "" {
		p.paused.Store(true)
	} else {
		var err error
		if d, err = p.named(name); err != nil {
			return err
		}
		d.paused.Store(true)
	}
	for _, c := range p.allClients() {
		if d == nil || c.db == d {
			c.kill(errDatabaseGone(c.db.name))
		}
	}
	for _, pl := range p.poolsOf(name) {
		pl.markStale()
	}
	return nil
}

// KillClient implements Control.
func (p *Pooler) KillClient(id uint64) error {
	p.mu.Lock()
	c, a := p.clients[id], p.admins[id]
	p.mu.Unlock()
	switch {
	case c != nil:
		c.kill(errKilled())
	case a != nil:
		a.cancel(errKilled())
	default:
		return consoleError("client not found")
	}
	return nil
}

// Reconnect implements Control.
func (p *Pooler) Reconnect(name string) error {
	if name != "" {
		if _, err := p.named(name); err != nil {
			return err
		}
	}
	for _, pl := range p.poolsOf(name) {
		pl.markStale()
		pl.mu.Lock()
		pl.grow()
		pl.mu.Unlock()
	}
	return nil
}

// WaitClose implements Control.
func (p *Pooler) WaitClose(ctx context.Context, name string) error {
	if name != "" {
		if _, err := p.named(name); err != nil {
			return err
		}
	}
	return p.await(ctx, func() bool {
		for _, pl := range p.poolsOf(name) {
			pl.mu.Lock()
			for h := range pl.allHubs {
				if h.s != nil && h.s.closeNeeded.Load() {
					pl.mu.Unlock()
					return false
				}
			}
			for s := range pl.servers {
				if s.closeNeeded.Load() {
					pl.mu.Unlock()
					return false
				}
			}
			pl.mu.Unlock()
		}
		return true
	})
}

// Disable implements Control.
func (p *Pooler) Disable(name string) error { return p.setDisabled(name, true) }

// Enable implements Control.
func (p *Pooler) Enable(name string) error { return p.setDisabled(name, false) }

func (p *Pooler) setDisabled(name string, on bool) error {
	d, err := p.named(name)
	if err != nil {
		return err
	}
	d.disabled.Store(on)
	return nil
}

// Shutdown implements Control. It may be called again with another mode.
func (p *Pooler) Shutdown(mode ShutdownMode) {
	first := p.shutdown.Swap(1+uint32(mode)) == 0
	if mode == ShutdownNow {
		p.log.Info().Msg("got SHUTDOWN: exiting at once")
		p.finished()
		return
	}
	p.stopListening(false)
	p.log.Info().Msg("shutting down once " + shutdownWaits[mode])
	if first {
		go func() {
			if p.await(p.ctx, func() bool { return len(p.allClients()) == 0 && !p.serving() }) == nil {
				p.finished()
			}
		}()
	}
	if mode != ShutdownWaitForClients {
		p.drain(mode == ShutdownWaitForServers)
	}
	p.changed()
}

// shutdownWaits says what a shutdown waits for.
var shutdownWaits = [...]string{
	ShutdownWaitForServers: "servers are released",
	ShutdownWaitForClients: "clients leave",
	ShutdownDrain:          "transactions are over",
}

// draining reports whether a shutdown closes clients as soon as they have no transaction open.
func (p *Pooler) draining() bool {
	mode := p.shutdown.Load()
	return mode == 1+uint32(ShutdownWaitForServers) || mode == 1+uint32(ShutdownDrain)
}

// serving reports whether a server is linked to a client.
func (p *Pooler) serving() bool {
	for _, pl := range p.allPools() {
		pl.mu.Lock()
		for s := range pl.servers {
			if s.link.Load() != nil {
				pl.mu.Unlock()
				return true
			}
		}
		pl.mu.Unlock()
	}
	return false
}

// drain closes clients that have nothing to do at once; the sweep and the sessions themselves see to the others.
// Clients that wait for a server are served first, or dropped.
func (p *Pooler) drain(dropWaiters bool) {
	for _, c := range p.allClients() {
		switch {
		case c.state.Load() != stateWaiting:
			if c.queryAt.Load() == 0 && c.xactAt.Load() == 0 {
				c.interrupt(reasonDrain)
			}
		case dropWaiters && !c.inShards.Load(), c.waitsInVain():
			c.kill(errShutdown())
		}
	}
}

// waitsInVain reports whether c waits for a server of a database that is paused: a shutdown cannot serve it first.
func (c *client) waitsInVain() bool {
	return c.state.Load() == stateWaiting && c.home.held() && !c.underWay()
}

// State implements Control.
func (p *Pooler) State() StateInfo {
	paused := p.paused.Load()
	return StateInfo{
		Active: !paused && p.shutdown.Load() == 0, Paused: paused, ShuttingDown: p.shutdown.Load() != 0, Started: started,
		Processors: procs.InUse(), MaxProcessors: procs.Max(),
	}
}

// Lists implements Control.
func (p *Pooler) Lists() ListInfo {
	cfg := p.live.Load().cfg
	var l ListInfo
	p.mu.Lock()
	l.Databases, l.Users, l.Peers, l.Pools = len(p.databases)+1, len(cfg.Users), len(cfg.Peers), len(p.pools)+1
	for name, u := range p.users {
		if cfg.Users[name] == nil && u.seen.Load() {
			l.Users++
		}
	}
	l.UsedClients, l.LoginClients = len(p.clients)+len(p.admins), len(p.entrances)
	p.mu.Unlock()
	for _, pl := range p.allPools() {
		pl.mu.Lock()
		l.FreeServers += len(pl.idle)
		l.UsedServers += len(pl.servers) - len(pl.idle)
		pl.mu.Unlock()
	}
	for _, e := range p.resolver.Snapshot() {
		l.DNSNames++
		if e.Pending {
			l.DNSPending++
			l.DNSQueries++
		}
	}
	return l
}

// Mem implements Control.
func (p *Pooler) Mem() []MemInfo {
	l := p.Lists()
	n, bytes := p.stmts.size()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return []MemInfo{
		{Name: "user_cache", Size: 256, Used: l.Users},
		{Name: "db_cache", Size: 512, Used: l.Databases},
		{Name: "pool_cache", Size: 1024, Used: l.Pools},
		{Name: "server_cache", Size: 1024, Used: l.UsedServers + l.FreeServers},
		{Name: "client_cache", Size: 2048, Used: l.UsedClients},
		{Name: "iobuf_cache", Size: bufSize, Used: p.bufs.inUse()},
		{Name: "prepared_statement_cache", Size: bytes / max(n, 1), Used: n},
		{Name: "heap_bytes", Size: 1, Used: int(m.HeapInuse), Free: int(m.HeapIdle - m.HeapReleased)},
		{Name: "stack_bytes", Size: 1, Used: int(m.StackInuse)},
		{Name: "goroutines", Size: 1, Used: runtime.NumGoroutine()},
	}
}

// DNS lists the cache of host names.
func (p *Pooler) DNS() []connect.DNSEntry { return p.resolver.Snapshot() }

// Validate checks what a configuration needs to come into force, without a Pooler. It is a [config.Prepare].
func Validate(_, next *config.Config) (commit func(), err error) {
	_, err = derive(next)
	return func() {}, err
}
