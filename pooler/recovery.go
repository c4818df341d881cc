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
		for _, d := range p.shardedDatabases() {
			text := ""
			if err := p.recover(d); err != nil && !errors.Is(err, errNoRecovery) && p.ctx.Err() == nil {
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
	if sh == nil || d.conf.Load().RecoveryUser == "" || p.shutdown.Load() != 0 {
		return errNoRecovery
	}
	shards := sh.m.Shards()
	var failed error
	// Decisions first: when one is there, all its participants have prepared, so that those who are not found below have finished.
	decided := map[string][]string{} // by shard
	for _, name := range shards {
		rows, err := p.askOwn(d, name, 'I', appendQuery(nil, queryDecisions))
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("shard %q: %w", name, err))
			continue
		}
		for _, r := range rows {
			if participants := strings.Split(r[1], "/"); !slices.ContainsFunc(participants, func(s string) bool { return !slices.Contains(shards, s) }) {
				decided[name] = append(decided[name], r[0])
			}
		}
	}
	open := map[string]bool{} // decisions with a participant that has not finished
	for _, name := range shards {
		left, err := p.recoverShard(d, shards, name)
		for _, g := range left {
			open[g.decision()] = true
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("shard %q: %w", name, err))
		}
	}
	if failed != nil {
		return failed
	}
	for name, gids := range decided {
		done := slices.DeleteFunc(gids, func(g string) bool { return open[g] })
		if len(done) == 0 {
			continue
		}
		list := textArray(len(done), func(i int) *string { return &done[i] })
		if _, err := p.askOwn(d, name, 'I', extendedQuery("DELETE FROM pgdrover.decision WHERE gid OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.text[])", list)); err != nil {
			failed = errors.Join(failed, fmt.Errorf("shard %q: %w", name, err))
		}
	}
	return failed
}

// recoverShard finishes what one shard has prepared and nobody has finished for a while. left are all others.
func (p *Pooler) recoverShard(d *database, shards []string, name string) (left []gid, err error) {
	rows, err := p.askOwn(d, name, 'I', appendQuery(nil, queryPrepared))
	if err != nil {
		return nil, err
	}
	var failed error
	for _, r := range rows {
		g, ok := parseGID(r[0])
		switch {
		case !ok || g.shard != name || !slices.Contains(shards, g.decider): // of another database over the same servers
		case r[2] != "t":
			left = append(left, g)
		default:
			if err := p.finish(d, g, r[1]); err != nil {
				left = append(left, g)
				failed = errors.Join(failed, fmt.Errorf("transaction %s: %w", r[0], err))
			}
		}
	}
	return left, failed
}

// finish commits or rolls back what a shard has prepared as owner.
func (p *Pooler) finish(d *database, g gid, owner string) error {
	committed, err := p.outcome(d, g)
	if err != nil {
		return err
	}
	verb := "ROLLBACK PREPARED "
	if committed {
		verb = "COMMIT PREPARED "
	}
	_, err = p.askOwn(d, g.shard, 'I', appendQuery(nil, "SET ROLE "+sqlparse.QuoteIdent(owner)), appendQuery(nil, verb+sqlparse.QuoteLiteral(g.of(g.shard))))
	p.log.Info().Err(err).Str("database", d.name).Str("transaction", g.of(g.shard)).Msg("recovery: " + strings.TrimSpace(verb))
	return err
}

// outcome finds out whether a transaction was committed. It waits for one that is still being decided.
func (p *Pooler) outcome(d *database, g gid) (committed bool, err error) {
	rows, err := p.askOwn(d, g.decider, 'T', appendQuery(nil, "BEGIN"), appendQuery(nil, probeTimeout), extendedQuery(catalog.ProbeDecision+" RETURNING gid", g.decision()))
	return err == nil && len(rows) == 0, err
}

// awaitOutcome is outcome for a session whose connection to the decider was lost. The decider's backend may still be at work, or
// wait for us: it is ended first.
func (p *Pooler) awaitOutcome(d *database, g gid, lost *leg) (committed bool, err error) {
	err = p.retry(func() error {
		if err := p.endBackend(d, lost); err != nil {
			return err
		}
		var err error
		committed, err = p.outcome(d, g)
		return err
	})
	return committed, err
}

// fate finds out what became of a transaction on one shard whose connection was lost during COMMIT.
func (p *Pooler) fate(d *database, lost *leg) (committed, known bool) {
	if lost.xid == "" {
		return false, false
	}
	err := p.retry(func() error {
		if err := p.endBackend(d, lost); err != nil {
			return err
		}
		rows, err := p.askOwn(d, lost.pool.key.shard, 'I', extendedQuery("SELECT pg_catalog.txid_status($1::pg_catalog.int8)", lost.xid))
		switch {
		case err != nil:
			return err
		case len(rows) != 1 || rows[0][0] == "":
			return errOutOfStep
		case rows[0][0] == "in progress":
			return errors.New("the transaction is still in progress")
		}
		committed = rows[0][0] == "committed"
		return nil
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
	_, err := p.askOwn(d, lost.pool.key.shard, 'I', extendedQuery(end, fmt.Sprint(lost.srv.sc.PID), lost.xid))
	return err
}

// retry calls f until it succeeds or outcomeTimeout is over.
func (p *Pooler) retry(f func() error) error {
	deadline := time.Now().Add(outcomeTimeout)
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := f()
		if err == nil || errors.Is(err, errNoRecovery) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-time.After(wait):
		case <-p.ctx.Done():
			return err
		}
	}
}

// askOwn has a connection of our own to a shard, as recovery_user, run msgs one after the other, and returns their rows; NULL is "". Each
// leaves the transaction status tx behind; with 'T', which begins with BEGIN, nothing is committed.
func (p *Pooler) askOwn(d *database, name string, tx byte, msgs ...[]byte) ([][]string, error) {
	user := d.conf.Load().RecoveryUser
	if user == "" {
		return nil, errNoRecovery
	}
	s, err := p.findPool(d, name, user, "none").openOwn()
	if err != nil {
		return nil, err
	}
	defer s.close("recovery is done")
	defer context.AfterFunc(p.ctx, func() { s.conn.interrupt(true) })()
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

// openOwn opens a server for ourselves, within the limits that span pools.
func (pl *pool) openOwn() (*server, error) {
	if !pl.p.ledger.take(pl) {
		pl.p.evictFor(pl)
		if !pl.p.ledger.take(pl) {
			return nil, fmt.Errorf("%s is reached", pl.p.ledger.over(pl))
		}
	}
	s, err := pl.p.openServer(pl)
	if err != nil {
		pl.p.ledger.give(pl)
		return nil, err
	}
	s.state.Store(serverActive)
	s.linkedAt.Store(now())
	return s, nil
}
