package pooler

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"time"

	"pgdrover/internal/sqlparse"

	"pgdrover/internal/catalog"
	"pgdrover/internal/connect"
)

// A transaction that wrote on several shards commits in two phases. One of them, the decider, keeps the decision: a row that is
// inserted in the very transaction that did the work there, before any other shard is asked to prepare. When the decider commits, the
// transaction is committed; every other shard then finishes, now or when recovery (recovery.go) finds what it has prepared. Nothing of
// this is kept in the process.

// gidPrefix begins the names of our prepared transactions: gidPrefix, an id, the decider's name, its server's identity, the participant's name.
const gidPrefix = "pgdrover/"

// gid is the name of a transaction, of which the decision row has the id and the decider.
type gid struct {
	id      string // a random number and the databaseTag
	decider string // the shard that decides
	at      string // which server that is: a shard's name may come to mean another one
	shard   string // the participant
}

func newGID(database, decider string) gid {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return gid{id: hex.EncodeToString(b[:]) + databaseTag(database), decider: decider}
}

// databaseTag tells the decisions of one of our databases from those of others that share a shard with it.
func databaseTag(database string) string {
	return fmt.Sprintf("-%08x", crc32.ChecksumIEEE([]byte(database)))
}

// identity is an expression of SQL that differs from server to server and from database to database, and stays what it is when a standby
// is promoted.
const identity = `(SELECT pg_catalog.to_hex(c.system_identifier) OPERATOR(pg_catalog.||) '.' OPERATOR(pg_catalog.||) pg_catalog.to_hex(d.oid::pg_catalog.int8) ` +
	`FROM pg_catalog.pg_control_system() c, pg_catalog.pg_database d WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())`

// decision is the key of the decision row.
func (g gid) decision() string { return gidPrefix + g.id + "/" + g.decider }

// of is the name under which a participant prepares.
func (g gid) of(shard string) string { return g.decision() + "/" + g.at + "/" + shard }

// parseGID reads the name of a prepared transaction.
func parseGID(s string) (g gid, ok bool) {
	f := strings.Split(strings.TrimPrefix(s, gidPrefix), "/")
	if !strings.HasPrefix(s, gidPrefix) || len(f) != 4 {
		return gid{}, false
	}
	return gid{id: f[0], decider: f[1], at: f[2], shard: f[3]}, true
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

// recoveryMissing is like catalog.TwoPhaseMissing about the role that has to finish what is interrupted.
const recoveryMissing = ` UNION ALL SELECT 'role %[1]s, which is recovery_user, does not exist' WHERE NOT EXISTS (` +
	`SELECT FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) %[2]s) ` +
	`UNION ALL SELECT 'this role may not execute pg_control_system()' WHERE NOT pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE') ` +
	`UNION ALL SELECT 'role %[1]s, which is recovery_user, may not log in' FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) %[2]s AND NOT rolcanlogin ` +
	`UNION ALL SELECT 'role %[1]s, which is recovery_user, is not a member of role ' OPERATOR(pg_catalog.||) current_user::pg_catalog.text FROM pg_catalog.pg_roles ` +
	`WHERE rolname OPERATOR(pg_catalog.=) %[2]s AND NOT pg_catalog.pg_has_role(oid, (SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) current_user), 'MEMBER')`

// twoPhaseReady reports what a shard that is in the transaction lacks for committing in two phases.
func (c *client) twoPhaseReady(o *leg) error {
	_, asOther := envGet(c.session.all, "role")
	if now() < o.pool.twoPhaseOK.Load() && !asOther {
		return nil
	}
	var missing []string
	recovery := c.db.conf.Load().RecoveryUser
	if recovery == "" {
		missing = append(missing, "recovery_user of the database is not set")
	} else {
		if c.srv == o.srv {
			if err := c.synced(); err != nil {
				return err
			}
		}
		ask := catalog.TwoPhaseMissing + fmt.Sprintf(recoveryMissing, strings.ReplaceAll(recovery, "'", "''"), sqlparse.QuoteLiteral(recovery))
		err := o.srv.exchangeIn('T', appendQuery(nil, ask), syncTimeout, func(typ byte, body []byte) error {
			if typ != 'D' {
				return nil
			}
			what, err := onlyValue(body)
			missing = append(missing, what)
			return err
		})
		var se *connect.ServerError
		switch {
		case errors.As(err, &se):
			return err
		case err != nil:
			o.srv.dead.Store(true)
			return errShardGone(o.pool.key.shard, err)
		}
	}
	if len(missing) > 0 {
		return &Error{
			Severity: "ERROR", Code: "0A000", Message: fmt.Sprintf("shard %q cannot take part in a transaction that writes to several shards", o.pool.key.shard),
			Detail: strings.ToUpper(missing[0][:1]) + missing[0][1:] + strings.Join(append([]string{""}, missing[1:]...), "; ") + ".",
			Hint:   twoPhaseHint(missing, sqlparse.QuoteIdent(c.db.name), sqlparse.QuoteIdent(o.pool.key.user)),
		}
	}
	if !asOther {
		o.pool.twoPhaseOK.Store(now() + int64(twoPhaseFor))
	}
	return nil
}

// twoPhaseHint says how to mend what is missing.
func twoPhaseHint(missing []string, database, user string) string {
	var hints []string
	rest := slices.DeleteFunc(slices.Clone(missing), func(m string) bool {
		switch {
		case strings.HasPrefix(m, "max_prepared_transactions"):
			hints = append(hints, "Set max_prepared_transactions of the shard's server to at least its max_connections (ALTER SYSTEM) and restart it.")
		case strings.HasPrefix(m, "recovery_user"):
			hints = append(hints, fmt.Sprintf("ALTER DATABASE %s SET recovery_user = … on the admin database names it.", database))
		case strings.HasSuffix(m, "may not log in"):
			hints = append(hints, "ALTER ROLE … LOGIN on the shard.")
		case strings.HasSuffix(m, "pg_control_system()"):
			hints = append(hints, fmt.Sprintf("GRANT EXECUTE ON FUNCTION pg_control_system() TO %s on the shard.", user))
		default:
			return false
		}
		return true
	})
	if len(rest) > 0 || len(hints) == 0 {
		hints = append(hints, fmt.Sprintf("ALTER DATABASE %s INSTALL TWO PHASE FOR %s on the admin database installs it; SHOW TWO_PHASE ON DATABASE %[1]s FOR %[2]s prints the SQL for every shard.", database, user))
	}
	return strings.Join(hints, " ")
}

// commitTwoPhase commits a transaction that several legs wrote in. An error that does not end the session says that nothing was committed;
// 08007 that it is not known.
func (c *client) commitTwoPhase(writers []*leg) error {
	for _, l := range writers {
		if err := c.twoPhaseReady(l); err != nil { // a function may have written where the text did not show it
			return c.commitRefused(err)
		}
	}
	decider, others, err := decide(writers)
	if err != nil {
		return c.commitRefused(err)
	}
	g := newGID(c.db.name, decider.pool.key.shard)
	names := make([]string, len(others))
	for i, l := range others {
		names[i] = l.pool.key.shard
	}
	row := extendedQuery("SELECT "+identity+", pgdrover.decide($1, $2)", g.decision(), textArray(len(names), func(i int) *string { return &names[i] }))
	c.p.point("before decide")
	if err := c.onLegs([]*leg{decider}, false, func(l *leg) error {
		return l.srv.exchangeIn('T', row, commitTimeout, func(typ byte, body []byte) error {
			if f, err := dataRow(body); typ == 'D' && err == nil && len(f) == 2 && f[0] != nil {
				g.at = *f[0]
			}
			return nil
		})
	})[0]; err != nil {
		return c.abandonTwoPhase(g, nil, decider, "", err)
	}
	c.p.point("decided")
	if err := c.prepareAll(g, others); err != nil {
		return err
	}
	var tag string
	err = c.onLegs([]*leg{decider}, false, func(l *leg) (err error) { tag, err = l.say("COMMIT"); return err })[0]
	var se *connect.ServerError
	switch {
	case tag == "COMMIT":
		if err != nil {
			decider.srv.dead.Store(true)
		}
	case err == nil, errors.As(err, &se):
		return c.abandonTwoPhase(g, others, decider, tag, err)
	default:
		decider.srv.dead.Store(true)
		committed, perr := c.p.awaitOutcome(c.db, g, decider)
		switch {
		case perr != nil:
			err := error(fatalError{&Error{
				Severity: "FATAL", Code: "08007", Message: fmt.Sprintf("connection to shard %q was lost while it decided on COMMIT", g.decider),
				Detail: "Whether the transaction was committed is not known: " + perr.Error(),
				Hint:   "It will be the same on every shard: recovery finishes transaction " + g.decision() + ".",
			}})
			return c.commitRefused(err)
		case !committed:
			return c.abandonTwoPhase(g, others, decider, "", err)
		}
	}
	c.p.point("committed")
	if c.finishPrepared(g, others, "COMMIT PREPARED ") && !decider.srv.dead.Load() {
		decider.decision = g.decision()
	}
	c.commitReaders(writers)
	return c.finishLegs(true)
}

// decide chooses the leg that decides on a transaction: one whose part cannot be prepared, if there is one.
func decide(writers []*leg) (decider *leg, others []*leg, err error) {
	legs := slices.Clone(writers)
	slices.SortFunc(legs, func(a, b *leg) int { return a.shard - b.shard })
	at := max(slices.IndexFunc(legs, (*leg).odd), 0)
	decider = legs[at]
	others = slices.Delete(legs, at, at+1)
	if i := slices.IndexFunc(others, (*leg).odd); i >= 0 {
		return nil, nil, &Error{
			Severity: "ERROR", Code: "0A000", Message: fmt.Sprintf("the transaction cannot be prepared on shard %q, nor on shard %q", decider.pool.key.shard, others[i].pool.key.shard),
			Detail: "It used NOTIFY, temporary objects or session-level advisory locks on both. A transaction that writes to several shards can do so on one of them.",
			Hint:   "Use them in a transaction of their own.",
		}
	}
	return decider, others, nil
}

// prepareAll prepares on every leg at once, or rolls back everywhere and returns why.
func (c *client) prepareAll(g gid, legs []*leg) error {
	errs := c.onLegs(legs, false, func(l *leg) error {
		var err error
		l.tag, err = l.say("PREPARE TRANSACTION " + sqlparse.QuoteLiteral(g.of(l.pool.key.shard)))
		c.p.point("prepared")
		return err
	})
	var bad *leg
	var cause error
	var prepared []*leg
	for i, l := range legs {
		var se *connect.ServerError
		switch {
		case l.tag == "PREPARE TRANSACTION":
			prepared = append(prepared, l)
			if errs[i] != nil {
				l.srv.dead.Store(true)
			}
			continue
		case errs[i] != nil && !errors.As(errs[i], &se):
			l.srv.dead.Store(true)
		}
		if bad == nil {
			bad, cause = l, errs[i]
		}
	}
	if bad == nil {
		c.p.point("all prepared")
		return nil
	}
	return c.abandonTwoPhase(g, prepared, bad, bad.tag, cause)
}

// finishPrepared ends what legs have prepared, and reports whether it did everywhere. What is left is recovery's.
func (c *client) finishPrepared(g gid, legs []*leg, verb string) bool {
	all := true
	errs := c.onLegs(legs, true, func(l *leg) error {
		text := verb + sqlparse.QuoteLiteral(g.of(l.pool.key.shard))
		defer c.p.point("finished one")
		return l.srv.ask(appendQuery(nil, text), nil)
	})
	for i, l := range legs {
		if errs[i] != nil {
			l.srv.dead.Store(true)
			all = false
			c.p.log.Warn().Err(errs[i]).Str("transaction", g.of(l.pool.key.shard)).Msg(verb + "failed, left to recovery")
		}
	}
	return all
}

// abandonTwoPhase rolls back everywhere: l has refused with this tag or error, prepared have prepared already.
func (c *client) abandonTwoPhase(g gid, prepared []*leg, l *leg, tag string, err error) error {
	c.finishPrepared(g, slices.DeleteFunc(slices.Clone(prepared), func(o *leg) bool { return o.srv.dead.Load() }), "ROLLBACK PREPARED ")
	name := l.pool.key.shard
	var se *connect.ServerError
	switch {
	case errors.As(err, &se):
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
	return c.commitRefused(err)
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
