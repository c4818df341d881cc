package connect

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"pgdrover/internal/auth"
	"pgdrover/internal/procs"
	"pgdrover/internal/wire"
)

const (
	sslRequestCode    = 80877103
	cancelRequestCode = 80877102
	protocolMajor     = 3

	// maxLoginMessage bounds a message and maxLoginBytes all messages of a login, in bytes.
	maxLoginMessage = 64 << 10
	maxLoginBytes   = 1 << 20
	maxKeyLen       = 256 // of a secret key, protocol 3.2
	minKeyLen       = 4
)

// handshake takes one connection from connect to ReadyForQuery.
type handshake struct {
	*dialer
	*Server
	minor    int  // asked for
	answered bool // the server accepted the startup packet
	in       *wire.Reader
	read     int // bytes
}

func (h *handshake) errorf(reason string, err error) error { return h.fail(reason, h.ep.label(), err) }

// ioError tells a lost connection from a timeout.
func (h *handshake) ioError(err error) error {
	var tooLong *wire.ErrTooLong
	if errors.As(err, &tooLong) {
		return h.errorf(ReasonProtocol, err)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return h.errorf(ReasonTimeout, err)
	}
	return h.errorf(ReasonClosed, err)
}

func (h *handshake) run(ctx context.Context, a attempt) error {
	if a.encrypt {
		cfg := clientTLS(h.TLS, h.sslMode(), h.ep.host)
		conn, err := h.encrypt(ctx, h.Raw, cfg)
		if err != nil {
			return err
		}
		switch {
		case conn != nil:
			h.Conn, h.Server.tls = conn, cfg
			state := conn.ConnectionState()
			h.TLSState = &state
		case a.must:
			return h.errorf(ReasonRefusedSSL, nil)
		}
	}
	h.in = wire.NewReader(h.Conn, maxLoginMessage)
	if _, err := h.Conn.Write(startupMessage(h.minor, h.startupParams())); err != nil {
		return h.ioError(err)
	}
	if err := h.authenticate(ctx); err != nil {
		return err
	}
	return h.settle()
}

// encrypt asks for TLS and shakes hands. It returns nil if the server does not do TLS.
func (h *handshake) encrypt(ctx context.Context, raw net.Conn, cfg *tls.Config) (*tls.Conn, error) {
	answer, err := requestTLS(raw)
	if err != nil {
		if errors.Is(err, errExtraBytes) {
			return nil, h.errorf(ReasonProtocol, err)
		}
		return nil, h.ioError(err)
	}
	switch answer {
	case 'S':
	case 'N':
		return nil, nil
	case 'E':
		// The text is not looked at: nothing proves who sent it.
		return nil, h.errorf(ReasonTLS, errors.New("the server answered the request for TLS with an error"))
	default:
		return nil, h.errorf(ReasonProtocol, fmt.Errorf("the server answered the request for TLS with %q", answer))
	}
	procs.Busy()
	conn := tls.Client(raw, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, h.errorf(ReasonTLS, err)
	}
	return conn, nil
}

var errExtraBytes = errors.New("received unencrypted data after the answer to the request for TLS")

// requestTLS sends SSLRequest and returns the one byte of the answer. More than one byte would be an attempt to
// have text believed that was not encrypted (CVE-2021-23222).
func requestTLS(raw net.Conn) (byte, error) {
	var req [8]byte
	binary.BigEndian.PutUint32(req[:], 8)
	binary.BigEndian.PutUint32(req[4:], sslRequestCode)
	if _, err := raw.Write(req[:]); err != nil {
		return 0, err
	}
	var b [2]byte
	n, err := raw.Read(b[:])
	switch {
	case n == 2 && b[0] != 'E':
		return 0, errExtraBytes
	case n > 0:
		return b[0], nil
	case err == nil:
		err = io.ErrNoProgress
	}
	return 0, err
}

func startupMessage(minor int, params []Param) []byte {
	b := make([]byte, 4, 256)
	b = binary.BigEndian.AppendUint32(b, protocolMajor<<16|uint32(minor))
	for _, p := range params {
		b = append(append(b, p.Name...), 0)
		b = append(append(b, p.Value...), 0)
	}
	b = append(b, 0)
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	return b
}

// next reads one message. Notices are kept, errors are returned as such, and the total is bounded.
func (h *handshake) next() (typ byte, body []byte, err error) {
	for {
		typ, body, err = h.in.Next()
		if err != nil {
			if typ == 'E' && h.read == 0 {
				if e := h.legacyError(err); e != nil {
					return 0, nil, h.errorf(ReasonLogin, e)
				}
			}
			return 0, nil, h.ioError(err)
		}
		if h.read += len(body) + 5; h.read > maxLoginBytes {
			return 0, nil, h.errorf(ReasonProtocol, fmt.Errorf("more than %d bytes during login", maxLoginBytes))
		}
		switch typ {
		case 'E':
			e, err := ParseServerError(body)
			if err != nil {
				return 0, nil, h.errorf(ReasonProtocol, err)
			}
			e.Addr = h.ep.label()
			return 0, nil, h.errorf(ReasonLogin, e)
		case 'N':
			h.Notices = append(h.Notices, bytes.Clone(body))
		default:
			return typ, body, nil
		}
	}
}

// legacyError reads an error without a length: 'E', text, NUL. The four bytes that were taken for a length are
// its beginning.
func (h *handshake) legacyError(cause error) *ServerError {
	var tooLong *wire.ErrTooLong
	if !errors.As(cause, &tooLong) {
		return nil
	}
	text := binary.BigEndian.AppendUint32(nil, tooLong.Len)
	rest, _ := io.ReadAll(io.LimitReader(h.Conn, 1024))
	text, _, _ = bytes.Cut(append(text, rest...), []byte{0})
	for _, c := range text {
		if c < 0x20 && c != '\n' && c != '\t' {
			return nil
		}
	}
	e := legacyError(strings.TrimSpace(string(text)))
	e.Addr = h.ep.label()
	return e
}

// authenticate answers until AuthenticationOk.
func (h *handshake) authenticate(ctx context.Context) error {
	opt := auth.LoginOptions{Hasher: h.Hasher, TLS: h.TLSState != nil}
	if h.TLSState != nil && len(h.TLSState.PeerCertificates) > 0 {
		opt.ChannelBinding = auth.TLSServerEndPoint(h.TLSState.PeerCertificates[0])
	}
	login := auth.NewLogin(h.Credentials, opt)
	for {
		typ, body, err := h.next()
		if err != nil {
			return err
		}
		switch typ {
		case 'v':
			if h.answered {
				return h.errorf(ReasonProtocol, errors.New("NegotiateProtocolVersion during authentication"))
			}
			if err := h.negotiate(body); err != nil {
				return h.errorf(ReasonProtocol, err)
			}
			continue
		case 'R':
		default:
			return h.errorf(ReasonProtocol, fmt.Errorf("message %q before authentication", typ))
		}
		h.answered = true
		reply, done, err := login.Answer(ctx, body)
		if err != nil {
			return h.errorf(ReasonLogin, err)
		}
		if done {
			return nil
		}
		if reply != nil {
			if err := h.send('p', reply); err != nil {
				return err
			}
		}
	}
}

func (h *handshake) send(typ byte, body []byte) error {
	msg := append(make([]byte, 0, 5+len(body)), typ)
	msg = binary.BigEndian.AppendUint32(msg, uint32(4+len(body)))
	if _, err := h.Conn.Write(append(msg, body...)); err != nil {
		return h.ioError(err)
	}
	return nil
}

// negotiate reads NegotiateProtocolVersion: the newest minor version that the server has, and the protocol
// options that it does not know.
func (h *handshake) negotiate(body []byte) error {
	if len(body) < 8 {
		return errors.New("NegotiateProtocolVersion is too short")
	}
	// Servers send the minor version alone or the whole version; PostgreSQL does the latter.
	version := binary.BigEndian.Uint32(body)
	major, minor := version>>16, int(version&0xffff)
	if major != protocolMajor && major != 0 {
		return fmt.Errorf("the server wants protocol %d.%d", major, minor)
	}
	if minor > h.minor || minor == 1 {
		return fmt.Errorf("the server negotiates protocol 3.%d where 3.%d was asked for", minor, h.minor)
	}
	h.minor = minor
	rest := body[8:]
	for range binary.BigEndian.Uint32(body[4:]) {
		name, tail, ok := bytes.Cut(rest, []byte{0})
		if !ok {
			return errors.New("NegotiateProtocolVersion is cut short")
		}
		rest = tail
		if !h.sentOption(string(name)) {
			return fmt.Errorf("the server does not know protocol option %.64q, which was not sent", name)
		}
	}
	return nil
}

func (h *handshake) sentOption(name string) bool {
	for _, p := range h.Target.Params {
		if p.Name == name && strings.HasPrefix(name, "_pq_.") {
			return true
		}
	}
	return false
}

// settle reads what comes between AuthenticationOk and ReadyForQuery.
func (h *handshake) settle() error {
	h.ProtocolMinor = h.minor
	for {
		typ, body, err := h.next()
		if err != nil {
			return err
		}
		switch typ {
		case 'S':
			err = h.parameter(body)
		case 'K':
			err = h.key(body)
		case 'Z':
			if len(body) != 1 || body[0] != 'I' {
				return h.errorf(ReasonProtocol, fmt.Errorf("ReadyForQuery %.8q after login", body))
			}
			return nil
		default:
			err = fmt.Errorf("message %q after authentication", typ)
		}
		if err != nil {
			return h.errorf(ReasonProtocol, err)
		}
	}
}

func (h *handshake) parameter(body []byte) error {
	parts := bytes.Split(body, []byte{0})
	if len(parts) != 3 || len(parts[2]) != 0 || len(parts[0]) == 0 {
		return errors.New("malformed ParameterStatus")
	}
	name, value := string(parts[0]), string(parts[1])
	for i := range h.Server.Params {
		if h.Server.Params[i].Name == name {
			h.Server.Params[i].Value = value
			return nil
		}
	}
	h.Server.Params = append(h.Server.Params, Param{name, value})
	return nil
}

func (h *handshake) key(body []byte) error {
	if n := len(body) - 4; n < minKeyLen || n > maxKeyLen || h.minor == 0 && n != minKeyLen {
		return fmt.Errorf("BackendKeyData with a key of %d bytes under protocol 3.%d", n, h.minor)
	}
	h.PID = binary.BigEndian.Uint32(body)
	h.SecretKey = bytes.Clone(body[4:])
	return nil
}
