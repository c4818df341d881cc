package pooler

import (
	"errors"

	"pgdrover/internal/connect"
	"pgdrover/internal/sqlparse"
)

// A decision that is carried out on every shard is of no use any more, and its row is removed (see twophase.go). That is not urgent: it is done for
// many at once, by a server that goes back to its pool when there are enough of them, or by an idle one at the next look. Those that are lost with
// the process recovery removes.

// forgetAtOnce is how many decisions are removed together.
const forgetAtOnce = 32

// forgets notes that the decision of a leg, if it has made one, has been carried out. It returns those that the leg's server is to remove now.
func (l *leg) forgets() (now []string) {
	if l.decision == "" {
		return nil
	}
	if _, asOther := envGet(l.srv.session.all, "role"); asOther {
		return []string{l.decision} // only the role that made it may remove it
	}
	pl := l.pool
	pl.mu.Lock()
	defer pl.mu.Unlock()
	pl.decided = append(pl.decided, l.decision)
	if len(pl.decided) < forgetAtOnce {
		return nil
	}
	now, pl.decided = pl.decided, nil
	return now
}

// sweepDecisions removes decisions over an idle server, if there is one.
func (pl *pool) sweepDecisions() {
	pl.mu.Lock()
	if len(pl.idle) == 0 || len(pl.decided) == 0 || pl.held() {
		pl.mu.Unlock()
		return
	}
	s := pl.popIdle()
	ids := pl.decided
	pl.decided = nil
	s.state.Store(serverActive)
	pl.mu.Unlock()
	pl.p.wg.Go(func() {
		s.removeDecisions(ids, "SET LOCAL ROLE NONE; ")
		pl.release(s)
	})
}

// removeDecisions does so in one transaction. If that is lost in a crash, recovery does it again.
func (s *server) removeDecisions(ids []string, as string) {
	list := textArray(len(ids), func(i int) *string { return &ids[i] })
	text := "SET LOCAL synchronous_commit = off; " + as + "SELECT pgdrover.forget(" + sqlparse.QuoteLiteral(list) + ")"
	err := s.exchange(appendQuery(nil, text), syncTimeout, nil)
	if err == nil {
		return
	}
	var se *connect.ServerError
	if !errors.As(err, &se) {
		s.dead.Store(true)
	}
	s.pool.log.Debug().Err(err).Strs("transactions", ids).Msg("decisions that are carried out could not be removed, left to recovery")
}
