package pooler

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"pgdrover/internal/catalog"
	"pgdrover/internal/config"
	"pgdrover/internal/connect"
	"pgdrover/shard"
)

// Installation is something of ours in the databases of the shards. It can be installed again, which brings it up to date.
type Installation struct {
	What  Installed
	As    string   // the role of the servers that does it; "" is recovery_user
	Roles []string // InstallTwoPhase: those that may use it; none: those that the configuration forces clients to have
}

// Installed is what an installation is about.
type Installed uint8

// What can be installed.
const (
	InstallGuard    Installed = iota // the placement guard: no row can be stored on a shard that is not its own
	RemoveGuard                      // takes it away
	InstallTwoPhase                  // what transactions that write to several shards need
	InstallNextID                    // pgdrover.next_id()
)

// lockTimeout is how long an installation waits for a table that is in use: whoever comes behind it waits as well.
const lockTimeout = "5s"

// shardSQL is what one shard has to run: in one transaction, and then each by itself.
type shardSQL struct {
	shard       string
	first, then []string
}

// Install implements Sharding.
func (p *Pooler) Install(ctx context.Context, database string, in Installation) (done []string, err error) {
	d, sh, err := p.shardedDatabase(database)
	if err != nil {
		return nil, err
	}
	conf := d.conf.Load()
	if in.As == "" {
		in.As = conf.RecoveryUser
	}
	if in.As == "" {
		return nil, &Error{
			Severity: "ERROR", Code: "22023", Message: "nobody is named who may do this on the shards", Hint: "Add AS <role>, or set recovery_user of the database.",
		}
	}
	work, err := installation(sh.m, conf, &in) // all of it must make sense before the first shard is touched
	if err != nil {
		return nil, err
	}
	defer d.ddl.Add(1) // the catalogs have changed
	for i := range work {
		if err := p.installOn(ctx, d, in.As, &work[i]); err != nil {
			return done, installFailed(work[i].shard, done, err)
		}
		done = append(done, work[i].shard)
	}
	return done, nil
}

// TwoPhaseSQL implements Sharding.
func (p *Pooler) TwoPhaseSQL(database string, roles []string) ([]string, error) {
	d, sh, err := p.shardedDatabase(database)
	if err != nil {
		return nil, err
	}
	work, err := installation(sh.m, d.conf.Load(), &Installation{What: InstallTwoPhase, Roles: roles})
	if err != nil {
		return nil, err
	}
	return work[0].first, nil
}

// installation returns what the shards have to run.
func installation(m *shard.Map, conf *config.Database, in *Installation) ([]shardSQL, error) {
	roles := in.Roles
	if in.What == InstallTwoPhase {
		if conf.RecoveryUser == "" {
			return nil, &Error{
				Severity: "ERROR", Code: "55000", Message: fmt.Sprintf("recovery_user of database %q is not set", conf.Name),
				Detail: "Somebody has to finish transactions that were interrupted.", Hint: "ALTER DATABASE … SET recovery_user = …",
			}
		}
		if len(roles) == 0 {
			roles = forcedRoles(conf)
		}
		if len(roles) == 0 {
			return nil, &Error{
				Severity: "ERROR", Code: "22023", Message: "nobody is named who may commit in two phases", Hint: "Add FOR <role>, … with the roles of the applications.",
			}
		}
	}
	out := make([]shardSQL, len(m.Shards()))
	for i, name := range m.Shards() {
		w := &out[i]
		w.shard = name
		var err error
		switch in.What {
		case InstallGuard:
			w.first, w.then, err = catalog.GuardSQL(name, guardKeys(m))
		case RemoveGuard:
			w.first = catalog.RemoveGuardSQL()
		case InstallTwoPhase:
			w.first = catalog.TwoPhaseSQL(conf.RecoveryUser, roles)
		case InstallNextID:
			w.first, err = catalog.NextIDSQL(i)
		}
		if err != nil {
			return nil, &Error{Severity: "ERROR", Code: "22023", Message: fmt.Sprintf("shard %q: %s", name, err)}
		}
	}
	return out, nil
}

// guardKeys describes the keys of a map for the guard.
func guardKeys(m *shard.Map) []catalog.GuardKey {
	var out []catalog.GuardKey
	for _, k := range m.Keys() {
		g := catalog.GuardKey{Name: k.Name, Types: k.TypeNames()}
		if k.Kind == config.BoundRange {
			g.Collation = "C" // as Locate orders texts; other types have no collation
		}
		for _, b := range k.Bounds {
			g.Bounds = append(g.Bounds, b.Bound)
		}
		for _, t := range m.Tables() {
			if t.Kind == shard.Sharded && t.Key == k {
				g.Tables = append(g.Tables, catalog.GuardTable{Name: catalog.Name{Schema: t.Schema, Name: t.Name}, Columns: t.Columns})
			}
		}
		out = append(out, g)
	}
	return out
}

func (p *Pooler) installOn(ctx context.Context, d *database, as string, w *shardSQL) error {
	s, err := p.findPool(d, w.shard, as, "none").openOwn()
	if err != nil {
		return err
	}
	defer s.close("installation is done")
	defer context.AfterFunc(ctx, func() {
		s.cancelQuiet()
		s.conn.interrupt(true)
	})()
	for _, sql := range slices.Concat([]string{"BEGIN", "SET LOCAL lock_timeout = '" + lockTimeout + "'"}, w.first) {
		if err := s.exchangeIn('T', appendQuery(nil, sql), commitTimeout, nil); err != nil {
			return err
		}
	}
	if err := s.exchange(appendQuery(nil, "COMMIT"), commitTimeout, nil); err != nil {
		return err
	}
	for _, sql := range w.then {
		if err := s.exchange(appendQuery(nil, sql), commitTimeout, nil); err != nil {
			return err
		}
	}
	return nil
}

func installFailed(name string, done []string, err error) error {
	e := &Error{Severity: "ERROR", Code: "08006", Message: fmt.Sprintf("shard %q: %s", name, err)}
	var se *connect.ServerError
	if errors.As(err, &se) {
		e = fromServer(se)
		e.Message = fmt.Sprintf("shard %q: %s", name, se.Message())
	}
	if len(done) > 0 {
		e.Hint = "The shards before it are done; the command can be given again. " + e.Hint
	}
	return e
}
