package pooler

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"pgdrover/internal/procs"
)

// Request codes in the place of a protocol version (PostgreSQL manual, "Message Formats").
const (
	codeCancel = 80877102
	codeSSL    = 80877103
	codeGSSENC = 80877104

	maxStartup   = 10000 // bytes, as in PostgreSQL
	maxMinor     = 2     // newest minor version of protocol 3 that we speak
	tlsHandshake = 0x16
)

// startup is what a client says before it is asked who it is.
type startup struct {
	minor     int
	params    []param // in order, those in options first; without user, database, replication and _pq_ ones
	inOptions []param
	user      string
	database  string
	repl      string // "none", "logical" or "physical"
	cancel    []byte // process ID and key of a CancelRequest
	unknownPQ []string
	negotiate bool
	tls       *tls.ConnectionState
	text      string // all of it, as it came
}

// errQuiet closes a connection without a word.
var errQuiet = errors.New("connection closed during startup")

// readStartup goes through TLS and GSS requests up to the StartupMessage or CancelRequest. It returns the connection to go on with.
func readStartup(nc net.Conn, side sideTLS) (net.Conn, *startup, error) {
	var asked [codeGSSENC - codeSSL + 1]bool
	var state *tls.ConnectionState
	h := make([]byte, 4)
	for {
		if _, err := io.ReadFull(nc, h[:1]); err != nil {
			return nc, nil, errQuiet
		}
		if h[0] == tlsHandshake && state == nil && side.cfg != nil {
			tc := tls.Server(&prefixConn{Conn: nc, prefix: []byte{tlsHandshake}}, side.cfg)
			st, err := handshake(tc)
			if err != nil {
				return nc, nil, err
			}
			if st.NegotiatedProtocol != "postgresql" {
				return tc, nil, fatalError{errProtocol("direct SSL connection without the ALPN protocol \"postgresql\"")}
			}
			nc, state = tc, st
			continue
		}
		if _, err := io.ReadFull(nc, h[1:]); err != nil {
			return nc, nil, errQuiet
		}
		n := binary.BigEndian.Uint32(h)
		if n < 8 || n > maxStartup {
			return nc, nil, fatalError{errProtocol(fmt.Sprintf("bad packet header: '%x'", h))}
		}
		body := make([]byte, n-4)
		if _, err := io.ReadFull(nc, body); err != nil {
			return nc, nil, errQuiet
		}
		code := binary.BigEndian.Uint32(body)
		switch code {
		case codeSSL, codeGSSENC:
			if n != 8 || asked[code-codeSSL] || state != nil {
				return nc, nil, fatalError{errProtocol("client re-sent startup pkt")}
			}
			asked[code-codeSSL] = true
			if code == codeGSSENC || side.cfg == nil {
				if _, err := nc.Write([]byte{'N'}); err != nil {
					return nc, nil, errQuiet
				}
				continue
			}
			// Whatever was sent before the handshake could be an attacker's (CVE-2021-23214).
			if pending(nc) {
				return nc, nil, fatalError{errProtocol("received unencrypted data after SSL request")}
			}
			if _, err := nc.Write([]byte{'S'}); err != nil {
				return nc, nil, errQuiet
			}
			tc := tls.Server(nc, side.cfg)
			st, err := handshake(tc)
			if err != nil {
				return nc, nil, err
			}
			nc, state = tc, st
			continue
		case codeCancel:
			if n < 16 || n > 4+4+4+256 {
				return nc, nil, errQuiet
			}
			return nc, &startup{cancel: body[4:], tls: state}, nil
		}
		st, err := parseStartup(code, string(body[4:]))
		if err != nil {
			return nc, nil, err
		}
		st.tls = state
		return nc, st, nil
	}
}

func handshake(tc *tls.Conn) (*tls.ConnectionState, error) {
	procs.Busy()
	if err := tc.Handshake(); err != nil {
		return nil, fmt.Errorf("%w: TLS handshake: %w", errQuiet, err)
	}
	st := tc.ConnectionState()
	return &st, nil
}

// pending reports whether a plain connection has bytes to read already.
func pending(nc net.Conn) bool {
	if lc, ok := nc.(*loginConn); ok && len(lc.excess()) > 0 {
		return true
	}
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return false
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	has := false
	_ = rc.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		has = err == nil && n > 0
	})
	return has
}

// parseStartup reads the parameters of a StartupMessage.
func parseStartup(version uint32, b string) (*startup, error) {
	major, minor := version>>16, int(version&0xffff)
	switch {
	case major == 2:
		return nil, fatalError{errProtocol("old V2 protocol not supported")}
	case major != 3:
		return nil, fatalError{&Error{
			Severity: "FATAL", Code: "0A000",
			Message: fmt.Sprintf("unsupported frontend protocol %d.%d: server supports 3.0 to 3.%d", major, minor, maxMinor),
		}}
	}
	st := &startup{minor: minor, repl: "none", params: make([]param, 0, 4)}
	if minor > maxMinor || minor == 1 {
		st.negotiate = true
		st.minor = min(minor, maxMinor)
		if minor == 1 {
			st.minor = 0
		}
	}
	st.text = b
	for {
		name, rest, ok := strings.Cut(b, "\x00")
		if ok && name == "" && rest == "" {
			break
		}
		var value string
		value, b, ok = strings.Cut(rest, "\x00")
		if !ok || name == "" {
			return nil, fatalError{errProtocol("invalid startup packet layout: expected terminator as last byte")}
		}
		if err := st.param(name, value); err != nil {
			return nil, err
		}
	}
	st.params = append(st.inOptions, st.params...) // PostgreSQL looks at options first, wherever they stand
	switch {
	case st.user == "":
		return nil, fatalError{&Error{Severity: "FATAL", Code: "28000", Message: "no username supplied"}}
	case len(st.user) > 127:
		return nil, fatalError{&Error{Severity: "FATAL", Code: "28000", Message: "username too long"}}
	}
	if st.database == "" {
		st.database = st.user
	}
	return st, nil
}

func (st *startup) param(name, value string) error {
	switch {
	case name == "user":
		st.user = value
	case name == "database":
		st.database = value
	case name == "replication":
		switch strings.ToLower(value) {
		case "database":
			st.repl = "logical"
		case "true", "on", "yes", "1", "t", "y":
			st.repl = "physical"
		case "false", "off", "no", "0", "f", "n":
		default:
			return fatalError{&Error{
				Severity: "FATAL", Code: "22023", Message: fmt.Sprintf("invalid value for parameter \"replication\": %q", value),
				Hint: `Valid values are: "false", 0, "true", 1, "database".`,
			}}
		}
	case name == "options":
		return st.options(value)
	case strings.HasPrefix(name, "_pq_."):
		st.unknownPQ = append(st.unknownPQ, name)
		st.negotiate = true
	default:
		st.params = append(st.params, param{name, value})
	}
	return nil
}

// options reads command-line options as PostgreSQL splits them: at white space, a backslash takes the next character as
// it is. Only settings of parameters are allowed.
func (st *startup) options(s string) error {
	var words []string
	var w strings.Builder
	in := false
	for i := 0; i < len(s); i++ {
		switch ch := s[i]; {
		case ch == '\\' && i+1 < len(s):
			i++
			w.WriteByte(s[i])
			in = true
		case strings.IndexByte(" \t\n\r\v\f", ch) >= 0:
			if in {
				words = append(words, w.String())
				w.Reset()
				in = false
			}
		default:
			w.WriteByte(ch)
			in = true
		}
	}
	if in {
		words = append(words, w.String())
	}
	for i := 0; i < len(words); i++ {
		kv, dashes := strings.CutPrefix(words[i], "--")
		if !dashes {
			var ok bool
			if kv, ok = strings.CutPrefix(words[i], "-c"); !ok {
				return errOptions()
			}
			if kv == "" {
				if i++; i == len(words) {
					return errOptions()
				}
				kv = words[i]
			}
		}
		name, value, ok := strings.Cut(kv, "=")
		if !ok || name == "" {
			return errOptions()
		}
		if dashes {
			name = strings.ReplaceAll(name, "-", "_")
		}
		st.inOptions = append(st.inOptions, param{name, value})
	}
	return nil
}

func errOptions() error {
	return fatalError{errProtocol("unsupported options startup parameter: only '-c config=val' and '--config=val' are allowed")}
}

// negotiateMessage is NegotiateProtocolVersion.
func (st *startup) negotiateMessage() []byte {
	b := []byte{'v', 0, 0, 0, 0}
	b = binary.BigEndian.AppendUint32(b, 3<<16|uint32(st.minor))
	b = binary.BigEndian.AppendUint32(b, uint32(len(st.unknownPQ)))
	for _, n := range st.unknownPQ {
		b = append(append(b, n...), 0)
	}
	binary.BigEndian.PutUint32(b[1:], uint32(len(b)-1))
	return b
}

// prefixConn gives back bytes that were read too early.
type prefixConn struct {
	net.Conn
	prefix []byte
}

func (c *prefixConn) Read(p []byte) (int, error) {
	if len(c.prefix) > 0 {
		n := copy(p, c.prefix)
		c.prefix = c.prefix[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// SyscallConn gives access to the descriptor underneath.
func (c *prefixConn) SyscallConn() (syscall.RawConn, error) {
	sc, ok := c.Conn.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("%T has no file descriptor", c.Conn)
	}
	return sc.SyscallConn()
}

// tlsName is how SHOW CLIENTS and SHOW SERVERS print a TLS connection.
func tlsName(st tls.ConnectionState) string {
	v := strings.Replace(tls.VersionName(st.Version), "TLS ", "TLSv", 1)
	return v + "/" + tls.CipherSuiteName(st.CipherSuite)
}
