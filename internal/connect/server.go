package connect

import (
	"crypto/tls"
	"net"
	"strings"
)

// Server is an authenticated connection to a server, behind its first ReadyForQuery.
type Server struct {
	// Conn is a *net.TCPConn, a *net.UnixConn, or a *tls.Conn over one of them. It has no deadline set.
	Conn net.Conn
	// Raw is what is underneath Conn: a *net.TCPConn or *net.UnixConn; Conn itself without TLS.
	Raw net.Conn

	PID           uint32 // of the backend; 0 if the server sent no key
	SecretKey     []byte // for cancelling: 4 to 256 bytes; nil if the server sent none
	ProtocolMinor int    // 0 or 2
	// Params are the parameters that the server reported, in order of their first report, last values.
	Params []Param
	// Notices are the bodies of NoticeResponses that came during the login.
	Notices [][]byte

	TLSState   *tls.ConnectionState // nil without TLS
	RemoteAddr net.Addr
	Host       string // of Target.Hosts: the one that was reached

	ep    endpoint
	tls   *tls.Config // with which a cancel request is encrypted; nil: it is not
	tcp   *Target     // for its TCP options only
	ident Error       // template of errors
}

// Param returns the last reported value of a parameter. Names are compared without regard to case.
func (s *Server) Param(name string) (value string, ok bool) {
	for _, p := range s.Params {
		if strings.EqualFold(p.Name, name) {
			return p.Value, true
		}
	}
	return "", false
}

// endpoint is one address of one host.
type endpoint struct {
	network string // "tcp" or "unix"
	address string // "ip:port" or a path
	host    string // as configured
	port    int
}

// label is the endpoint as messages name it.
func (e endpoint) label() string {
	if e.network == "unix" {
		return e.address
	}
	hp := net.JoinHostPort(e.host, itoa(e.port))
	if hp == e.address {
		return hp
	}
	return hp + " (" + e.address + ")"
}
