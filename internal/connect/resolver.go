package connect

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Limits of a Resolver.
const (
	lookupTimeout   = 30 * time.Second
	maxCachedNames  = 10_000
	maxAddrsPerName = 256
)

// ResolverOptions are the parts of a Resolver; all may be zero.
type ResolverOptions struct {
	MaxTTL      time.Duration // dns_max_ttl: how long answers are used; 0 means that each call asks again
	NXDomainTTL time.Duration // dns_nxdomain_ttl: the same for failures
	ResolvConf  string        // a resolv.conf whose nameservers are asked; "" = the system's resolver
	// Lookup replaces the system's resolver, in tests.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	Now    func() time.Time // nil means time.Now
}

// Resolver looks host names up and remembers the answers for a while. Lookups of the same name at the same time
// are one. When a name server fails for reasons other than that the name does not exist, the last answer stays in
// use. It is safe for concurrent use.
type Resolver struct {
	lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	now    func() time.Time

	mu    sync.Mutex
	ttl   time.Duration            // guarded by mu
	nxTTL time.Duration            // guarded by mu
	names map[string]*resolverName // guarded by mu
}

// resolverName is one name; all fields are guarded by Resolver.mu.
type resolverName struct {
	addrs   []netip.Addr
	err     error // of the last lookup
	expires time.Time
	known   bool // whether there was a lookup at all
	turn    int  // rotates the addresses
	query   *resolverQuery
}

// resolverQuery is a lookup in flight.
type resolverQuery struct {
	done   chan struct{}
	cancel context.CancelFunc
	wait   int // callers that wait for it; guarded by Resolver.mu
	// addrs and err are set before done is closed.
	addrs []netip.Addr
	err   error
}

// DNSEntry is one row of SHOW DNS_HOSTS.
type DNSEntry struct {
	Host    string
	TTL     time.Duration // how long the answer will be used; 0 if it has expired
	Addrs   []netip.Addr  // empty if the name could not be resolved
	Err     error         // of the last lookup
	Pending bool          // being looked up now
}

// NewResolver returns a Resolver. The error is about ResolvConf.
func NewResolver(o ResolverOptions) (*Resolver, error) {
	r := &Resolver{lookup: o.Lookup, now: o.Now, names: make(map[string]*resolverName)}
	if r.now == nil {
		r.now = time.Now
	}
	if r.lookup == nil {
		sys := &net.Resolver{}
		if o.ResolvConf != "" {
			servers, err := nameservers(o.ResolvConf)
			if err != nil {
				return nil, err
			}
			sys = customResolver(servers)
		}
		r.lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return sys.LookupNetIP(ctx, "ip", host)
		}
	}
	r.SetTTL(o.MaxTTL, o.NXDomainTTL)
	return r, nil
}

// SetTTL changes how long the answers and failures to come are used, as in ResolverOptions.
func (r *Resolver) SetTTL(maxTTL, nxdomainTTL time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ttl, r.nxTTL = maxTTL, nxdomainTTL
}

// Lookup returns the addresses of a host. Each call begins with another one of the addresses of the family that
// comes first, so that new connections spread over them. An IP address is its own answer.
func (r *Resolver) Lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	key := strings.ToLower(host)
	r.mu.Lock()
	n := r.names[key]
	if n == nil {
		r.makeRoom()
		n = &resolverName{}
		r.names[key] = n
	}
	if n.known && r.now().Before(n.expires) {
		defer r.mu.Unlock()
		return n.answer()
	}
	q := n.query
	if q == nil {
		q = r.start(key, host, n)
	}
	q.wait++
	r.mu.Unlock()

	select {
	case <-q.done:
	case <-ctx.Done():
		r.mu.Lock()
		if q.wait--; q.wait == 0 {
			q.cancel()
			if n.query == q {
				n.query = nil
			}
		}
		r.mu.Unlock()
		return nil, fmt.Errorf("lookup of %s: %w", host, context.Cause(ctx))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if q.err != nil {
		return nil, q.err
	}
	return n.rotate(q.addrs), nil
}

// start runs a lookup in its own goroutine, since it must outlive the caller that began it. mu is held.
func (r *Resolver) start(key, host string, n *resolverName) *resolverQuery {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	q := &resolverQuery{done: make(chan struct{}), cancel: cancel}
	n.query = q
	go func() {
		defer cancel()
		addrs, err := r.lookup(ctx, host)
		if err == nil && len(addrs) == 0 {
			err = &net.DNSError{Err: "no addresses", Name: host, IsNotFound: true}
		}
		for i := range addrs {
			addrs[i] = addrs[i].Unmap()
		}
		if len(addrs) > maxAddrsPerName {
			addrs = addrs[:maxAddrsPerName]
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if n.query == q {
			n.query = nil
			n.store(r, addrs, err)
		}
		// What is stored may be an older answer that is still good.
		q.addrs, q.err = addrs, err
		if err != nil && n.known && n.err == nil {
			q.addrs, q.err = n.addrs, nil
		}
		close(q.done)
	}()
	return q
}

// store takes over the result of a lookup.
func (n *resolverName) store(r *Resolver, addrs []netip.Addr, err error) {
	if err == nil {
		n.addrs, n.err, n.known, n.expires = addrs, nil, true, r.now().Add(r.ttl)
		return
	}
	var dns *net.DNSError
	if n.known && n.err == nil && !(errors.As(err, &dns) && dns.IsNotFound) {
		n.expires = r.now().Add(r.nxTTL) // a name server that fails does not take a known host away
		return
	}
	n.addrs, n.err, n.known, n.expires = nil, err, true, r.now().Add(r.nxTTL)
}

func (n *resolverName) answer() ([]netip.Addr, error) {
	if n.err != nil {
		return nil, n.err
	}
	return n.rotate(n.addrs), nil
}

// rotate returns a copy in which the leading addresses of one family begin with the next one.
func (n *resolverName) rotate(addrs []netip.Addr) []netip.Addr {
	lead := 0
	for lead < len(addrs) && addrs[lead].Is4() == addrs[0].Is4() {
		lead++
	}
	out := slices.Clone(addrs)
	if lead > 1 {
		k := n.turn % lead
		copy(out, addrs[k:lead])
		copy(out[lead-k:], addrs[:k])
	}
	n.turn++
	return out
}

// makeRoom drops what has expired when too many names are held. mu is held.
func (r *Resolver) makeRoom() {
	if len(r.names) < maxCachedNames {
		return
	}
	now := r.now()
	for k, n := range r.names {
		if n.query == nil && !now.Before(n.expires) {
			delete(r.names, k)
		}
	}
	for k, n := range r.names {
		if len(r.names) < maxCachedNames {
			return
		}
		if n.query == nil {
			delete(r.names, k)
		}
	}
}

// Snapshot lists what is remembered, sorted by host.
func (r *Resolver) Snapshot() []DNSEntry {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	out := make([]DNSEntry, 0, len(r.names))
	for host, n := range r.names {
		out = append(out, DNSEntry{
			Host: host, TTL: max(0, n.expires.Sub(now)), Addrs: slices.Clone(n.addrs), Err: n.err, Pending: n.query != nil,
		})
	}
	slices.SortFunc(out, func(a, b DNSEntry) int { return strings.Compare(a.Host, b.Host) })
	return out
}

// Forget drops all answers, so that the next lookups ask again.
func (r *Resolver) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, n := range r.names {
		if n.query == nil {
			delete(r.names, k)
		} else {
			n.expires, n.known = time.Time{}, false
		}
	}
}
