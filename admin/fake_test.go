package admin

import (
	"context"
	"fmt"
	"sync"
	"time"

	"pgdrover/internal/catalog"
	"pgdrover/internal/config"
	"pgdrover/internal/stats"
	"pgdrover/pooler"
	"pgdrover/shard"
)

// at is the moment at which the fakes stand still.
var at = time.Date(2026, 11, 22, 15, 10, 35, 0, time.UTC)

// fakeControl is a pooler with fixed contents that writes down what is done to it.
type fakeControl struct {
	mu      sync.Mutex
	did     []string
	err     error         // returned by every action
	waiting chan struct{} // closed when Pause or WaitClose waits; nil lets them return at once
	extra   int           // clients beyond the fixed ones
}

func (f *fakeControl) note(format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.did = append(f.did, fmt.Sprintf(format, args...))
	return f.err
}

func (f *fakeControl) log() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.did...)
}

func (f *fakeControl) Clients() []pooler.ClientInfo {
	app := pooler.SocketInfo{
		ID: 17, User: "app", Database: "shop", Replication: "none", Addr: "10.0.0.9", Port: 41000, LocalAddr: "10.0.0.1", LocalPort: 6432,
		ConnectTime: at.Add(-time.Hour), RequestTime: at.Add(-2 * time.Second), LinkID: 4, TLS: "TLSv1.3/TLS_AES_256_GCM_SHA384",
		ApplicationName: "web\tfront\nend", PreparedStatements: 3,
	}
	wait := app
	wait.ID, wait.LinkID, wait.ApplicationName, wait.TLS = 1<<31+18, 0, "batch", ""
	login := pooler.SocketInfo{ID: 19, User: "late", Addr: "10.0.0.9", Replication: "none"}
	admin := pooler.SocketInfo{ID: 20, User: "ops", Database: "pgdrover", Replication: "none", Addr: "unix", ConnectTime: at, RemotePID: 99}
	out := []pooler.ClientInfo{
		{SocketInfo: app, State: pooler.ClientActive, InTx: true, XactStart: at.Add(-2500 * time.Millisecond), QueryStart: at.Add(-time.Second), Query: "UPDATE", PoolMode: "transaction", LoggedIn: true},
		{SocketInfo: wait, State: pooler.ClientWaiting, Wait: 1500 * time.Millisecond, Query: "SELECT", PoolMode: "transaction", LoggedIn: true},
		{SocketInfo: login, State: pooler.ClientLogin},
		{SocketInfo: admin, State: pooler.ClientActive, LoggedIn: true, IsAdmin: true, PoolMode: "statement"},
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.extra {
		c := out[0]
		c.ID = uint64(1000 + i)
		out = append(out, c)
	}
	return out
}

func (f *fakeControl) Servers() []pooler.ServerInfo {
	s := pooler.SocketInfo{
		ID: 4, User: "app", Database: "shop", Replication: "none", Addr: "10.0.1.1", Port: 5432, LocalAddr: "10.0.0.1", LocalPort: 50000,
		ConnectTime: at.Add(-time.Minute), RequestTime: at.Add(-2 * time.Second), LinkID: 17, RemotePID: 4711, ApplicationName: "web",
	}
	idle := s
	idle.ID, idle.LinkID, idle.CloseNeeded = 5, 0, true
	return []pooler.ServerInfo{
		{SocketInfo: s, State: pooler.ServerActive, ServerVersion: "17.2"},
		{SocketInfo: idle, State: pooler.ServerIdle, ServerVersion: "17.2"},
	}
}

func (f *fakeControl) Pools() []pooler.PoolInfo {
	q := stats.Quantiles{Count: 9, P50: 250 * time.Microsecond, P95: 3 * time.Millisecond, P99: 12 * time.Millisecond}
	return []pooler.PoolInfo{
		{Database: "blog", User: "app", ClActive: 2, SvIdle: 1, PoolMode: "transaction", PoolSize: 20, Query: q, Xact: q, WaitTimes: q, Connect: q},
		{Database: "pgdrover", User: "pgdrover", ClActive: 1, PoolMode: "statement"},
		{
			Database: "shop", User: "app", ClActive: 1, ClWaiting: 7, SvActive: 1, SvIdle: 1, SvLogin: 1, MaxWait: 1500 * time.Millisecond, PoolMode: "transaction",
			LoadBalanceHosts: "round-robin", PoolSize: 2, ReservePoolSize: 1, Paused: true, LastError: "password authentication failed\nfor user \"app\"", LastErrorAt: at, Query: q,
		},
	}
}

func (f *fakeControl) Databases() []pooler.DatabaseInfo {
	return []pooler.DatabaseInfo{
		{Name: "blog", Port: 5432, Database: "blog", PoolSize: 20, ServerLifetime: time.Hour, CurrentConnections: 1, CurrentClientConnections: 2, Auto: true},
		{Name: "pgdrover", Port: 6432, Database: "pgdrover", ForceUser: "pgdrover", PoolSize: 2, PoolMode: "statement"},
		{Name: "shop", Host: "10.0.1.1,10.0.1.2", Port: 5432, Database: "shop", PoolSize: 2, MinPoolSize: 1, ReservePoolSize: 1, ServerLifetime: time.Hour, LoadBalanceHosts: "round-robin", MaxConnections: 10, CurrentConnections: 2, Paused: true},
	}
}

func (f *fakeControl) Users() []pooler.UserInfo {
	n := 5
	return []pooler.UserInfo{{Name: "app", PoolSize: &n, PoolMode: "session", CurrentConnections: 3, CurrentClientConnections: 9}, {Name: "ops"}}
}

func (f *fakeControl) Waiters() []pooler.WaiterInfo {
	return []pooler.WaiterInfo{
		{
			ClientID: 18, Database: "shop", User: "app", Addr: "10.0.0.9:41001", ApplicationName: "batch", Wait: 1500 * time.Millisecond, Position: 1, InUse: 2, Max: 2, Reason: "pool_size",
			HolderID: 17, HolderApplicationName: "web", HolderState: "idle in transaction", HolderFor: 9 * time.Second, HolderQueryAge: 8 * time.Second, HolderQuery: "UPDATE", HolderServerPID: 4711,
		},
		{ClientID: 21, Database: "shop", User: "app", Addr: "unix", Wait: time.Second, Position: 2, InUse: 0, Max: 2, Reason: "paused"},
	}
}

func (f *fakeControl) Lists() pooler.ListInfo {
	return pooler.ListInfo{Databases: 3, Users: 2, Pools: 3, FreeClients: 10, UsedClients: 4, LoginClients: 1, FreeServers: 1, UsedServers: 1, DNSNames: 1}
}

func (f *fakeControl) State() pooler.StateInfo {
	return pooler.StateInfo{Active: true, Started: at.Add(-90 * time.Second), Processors: 1, MaxProcessors: 4}
}

func (f *fakeControl) Stats() []pooler.DatabaseStats {
	return []pooler.DatabaseStats{
		{
			Database: "blog",
			Total:    stats.Totals{ServerAssignments: 10, Xacts: 20, Queries: 30, BytesReceived: 40, BytesSent: 50, XactTime: 60, QueryTime: 70, WaitTime: 80, ClientParses: 90, ServerParses: 100, Binds: 110, Logins: 120},
			Average:  stats.Averages{ServerAssignments: 1, Xacts: 2, Queries: 3, BytesReceived: 4, BytesSent: 5, XactTime: 6, QueryTime: 7, WaitTime: 8, ClientParses: 9, ServerParses: 10, Binds: 11, Logins: 12},
		},
		{Database: "shop", Total: stats.Totals{Xacts: 5_000_000_000, XactTime: 100}, Average: stats.Averages{Xacts: 2, XactTime: 12}},
	}
}

func (f *fakeControl) Mem() []pooler.MemInfo {
	return []pooler.MemInfo{{Name: "client_cache", Size: 400, Used: 4, Free: 10}, {Name: "iobuf_cache", Size: 4096, Used: 1, Free: 2}}
}

func (f *fakeControl) Plans() []pooler.PlanInfo {
	return []pooler.PlanInfo{
		{Database: "shop", PlanRow: shard.PlanRow{Shape: "SELECT * FROM customers WHERE id = ?", Tier: 1, Kind: "forward", Key: "customer", Shards: 1, Runs: 12, Time: 3400 * time.Microsecond, Bytes: 900}},
		{Database: "shop", PlanRow: shard.PlanRow{Shape: "SELECT count(*) FROM customers", Kind: "refused", Shards: 0, Bytes: 700, Refused: "aggregate over several shards"}},
	}
}

func (f *fakeControl) Checks() []pooler.CheckInfo {
	return []pooler.CheckInfo{
		{Database: "mall", Unread: true},
		{Database: "shop", Problem: catalog.Problem{
			Code: catalog.ProblemUnique, Relation: catalog.Name{Schema: "public", Name: "customers"}, Object: "customers_email_key",
			Message: "unique constraint", Hint: "Add the key.", Waiver: "customers.customers_email_key",
		}},
	}
}

func (f *fakeControl) Route(_ context.Context, database, role, text string) ([]shard.RouteRow, error) {
	if err := f.note("route %s %s %s", database, role, text); err != nil {
		return nil, err
	}
	return []shard.RouteRow{
		{Statement: 1, Tier: 1, Kind: "forward", Shard: "a", Key: "customer = 1", Text: text},
		{Statement: 2, Kind: "refused", Text: text, Refused: &shard.Error{Code: "0A000", Construct: "MERGE", Message: "m", Detail: "d", Hint: "h"}},
	}, nil
}

func (f *fakeControl) Install(_ context.Context, database string, i pooler.Installation) ([]string, error) {
	return []string{"a", "b"}, f.note("install %s %+v", database, i)
}

func (f *fakeControl) TwoPhaseSQL(database string, roles []string) ([]string, error) {
	return []string{"CREATE x", "GRANT y"}, f.note("two phase %s %q", database, roles)
}

func (f *fakeControl) wait(ctx context.Context, what, db string) error {
	if err := f.note("%s %s", what, db); err != nil {
		return err
	}
	if f.waiting == nil {
		return nil
	}
	close(f.waiting)
	<-ctx.Done()
	_ = f.note("undo %s", what)
	return ctx.Err()
}

func (f *fakeControl) Pause(ctx context.Context, db string) error { return f.wait(ctx, "pause", db) }

func (f *fakeControl) WaitClose(ctx context.Context, db string) error {
	return f.wait(ctx, "wait_close", db)
}
func (f *fakeControl) Resume(db string) error     { return f.note("resume %s", db) }
func (f *fakeControl) Kill(db string) error       { return f.note("kill %s", db) }
func (f *fakeControl) KillClient(id uint64) error { return f.note("kill_client %d", id) }
func (f *fakeControl) Reconnect(db string) error  { return f.note("reconnect %s", db) }
func (f *fakeControl) Disable(db string) error    { return f.note("disable %s", db) }
func (f *fakeControl) Enable(db string) error     { return f.note("enable %s", db) }
func (f *fakeControl) Shutdown(mode pooler.ShutdownMode) {
	_ = f.note("shutdown %d", mode)
}

// fakeConfig is a configuration with three settings.
type fakeConfig struct {
	mu     sync.Mutex
	did    []string
	err    error
	status config.Status
}

func (f *fakeConfig) note(format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.did = append(f.did, fmt.Sprintf(format, args...))
	return f.err
}

func (f *fakeConfig) log() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.did...)
}

func (f *fakeConfig) fail(err error, status string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err, f.status = err, config.Status{Err: status, At: at.Unix()}
}

func (f *fakeConfig) Current() *config.Config {
	return &config.Config{Settings: config.Settings{DefaultPoolSize: 20}, Databases: fakeDatabases(), Peers: map[int]*config.Peer{
		2: {ID: 2, Host: "10.0.0.2", Port: 6432, PoolSize: 20}, 1: {ID: 1, Host: "/run/p", Port: 6432, PoolSize: 20},
	}}
}

// fakeDatabases are one plain and one sharded database.
func fakeDatabases() map[string]*config.Database {
	table := func(name string) config.TableName { return config.TableName{Schema: "public", Name: name} }
	shop := &config.Database{Name: "shop", DBName: "shop", Port: 5432}
	two := 2
	shop.Shards = []config.Shard{
		{
			Name: "a", Source: "config.toml:20", Database: config.Database{Name: "shop", ShardName: "a", DBName: "shop", Hosts: []string{"10.0.1.1"}, Port: 5432, PoolSize: &two},
			Replicas: []config.Replica{{Host: "10.0.1.2", Port: 5432, Weight: 1}, {Host: "fd00::3", Port: 5433, Weight: 2}},
		},
		{Name: "b", Source: "config.toml:25", Database: config.Database{Name: "shop", ShardName: "b", DBName: "shop", Hosts: []string{"10.0.2.1"}, Port: 5432, User: "app"}},
	}
	shop.ReferenceTables = []config.TableName{table("countries")}
	shop.Schemas, shop.DefaultShard = map[string]string{"audit": "b"}, "a"
	shop.Keys = map[string]config.Key{
		"customer": {Source: "config.toml:30", Types: []string{"bigint"}, Columns: map[config.TableName][]string{table("customers"): {"id"}, table("orders"): {"customer_id"}}},
		"day": {Source: "auto", Types: []string{"date", "text"}, Columns: map[config.TableName][]string{{Schema: "log", Name: "Hits"}: {"day", "host"}}, Bounds: []config.Bound{
			{Shard: "a", Kind: config.BoundRange, From: []config.BoundValue{{Word: "MINVALUE"}, {Word: "MINVALUE"}}, To: []config.BoundValue{{Text: "2026-01-01"}, {Text: "m"}}},
			{Shard: "b", Kind: config.BoundDefault},
		}},
	}
	return map[string]*config.Database{"blog": {Name: "blog"}, "shop": shop}
}

func (f *fakeConfig) AlterSharding(db string, c config.ShardingChange) ([]string, error) {
	return []string{"noted"}, f.note("sharding %s %T %s", db, c, fmt.Sprintf("%+v", c))
}

func (f *fakeConfig) Reload(context.Context) error { return f.note("reload") }
func (f *fakeConfig) Set(name, value string) error { return f.note("set %s=%s", name, value) }
func deref(v *string) string {
	if v == nil {
		return "RESET"
	}
	return "=" + *v
}

func (f *fakeConfig) AlterSystem(name string, v *string) error {
	return f.note("system %s %s", name, deref(v))
}

func (f *fakeConfig) AlterDatabase(db, name string, v *string) error {
	return f.note("database %s %s %s", db, name, deref(v))
}

func (f *fakeConfig) AlterUser(user, name string, v *string) error {
	return f.note("user %s %s %s", user, name, deref(v))
}

func (f *fakeConfig) Origins() map[string]config.Origin {
	return map[string]config.Origin{
		"max_client_conn":   {Value: "200", Default: "100", Source: "config.toml:3", Changeable: true, Applies: "new clients", Meaning: "most clients"},
		"listen_port":       {Value: "6432", Default: "6432", Source: "default", Applies: "restart", Meaning: "port", Pending: "6433"},
		"default_pool_size": {Value: "40", Default: "20", Source: "auto", Shadows: "config.toml:4", Changeable: true, Applies: "live", Meaning: "servers for each pool"},
		"auth_ldap_options": {Value: "****", Default: "", Source: "config.toml:9", Changeable: true, Applies: "new clients", Meaning: "options for LDAP"},
	}
}

func (f *fakeConfig) Status() config.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

func atNow() time.Time { return at }

func adminSession() *pooler.AdminSession {
	return &pooler.AdminSession{User: "ops", Admin: func() bool { return true }, Addr: "unix", Database: "pgdrover"}
}
