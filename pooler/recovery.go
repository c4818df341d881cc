package pooler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pgdrover/internal/sqlparse"

	"pgdrover/internal/catalog"
	"pgdrover/internal/config"
	"pgdrover/internal/connect"
)

const (
	// recoverEvery is how often prepared transactions are looked for that nobody finishes; recoverAge how old they are then, in seconds.
	recoverEvery = 3 * time.Second
	recoverAge   = 3
	// decisionAge is how old a decision is, in seconds, before recovery removes it in the place of the session that made it.
	decisionAge = 60
	// outcomeTimeout is how long a session waits to learn what became of its COMMIT.
	outcomeTimeout = 15 * time.Second
)

// queryPrepared lists what our transactions have prepared on a shard, and whether it is old enough for recovery.
var queryPrepared = fmt.Sprintf(`SELECT gid, owner::pg_catalog.text, prepared OPERATOR(pg_catalog.<) `+
	`(pg_catalog.now() OPERATOR(pg_catalog.-) interval '%d seconds') FROM pg_catalog.pg_prepared_xacts `+
	`WHERE database OPERATOR(pg_catalog.=) pg_catalog.current_database() AND gid OPERATOR(pg_catalog.~~) '%s%%'`, recoverAge, gidPrefix)

// queryDecisions lists the decisions that are old enough to be looked at, and who takes part.
var queryDecisions = fmt.Sprintf(`SELECT gid, pg_catalog.array_to_string(participants, '/') FROM pgdrover.decision WHERE created OPERATOR(pg_catalog.<) `+
	`(pg_catalog.now() OPERATOR(pg_catalog.-) interval '%d seconds')`, decisionAge)

// probeTimeout keeps a probe from waiting for ever for a decider that is in flight; it is tried again.
const probeTimeout = `SET LOCAL lock_timeout = '10s'`

var errNoRecovery = errors.New("the database has no recovery_user")

// recoverLoop finishes what crashes have left, for as long as the pooler runs. Any number of poolers may do so at the same time.
func (p *Pooler) recoverLoop() {
	t := time.NewTicker(recoverEvery)
	defer t.Stop()
	said := map[string]string{} // the last complaint about each database
	for {
		p.sweepOwn()
		for _, d := range p.shardedDatabases() {
			text := ""
			switch err := p.recover(d); {
			case errors.Is(err, errNoRecovery), p.ctx.Err() != nil:
			case err == nil && said[d.name] != "":
				p.log.Info().Str("database", d.name).Msg("recovery of transactions over several shards works again")
			case err != nil:
				if text = err.Error(); text != said[d.name] {
					p.log.Warn().Err(err).Str("database", d.name).Msg("recovery of transactions over several shards failed, and is tried again")
				}
			}
			said[d.name] = text
		}
		select {
		case <-t.C:
		case <-p.ctx.Done():
			return
		}
	}
}

func (p *Pooler) shardedDatabases() []*database {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []*database
	for _, d := range p.databases {
		if d.sharding.Load() != nil {
			out = append(out, d)
		}
	}
	return out
}

// recover finishes the prepared transactions of one database, and removes decisions that nobody needs any more. A shard that is down keeps
// neither the others from being finished nor, as its own may be missing, lets a decision be removed.
func (p *Pooler) recover(d *database) error {
	sh := d.sharding.Load()
	if sh == nil || d.conf.Load().RecoveryUser == "" || p.shutdown.Load() != 0 || p.resting(d) {
		return errNoRecovery
	}
	all := p.allPlaces(d)
	if _, err := onPlaces(all, func(at place) (struct{}, error) { return struct{}{}, p.recoverShard(d, all, at) }); err != nil {
		return err
	}
	// Decisions first: when one is there, all its participants have prepared, so that those who are not found behind it have finished.
	decided, err := onPlaces(all, func(at place) ([]string, error) { return p.decisions(d, all, at) })
	if err != nil || !slices.ContainsFunc(decided, func(gids []string) bool { return len(gids) > 0 }) {
		return err
	}
	prepared, err := onPlaces(all, func(at place) ([][]string, error) { return p.prepared(d, at) })
	if err != nil {
		return err
	}
	open := map[string]bool{} // decisions with a participant that has not finished
	for _, rows := range prepared {
		for _, r := range rows {
			if g, ok := parseGID(r[0]); ok {
				open[g.decision()] = true
			}
		}
	}
	for i, gids := range decided {
		done := slices.DeleteFunc(gids, func(g string) bool { return open[g] })
		if len(done) == 0 {
			continue
		}
		list := textArray(len(done), func(i int) *string { return &done[i] })
		if _, err := p.askOwn(d, all[i], 'I', extendedQuery("DELETE FROM pgdrover.decision WHERE gid OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.text[])", list)); err != nil {
			return fmt.Errorf("shard %q: %w", all[i].name, err)
		}
	}
	return nil
}

// decisions lists those that sessions of this database have left at a place, and all of whose participants can be looked at.
func (p *Pooler) decisions(d *database, all []place, at place) (gids []string, err error) {
	rows, err := p.askOwn(d, at, 'I', appendQuery(nil, queryDecisions))
	for _, r := range rows {
		unknown := func(name string) bool { return !slices.ContainsFunc(all, func(o place) bool { return o.name == name }) }
		if f := strings.Split(r[0], "/"); len(f) == 3 && strings.HasSuffix(f[1], databaseTag(d.name)) && !slices.ContainsFunc(strings.Split(r[1], "/"), unknown) {
			gids = append(gids, r[0])
		}
	}
	return gids, err
}

// prepared lists what our transactions have prepared at a place.
func (p *Pooler) prepared(d *database, at place) ([][]string, error) {
	return p.askOwn(d, at, 'I', appendQuery(nil, queryPrepared))
}

// recoverShard finishes what one shard has prepared and nobody has finished for a while.
func (p *Pooler) recoverShard(d *database, all []place, at place) error {
	over := at.was != nil && !at.was.inUse() // who is not there now will prepare nothing behind the look at it
	rows, err := p.prepared(d, at)
	if err != nil {
		return err
	}
	for _, r := range rows {
		g, ok := parseGID(r[0])
		if !ok || g.shard != at.name || !slices.ContainsFunc(all, func(o place) bool { return o.name == g.decider }) {
			continue // of another database over the same servers
		}
		over = over && r[2] == "t"
		if r[2] != "t" {
			continue
		}
		if ferr := p.finish(d, all, at, g, r[1]); ferr != nil {
			err = errors.Join(err, fmt.Errorf("transaction %s: %w", r[0], ferr))
		}
	}
	if over && err == nil {
		p.forgetRetired(d, at.was)
	}
	return err
}

// finish commits or rolls back what a shard has prepared as owner.
func (p *Pooler) finish(d *database, all []place, at place, g gid, owner string) error {
	committed, err := false, errOtherServer
	for _, decider := range all {
		if decider.name == g.decider && errors.Is(err, errOtherServer) {
			committed, err = p.outcome(d, decider, g)
		}
	}
	if err != nil {
		return err
	}
	verb := "ROLLBACK PREPARED "
	if committed {
		verb = "COMMIT PREPARED "
	}
	_, err = p.askOwn(d, at, 'I', appendQuery(nil, "SET ROLE "+sqlparse.QuoteIdent(owner)), appendQuery(nil, verb+sqlparse.QuoteLiteral(g.of(g.shard))), appendQuery(nil, "RESET ROLE"))
	var se *connect.ServerError
	if errors.As(err, &se) && se.Code() == "42704" {
		return nil // somebody else has finished it meanwhile, in the same way
	}
	p.log.Info().Err(err).Str("database", d.name).Str("transaction", g.of(g.shard)).Msg("recovery: " + strings.TrimSpace(verb))
	return err
}

// outcome finds out whether a transaction was committed. It waits for one that is still being decided. Another server than the one that
// decided would know nothing of it, and is not believed.
func (p *Pooler) outcome(d *database, decider place, g gid) (committed bool, err error) {
	rows, err := p.askOwn(d, decider, 'T', appendQuery(nil, "BEGIN"), appendQuery(nil, probeTimeout), appendQuery(nil, "SELECT "+identity),
		extendedQuery(catalog.ProbeDecision+" RETURNING gid", g.decision()))
	switch {
	case err != nil:
		return false, err
	case len(rows) == 0 || rows[0][0] != g.at:
		return false, errOtherServer
	}
	return len(rows) == 1, nil
}

var errOtherServer = errors.New("the server of the shard that has decided on it is not the one that is configured now")

// awaitOutcome is outcome for a session whose connection to the decider was lost. The decider's backend may still be at work, or
// wait for us: it is ended first.
func (p *Pooler) awaitOutcome(d *database, g gid, lost *leg) (committed bool, err error) {
	return p.retry(func() (bool, error) {
		if err := p.endBackend(d, lost); err != nil {
			return false, err
		}
		return p.outcome(d, lost.place(), g)
	})
}

// fate finds out what became of a transaction on one shard whose connection was lost during COMMIT.
func (p *Pooler) fate(d *database, lost *leg) (committed, known bool) {
	if lost.xid == "" {
		return false, false
	}
	committed, err := p.retry(func() (bool, error) {
		if err := p.endBackend(d, lost); err != nil {
			return false, err
		}
		rows, err := p.askOwn(d, lost.place(), 'I', extendedQuery("SELECT pg_catalog.txid_status($1::pg_catalog.int8)", lost.xid))
		switch {
		case err != nil:
			return false, err
		case len(rows) != 1 || rows[0][0] == "":
			return false, errOutOfStep
		case rows[0][0] == "in progress":
			return false, errors.New("the transaction is still in progress")
		}
		return rows[0][0] == "committed", nil
	})
	return committed, err == nil
}

// endBackend ends the backend of a lost connection if it still has the transaction open.
func (p *Pooler) endBackend(d *database, lost *leg) error {
	const end = `SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE pid OPERATOR(pg_catalog.=) $1::pg_catalog.int4 ` +
		`AND backend_xid::pg_catalog.text OPERATOR(pg_catalog.=) ($2::pg_catalog.int8 OPERATOR(pg_catalog.%) 4294967296)::pg_catalog.text`
	if lost.xid == "" {
		return nil
	}
	_, err := p.askOwn(d, lost.place(), 'I', extendedQuery(end, fmt.Sprint(lost.srv.sc.PID), lost.xid))
	return err
}

// retry calls f until it succeeds or outcomeTimeout is over, and does not wait longer for one that hangs.
func (p *Pooler) retry(f func() (bool, error)) (bool, error) {
	type answer struct {
		yes bool
		err error
	}
	late := time.NewTimer(outcomeTimeout)
	defer late.Stop()
	err := errors.New("the server does not answer")
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		ch := make(chan answer, 1)
		p.wg.Go(func() {
			yes, err := f()
			ch <- answer{yes, err}
		})
		select {
		case a := <-ch:
			if a.err == nil || errors.Is(a.err, errNoRecovery) {
				return a.yes, a.err
			}
			err = a.err
		case <-time.After(answerLate): // another attempt has another connection
			continue
		case <-late.C:
			return false, err
		}
		select {
		case <-time.After(wait):
		case <-late.C:
			return false, err
		case <-p.ctx.Done():
			return false, err
		}
	}
}

// askOwn has a connection of our own to a shard, as recovery_user, run msgs one after the other, and returns their rows; NULL is "". Each
// leaves the transaction status tx behind; with 'T', which begins with BEGIN, nothing is committed. What they set they take back.
func (p *Pooler) askOwn(d *database, at place, tx byte, msgs ...[]byte) ([][]string, error) {
	user := d.conf.Load().RecoveryUser
	if user == "" {
		return nil, errNoRecovery
	}
	pl := p.findPool(d, at.name, user, "none")
	s, err := pl.takeOwn(at.conf)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(p.ctx, func() { s.conn.interrupt(true) })
	rows, err := s.rowsIn(tx, msgs)
	ended := error(nil)
	if tx != 'I' && err == nil {
		ended = s.exchange(appendQuery(nil, "ROLLBACK"), syncTimeout, nil)
	}
	var se *connect.ServerError
	if !stop() || ended != nil || err != nil && (len(msgs) > 1 || !errors.As(err, &se)) { // it may stand anywhere
		s.close("recovery is done")
	} else {
		pl.keepOwn(s)
	}
	return rows, err
}

// rowsIn is askOwn on one connection.
func (s *server) rowsIn(tx byte, msgs [][]byte) ([][]string, error) {
	var rows [][]string
	for _, m := range msgs {
		err := s.exchangeIn(tx, m, syncTimeout, func(typ byte, body []byte) error {
			if typ != 'D' {
				return nil
			}
			f, err := dataRow(body)
			if err != nil {
				return err
			}
			row := make([]string, len(f))
			for i, v := range f {
				if v != nil {
					row[i] = *v
				}
			}
			rows = append(rows, row)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return rows, nil
}

var errLimitReached = errors.New("is reached")

// openOwn opens a server for ourselves, within the limits that span pools. The error is errLimitReached if they allow none.
func (pl *pool) openOwn() (*server, error) { return pl.openOwnAt(pl.config(), false) }

// openOwnAt is openOwn for the server that conf describes. One that is quiet comes and goes so often that the log does not have it.
func (pl *pool) openOwnAt(conf *config.Database, quiet bool) (*server, error) {
	if !pl.p.ledger.take(pl) {
		pl.p.evictFor(pl)
		if !pl.p.ledger.take(pl) {
			return nil, fmt.Errorf("%s %w", pl.p.ledger.over(pl), errLimitReached)
		}
	}
	s, err := pl.p.openServer(pl, conf)
	if err != nil {
		pl.p.ledger.give(pl)
		return nil, err
	}
	s.state.Store(serverActive)
	s.linkedAt.Store(now())
	s.quiet = quiet
	pl.p.logServerOpened(s)
	return s, nil
}
