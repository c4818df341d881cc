package pooler

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pgdrover/internal/catalog"
	"pgdrover/internal/connect"
)

// A transaction that wrote on several shards commits in two phases. One of them, the decider, keeps the decision: a row that is
// inserted in the very transaction that did the work there, before any other shard is asked to prepare. When the decider commits, the
// transaction is committed; every other shard then finishes, now or when recovery (recovery.go) finds what it has prepared. Nothing of
// this is kept in the process.

// gidPrefix begins the names of our prepared transactions: gidPrefix, a random number, the decider's name, the participant's.
const gidPrefix = "pgdrover/"

// gid is the name of a transaction, of which the decision row has the first two parts.
type gid struct{ id, decider, shard string }

func newGID(decider string) gid {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return gid{id: hex.EncodeToString(b[:]), decider: decider}
}

// decision is the key of the decision row.
func (g gid) decision() string { return gidPrefix + g.id + "/" + g.decider }

// of is the name under which a participant prepares.
func (g gid) of(shard string) string { return g.decision() + "/" + shard }

// parseGID reads the name of a prepared transaction.
func parseGID(s string) (g gid, ok bool) {
	f := strings.Split(strings.TrimPrefix(s, gidPrefix), "/")
	if !strings.HasPrefix(s, gidPrefix) || len(f) != 3 {
		return gid{}, false
	}
	return gid{f[0], f[1], f[2]}, true
}

// twoPhaseFor is how long a shard that was found able to commit in two phases is not asked again.
const twoPhaseFor = time.Minute

// mayWrite reports why the transaction may not write to one more shard, if it may not: better now than at its COMMIT.
func (c *client) mayWrite(l *leg) error {
	tx := &c.router.tx
	if !slices.ContainsFunc(tx.legs, func(o *leg) bool { return o.wrote && o != l }) {
		return nil
	}
	for _, o := range tx.legs {
		if (o.wrote || o == l) && !o.copying {
			if err := c.twoPhaseReady(o); err != nil {
				return err
			}
		}
	}
	return nil
}

// twoPhaseReady reports what a shard that is in the transaction lacks for committing in two phases.
func (c *client) twoPhaseReady(o *leg) error {
	if now() < o.pool.twoPhaseOK.Load() {
		return nil
	}
	var missing []string
	err := o.srv.exchangeIn('T', appendQuery(nil, catalog.TwoPhaseMissing), syncTimeout, func(typ byte, body []byte) error {
		if f, err := dataRow(body); typ == 'D' && err == nil && len(f) == 1 && f[0] != nil {
			missing = append(missing, *f[0])
		}
		return nil
	})
	if err != nil {
		return errShardGone(o.pool.key.shard, err)
	}
	if len(missing) > 0 {
		return &Error{
			Severity: "ERROR", Code: "0A000", Message: fmt.Sprintf("shard %q cannot take part in a transaction that writes to several shards", o.pool.key.shard),
			Detail: strings.ToUpper(missing[0][:1]) + missing[0][1:] + strings.Join(append([]string{""}, missing[1:]...), "; ") + ".",
			Hint:   fmt.Sprintf("ALTER DATABASE %s INSTALL TWO PHASE FOR %s on the admin database installs it; SHOW TWO PHASE OF %[1]s FOR %[2]s prints the SQL for every shard.", quoteIdent(c.db.name), quoteIdent(o.pool.key.user)),
		}
	}
	o.pool.twoPhaseOK.Store(now() + int64(twoPhaseFor))
	return nil
}

// commitTwoPhase commits a transaction that wrote on several shards. An *Error says that nothing was committed; a fatalError with
// 08007 that it is not known.
func (c *client) commitTwoPhase() error {
	tx := &c.router.tx
	var writers, readers []*leg
	for _, l := range tx.legs {
		if l.wrote {
			writers = append(writers, l)
		} else {
			readers = append(readers, l)
		}
	}
	slices.SortFunc(writers, func(a, b *leg) int { return a.shard - b.shard })
	decider, others := writers[0], writers[1:]
	g := newGID(decider.pool.key.shard)
	names := make([]string, len(others))
	for i, l := range others {
		names[i] = l.pool.key.shard
	}
	decide := extendedQuery("SELECT pgdrover.decide($1, $2)", g.decision(), textArray(len(names), func(i int) *string { return &names[i] }))
	c.p.point("before decide")
	if err := decider.srv.exchangeIn('T', decide, commitTimeout, nil); err != nil {
		return c.abandonTwoPhase(g, nil, decider, "", err)
	}
	c.p.point("decided")
	for i, l := range others {
		tag, err := l.say("PREPARE TRANSACTION " + quoteLiteral(g.of(l.pool.key.shard)))
		if err != nil || tag != "PREPARE TRANSACTION" {
			return c.abandonTwoPhase(g, others[:i], l, tag, err)
		}
		c.p.point("prepared")
	}
	tag, err := decider.say("COMMIT")
	var se *connect.ServerError
	switch {
	case err == nil && tag == "COMMIT":
	case err == nil, errors.As(err, &se):
		return c.abandonTwoPhase(g, others, decider, tag, err)
	default:
		decider.srv.dead.Store(true)
		committed, perr := c.p.outcome(c.db, g, decider)
		switch {
		case perr != nil:
			c.dropLegs()
			return fatalError{&Error{
				Severity: "FATAL", Code: "08007", Message: fmt.Sprintf("connection to shard %q was lost while it decided on COMMIT", g.decider),
				Detail: "Whether the transaction was committed is not known: " + perr.Error(),
				Hint:   "It will be the same on every shard: recovery finishes transaction " + g.decision() + ".",
			}}
		case !committed:
			return c.abandonTwoPhase(g, others, decider, "", err)
		}
	}
	c.p.point("committed")
	finished := true
	for _, l := range others {
		if _, err := l.say("COMMIT PREPARED " + quoteLiteral(g.of(l.pool.key.shard))); err != nil {
			// It is committed: recovery finishes it.
			l.srv.dead.Store(true)
			finished = false
			c.p.log.Warn().Err(err).Str("transaction", g.decision()).Str("shard", l.pool.key.shard).Msg("COMMIT PREPARED failed, left to recovery")
		}
		c.p.point("finished one")
	}
	if finished && !decider.srv.dead.Load() {
		id := g.decision()
		forget := extendedQuery("SELECT pgdrover.forget($1)", textArray(1, func(int) *string { return &id }))
		if err := decider.srv.exchange(forget, syncTimeout, nil); err != nil {
			c.p.log.Warn().Err(err).Str("transaction", id).Msg("a decision that is carried out could not be removed, left to recovery")
		}
	}
	for _, l := range readers {
		if _, err := l.commit(); err != nil {
			l.srv.dead.Store(true)
		}
	}
	c.dropLegs()
	c.endTx(true)
	c.doneTx()
	return nil
}

// dropLegs gives back the servers of a transaction that is over.
func (c *client) dropLegs() {
	for _, l := range c.router.tx.legs {
		c.letGo(l)
	}
	c.router.tx.legs = c.router.tx.legs[:0]
}

// abandonTwoPhase rolls back everywhere: l has refused with this tag or error, prepared have prepared already.
func (c *client) abandonTwoPhase(g gid, prepared []*leg, l *leg, tag string, err error) error {
	for _, o := range prepared {
		if _, err := o.say("ROLLBACK PREPARED " + quoteLiteral(g.of(o.pool.key.shard))); err != nil {
			o.srv.dead.Store(true)
			c.p.log.Warn().Err(err).Str("transaction", g.of(o.pool.key.shard)).Msg("ROLLBACK PREPARED failed, left to recovery")
		}
	}
	name := l.pool.key.shard
	var se *connect.ServerError
	switch {
	case errors.As(err, &se):
		err = fromServer(se)
	case err != nil:
		l.srv.dead.Store(true)
		err = &Error{
			Severity: "ERROR", Code: "40000", Message: fmt.Sprintf("the transaction was rolled back: shard %q was lost", name), Detail: err.Error(),
		}
	default:
		err = &Error{
			Severity: "ERROR", Code: "40000", Message: fmt.Sprintf("the transaction was rolled back by shard %q", name), Detail: "It answered with " + tag + ".",
		}
	}
	c.rollbackLegs()
	return err
}

// quoteLiteral is for names of our own, and those of shards.
func quoteLiteral(s string) string {
	q := "'" + strings.ReplaceAll(s, "'", "''") + "'"
	if strings.Contains(q, `\`) {
		q = " E" + strings.ReplaceAll(q, `\`, `\\`)
	}
	return q
}

// changesCatalog reports whether a command with this tag changes what plans are made with.
func changesCatalog(tag string) bool {
	for _, w := range [...]string{"CREATE", "ALTER", "DROP"} {
		if strings.HasPrefix(tag, w+" ") {
			return true
		}
	}
	return false
}

func quoteIdent(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
