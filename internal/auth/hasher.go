package auth

import (
	"container/list"
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync"

	"pgdrover/internal/procs"
)

const (
	defaultCacheEntries = 4096
	mockCacheEntries    = 1024
)

// HasherOptions bound a Hasher; zero values mean the defaults.
type HasherOptions struct {
	Entries  int // cached salted passwords; 4096 by default
	Parallel int // PBKDF2 computations at once; half of procs.Max, at least 1, by default
}

// Hasher computes salted passwords. It bounds how many are computed at once, computes the same one only once
// however many logins wait for it, and remembers the last ones. Passwords are not kept, only a keyed hash
// of them. It is safe for concurrent use.
type Hasher struct {
	sem chan struct{} // one token for each computation that runs
	key []byte        // of the hash that names cache entries
	max int

	mu     sync.Mutex
	cache  map[cacheKey]*list.Element // guarded by mu; values are *cacheEntry
	recent *list.List                 // guarded by mu; most recently used in front
	calls  map[cacheKey]*hashCall     // guarded by mu; computations that run or wait for a token
}

type (
	cacheKey   [sha256.Size]byte
	cacheEntry struct {
		key    cacheKey
		salted [scramKeyLen]byte
	}
)

// hashCall is one computation with all who wait for it.
type hashCall struct {
	done   chan struct{}
	salted [scramKeyLen]byte // set before done is closed
	err    error             // likewise
}

// NewHasher returns an empty Hasher.
func NewHasher(o HasherOptions) *Hasher {
	if o.Entries <= 0 {
		o.Entries = defaultCacheEntries
	}
	if o.Parallel <= 0 {
		o.Parallel = max(1, procs.Max()/2)
	}
	h := &Hasher{sem: make(chan struct{}, o.Parallel), key: make([]byte, 32)}
	_, _ = rand.Read(h.key)
	h.reset(o.Entries)
	return h
}

// sibling returns a Hasher with a cache of its own that computes under the same bound.
func (h *Hasher) sibling(entries int) *Hasher {
	s := &Hasher{sem: h.sem, key: h.key}
	s.reset(entries)
	return s
}

func (h *Hasher) reset(entries int) {
	h.max = entries
	h.cache = make(map[cacheKey]*list.Element)
	h.recent = list.New()
	h.calls = make(map[cacheKey]*hashCall)
}

func (h *Hasher) name(password string, salt []byte, iterations int) (k cacheKey) {
	m := hmac.New(sha256.New, h.key)
	var n [8]byte
	binary.BigEndian.PutUint32(n[:4], uint32(iterations))
	binary.BigEndian.PutUint32(n[4:], uint32(len(salt)))
	m.Write(n[:])
	m.Write(salt)
	m.Write([]byte(password))
	m.Sum(k[:0])
	return k
}

// salted returns PBKDF2 of an already prepared password, from the cache or computed. Only a result that
// keep asks for is remembered: what a client merely claims must not push out what is right. A nil Hasher
// computes without bound or cache.
func (h *Hasher) salted(ctx context.Context, password string, salt []byte, iterations int, keep bool) ([scramKeyLen]byte, error) {
	if iterations < 1 || iterations > MaxIterations {
		return [scramKeyLen]byte{}, fmt.Errorf("SCRAM iteration count %d is outside 1..%d", iterations, MaxIterations)
	}
	if h == nil {
		return pbkdf2SHA256(password, salt, iterations)
	}
	key := h.name(password, salt, iterations)
	for {
		h.mu.Lock()
		if e := h.cache[key]; e != nil {
			h.recent.MoveToFront(e)
			salted := e.Value.(*cacheEntry).salted
			h.mu.Unlock()
			return salted, nil
		}
		c := h.calls[key]
		mine := c == nil
		if mine {
			c = &hashCall{done: make(chan struct{})}
			h.calls[key] = c
		}
		h.mu.Unlock()
		if mine {
			h.compute(ctx, c, key, password, salt, iterations, keep)
			return c.salted, c.err
		}
		select {
		case <-c.done:
		case <-ctx.Done():
			return [scramKeyLen]byte{}, context.Cause(ctx)
		}
		if c.err == nil {
			if keep {
				h.remember(key, c.salted)
			}
			return c.salted, nil
		}
		// Whoever computed it gave up: that is no reason for us to.
	}
}

// compute fills c in, as soon as a token is free, and wakes those who wait for it.
func (h *Hasher) compute(ctx context.Context, c *hashCall, key cacheKey, password string, salt []byte, iterations int, keep bool) {
	select {
	case h.sem <- struct{}{}:
		procs.Busy()
		c.salted, c.err = pbkdf2SHA256(password, salt, iterations)
		<-h.sem
	case <-ctx.Done():
		c.err = context.Cause(ctx)
	}
	if c.err == nil && keep {
		h.remember(key, c.salted)
	}
	h.mu.Lock()
	delete(h.calls, key)
	h.mu.Unlock()
	close(c.done)
}

// keep remembers a result of salted that turned out to be right.
func (h *Hasher) keep(password string, salt []byte, iterations int, salted [scramKeyLen]byte) {
	h.remember(h.name(password, salt, iterations), salted)
}

func (h *Hasher) remember(key cacheKey, salted [scramKeyLen]byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e := h.cache[key]; e != nil {
		h.recent.MoveToFront(e)
		return
	}
	h.cache[key] = h.recent.PushFront(&cacheEntry{key: key, salted: salted})
	for h.recent.Len() > h.max {
		last := h.recent.Back()
		h.recent.Remove(last)
		delete(h.cache, last.Value.(*cacheEntry).key)
	}
}

// Len returns how many results are cached.
func (h *Hasher) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.recent.Len()
}

func pbkdf2SHA256(password string, salt []byte, iterations int) (out [scramKeyLen]byte, err error) {
	key, err := pbkdf2.Key(sha256.New, password, salt, iterations, scramKeyLen)
	if err != nil {
		return out, fmt.Errorf("pbkdf2: %w", err)
	}
	copy(out[:], key)
	return out, nil
}
