package pooler

import (
	"context"
	"errors"
	"fmt"

	"pgdrover/internal/catalog"
	"pgdrover/internal/config"
	"pgdrover/internal/connect"
	"pgdrover/shard"
)

// Installation is something of ours in the databases of the shards.
type Installation uint8

// What can be installed. All of it can be installed again, which brings it up to date.
const (
	InstallGuard    Installation = iota // the placement guard: no row can be stored on a shard that is not its own
	RemoveGuard                         // takes it away
	InstallTwoPhase                     // what transactions that write to several shards need
	InstallNextID                       // pgdrover.next_id()
)

// Install carries out an installation on every shard of a database, one after the other, as a role of the servers; "" is
// recovery_user. roles are those that get the right to use it. Each shard is all or nothing; an error says which shard it was, and those before
// it are done.
func (p *Pooler) Install(ctx context.Context, database string, what Installation, as string, roles []string) error {
	d, ok := p.findDatabase(database)
	if !ok {
		return errNoDatabase(database)
	}
	sh := d.sharding.Load()
	if sh == nil {
		return errNotSharded(database)
	}
	conf := d.conf.Load()
	if as == "" {
		as = conf.RecoveryUser
	}
	if as == "" {
		return &Error{
			Severity: "ERROR", Code: "22023", Message: "a role is needed that may do this on the shards", Hint: "Add AS <role>, or set recovery_user of the database.",
		}
	}
	for i, name := range sh.m.Shards() {
		install, after, err := installSQL(sh.m, conf, what, i, roles)
		if err != nil {
			return &Error{Severity: "ERROR", Code: "22023", Message: err.Error()}
		}
		if err := p.installOn(ctx, d, name, as, install, after); err != nil {
			return installFailed(name, i, err)
		}
	}
	return nil
}

// installSQL returns what one shard has to run: in one transaction, and then each by itself.
func installSQL(m *shard.Map, conf *config.Database, what Installation, i int, roles []string) (install, after []string, err error) {
	switch what {
	case InstallGuard:
		return catalog.GuardSQL(m.Shards()[i], guardKeys(m, conf))
	case RemoveGuard:
		return catalog.RemoveGuardSQL(), nil, nil
	case InstallTwoPhase:
		if conf.RecoveryUser == "" {
			return nil, nil, errors.New("recovery_user of the database is not set: somebody has to finish interrupted transactions")
		}
		return catalog.TwoPhaseSQL(conf.RecoveryUser, roles), nil, nil
	default:
		sql, err := catalog.NextIDSQL(i)
		for _, r := range roles {
			sql = append(sql, "GRANT USAGE ON SCHEMA pgdrover TO "+quoteIdent(r), "GRANT EXECUTE ON FUNCTION pgdrover.next_id() TO "+quoteIdent(r))
		}
		return sql, nil, err
	}
}

// guardKeys describes the keys of a map for the guard.
func guardKeys(m *shard.Map, conf *config.Database) []catalog.GuardKey {
	byKey := map[string]*catalog.GuardKey{}
	var order []*catalog.GuardKey
	for _, k := range m.Keys() {
		c := conf.Keys[k.Name]
		g := &catalog.GuardKey{Name: k.Name, Types: c.Types, Bounds: conf.Placement(c)}
		byKey[k.Name] = g
		order = append(order, g)
	}
	for _, t := range m.Tables() {
		if t.Kind == shard.Sharded {
			g := byKey[t.Key.Name]
			g.Tables = append(g.Tables, catalog.GuardTable{Name: catalog.Name{Schema: t.Schema, Name: t.Name}, Columns: t.Columns})
		}
	}
	out := make([]catalog.GuardKey, len(order))
	for i, g := range order {
		out[i] = *g
	}
	return out
}

func (p *Pooler) installOn(ctx context.Context, d *database, name, as string, install, after []string) error {
	s, err := p.findPool(d, name, as, "none").openOwn(ctx)
	if err != nil {
		return err
	}
	defer s.close("installation is done")
	defer context.AfterFunc(ctx, func() { s.conn.interrupt(true) })()
	if err := s.exchangeIn('T', appendQuery(nil, "BEGIN"), syncTimeout, nil); err != nil {
		return err
	}
	for _, sql := range install {
		if err := s.exchangeIn('T', appendQuery(nil, sql), commitTimeout, nil); err != nil {
			return err
		}
	}
	if err := s.exchange(appendQuery(nil, "COMMIT"), commitTimeout, nil); err != nil {
		return err
	}
	for _, sql := range after {
		if err := s.exchange(appendQuery(nil, sql), commitTimeout, nil); err != nil {
			return err
		}
	}
	return nil
}

func installFailed(name string, done int, err error) error {
	var se *connect.ServerError
	e := &Error{Severity: "ERROR", Code: "08006", Message: fmt.Sprintf("shard %q: %s", name, err)}
	if errors.As(err, &se) {
		e = fromServer(se)
		e.Message = fmt.Sprintf("shard %q: %s", name, se.Message())
	}
	if e.Hint == "" {
		e.Hint = fmt.Sprintf("%d shards before it are done. It can be run again.", done)
	}
	return e
}

func errNoDatabase(name string) *Error {
	return &Error{Severity: "ERROR", Code: "3D000", Message: fmt.Sprintf("no such database: %s", name), Hint: "SHOW DATABASES lists them."}
}

func errNotSharded(name string) *Error {
	return &Error{Severity: "ERROR", Code: "22023", Message: fmt.Sprintf("database %q has no shards", name), Hint: "CREATE SHARD … ON DATABASE … makes it a sharded one."}
}
