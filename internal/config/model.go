package config

import (
	"strings"
	"time"
)

// PoolMode says when a server goes back to its pool.
type PoolMode uint8

// The pool modes, PgBouncer's three.
const (
	PoolSession     PoolMode = iota // when the client leaves
	PoolTransaction                 // when the transaction ends
	PoolStatement                   // when the statement ends; transaction blocks are refused
)

// String returns the mode's name as it is written in configuration files.
func (m PoolMode) String() string {
	switch m {
	case PoolTransaction:
		return "transaction"
	case PoolStatement:
		return "statement"
	default:
		return "session"
	}
}

// Secret is a password or key. It prints as asterisks, so that it cannot reach a log by accident;
// convert it to string to use it.
type Secret string

// String hides the secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "****"
}

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return s.String() }

// MarshalText hides the secret from encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Settings are the global settings, one field per row of the settings table, in its order.
// Durations of 0 mean "off" unless the row says otherwise.
type Settings struct {
	// generic
	LogFile                 string
	PidFile                 string
	ListenAddr              string // comma list, "*" = all, "" = Unix socket only
	ListenPort              int
	UnixSocketDir           string // "" = none, "@x" = abstract
	UnixSocketMode          int
	UnixSocketGroup         string
	User                    string
	PoolMode                PoolMode
	MaxClientConn           int
	DefaultPoolSize         int
	MinPoolSize             int
	ReservePoolSize         int
	ReservePoolTimeout      time.Duration
	MaxDBConnections        int
	MaxDBClientConnections  int
	MaxUserConnections      int
	MaxUserClientConns      int // max_user_client_connections
	ServerRoundRobin        bool
	TrackExtraParameters    []string
	IgnoreStartupParameters []string
	PeerID                  int
	DisablePQExec           bool
	ApplicationNameAddHost  bool
	ConfFile                string
	JobName                 string
	StatsPeriod             time.Duration
	MaxPreparedStatements   int
	ScramIterations         int

	// authentication
	AuthType        string // any trust plain md5 cert hba ldap pam peer scram-sha-256
	AuthFile        string
	AuthHBAFile     string
	AuthIdentFile   string
	AuthUser        string
	AuthQuery       string
	AuthDBName      string
	AuthLDAPOptions string

	// log and admin
	Syslog          bool
	SyslogIdent     string
	SyslogFacility  string
	LogConnections  bool
	LogDisconnects  bool // log_disconnections
	LogPoolerErrors bool
	LogStats        bool
	LogFormat       string        // ours: "pgbouncer", "json", "console"
	LogSlowWait     time.Duration // ours: log a client that waited longer for a server; 0 = off
	LogQueries      bool          // ours: query texts may appear in logs and SHOW WAITERS unfolded
	Verbose         int
	AdminUsers      []string
	StatsUsers      []string
	AutoConfigFile  string // ours: config.auto.toml beside the main file unless set

	// checks and timeouts
	ServerResetQuery       string
	ServerResetQueryAlways bool
	ServerCheckDelay       time.Duration
	ServerCheckQuery       string // "<empty>" = an empty query; "" = no check
	ServerFastClose        bool
	ServerLifetime         time.Duration
	ServerIdleTimeout      time.Duration
	ServerConnectTimeout   time.Duration
	ServerLoginRetry       time.Duration
	ClientLoginTimeout     time.Duration
	AutodbIdleTimeout      time.Duration
	PoolIdleTimeout        time.Duration
	DNSMaxTTL              time.Duration
	DNSNXDomainTTL         time.Duration
	DNSZoneCheckPeriod     time.Duration
	ResolvConf             string
	QueryWaitNotify        time.Duration
	LoginNotifyMessage     string
	QueryTimeout           time.Duration
	QueryWaitTimeout       time.Duration
	CancelWaitTimeout      time.Duration
	ClientIdleTimeout      time.Duration
	IdleTransactionTimeout time.Duration
	TransactionTimeout     time.Duration
	DeadlockTimeout        time.Duration
	SuspendTimeout         time.Duration

	// TLS
	ClientTLSSSLMode   string
	ClientTLSKeyFile   string
	ClientTLSCertFile  string
	ClientTLSCAFile    string
	ClientTLSProtocols string
	ClientTLSCiphers   string
	ClientTLS13Ciphers string
	ClientTLSECDHCurve string
	ClientTLSDHEParams string
	ServerTLSSSLMode   string
	ServerTLSCAFile    string
	ServerTLSKeyFile   string
	ServerTLSCertFile  string
	ServerTLSProtocols string
	ServerTLSCiphers   string
	ServerTLS13Ciphers string

	// low level
	PktBuf          int
	MaxPacketSize   int64
	ListenBacklog   int
	SbufLoopcnt     int
	SoReuseport     bool
	TCPDeferAccept  int
	TCPSocketBuffer int
	TCPKeepalive    bool
	TCPKeepcnt      int
	TCPKeepidle     int
	TCPKeepintvl    int
	TCPUserTimeout  int // milliseconds
}

// Database is one [databases] entry. Nil pointers and empty strings mean "not set here".
type Database struct {
	Name     string
	Source   string   // "file:line" of its declaration, for messages
	DBName   string   // on the server; Name unless set
	Hosts    []string // host names, addresses, or socket directories ("/dir", "@abstract"); empty: unix_socket_dir
	Port     int
	User     string // forced user; "" = the client's
	Password Secret

	AuthUser   string
	AuthQuery  string
	AuthDBName string

	PoolSize        *int
	MinPoolSize     *int
	ReservePoolSize *int
	PoolMode        *PoolMode

	ConnectQuery     string
	LoadBalanceHosts string // "round-robin" (default) or "disable"
	QueryWaitTimeout *time.Duration
	ServerLifetime   *time.Duration
	MaxDBConnections *int
	MaxDBClientConns *int // max_db_client_connections

	// Session defaults that are sent in the startup packet to the server.
	ClientEncoding, DateStyle, TimeZone, ApplicationName string

	// Ours: server TLS of this database alone (also from a URL's sslmode, sslrootcert, sslcert, sslkey).
	ServerTLSSSLMode, ServerTLSCAFile, ServerTLSCertFile, ServerTLSKeyFile string

	RecoveryUser string   // who finishes interrupted transactions over several shards; "" = nobody
	ShardLocal   []string // functions and triggers that stay within their shard
	Waive        []string // checks of the shards' catalogs that are waived, by name

	Sharding         // of the database as a whole; zero in Shard.Database
	ShardName string // of Shard.Database, the server of a shard; "" for a database
}

// SameServer reports whether two entries need the same kind of server connection, so that a reload may
// keep what is open. Password, sizes, timeouts and pool mode do not matter.
func (d *Database) SameServer(o *Database) bool {
	return d.DBName == o.DBName && d.Port == o.Port && d.User == o.User &&
		strings.Join(d.Hosts, ",") == strings.Join(o.Hosts, ",") &&
		d.ConnectQuery == o.ConnectQuery && d.LoadBalanceHosts == o.LoadBalanceHosts &&
		d.AuthDBName == o.AuthDBName && d.AuthQuery == o.AuthQuery &&
		d.ClientEncoding == o.ClientEncoding && d.DateStyle == o.DateStyle && d.TimeZone == o.TimeZone &&
		d.ApplicationName == o.ApplicationName &&
		d.ServerTLSSSLMode == o.ServerTLSSSLMode && d.ServerTLSCAFile == o.ServerTLSCAFile &&
		d.ServerTLSCertFile == o.ServerTLSCertFile && d.ServerTLSKeyFile == o.ServerTLSKeyFile
}

// User is one [users] entry, joined with the user's line of auth_file. Nil pointers mean "not set here".
type User struct {
	Name         string
	Source       string
	Password     Secret // plain, md5… or SCRAM-SHA-256$…; the TOML value wins over auth_file
	HasPassword  bool   // whether one is given, be it "", which never matches; if not, auth_query is asked for it where there is one
	FromAuthFile bool
	Unlisted     bool // only config.auto.toml has values for it: whether it exists is auth_query's to say

	PoolMode               *PoolMode
	PoolSize               *int
	ReservePoolSize        *int
	MaxUserConnections     *int
	MaxUserClientConns     *int // max_user_client_connections
	QueryTimeout           *time.Duration
	QueryWaitTimeout       *time.Duration
	IdleTransactionTimeout *time.Duration
	TransactionTimeout     *time.Duration
	ClientIdleTimeout      *time.Duration
}

// Peer is one [peers] entry of PgBouncer's.
type Peer struct {
	ID       int
	Host     string
	Port     int
	PoolSize int
}

// Config is one complete, validated configuration. It is immutable once published.
type Config struct {
	Settings
	Databases map[string]*Database // "*" is the template for names that are not listed
	Users     map[string]*User     // from [users] and auth_file together
	Peers     map[int]*Peer
	HBA       []byte // contents of auth_hba_file, nil without one; parsed by internal/auth
	Ident     []byte // contents of auth_ident_file
	// RowsAccepted is the database whose sharding was changed by a command WITHOUT MOVING ROWS, if that is how this configuration came about.
	RowsAccepted string

	mainFile string           // the file it was read from; ConfFile may name another for the next reload
	origins  map[string]entry // where the settings that are not at their default were given
}

// AdminDatabases are the names under which the admin database answers; no [databases] entry may use them.
var adminDatabases = [...]string{"pgdrover", "pgbouncer"}

// IsAdminDatabase reports whether name is the admin database.
func IsAdminDatabase(name string) bool {
	return name == adminDatabases[0] || name == adminDatabases[1]
}

// PoolSettings are the limits and timeouts in force for one pool, after the precedence
// user > database > global has been applied. Negative never occurs; 0 is "off" for durations and
// "no limit" for MaxDB… and MaxUser….
type PoolSettings struct {
	PoolMode               PoolMode
	PoolSize               int
	MinPoolSize            int
	ReservePoolSize        int
	ReservePoolTimeout     time.Duration
	MaxDBConnections       int
	MaxUserConnections     int
	ServerLifetime         time.Duration
	ServerIdleTimeout      time.Duration
	ServerRoundRobin       bool
	QueryTimeout           time.Duration
	QueryWaitTimeout       time.Duration
	IdleTransactionTimeout time.Duration
	TransactionTimeout     time.Duration
	ClientIdleTimeout      time.Duration
}

func over[T any](global T, levels ...*T) T {
	for _, l := range levels {
		if l != nil {
			return *l
		}
	}
	return global
}

// PoolSettings returns what is in force for a pool of database d whose server user is named user.
func (c *Config) PoolSettings(d *Database, user string) PoolSettings {
	u := c.Users[user]
	if u == nil {
		u = &User{}
	}
	return PoolSettings{
		PoolMode:               over(c.PoolMode, u.PoolMode, d.PoolMode),
		PoolSize:               over(c.DefaultPoolSize, u.PoolSize, d.PoolSize),
		MinPoolSize:            over(c.MinPoolSize, d.MinPoolSize),
		ReservePoolSize:        over(c.ReservePoolSize, u.ReservePoolSize, d.ReservePoolSize),
		ReservePoolTimeout:     c.ReservePoolTimeout,
		MaxDBConnections:       over(c.MaxDBConnections, d.MaxDBConnections),
		MaxUserConnections:     over(c.MaxUserConnections, u.MaxUserConnections),
		ServerLifetime:         over(c.ServerLifetime, d.ServerLifetime),
		ServerIdleTimeout:      c.ServerIdleTimeout,
		ServerRoundRobin:       c.ServerRoundRobin,
		QueryTimeout:           over(c.QueryTimeout, u.QueryTimeout),
		QueryWaitTimeout:       over(c.QueryWaitTimeout, u.QueryWaitTimeout, d.QueryWaitTimeout),
		IdleTransactionTimeout: over(c.IdleTransactionTimeout, u.IdleTransactionTimeout),
		TransactionTimeout:     over(c.TransactionTimeout, u.TransactionTimeout),
		ClientIdleTimeout:      over(c.ClientIdleTimeout, u.ClientIdleTimeout),
	}
}

// FindDatabase returns the entry for name: its own, or a copy of "*" under that name (auto is then
// true), or nil.
func (c *Config) FindDatabase(name string) (d *Database, auto bool) {
	if d := c.Databases[name]; d != nil && name != "*" {
		return d, false
	}
	t := c.Databases["*"]
	if t == nil {
		return nil, false
	}
	cp := *t
	cp.Name = name
	if cp.DBName == "" || cp.DBName == "*" {
		cp.DBName = name
	}
	return &cp, true
}

// DatabaseClientLimit is max_db_client_connections as it applies to d; 0 means no limit.
func (c *Config) DatabaseClientLimit(d *Database) int {
	return over(c.MaxDBClientConnections, d.MaxDBClientConns)
}

// AsksServers reports whether auth_query can be used for some database.
func (c *Config) AsksServers() bool {
	if c.AuthUser != "" {
		return true
	}
	for _, d := range c.Databases {
		if d.AuthUser != "" {
			return true
		}
	}
	return false
}

// UserClientLimit is max_user_client_connections as it applies to a login user; 0 means no limit.
func (c *Config) UserClientLimit(name string) int {
	if u := c.Users[name]; u != nil {
		return over(c.MaxUserClientConns, u.MaxUserClientConns)
	}
	return c.MaxUserClientConns
}
