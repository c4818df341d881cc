package pooler

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"pgdrover/internal/catalog"
	"pgdrover/internal/config"
	"pgdrover/shard"
)

// Sharding is what the admin database asks of sharded databases.
type Sharding interface {
	// Plans lists the cached plans, by database, those with most runs first.
	Plans() []PlanInfo
	// Checks lists what was found when the catalogs of the shards were last compared with the map, by database.
	Checks() []CheckInfo
	// Route explains where the statements of a text go when a role sends them; "" is the role that clients are forced to have,
	// or recovery_user. It reads the catalogs first, as that role, if they are not known. The text does not run.
	Route(ctx context.Context, database, role, text string) ([]shard.RouteRow, error)
	// Install carries out an installation on every shard, one after the other, and returns those that are done. Each shard is all or
	// nothing; the error says which one failed.
	Install(ctx context.Context, database string, i Installation) (done []string, err error)
	// TwoPhaseSQL returns the SQL of an installation for two-phase commit, for somebody to run who may: the same for every shard.
	TwoPhaseSQL(database string, roles []string) ([]string, error)
}

// PlanInfo is a row of SHOW PLANS.
type PlanInfo struct {
	Database string
	shard.PlanRow
}

// CheckInfo is a row of SHOW CHECKS.
type CheckInfo struct {
	Database string
	Unread   bool // the catalogs have not been read yet, or not since the map or the catalogs changed
	catalog.Problem
}

// timedPlan books a run of a statement in the cache of plans: shard.Statement or shard.Prepared.
type timedPlan interface{ Ran(time.Duration) }

// timed books the time that the unit under way took. Statements that went together share it.
func (r *router) timed(d time.Duration) {
	if len(r.runs) == 0 {
		return
	}
	d /= time.Duration(len(r.runs))
	for _, s := range r.runs {
		s.Ran(d)
	}
	clear(r.runs)
	r.runs = r.runs[:0]
}

// sortedSharded lists the sharded databases by name.
func (p *Pooler) sortedSharded() []*database {
	dbs := p.shardedDatabases()
	slices.SortFunc(dbs, func(a, b *database) int { return cmp.Compare(a.name, b.name) })
	return dbs
}

// Plans implements Sharding.
func (p *Pooler) Plans() []PlanInfo {
	var out []PlanInfo
	for _, d := range p.sortedSharded() {
		if sh := d.sharding.Load(); sh != nil {
			for _, r := range sh.cache.Rows() {
				out = append(out, PlanInfo{d.name, r})
			}
		}
	}
	return out
}

// Checks implements Sharding.
func (p *Pooler) Checks() []CheckInfo {
	var out []CheckInfo
	for _, d := range p.sortedSharded() {
		sh := d.sharding.Load()
		if sh == nil {
			continue
		}
		pl := sh.planner.Load()
		if pl == nil || pl.ddl != d.ddl.Load() {
			out = append(out, CheckInfo{Database: d.name, Unread: true})
		}
		if moved := d.moved.Load(); moved != nil {
			for _, pr := range *moved {
				out = append(out, CheckInfo{Database: d.name, Problem: pr})
			}
		}
		if pl == nil {
			continue
		}
		for _, pr := range pl.problems {
			out = append(out, CheckInfo{Database: d.name, Problem: pr})
		}
	}
	return out
}

// shardedDatabase returns a database and its map, or the error that says why there is none.
func (p *Pooler) shardedDatabase(name string) (*database, *sharding, error) {
	d, ok := p.findDatabase(name)
	if !ok {
		return nil, nil, &Error{Severity: "ERROR", Code: "3D000", Message: "no such database: " + name, Hint: "SHOW DATABASES lists them."}
	}
	sh := d.sharding.Load()
	if sh == nil {
		return nil, nil, &Error{
			Severity: "ERROR", Code: "55000", Message: fmt.Sprintf("database %q is not sharded", name),
			Hint: "CREATE SHARD … ON DATABASE makes it a sharded one.",
		}
	}
	return d, sh, nil
}

// Route implements Sharding.
func (p *Pooler) Route(ctx context.Context, database, role, text string) ([]shard.RouteRow, error) {
	d, sh, err := p.shardedDatabase(database)
	if err != nil {
		return nil, err
	}
	conf := d.conf.Load()
	role = cmp.Or(role, conf.User, conf.RecoveryUser)
	pl := sh.planner.Load()
	if pl == nil || pl.ddl != d.ddl.Load() {
		if role == "" {
			return nil, &Error{
				Severity: "ERROR", Code: "22023", Message: fmt.Sprintf("the catalogs of database %q have not been read yet, and no role is known that may log in to its shards", database),
				Hint: "Add AS <role>, or set recovery_user or user of the database.",
			}
		}
		pools := make([]*pool, len(sh.m.Shards()))
		for i, name := range sh.m.Shards() {
			pools[i] = p.findPool(d, name, role, "none")
		}
		if pl, err = p.readPlanner(d, sh, pl, pools); err != nil {
			return nil, err
		}
	}
	return pl.Route(ctx, shard.Env{User: role, StringsPlain: true, UTF8: true}, []byte(text))
}

// forcedRoles are the roles that the configuration forces clients to have on servers.
func forcedRoles(d *config.Database) []string {
	var roles []string
	if d.User != "" {
		roles = append(roles, d.User)
	}
	for i := range d.Shards {
		if u := d.Shards[i].User; u != "" && !slices.Contains(roles, u) {
			roles = append(roles, u)
		}
	}
	return roles
}
