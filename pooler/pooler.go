package pooler

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/rs/zerolog"

	"pgdrover/internal/auth"
	"pgdrover/internal/config"
	"pgdrover/internal/connect"
	"pgdrover/internal/stats"
)

// Pooler is the data plane: listeners, clients, pools, servers.
type Pooler struct {
	cfg      config.Controller
	log      zerolog.Logger
	admin    AdminServer
	watch    *watcher
	bufs     *bufPool
	tickets  tickets // see letOthers
	husks    *husks
	stmts    *stmtTable
	ledger   *ledger
	hasher   *auth.Hasher
	verifier *auth.Verifier
	resolver *connect.Resolver
	extra    []string // track_extra_parameters; fixed at start
	killAt   *killAt  // see point
	node     string   // tells this process from other pgdrovers that use the same shards; random

	live       atomic.Pointer[live]
	maxPacket  atomic.Int64
	logQueries atomic.Bool
	pause      // without a database
	blocked    atomic.Int32
	shutdown   atomic.Uint32 // 0, or 1 + ShutdownMode
	lastID     atomic.Uint64
	trimmedAt  uint64       // lastID when memory was last given back; of the janitor
	lookedAt   uint64       // and when it was last looked whether to
	slots      atomic.Int32 // clients counted against max_client_conn

	mu        sync.Mutex
	databases map[string]*database      // guarded by mu
	users     map[string]*user          // guarded by mu
	pools     map[poolKey]*pool         // guarded by mu
	counters  map[poolKey]*poolCounters // outlive pools; guarded by mu
	clients   map[uint64]*client        // that have logged in; guarded by mu
	admins    map[uint64]*adminClient   // guarded by mu
	entrances map[*entrance]struct{}    // logins under way; guarded by mu
	keys      map[string]any            // cancel keys -> *client or *adminClient; guarded by mu
	change    chan struct{}             // closed when servers or clients go; nil while nobody waits for that; guarded by mu
	listeners []*acceptor               // guarded by mu
	last      map[string]stats.Totals   // by database, at the start of the statistics period; guarded by mu
	averages  map[string]stats.Averages // of the last period; guarded by mu
	statsAt   int64                     // guarded by mu

	stop     context.CancelFunc
	ctx      context.Context
	done     chan struct{} // closed when the process may end
	doneOnce sync.Once
	wg       sync.WaitGroup
}

// Options are what a Pooler is made of.
type Options struct {
	Config config.Controller
	Log    zerolog.Logger
}

// New returns a Pooler for the current configuration. It does nothing until Start.
func New(o Options) (*Pooler, error) {
	w, err := newWatcher()
	if err != nil {
		return nil, err
	}
	cfg := o.Config.Current()
	hasher := auth.NewHasher(auth.HasherOptions{})
	p := &Pooler{
		cfg: o.Config, log: o.Log, watch: w, bufs: &bufPool{}, husks: newHusks(), stmts: newStmtTable(), ledger: newLedger(),
		hasher: hasher, verifier: auth.NewVerifier(auth.VerifierOptions{Hasher: hasher}),
		extra:     slices.Clone(cfg.TrackExtraParameters),
		databases: map[string]*database{}, users: map[string]*user{}, pools: map[poolKey]*pool{},
		counters: map[poolKey]*poolCounters{}, clients: map[uint64]*client{}, admins: map[uint64]*adminClient{},
		keys: map[string]any{}, entrances: map[*entrance]struct{}{},
		last: map[string]stats.Totals{}, averages: map[string]stats.Averages{}, statsAt: now(),
		done: make(chan struct{}), node: rand.Text(),
	}
	if p.killAt, err = parseKillAt(os.Getenv(killAtVariable)); err != nil {
		w.close()
		return nil, err
	}
	p.ctx, p.stop = context.WithCancel(context.Background())
	p.resolver, err = connect.NewResolver(connect.ResolverOptions{
		MaxTTL: cfg.DNSMaxTTL, NXDomainTTL: cfg.DNSNXDomainTTL, ResolvConf: cfg.ResolvConf,
	})
	if err != nil {
		w.close()
		return nil, err
	}
	commit, err := p.Prepare(nil, cfg)
	if err != nil {
		w.close()
		return nil, err
	}
	commit()
	return p, nil
}

// SetAdmin gives the pooler its admin database. It must be called before Start.
func (p *Pooler) SetAdmin(a AdminServer) { p.admin = a }

// changed tells those who wait for servers or clients to go that one has gone.
func (p *Pooler) changed() {
	p.mu.Lock()
	if p.change != nil {
		close(p.change)
		p.change = nil
	}
	p.mu.Unlock()
}

func (p *Pooler) changes() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.change == nil {
		p.change = make(chan struct{})
	}
	return p.change
}

// Close ends everything at once.
func (p *Pooler) Close() {
	p.stopListening(true)
	p.stop()
	for _, c := range p.allClients() {
		c.kill(errShutdown())
	}
	p.mu.Lock()
	for in := range p.entrances {
		in.end()
	}
	for _, a := range p.admins {
		a.cancel(errShutdown())
	}
	p.mu.Unlock()
	p.wg.Wait()
	for _, pl := range p.allPools() {
		p.dropPool(pl, "shutdown")
		pl.awaitConnects(p)
	}
	p.watch.close()
	p.tickets.close()
	p.husks.sweep()
	p.finished()
}

func (p *Pooler) finished() { p.doneOnce.Do(func() { close(p.done) }) }

// Done is closed when a shutdown has been carried out.
func (p *Pooler) Done() <-chan struct{} { return p.done }

var errClosing = errors.New("the pooler is closing")
