package pooler

import (
	"context"
	"net"
	"time"

	"pgdrover/internal/stats"
)

// AdminServer serves sessions on the admin database. The pooler knows it only by this method.
type AdminServer interface {
	// ServeAdmin serves one client that has logged in and been sent ReadyForQuery. It returns when the
	// client has left, or ctx is done; the caller closes the connection. If ctx has an *Error as its cause, the
	// client is to be told that.
	ServeAdmin(ctx context.Context, s *AdminSession) error
}

// AdminSession is a client of the admin database.
type AdminSession struct {
	Conn     net.Conn // plain or TLS; positioned behind the startup exchange
	ID       uint64
	User     string
	Admin    func() bool // may do everything now; otherwise may only SHOW
	Addr     string      // "127.0.0.1:4711" or "unix"
	Database string      // "pgdrover" or "pgbouncer"
	// Canceled receives one value for each cancel request that named this session.
	Canceled <-chan struct{}
	// Parameters are the startup packet's, for SHOW application_name and the like.
	Parameters map[string]string
}

// ClientState and ServerState are PgBouncer's words for SHOW CLIENTS and SHOW SERVERS.
type (
	ClientState string
	ServerState string
)

// States.
const (
	ClientActive        ClientState = "active"
	ClientIdle          ClientState = "idle"
	ClientWaiting       ClientState = "waiting"
	ClientActiveCancel  ClientState = "active_cancel_req"
	ClientWaitingCancel ClientState = "waiting_cancel_req"
	ClientLogin         ClientState = "login"

	ServerActive        ServerState = "active"
	ServerIdle          ServerState = "idle"
	ServerUsed          ServerState = "used"
	ServerTested        ServerState = "tested"
	ServerNew           ServerState = "new"
	ServerActiveCancel  ServerState = "active_cancel"
	ServerBeingCanceled ServerState = "being_canceled"
)

// SocketInfo is what SHOW CLIENTS and SHOW SERVERS have in common.
type SocketInfo struct {
	ID                 uint64
	User               string
	Database           string
	Replication        string // "none", "logical" or "physical"
	Shard              string // of a server of a sharded database
	Addr               string // "unix" for Unix sockets
	Port               int
	LocalAddr          string
	LocalPort          int
	ConnectTime        time.Time
	RequestTime        time.Time // when the current or last request came (client) / when it was last handed out (server)
	CloseNeeded        bool
	LinkID             uint64 // ID of the linked server or client, 0 without one
	RemotePID          int    // backend PID (server); peer process of a Unix socket (client); 0 if unknown
	TLS                string // "TLSv1.3/TLS_AES_256_GCM_SHA384", "" without
	ApplicationName    string
	PreparedStatements int
}

// ClientInfo is one row of SHOW CLIENTS.
type ClientInfo struct {
	SocketInfo
	State      ClientState
	Wait       time.Duration // how long it has been waiting for a server, 0 if it is not
	InTx       bool          // linked and inside a transaction block
	XactStart  time.Time     // zero outside a transaction
	QueryStart time.Time     // zero while no query runs
	Query      string        // what it last ran: command word only, unless log_queries
	LoggedIn   bool
	PoolMode   string
	IsAdmin    bool   // a session on the admin database
	Pinned     string // what keeps its server between transactions, "" if nothing does
}

// ServerInfo is one row of SHOW SERVERS.
type ServerInfo struct {
	SocketInfo
	State         ServerState
	ServerVersion string
	Pinned        string // what keeps it with its client between transactions, "" if nothing does
}

// PoolInfo is one row of SHOW POOLS.
type PoolInfo struct {
	Database, User                            string
	Shard                                     string // "" for databases without shards
	ClActive, ClWaiting                       int
	ClActiveCancelReq, ClWaitingCancelReq     int
	SvActive, SvActiveCancel, SvBeingCanceled int
	SvIdle, SvUsed, SvTested, SvLogin         int
	MaxWait                                   time.Duration // age of the oldest waiter
	PoolMode                                  string
	LoadBalanceHosts                          string // "" unless the database lists several hosts
	PoolSize, ReservePoolSize                 int
	Paused                                    bool
	LastError                                 string // last failed server login, "" after a success
	LastErrorAt                               time.Time
	// Latencies since start, in the pool.
	Query, Xact, WaitTimes, Connect stats.Quantiles
}

// DatabaseInfo is one row of SHOW DATABASES.
type DatabaseInfo struct {
	Name, Host                                     string // Host: "" for Unix sockets, a comma list for several
	Port                                           int
	Database, ForceUser                            string
	PoolSize, MinPoolSize                          int
	ReservePoolSize                                int
	ServerLifetime                                 time.Duration
	PoolMode                                       string // "" unless set on the database
	LoadBalanceHosts                               string // "" unless the database lists several hosts
	MaxConnections, CurrentConnections             int
	MaxClientConnections, CurrentClientConnections int
	Paused, Disabled, Auto                         bool // Auto: registered through "*"
}

// UserInfo is one row of SHOW USERS.
type UserInfo struct {
	Name                                           string
	PoolSize, ReservePoolSize                      *int
	PoolMode                                       string // "" unless set
	MaxUserConnections, CurrentConnections         int
	MaxClientConnections, CurrentClientConnections int
}

// WaiterInfo is one row of SHOW WAITERS: a client in a queue, and the longest holder of its pool.
type WaiterInfo struct {
	ClientID              uint64
	Database, User, Addr  string
	ApplicationName       string
	Wait                  time.Duration
	Position              int    // in the queue of its pool, from 1
	InUse, Max            int    // servers of the pool
	Reason                string // "pool_size", "max_db_connections", "max_user_connections", "paused", "login failing", "connecting", "checking"
	HolderID              uint64 // client that has held a server of this pool for longest, 0 if none
	HolderApplicationName string
	HolderState           string        // "active", "idle in transaction", "idle", "pinned" (ClientInfo.Pinned says why)
	HolderFor             time.Duration // since it was given the server
	HolderQueryAge        time.Duration // since its last query began
	HolderQuery           string        // command word only, unless log_queries
	HolderServerPID       int
}

// ListInfo is SHOW LISTS.
type ListInfo struct {
	Databases, Users, Peers, Pools, PeerPools  int
	FreeClients, UsedClients, LoginClients     int
	FreeServers, UsedServers                   int
	DNSNames, DNSZones, DNSQueries, DNSPending int
}

// StateInfo is SHOW STATE.
type StateInfo struct {
	Active, Paused, Suspended bool
	ShuttingDown              bool
	Started                   time.Time
	Processors, MaxProcessors int // in use for Go code at present, and at most; see package procs
}

// DatabaseStats are the counters of one database.
type DatabaseStats struct {
	Database string
	Total    stats.Totals
	// Average is per second (counts, bytes) or per event in µs (times) over the last stats_period.
	Average stats.Averages
}

// MemInfo is one row of SHOW MEM.
type MemInfo struct {
	Name       string
	Size       int // bytes of one object
	Used, Free int // objects
}

// Control is what the admin database does to the pooler. *Pooler is the only implementation.
type Control interface {
	Sharding

	Clients() []ClientInfo
	Servers() []ServerInfo
	Pools() []PoolInfo // sorted by database, user; includes the admin database
	Databases() []DatabaseInfo
	Users() []UserInfo
	Waiters() []WaiterInfo
	Lists() ListInfo
	State() StateInfo
	Stats() []DatabaseStats // sorted by database; includes the admin database
	Mem() []MemInfo

	// Pause waits until no server of the database ("" = of any) is left, or ctx is done, in which case the
	// pause is undone. Clients queue meanwhile and after. Errors are *Error values to send as they are.
	Pause(ctx context.Context, database string) error
	Resume(database string) error
	// Kill closes every client and server of the database ("" = all) and leaves it paused.
	Kill(database string) error
	KillClient(id uint64) error
	// Reconnect closes each server when it is next idle.
	Reconnect(database string) error
	// WaitClose waits until no server that Reconnect or a reload marked is left.
	WaitClose(ctx context.Context, database string) error
	Disable(database string) error
	Enable(database string) error
	// Shutdown starts shutting down and returns at once.
	Shutdown(mode ShutdownMode)
}

// ShutdownMode says what a shutdown waits for.
type ShutdownMode uint8

// Modes.
const (
	ShutdownNow            ShutdownMode = iota
	ShutdownWaitForServers              // transactions finish, waiting clients are dropped
	ShutdownWaitForClients              // clients leave by themselves
	ShutdownDrain                       // each client is closed when it has no transaction open; those that wait are served first
)

// Error is an error for a client: FATAL closes the connection.
type Error struct {
	Severity string // "ERROR", "FATAL"
	Code     string // SQLSTATE
	Message  string
	Detail   string
	Hint     string
	Where    string // CONTEXT
	Routine  string // of PostgreSQL's that makes such an error
	Position int    // in the text, in characters from 1; 0 = none
}

func (e *Error) Error() string { return e.Message }
