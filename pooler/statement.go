package pooler

import (
	"crypto/rand"
	"encoding/hex"
	"strconv"
	"sync"
	"sync/atomic"
)

// stmt is the text of a prepared statement with its parameter types, as a Parse message carries them
// behind the name: query, 0, int16 count, int32 OIDs. Equal statements share one stmt.
type stmt struct {
	stmtID
	fx   effects
	last atomic.Pointer[parsedBy] // nil before the first time
	refs int                      // guarded by stmtTable.mu
	idle int                      // how many of refs are servers'; guarded by stmtTable.mu

	hasColumns bool // that PostgreSQL compares
}

// stmtID is what makes statements one. A text that is prepared after a table was altered is another statement than the same
// text before: what the server has of the old one cannot return the new columns.
type stmtID struct {
	body string
	ddl  uint64 // database.ddl when it was parsed
}

// parsedBy says on which servers a statement was parsed without an error, and under which parameters.
type parsedBy struct {
	db   *database
	user string // of the servers
	env  env
}

// stmtTable holds every statement that some client or server knows.
type stmtTable struct {
	mu    sync.Mutex
	m     map[stmtID]*stmt // guarded by mu
	bytes int              // guarded by mu

	limit int         // for bytes; texts that only servers know are given up above it
	over  atomic.Bool // it is exceeded

	prefix string // of our names on servers; random, so that no client meets it by chance
}

const (
	// maxTexts bounds the texts of statements that no client has any more, together with those that some have, in bytes.
	maxTexts = 64 << 20
	// maxClientTexts bounds the named statements of one client, in bytes, and stmtCost is what each counts beside its text.
	maxClientTexts = 32 << 20
	stmtCost       = 200
)

func newStmtTable() *stmtTable {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return &stmtTable{m: map[stmtID]*stmt{}, limit: maxTexts, prefix: "PGDROVER_" + hex.EncodeToString(b[:]) + "_"}
}

// intern returns the statement with this body and counts one reference to it.
func (t *stmtTable) intern(body []byte, ddl uint64) *stmt {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.m[stmtID{string(body), ddl}]
	if s == nil {
		s = &stmt{stmtID: stmtID{string(body), ddl}, fx: effectsOfBody(body), hasColumns: hasColumns(firstWord(body))}
		t.m[s.stmtID] = s
		t.bytes += len(s.body)
		t.over.Store(t.bytes > t.limit)
	}
	s.refs++
	return s
}

// lastParsed returns how the statement with this body was last parsed; nil if nobody knows it.
func (t *stmtTable) lastParsed(body []byte, ddl uint64) *parsedBy {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.m[stmtID{string(body), ddl}]; s != nil {
		return s.last.Load()
	}
	return nil
}

// hold counts a server's reference, or with -1 takes it back.
func (t *stmtTable) hold(s *stmt, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.idle += n
	t.count(s, n)
}

// unwanted reports whether only servers know s.
func (t *stmtTable) unwanted(s *stmt) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return s.refs == s.idle
}

func (t *stmtTable) ref(s *stmt) {
	if s != nil {
		t.mu.Lock()
		s.refs++
		t.mu.Unlock()
	}
}

// unref takes back one reference; the text is forgotten with the last.
func (t *stmtTable) unref(s *stmt) {
	if s == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count(s, -1)
}

// count adds n references. The caller holds mu.
func (t *stmtTable) count(s *stmt, n int) {
	if s.refs += n; s.refs == 0 {
		delete(t.m, s.stmtID)
		t.bytes -= len(s.body)
		t.over.Store(t.bytes > t.limit)
	}
}

// size returns how many statements there are, and the bytes of their texts.
func (t *stmtTable) size() (n, bytes int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.m), t.bytes
}

// stmtKey is the identity of a prepared statement on a server: its text and what PostgreSQL's analysis
// of that text depends on (a literal date is read when the statement is prepared).
type stmtKey struct {
	stmt *stmt
	env  env
}

// prepared is one statement of ours on a server.
type prepared struct {
	key        stmtKey
	name       string
	confirmed  bool // ParseComplete has come
	columns    columns
	region     uint64 // the pipeline region (from Sync to Sync) in which Parse was sent
	prev, next *prepared
}

// noteParsed notes that a server of the pool has parsed s.
func (s *stmt) noteParsed(pl *pool, e env) {
	by := parsedBy{pl.db, pl.key.user, e}
	if l := s.last.Load(); l == nil || *l != by {
		s.last.Store(&by)
	}
}

// preparedSet is the statements of one server, least recently used last.
type preparedSet struct {
	m      map[stmtKey]*prepared
	root   prepared // of the list
	serial uint64
}

func (ps *preparedSet) init() {
	ps.m = map[stmtKey]*prepared{}
	ps.root.prev, ps.root.next = &ps.root, &ps.root
}

func (ps *preparedSet) len() int { return len(ps.m) }

func (ps *preparedSet) get(k stmtKey) *prepared {
	p := ps.m[k]
	if p != nil && ps.root.next != p {
		p.unlink()
		p.linkAfter(&ps.root)
	}
	return p
}

// add makes an entry that is not confirmed yet. An older one with the same key stays on the server
// under its own name until it is closed.
func (ps *preparedSet) add(t *stmtTable, k stmtKey, region uint64) (p, replaced *prepared) {
	if ps.m == nil {
		ps.init()
	}
	replaced = ps.m[k]
	if replaced != nil {
		ps.remove(t, replaced)
	}
	ps.serial++
	p = &prepared{key: k, name: t.prefix + strconv.FormatUint(ps.serial, 10), region: region}
	t.hold(k.stmt, 1)
	ps.m[k] = p
	p.linkAfter(&ps.root)
	return p, replaced
}

// remove forgets p; it is not an error if that has happened already.
func (ps *preparedSet) remove(t *stmtTable, p *prepared) {
	if p.next == nil {
		return
	}
	p.unlink()
	p.prev, p.next = nil, nil
	if ps.m[p.key] == p {
		delete(ps.m, p.key)
	}
	t.hold(p.key.stmt, -1)
}

// oldest returns the least recently used confirmed entry.
func (ps *preparedSet) oldest() *prepared {
	for p := ps.root.prev; p != nil && p != &ps.root; p = p.prev {
		if p.confirmed {
			return p
		}
	}
	return nil
}

// find returns the entry with this name, nil without one.
func (ps *preparedSet) find(name string) *prepared {
	for _, p := range ps.m {
		if p.name == name {
			return p
		}
	}
	return nil
}

// clear forgets everything, as DISCARD ALL does on the server.
func (ps *preparedSet) clear(t *stmtTable) {
	for _, p := range ps.m {
		t.hold(p.key.stmt, -1)
		p.prev, p.next = nil, nil
	}
	if ps.m != nil {
		ps.init()
	}
}

func (p *prepared) unlink() { p.prev.next, p.next.prev = p.next, p.prev }

func (p *prepared) linkAfter(q *prepared) {
	p.prev, p.next = q, q.next
	q.next.prev = p
	q.next = p
}
