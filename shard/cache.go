package shard

import (
	"bytes"
	"cmp"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Cache keeps plans by statement shape for all sessions and all maps of a database, within a number of bytes. It may be used from any
// goroutine.
type Cache struct {
	seed     maphash.Seed // of the hashes of texts
	segments [cacheSegments]cacheSegment
	epochs   atomic.Uint64
	newest   atomic.Uint64
	hits     atomic.Uint64
	misses   atomic.Uint64
}

const cacheSegments = 16

// cacheSegment is a part of the cache with its own lock. Entries are thrown out in CLOCK order.
type cacheSegment struct {
	mu      sync.Mutex
	limit   int
	bytes   int
	entries map[uint64][]*cacheEntry // by hash; compared in full
	clock   []*cacheEntry
	hand    int
}

// cacheEntry is one shape under the conditions that its plan depends on.
type cacheEntry struct {
	hash   uint64
	folded string
	env    envKey
	params []uint32
	simple bool

	shape *shape
	bytes int
	used  atomic.Bool

	runs  atomic.Uint64
	nanos atomic.Int64
}

// envKey is what of an Env a plan depends on.
type envKey struct {
	epoch        uint64 // of the map and the catalog
	path         string
	stringsPlain bool
	utf8         bool
	temporary    bool
}

// NewCache returns a cache of about so many bytes.
func NewCache(bytes int) *Cache {
	c := &Cache{seed: maphash.MakeSeed()}
	for i := range c.segments {
		c.segments[i].limit = bytes / cacheSegments
		c.segments[i].entries = map[uint64][]*cacheEntry{}
	}
	return c
}

// epoch returns a new number for a map and a catalog; entries of older ones are thrown out first.
func (c *Cache) epoch() uint64 {
	n := c.epochs.Add(1)
	c.newest.Store(n)
	return n
}

func (e *cacheEntry) is(folded []byte, env *envKey, params []uint32, simple bool) bool {
	return e.folded == string(folded) && e.env == *env && e.simple == simple && slices.Equal(e.params, params)
}

// get returns the entry of a shape, or nil.
func (c *Cache) get(hash uint64, folded []byte, env *envKey, params []uint32, simple bool) *cacheEntry {
	s := &c.segments[hash%cacheSegments]
	s.mu.Lock()
	for _, e := range s.entries[hash] {
		if e.is(folded, env, params, simple) {
			s.mu.Unlock()
			if !e.used.Load() {
				e.used.Store(true)
			}
			c.hits.Add(1)
			return e
		}
	}
	s.mu.Unlock()
	c.misses.Add(1)
	return nil
}

// put adds an entry, unless another goroutine was faster; it returns the one that is kept.
func (c *Cache) put(e *cacheEntry) *cacheEntry {
	e.bytes = 512 + 2*len(e.folded) + len(e.env.path) + 4*len(e.params) + e.shape.size()
	s := &c.segments[e.hash%cacheSegments]
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.entries[e.hash] {
		if o.is([]byte(e.folded), &e.env, e.params, e.simple) {
			return o
		}
	}
	if e.bytes > s.limit {
		return e // used once, not kept
	}
	newest := c.newest.Load()
	for s.bytes+e.bytes > s.limit && len(s.clock) > 0 {
		s.evict(newest)
	}
	s.entries[e.hash] = append(s.entries[e.hash], e)
	s.clock = append(s.clock, e)
	s.bytes += e.bytes
	return e
}

// evict throws out the next entry that was not used since the hand passed it.
func (s *cacheSegment) evict(newest uint64) {
	for {
		if s.hand >= len(s.clock) {
			s.hand = 0
		}
		e := s.clock[s.hand]
		if e.env.epoch == newest && e.used.Swap(false) {
			s.hand++
			continue
		}
		last := len(s.clock) - 1
		s.clock[s.hand] = s.clock[last]
		s.clock[last] = nil
		s.clock = s.clock[:last]
		s.bytes -= e.bytes
		list := slices.DeleteFunc(s.entries[e.hash], func(o *cacheEntry) bool { return o == e })
		if len(list) == 0 {
			delete(s.entries, e.hash)
		} else {
			s.entries[e.hash] = list
		}
		return
	}
}

// PlanRow is a row of SHOW PLANS.
type PlanRow struct {
	Shape   string // the folded text, literals as ?
	Tier    int    // 1 or 2, 0 for what the session does itself; of a statement that depends on its values the lowest
	Kind    string
	Key     string // the sharding keys that pin it
	Shards  int    // that it can run on
	Refused string // the construct for which it is refused, or ""
	Runs    uint64
	Time    time.Duration // of all runs
	Bytes   int
}

// Rows returns the plans, those with most runs first.
func (c *Cache) Rows() []PlanRow {
	var rows []PlanRow
	newest := c.newest.Load()
	for i := range c.segments {
		s := &c.segments[i]
		s.mu.Lock()
		for _, e := range s.clock {
			if e.env.epoch == newest {
				rows = append(rows, e.row())
			}
		}
		s.mu.Unlock()
	}
	slices.SortFunc(rows, func(a, b PlanRow) int {
		return cmp.Or(cmp.Compare(b.Runs, a.Runs), cmp.Compare(a.Shape, b.Shape))
	})
	return rows
}

// Bytes returns how much the plans take, roughly.
func (c *Cache) Bytes() int {
	n := 0
	for i := range c.segments {
		s := &c.segments[i]
		s.mu.Lock()
		n += s.bytes
		s.mu.Unlock()
	}
	return n
}

// Counts returns how often a plan was found in the cache, and how often not.
func (c *Cache) Counts() (hits, misses uint64) { return c.hits.Load(), c.misses.Load() }

func (e *cacheEntry) row() PlanRow {
	sh := e.shape
	r := PlanRow{
		Shape: shownShape(e.folded), Tier: sh.plan.Tier, Kind: sh.plan.Kind.String(), Key: sh.key,
		Runs: e.runs.Load(), Time: time.Duration(e.nanos.Load()), Bytes: e.bytes,
	}
	switch {
	case sh.err != nil:
		r.Refused, r.Kind = sh.err.Construct, "refused"
	case sh.static:
		r.Shards = max(1, len(sh.plan.Parts))
		if sh.plan.Kind == Command {
			r.Shards = 0
		}
	case sh.plan.Kind == Everywhere:
		r.Shards, r.Tier = sh.shards, 2
		if sh.replays {
			r.Kind = ReplayRows.String()
		}
	default:
		r.Tier, r.Shards = 1, 1
		if sh.driver >= 0 && len(sh.rels[sh.driver].combos) == 0 {
			r.Tier, r.Shards, r.Kind = 2, len(sh.rels[sh.driver].table.Key.Shards()), Gather.String()
		}
		for i := range sh.rels {
			rel := &sh.rels[i]
			if sh.driver < 0 && sh.multi != nil && len(rel.combos) == 0 && len(rel.table.Key.Shards()) > 1 {
				r.Tier, r.Shards, r.Kind, r.Refused = 0, 0, "refused", sh.multi.Construct
			}
		}
	}
	return r
}

// shownShape replaces the placeholders of literals.
func shownShape(folded string) string {
	b := []byte(folded)
	for i, c := range b {
		if c < 8 {
			b[i] = '?'
		}
	}
	return string(bytes.TrimSpace(b))
}

var kindNames = [...]string{"forward", "anywhere", "gather", "split", "everywhere", "move", "copy in", "copy out", "command", "explain", "next id", "replay"}

// String returns the kind's name as SHOW PLANS and ROUTE show it.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// size is what a shape takes, roughly.
func (sh *shape) size() int {
	n := 512 + len(sh.plan.Text) + 48*len(sh.plan.Parts) + sh.replay.size()
	for i := range sh.rels {
		n += 128
		for _, c := range sh.rels[i].combos {
			for _, p := range c {
				n += 32 + 160*len(p.values)
			}
		}
	}
	for i := range sh.inserts {
		for _, row := range sh.inserts[i].rows {
			n += 24 + 160*len(row)
		}
	}
	return n
}
