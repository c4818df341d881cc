package admin

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"pgdrover/internal/catalog"
	"pgdrover/internal/config"
	"pgdrover/shard"
)

// ShardRunner runs statements on one shard of a database, in a session that may change its schema: all in one transaction, or each
// on its own. The error is PostgreSQL's, or says why the shard cannot be reached.
type ShardRunner func(ctx context.Context, database, shard string, oneTransaction bool, statements []string) error

// guardCommands install the placement guard, with which a shard refuses rows that belong to another.
func guardCommands() []*command {
	return []*command{
		{
			syntax: []string{"ALTER DATABASE <database> INSTALL GUARD"}, perm: permAdmin, logged: true, waits: true,
			help: "have every shard refuse rows that the shard map puts elsewhere, whoever writes them",
			run: func(ctx context.Context, s *session, a args) (*result, error) {
				return onShards(ctx, s, a["database"], "installed", func(m *shard.Map, d *config.Database, name string) (install, validate []string, err error) {
					return catalog.GuardSQL(name, guardKeys(m, d))
				})
			},
		},
		{
			syntax: []string{"ALTER DATABASE <database> REMOVE GUARD"}, perm: permAdmin, logged: true, waits: true,
			help: "undo that",
			run: func(ctx context.Context, s *session, a args) (*result, error) {
				return onShards(ctx, s, a["database"], "removed", func(*shard.Map, *config.Database, string) (install, validate []string, err error) {
					return catalog.RemoveGuardSQL(), nil, nil
				})
			},
		},
	}
}

// guardKeys describes the sharding keys of a map to package catalog.
func guardKeys(m *shard.Map, d *config.Database) []catalog.GuardKey {
	var out []catalog.GuardKey
	for _, k := range m.Keys() {
		g := catalog.GuardKey{Name: k.Name, Types: k.TypeNames()}
		if k.Kind == config.BoundRange {
			g.Collation = "C" // as Locate orders texts; other types have no collation
		}
		for _, b := range k.Bounds {
			g.Bounds = append(g.Bounds, b.Bound)
		}
		columns := d.Keys[k.Name].Columns
		for _, t := range slices.SortedFunc(maps.Keys(columns), func(a, b config.TableName) int {
			if a.String() < b.String() {
				return -1
			}
			return 1
		}) {
			g.Tables = append(g.Tables, catalog.GuardTable{Name: catalog.Name{Schema: t.Schema, Name: t.Name}, Columns: columns[t]})
		}
		out = append(out, g)
	}
	return out
}

// onShards runs what sql gives for each shard of a database: first in one transaction, then each for itself.
func onShards(
	ctx context.Context, s *session, database, done string, sql func(m *shard.Map, d *config.Database, shard string) (first, then []string, err error),
) (*result, error) {
	d := s.srv.cfg.Current().Databases[database]
	if d == nil {
		return nil, errf("3D000", "no such database: %s", database)
	}
	m, err := shard.NewMap(d)
	switch {
	case err != nil:
		return nil, shardingError("ALTER DATABASE", err)
	case m == nil:
		return nil, errf("55000", "database %q is not sharded", database)
	case s.srv.opts.RunOnShard == nil:
		return nil, errf(codeNotSupported, "this process cannot change the schema of shards")
	}
	type step struct{ first, then []string }
	steps := make([]step, len(m.Shards()))
	for i, name := range m.Shards() { // all of it must make sense before the first shard is touched
		if steps[i].first, steps[i].then, err = sql(m, d, name); err != nil {
			return nil, errf("22023", "database %q: %s", database, err)
		}
	}
	r := &result{tag: "ALTER DATABASE"}
	for i, name := range m.Shards() {
		err := s.srv.opts.RunOnShard(ctx, database, name, true, steps[i].first)
		if err == nil && len(steps[i].then) > 0 {
			err = s.srv.opts.RunOnShard(ctx, database, name, false, steps[i].then)
		}
		if err != nil {
			pe := *asPgError(err)
			pe.msg = fmt.Sprintf("shard %q: %s", name, pe.msg)
			if i > 0 {
				pe.hint = "The shards before it are done; the command can be given again. " + pe.hint
			}
			return nil, &pe
		}
		r.notices = append(r.notices, notice{severity: "NOTICE", code: "00000", msg: fmt.Sprintf("shard %q: guard %s", name, done)})
	}
	return r, nil
}
