package pooler

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"pgdrover/internal/config"
	"pgdrover/internal/connect"
)

// server is one connection to PostgreSQL. It belongs to whoever holds it: a session while it is linked, its pool
// while it is idle, a goroutine of the pool while it is tested or reset. Only the atomic fields and those
// that name a lock may be used by others.
type server struct {
	// What every query needs.
	pool        *pool
	conn        conn
	session     session // what its parameters are known to be
	tx          byte    // status of the last ReadyForQuery
	midway      bool    // a message to it is half way: whatever were sent now would be read as part of it
	parked      bool    // released while a cancel request was on its way: not handed out before it has arrived; guarded by pool.mu
	state       atomic.Uint32
	closeNeeded atomic.Bool
	dead        atomic.Bool // its peer has hung up
	link        atomic.Pointer[client]
	linkedAt    atomic.Int64
	createdAt   int64
	releasedAt  int64    // when it last became idle
	cancels     int      // cancel requests on their way to it; guarded by pool.mu
	unOwner     uint64   // client whose unnamed statement is on it
	unGen       uint64   // and which of that client's it is
	toClose     []string // statements to be closed when it is next used
	prepared    preparedSet
	nPrepared   atomic.Int32

	id         uint64
	sc         *connect.Server
	conf       *config.Database // where it is
	quiet      bool             // one of our own that the log leaves out
	mark       int              // pool.marks when it was opened, of one of our own
	base       env              // what its parameters were after the login, for what DISCARD ALL brings back
	asks       []string         // parameters that follow clients and that this server does not report
	kept       kept             // what the session knows of it while another shard's server is linked
	tlsName    string
	readiedFor atomic.Pointer[client] // see readying
	mute       atomic.Bool            // lookout has found that no answer will come
	closed     atomic.Bool
	appName    atomic.Pointer[string]
}

// Server states, for SHOW SERVERS.
const (
	serverIdle uint32 = iota
	serverActive
	serverTested
)

func (s *server) hungUp() {
	s.dead.Store(true)
	if c := s.link.Load(); c != nil {
		c.interrupt(reasonServer)
		return
	}
	s.pool.dropIdle(s)
}

func (s *server) readable() {
	if c := s.link.Load(); c != nil {
		c.interrupt(reasonServer)
	}
}

// reported notes a ParameterStatus.
func (s *server) reported(name, value string) {
	if isFollowing(name, s.pool.extraParams()) {
		s.session.set(name, value)
	}
	if strings.EqualFold(name, "application_name") {
		s.appName.Store(&value)
	}
}

// deallocated notes DEALLOCATE ALL.
func (s *server) deallocated() {
	s.prepared.clear(s.pool.p.stmts)
	s.nPrepared.Store(0)
}

// discarded is called after DISCARD ALL.
func (s *server) discarded() {
	s.deallocated()
	// What is reported has come as ParameterStatus; the rest is back to its default.
	s.session = newSession(envKeep(s.session.all, func(n string) bool { _, ok := envGet(s.base, n); return ok }))
}

// forget closes those of our statements that match before the server is used again.
func (s *server) forget(match func(*stmt) bool) {
	for _, p := range s.prepared.m {
		if p.confirmed && match(p.key.stmt) {
			s.giveUp(p)
		}
	}
	s.nPrepared.Store(int32(s.prepared.len()))
}

// giveUp forgets a statement, and has it closed when the server is next used.
func (s *server) giveUp(p *prepared) {
	s.closeLater(p.name)
	s.prepared.remove(s.pool.p.stmts, p)
}

// forgetUnwanted gives up the texts that no client knows any more, when there are too many.
func (s *server) forgetUnwanted() {
	if t := s.pool.p.stmts; t.over.Load() {
		s.forget(t.unwanted)
	}
}

func (s *server) closeLater(name string) {
	if !slices.Contains(s.toClose, name) {
		s.toClose = append(s.toClose, name)
	}
}

// wantsCheck reports whether a server that is handed out at t has to be tried first.
func (s *server) wantsCheck(t int64) bool {
	set := s.pool.p.settings()
	return s.dead.Load() || set.ServerCheckQuery != "" && (t-s.releasedAt >= int64(set.ServerCheckDelay) || set.ServerCheckDelay <= 0)
}

// check tries a server that is about to be handed out.
func (s *server) check() error {
	if s.dead.Load() {
		return errors.New("server closed the connection while it was idle")
	}
	set := s.pool.p.settings()
	q := set.ServerCheckQuery
	if q == "<empty>" {
		q = ""
	}
	s.state.Store(serverTested)
	defer s.state.Store(serverActive)
	if err := s.simple(q, unlimited(set.ServerConnectTimeout)); err != nil {
		return fmt.Errorf("%w: %w", errCheckQuery, err)
	}
	return nil
}

// What has failed on a new connection, besides the login.
var (
	errCheckQuery   = errors.New("server_check_query failed")
	errConnectQuery = errors.New("connect_query failed")
)

// unlimited is a setting for which 0 is no limit.
func unlimited(d time.Duration) time.Duration {
	if d <= 0 {
		return 365 * 24 * time.Hour
	}
	return d
}

// simple runs a query of ours and leaves its result aside.
func (s *server) simple(query string, timeout time.Duration) error {
	return s.exchange(appendQuery(nil, query), timeout, nil)
}

func appendQuery[T string | []byte](b []byte, query T) []byte {
	b = append(b, 'Q')
	b = binary.BigEndian.AppendUint32(b, uint32(4+len(query)+1))
	b = append(b, query...)
	return append(b, 0)
}

// exchange sends messages that end with one Query or Sync and reads up to ReadyForQuery. each, if not nil, sees
// every message that is not a parameter or a notice. An error of the server's is returned as *connect.ServerError after
// the stream has come to ReadyForQuery; with any other error the connection is unusable.
func (s *server) exchange(msg []byte, timeout time.Duration, each func(typ byte, body []byte) error) error {
	return s.exchangeIn('I', msg, timeout, each)
}

// maxAnswer bounds a message of an answer to a question of ours. The longest is the definition of something in the catalogs.
const maxAnswer = 64 << 20

// exchangeIn is exchange for a server that must have the transaction status tx afterwards.
func (s *server) exchangeIn(tx byte, msg []byte, timeout time.Duration, each func(typ byte, body []byte) error) error {
	var failed error
	s.unOwner = 0 // a query of ours destroys the unnamed statement
	deadline := time.Now().Add(timeout)
	err := s.conn.within(timeout, func(nc net.Conn) error {
		if c := s.readiedFor.Load(); c != nil && c.hasHadEnough() { // its interrupt came before the deadline was set
			return os.ErrDeadlineExceeded
		}
		if _, err := nc.Write(msg); err != nil {
			return err
		}
		pooled := s.pool.p.bufs.get()
		defer s.pool.p.bufs.put(pooled)
		buf := pooled[:]
		r, w := 0, 0
		c := s.link.Load()
		parked := c != nil && c.srv != s
		// The beginning of a message may have been read with the last answer.
		if parked {
			c = nil
			w = copy(buf, s.kept.in)
			s.kept.in = nil
		} else if c != nil {
			w = copy(buf, c.sin.bytes())
			c.sin.r += w
		}
		for {
			if w-r >= headerLen {
				n := int(binary.BigEndian.Uint32(buf[r+1:])) + 1
				if n < headerLen || n > maxAnswer {
					return fmt.Errorf("%w: message %q with %d bytes", errOutOfStep, buf[r], n)
				}
				if n > len(buf) {
					buf = append(make([]byte, 0, n), buf[r:w]...)[:n]
					r, w = 0, w-r
				}
				if w-r >= n {
					typ, body := buf[r], buf[r+headerLen:r+n]
					r += n
					switch typ {
					case 'Z':
						if r != w && c == nil && !parked || len(body) != 1 {
							return fmt.Errorf("%w: bytes behind ReadyForQuery", errOutOfStep)
						}
						s.tx = body[0]
						switch {
						case r == w:
						case parked:
							s.kept.in = append([]byte(nil), buf[r:w]...)
						case w-r > len(c.sin.room()):
							return fmt.Errorf("%w: %d bytes behind ReadyForQuery", errOutOfStep, w-r)
						default:
							c.sin.took(copy(c.sin.room(), buf[r:w]), false)
						}
						return nil
					case 'S':
						if name, value, ok := parseParameterStatus(body); ok {
							s.reported(name, value)
						}
					case 'E':
						se, err := connect.ParseServerError(body)
						if err != nil {
							return err
						}
						failed = se
					case 'N', 'A':
					default:
						if each != nil {
							if err := each(typ, body); err != nil {
								return err
							}
						}
					}
					continue
				}
			}
			if r > 0 {
				w = copy(buf, buf[r:w])
				r = 0
			}
			n, err := nc.Read(buf[w:])
			if isTimeout(err) { // an interrupt that comes behind this has its way with the next read
				if err := nc.SetReadDeadline(deadline); err != nil {
					return err
				}
				if s.mayGoOn(deadline) {
					continue
				}
			}
			if err != nil {
				return err
			}
			w += n
		}
	})
	if err != nil {
		return err
	}
	if s.tx != tx && (failed == nil || tx == 'I') {
		return fmt.Errorf("%w: transaction status %q after a query of ours", errOutOfStep, s.tx)
	}
	return failed
}

// mayGoOn reports whether a read that has timed out was only interrupted, for a reason that the linked client's session
// deals with when it waits for its client again.
func (s *server) mayGoOn(deadline time.Time) bool {
	if c := s.readiedFor.Load(); c != nil && c.hasHadEnough() {
		return false
	}
	c := s.link.Load()
	return time.Now().Before(deadline) && !s.mute.Load() && s.pool.p.ctx.Err() == nil && (c == nil || !c.dying.Load())
}

// close ends the connection. Only the holder may call it; a second call does nothing.
func (s *server) close(why string) {
	if s.closed.Swap(true) {
		return
	}
	s.pool.p.watch.remove(s.conn.fd())
	if !s.midway {
		// Terminate tells the server that this is on purpose. It is no loss if there is no room for it.
		_ = s.conn.netConn().SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		_, _ = s.conn.netConn().Write([]byte{'X', 0, 0, 0, 4})
	}
	// A server that is found unfit when it is released is closed inside the callback of its own loop, and
	// net.Conn.Close waits until such a callback has returned.
	go s.conn.close()
	s.prepared.clear(s.pool.p.stmts)
	s.pool.gone(s, why)
}

// reset runs server_reset_query, after which the server is as new.
func (s *server) reset() error {
	q := s.pool.p.settings().ServerResetQuery
	if q == "" {
		return nil
	}
	s.state.Store(serverTested)
	discards := false
	err := s.exchange(appendQuery(nil, q), resetTimeout, func(typ byte, body []byte) error {
		if typ == 'C' && string(body) == "DISCARD ALL\x00" {
			discards = true
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("server_reset_query failed: %w", err)
	}
	if discards {
		s.discarded()
	}
	return nil
}

// resetTimeout bounds server_reset_query, which has no setting of its own.
const resetTimeout = 30 * time.Second
