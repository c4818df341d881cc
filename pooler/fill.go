package pooler

import (
	"context"
	"maps"
	"math"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"pgdrover/internal/catalog"
	"pgdrover/shard"
)

// A new shard comes without rows, and a reference table that nobody has filled there would be read as if it had none. So whoever reads the
// catalogs also compares how full the copies of the reference tables are, and as long as one is empty beside others that are not, the janitor looks
// again: it is filled by people, and not always through us.

// referenceTables lists those of the map.
func (sh *sharding) referenceTables() []catalog.Name {
	var out []catalog.Name
	for _, t := range sh.m.Tables() {
		if t.Kind == shard.Reference {
			out = append(out, catalog.Name{Schema: t.Schema, Name: t.Name})
		}
	}
	return out
}

// fillings is how full the copies of the reference tables are, as far as that is known.
type fillings struct {
	pools  []*pool
	tables []catalog.Name
	sizes  [][]int64 // by shard and table, see catalog.Sizes; nil for a shard that is left out
	doubt  []bool    // by table: something could not be found out
	unsure bool      // and that is not because a shard is left out
}

// empty finds the shards where a reference table is empty while another shard has rows of it. was is what was found before; it stays where nothing
// shows that it is not so any more.
//
// First the sizes are compared, which takes no privilege. Where they disagree, a shard is asked for rows that are committed, because a table that has been
// emptied keeps its size on one server and loses it on another. And then the empty ones are looked at again: a transaction that writes on all shards
// may have come in between, and has rows everywhere by the time that those on one are committed.
func (f *fillings) empty(was []catalog.Difference) []catalog.Difference {
	f.doubt = make([]bool, len(f.tables))
	var suspects []int
	for t := range f.tables {
		var empty, more bool
		for _, of := range f.sizes {
			switch {
			case of == nil:
				f.doubt[t] = true
			case of[t] == catalog.SizeUnknown:
				f.doubt[t], f.unsure = true, true
			case of[t] == 0:
				empty = true
			case of[t] > 0:
				more = true
			}
		}
		if empty && more {
			suspects = append(suspects, t)
		}
	}
	filled := f.filled(suspects)
	var found []catalog.Difference
	for i := range f.pools {
		empty := f.stillEmpty(i, filled)
		for t, name := range f.tables {
			d := catalog.Difference{Shard: f.pools[i].key.shard, Kind: catalog.DiffEmpty, Relation: name}
			before := slices.IndexFunc(was, func(w catalog.Difference) bool { return w.Shard == d.Shard && w.Relation == name })
			switch at, has := filled[t]; {
			case has && slices.Contains(empty, t):
				d.Lead = f.pools[at].key.shard
			case before >= 0 && f.doubt[t] && (f.sizes[i] == nil || f.sizes[i][t] <= 0):
				d = was[before]
			default:
				continue
			}
			found = append(found, d)
		}
	}
	return found
}

// filled asks which shard has rows of the tables that are to be asked for.
func (f *fillings) filled(tables []int) map[int]int {
	filled := map[int]int{}
	for i, of := range f.sizes {
		f.ask(i, tables, func(t int) bool { _, known := filled[t]; return of[t] > 0 && !known }, func(ctx context.Context, conn *pgconn.PgConn, which []int) error {
			for _, t := range which {
				rows, err := catalog.HasRows(ctx, conn, f.tables[t])
				switch {
				case err != nil:
					f.doubt[t], f.unsure = true, true
				case rows:
					filled[t] = i
				}
			}
			return nil
		})
	}
	return filled
}

// stillEmpty lists those of the tables that have rows elsewhere and were empty on a shard, and still are.
func (f *fillings) stillEmpty(i int, filled map[int]int) (empty []int) {
	of := f.sizes[i]
	f.ask(i, slices.Sorted(maps.Keys(filled)), func(t int) bool { return of[t] == 0 }, func(ctx context.Context, conn *pgconn.PgConn, which []int) error {
		var names []catalog.Name
		for _, t := range which {
			names = append(names, f.tables[t])
		}
		sizes, err := catalog.Sizes(ctx, conn, names)
		if err != nil {
			return err
		}
		for n, t := range which {
			switch of[t] = sizes[n]; {
			case of[t] == catalog.SizeUnknown:
				f.doubt[t], f.unsure = true, true
			case of[t] == 0:
				empty = append(empty, t)
			}
		}
		return nil
	})
	return empty
}

// ask asks a shard about those of the tables that are meant, if there are any.
func (f *fillings) ask(i int, tables []int, meant func(t int) bool, use func(context.Context, *pgconn.PgConn, []int) error) {
	if f.sizes[i] == nil {
		return
	}
	which := slices.DeleteFunc(slices.Clone(tables), func(t int) bool { return !meant(t) })
	if len(which) == 0 {
		return
	}
	if err := f.pools[i].askOwn(func(ctx context.Context, conn *pgconn.PgConn) error { return use(ctx, conn, which) }); err != nil {
		f.unsure = true
		for _, t := range which {
			f.doubt[t] = true
		}
	}
}

// sweepEmpty looks again at reference tables that were found empty on a shard, or that could not be looked at.
func (p *Pooler) sweepEmpty() {
	for _, d := range p.shardedDatabases() {
		sh := d.sharding.Load()
		if sh == nil || p.shutdown.Load() != 0 || p.paused.Load() || d.paused.Load() {
			continue
		}
		pl := sh.planner.Load()
		if pl == nil || !pl.lacking {
			continue
		}
		at := pl.again.Load()
		if at > now() || !pl.again.CompareAndSwap(at, math.MaxInt64) {
			continue
		}
		p.wg.Go(func() {
			defer func() { pl.again.Store(now() + int64(catalogsAgain)) }()
			p.lookAgain(d, sh, pl)
		})
	}
}

// lookAgain reads the catalogs anew if reference tables are not as pl found them.
func (p *Pooler) lookAgain(d *database, sh *sharding, pl *planner) {
	pools := make([]*pool, len(pl.pools)) // those of then may be gone
	for i, was := range pl.pools {
		pools[i] = p.poolOf(d, was.key)
	}
	if !pl.missing {
		f := fillings{pools: pools, tables: sh.referenceTables(), sizes: make([][]int64, len(pools))}
		for i := range pools {
			_ = pools[i].askOwn(func(ctx context.Context, conn *pgconn.PgConn) (err error) { // a shard that does not answer stays as it was
				f.sizes[i], err = catalog.Sizes(ctx, conn, f.tables)
				return err
			})
		}
		if empty := f.empty(pl.empty); slices.Equal(empty, pl.empty) && (f.unsure || !pl.unsure) {
			return
		}
	}
	_, _ = p.readPlanner(d, sh, pl, pools) // it is tried again
}
