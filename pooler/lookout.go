package pooler

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A server that has been asked to prepare or to commit may take its time: it may wait for its standbys. But it may also never have heard the
// question, or its answer never arrive, because the network between loses everything without a word. After answerLate it is looked at over
// another connection, and given up if it does not work for us, or cannot be reached.

const (
	answerLate = 5 * time.Second
	lookAgain  = time.Second
)

var errNoAnswer = errors.New("it does not answer, and is not at work on an answer")

// lookout looks after a server that was asked something. The caller calls over when it has its answer.
func (p *Pooler) lookout(l *leg) (over func()) {
	w := &lookout{p: p, l: l, done: make(chan struct{})}
	t := time.AfterFunc(answerLate, w.run)
	return func() {
		if t.Stop() {
			return
		}
		w.mu.Lock()
		w.over = true
		w.mu.Unlock()
		close(w.done)
	}
}

type lookout struct {
	p    *Pooler
	l    *leg
	done chan struct{}
	mu   sync.Mutex // held while the server is interrupted, which must not hit what it does next
	over bool       // guarded by mu
}

func (w *lookout) run() {
	w.mu.Lock()
	if w.over {
		w.mu.Unlock()
		return
	}
	w.p.wg.Add(1) // the session that waits is counted as well
	w.mu.Unlock()
	defer w.p.wg.Done()
	idle, missed := 0, 0
	for {
		working, err := w.l.working(idle > 0)
		pause := lookAgain
		switch {
		case err == nil && working:
			idle, missed, pause = 0, 0, answerLate
		case err == nil:
			idle++ // its answer may just be under way
		case isTimeout(err), errors.Is(err, context.DeadlineExceeded):
			missed += 2
		case unreachable(err):
			missed++
		} // whoever only refuses us, because of a limit for instance, is there
		if idle > 1 || missed > 1 {
			w.giveUp(err)
			return
		}
		select {
		case <-time.After(pause):
		case <-w.done:
			return
		case <-w.p.ctx.Done():
			return
		}
	}
}

func (w *lookout) giveUp(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return
	}
	s := w.l.srv
	w.p.log.Warn().Err(err).Str("database", w.l.pool.key.database).Str("shard", w.l.pool.key.shard).Uint64("server", s.id).
		Msg("a server does not answer, and its connection is given up")
	s.mute.Store(true)
	s.conn.interrupt(true)
}

// unreachable reports whether err says that there is no way to the server.
func unreachable(err error) bool {
	var op *net.OpError
	return errors.As(err, &op)
}

// queryWorking tells whether a backend works, and if $2 ends it if it does not: what it was asked has not come to it, or its answer is lost.
const queryWorking = `SELECT CASE WHEN state OPERATOR(pg_catalog.~~) 'idle%' THEN CASE WHEN $2::pg_catalog.bool THEN pg_catalog.pg_terminate_backend(pid) IS NULL ELSE false END ELSE true END FROM pg_catalog.pg_stat_activity ` +
	`WHERE pid OPERATOR(pg_catalog.=) $1::pg_catalog.int4 AND datname OPERATOR(pg_catalog.=) pg_catalog.current_database() AND usename OPERATOR(pg_catalog.=) current_user`

// working asks over another connection whether the leg's server works, and may end it if it does not.
func (l *leg) working(end bool) (working bool, err error) {
	s, err := l.pool.openOwnAt(l.srv.conf, true)
	if err != nil {
		return false, err
	}
	defer s.close("looking at another server is done")
	err = s.exchange(extendedQuery(queryWorking, fmt.Sprint(l.srv.sc.PID), strconv.FormatBool(end)), syncTimeout, func(typ byte, body []byte) error {
		if f, err := dataRow(body); typ == 'D' && err == nil && len(f) == 1 {
			working = f[0] == nil || *f[0] == "t"
		}
		return nil
	})
	return working, err
}

// waitsFor adds to e which shards a session has asked something.
func (e *Error) waitsFor(c *client) *Error {
	var names []string
	if f := c.fanned.Load(); f != nil {
		for _, s := range f.servers {
			names = append(names, strconv.Quote(s.pool.key.shard))
		}
	} else if s := c.link.Load(); s != nil && s.pool.key.shard != "" {
		names = append(names, strconv.Quote(s.pool.key.shard))
	}
	switch len(names) {
	case 0:
	case 1:
		e.Detail += " It was under way on shard " + names[0] + "."
	default:
		e.Detail += " It was under way on shards " + strings.Join(names, ", ") + "."
	}
	return e
}
