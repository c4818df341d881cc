package pooler

import (
	"errors"
	"slices"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgdrover/internal/catalog"
	"pgdrover/internal/connect"
)

// noteDDL says that the transaction has created, altered or dropped something. Its next statement is planned with that, as PostgreSQL plans it,
// although nobody else can see it before COMMIT.
func (tx *shardTx) noteDDL() { tx.ddl, tx.unread = true, true }

// catalogSavepoint surrounds the reading of catalogs in a client's transaction, which is not to fail with it, nor keep its settings.
const catalogSavepoint = "pgdrover_catalogs"

// readWithin makes the planner for what the open transaction sees: the shards that have joined are asked in it, the others over connections of our own.
func (c *client) readWithin(sh *sharding) (*planner, error) {
	tx := &c.router.tx
	base := sh.planner.Load()
	if len(tx.legs) == 0 || base == nil { // it is the transaction before, AND CHAIN, that has changed something
		p, err := c.p.readPlanner(c.db, sh, base, c.router.pools)
		if err == nil {
			tx.unread, tx.planner = false, nil
		}
		return p, err
	}
	if tx.elsewhere == nil {
		tx.elsewhere = make([]*catalog.Catalog, len(c.router.pools))
	}
	for i := range tx.elsewhere {
		if tx.leg(i) == nil && tx.elsewhere[i] == nil {
			tx.elsewhere[i], _, _ = c.router.pool(i).ownCatalog(nil) // who needs a shard that is down will find out
		}
	}
	cats := slices.Clone(tx.elsewhere)
	if err := c.catalogsWithin(cats); err != nil {
		return nil, err
	}
	p := sh.newPlanner(c.db.conf.Load(), cats, base.empty)
	p.pools, p.unsure, p.lacking = base.pools, base.unsure, base.lacking
	tx.unread, tx.planner = false, p
	return p, nil
}

// catalogsWithin reads the catalogs of the shards that have joined the open transaction, in it.
func (c *client) catalogsWithin(cats []*catalog.Catalog) error {
	if err := c.synced(); err != nil {
		return err
	}
	if slices.ContainsFunc(c.router.tx.legs, func(l *leg) bool { return l.srv.tx == 'E' }) {
		return errFailedTransaction()
	}
	c.park()
	legs := c.router.tx.legs
	errs := c.onLegs(legs, false, func(l *leg) (err error) { cats[l.shard], err = l.catalog(); return err })
	for i, err := range errs {
		var se *connect.ServerError
		switch {
		case err == nil:
			continue
		case !errors.As(err, &se):
			legs[i].srv.dead.Store(true)
		}
		return catalogError(legs[i].pool.key.shard, err)
	}
	current := c.router.tx.current()
	c.pool = current.pool
	c.relink(current.srv)
	return nil
}

// catalog reads the catalogs of the shard as its transaction sees them, which goes on whatever comes of it.
func (l *leg) catalog() (*catalog.Catalog, error) {
	r := catalog.NewReading()
	back := "ROLLBACK TO SAVEPOINT " + catalogSavepoint + "; RELEASE SAVEPOINT " + catalogSavepoint
	var row pgproto3.DataRow
	err := l.srv.exchangeIn('T', appendQuery(nil, r.SQL("SAVEPOINT "+catalogSavepoint, back)), loadTimeout, func(typ byte, body []byte) error {
		switch typ {
		case 'T':
			r.Result()
		case 'D':
			if err := row.Decode(body); err != nil {
				return err
			}
			r.Row(row.Values)
		}
		return nil
	})
	var se *connect.ServerError
	switch {
	case err == nil:
		return r.Catalog()
	case errors.As(err, &se) && l.srv.tx == 'E':
		if berr := l.srv.exchangeIn('T', appendQuery(nil, back), syncTimeout, nil); berr != nil {
			return nil, berr
		}
	}
	return nil, err
}
