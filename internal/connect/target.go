package connect

import (
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"pgdrover/internal/auth"
)

// The modes of client_tls_sslmode and server_tls_sslmode.
const (
	SSLDisable    = "disable"
	SSLAllow      = "allow"
	SSLPrefer     = "prefer"
	SSLRequire    = "require"
	SSLVerifyCA   = "verify-ca"
	SSLVerifyFull = "verify-full"
)

// DefaultSocketDir is where a Target without hosts and SocketDir looks for the server's Unix socket.
const DefaultSocketDir = "/tmp"

// Param is a startup parameter or a reported one.
type Param struct{ Name, Value string }

// Target says which server to connect to, and as whom.
type Target struct {
	// Hosts are names, addresses, socket directories ("/dir") or abstract socket directories ("@name"), tried in
	// order; every address of a host is tried before the next host. Empty: SocketDir.
	Hosts     []string
	Port      int    // 0 means 5432
	SocketDir string // "" means DefaultSocketDir

	DBName      string
	User        string
	Credentials auth.Credentials
	// Params are sent in order, behind user, database and replication.
	Params      []Param
	Replication string // value of the parameter of that name; "" to leave it out

	// SSLMode is one of the SSL… constants; "" means disable. Unix sockets are never encrypted.
	SSLMode string
	// TLS is what ServerSideTLS built; nil means an empty configuration. It is not modified.
	TLS *tls.Config

	// Protocol30 asks for protocol 3.0 at once, for servers that are known not to understand more.
	Protocol30 bool

	// TCP options, PgBouncer's settings of these names.
	TCPKeepalive    bool
	TCPKeepcnt      int // 0 = the system's
	TCPKeepidle     int // seconds; 0 = the system's
	TCPKeepintvl    int // seconds; 0 = the system's
	TCPUserTimeout  int // milliseconds; 0 = the system's
	TCPSocketBuffer int // bytes of each of the two buffers; 0 = the system's

	Resolver *Resolver    // nil: the system's, without cache
	Hasher   *auth.Hasher // nil: salted passwords are not cached
}

// Validate reports what makes a Target impossible, before anything is dialled.
func (t *Target) Validate() error {
	switch t.SSLMode {
	case "", SSLDisable, SSLAllow, SSLPrefer, SSLRequire, SSLVerifyCA, SSLVerifyFull:
	default:
		return fmt.Errorf("sslmode %q is not one of disable, allow, prefer, require, verify-ca, verify-full", t.SSLMode)
	}
	if t.Port < 0 || t.Port > 65535 {
		return fmt.Errorf("port %d is outside 1..65535", t.Port)
	}
	if t.User == "" {
		return fmt.Errorf("no user name")
	}
	for _, p := range t.startupParams() {
		if p.Name == "" || strings.ContainsRune(p.Name, 0) || strings.ContainsRune(p.Value, 0) {
			return fmt.Errorf("startup parameter %q is empty or has a NUL byte", p.Name)
		}
	}
	return nil
}

func (t *Target) port() int {
	if t.Port == 0 {
		return 5432
	}
	return t.Port
}

func (t *Target) sslMode() string {
	if t.SSLMode == "" {
		return SSLDisable
	}
	return t.SSLMode
}

func (t *Target) hosts() []string {
	if len(t.Hosts) > 0 {
		return t.Hosts
	}
	if t.SocketDir != "" {
		return []string{t.SocketDir}
	}
	return []string{DefaultSocketDir}
}

func (t *Target) startupParams() []Param {
	p := []Param{{"user", t.User}}
	if t.DBName != "" {
		p = append(p, Param{"database", t.DBName})
	}
	if t.Replication != "" {
		p = append(p, Param{"replication", t.Replication})
	}
	return append(p, t.Params...)
}

// keepalive translates the settings: 0 leaves a value as the system has it.
func (t *Target) keepalive() net.KeepAliveConfig {
	seconds := func(n int) time.Duration {
		if n <= 0 {
			return -1
		}
		return time.Duration(n) * time.Second
	}
	count := t.TCPKeepcnt
	if count <= 0 {
		count = -1
	}
	return net.KeepAliveConfig{
		Enable: t.TCPKeepalive, Idle: seconds(t.TCPKeepidle), Interval: seconds(t.TCPKeepintvl), Count: count,
	}
}

func isSocketDir(host string) bool {
	return strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@")
}

// socketPath is where a server with this port puts its socket in a directory.
func socketPath(dir string, port int) string {
	return strings.TrimRight(dir, "/") + "/.s.PGSQL." + strconv.Itoa(port)
}
