package pooler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"pgdrover/internal/catalog"
)

// recoverEvery is how often prepared transactions are looked for that nobody finishes; recoverAge how old they are then, in seconds.
const (
	recoverEvery = 5 * time.Second
	recoverAge   = 5
)

// queryPrepared lists what recovery may have to finish on a shard.
var queryPrepared = fmt.Sprintf(`SELECT gid, owner::pg_catalog.text FROM pg_catalog.pg_prepared_xacts `+
	`WHERE database OPERATOR(pg_catalog.=) pg_catalog.current_database() AND gid OPERATOR(pg_catalog.~~) '%s%%' `+
	`AND prepared OPERATOR(pg_catalog.<) (pg_catalog.now() OPERATOR(pg_catalog.-) interval '%d seconds')`, gidPrefix, recoverAge)

// queryDecisions lists the decisions that are old enough to be looked at.
var queryDecisions = fmt.Sprintf(`SELECT gid FROM pgdrover.decision WHERE created OPERATOR(pg_catalog.<) `+
	`(pg_catalog.now() OPERATOR(pg_catalog.-) interval '%d seconds')`, 12*recoverAge)

var errNoRecovery = errors.New("the database has no recovery_user")

// recoverLoop finishes what crashes have left, for as long as the pooler runs. Any number of poolers may do so at the same time.
func (p *Pooler) recoverLoop() {
	t := time.NewTicker(recoverEvery)
	defer t.Stop()
	for {
		for _, d := range p.shardedDatabases() {
			if err := p.recover(d); err != nil && !errors.Is(err, errNoRecovery) && p.ctx.Err() == nil {
				p.log.Warn().Err(err).Str("database", d.name).Msg("recovery of transactions over several shards failed, and is tried again")
			}
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
	var failed error
	open := map[string]bool{} // decisions with a participant that is not finished
	complete := true
	for _, name := range sh.m.Shards() {
		left, err := p.recoverShard(d, name)
		for _, g := range left {
			open[g.decision()] = true
		}
		if err != nil {
			complete = false
			failed = errors.Join(failed, fmt.Errorf("shard %q: %w", name, err))
		}
	}
	if !complete {
		return failed
	}
	for _, name := range sh.m.Shards() {
		if err := p.sweepDecisions(d, name, open); err != nil {
			failed = errors.Join(failed, fmt.Errorf("shard %q: %w", name, err))
		}
	}
	return failed
}

// recoverShard finishes what one shard has prepared. left are those that it could not finish.
func (p *Pooler) recoverShard(d *database, name string) (left []gid, err error) {
	rows, err := p.askOwn(d, name, [][]byte{appendQuery(nil, queryPrepared)})
	if err != nil {
		return nil, err
	}
	var failed error
	for _, r := range rows {
		g, ok := parseGID(r[0])
		if !ok || g.shard != name {
			continue
		}
		committed, err := p.outcome(d, g, nil)
		if err == nil {
			verb := "ROLLBACK PREPARED "
			if committed {
				verb = "COMMIT PREPARED "
			}
			_, err = p.askOwn(d, name, [][]byte{
				appendQuery(nil, "SET ROLE "+quoteIdent(r[1])), appendQuery(nil, verb+quoteLiteral(r[0])),
			})
			p.log.Info().Err(err).Str("database", d.name).Str("transaction", r[0]).Bool("committed", committed).Msg("recovery: " + verb)
		}
		if err != nil {
			left = append(left, g)
			failed = errors.Join(failed, fmt.Errorf("transaction %s: %w", r[0], err))
		}
	}
	return left, failed
}

// outcome finds out whether a transaction was committed. It waits for one that is still being decided; lost is the decider's leg if its
// connection was, and its backend is ended first, because it may wait for us.
func (p *Pooler) outcome(d *database, g gid, lost *leg) (committed bool, err error) {
	msgs := [][]byte{appendQuery(nil, "BEGIN"), extendedQuery(catalog.ProbeDecision+" RETURNING gid", g.decision()), appendQuery(nil, "ROLLBACK")}
	if lost != nil {
		end := fmt.Sprintf("SELECT pg_catalog.pg_terminate_backend(%d)", lost.srv.sc.PID)
		msgs = append([][]byte{appendQuery(nil, end)}, msgs...)
	}
	rows, err := p.askOwn(d, g.decider, msgs)
	if err != nil {
		return false, err
	}
	if lost != nil && len(rows) > 0 {
		rows = rows[1:] // of pg_terminate_backend
	}
	return len(rows) == 0, nil
}

// sweepDecisions removes the decisions of a shard that every participant has carried out.
func (p *Pooler) sweepDecisions(d *database, name string, open map[string]bool) error {
	rows, err := p.askOwn(d, name, [][]byte{appendQuery(nil, queryDecisions)})
	if err != nil {
		return err
	}
	var done []string
	for _, r := range rows {
		if !open[r[0]] {
			done = append(done, r[0])
		}
	}
	if len(done) == 0 {
		return nil
	}
	list := textArray(len(done), func(i int) *string { return &done[i] })
	_, err = p.askOwn(d, name, [][]byte{extendedQuery("DELETE FROM pgdrover.decision WHERE gid OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.text[])", list)})
	return err
}

// askOwn has a connection of our own to a shard, as recovery_user, run msgs one after the other, and returns their rows.
func (p *Pooler) askOwn(d *database, name string, msgs [][]byte) ([][]string, error) {
	user := d.conf.Load().RecoveryUser
	if user == "" {
		return nil, errNoRecovery
	}
	ctx, stop := context.WithTimeout(p.ctx, syncTimeout)
	defer stop()
	s, err := p.findPool(d, name, user, "none").openOwn(ctx)
	if err != nil {
		return nil, err
	}
	defer s.close("recovery is done")
	var rows [][]string
	for i, m := range msgs {
		tx := byte('I')
		if len(msgs) > 2 && i >= len(msgs)-3 && i < len(msgs)-1 {
			tx = 'T' // BEGIN and what is behind it
		}
		err := s.exchangeIn(tx, m, syncTimeout, func(typ byte, body []byte) error {
			if typ != 'D' {
				return nil
			}
			f, err := dataRow(body)
			if err != nil {
				return err
			}
			var row []string
			for _, v := range f {
				if v == nil {
					v = new(string)
				}
				row = append(row, *v)
			}
			rows = append(rows, row)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return slices.Clip(rows), nil
}

// openOwn opens a server for ourselves, within the limits that span pools.
func (pl *pool) openOwn(context.Context) (*server, error) {
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
