package pooler

import (
	"encoding/binary"
	"os"

	"pgdrover/internal/auth"
	"pgdrover/internal/connect"
	"pgdrover/internal/wire"
)

// messenger carries authentication messages.
type messenger struct {
	in *entrance
	r  *wire.Reader // nil until something is read
}

func (m *messenger) SendAuth(code uint32, data []byte) error {
	b := []byte{'R', 0, 0, 0, 0}
	b = binary.BigEndian.AppendUint32(b, code)
	b = append(b, data...)
	binary.BigEndian.PutUint32(b[1:], uint32(len(b)-1))
	if code == auth.AuthSASLFinal { // nothing is asked with it: PostgreSQL does not send it by itself either
		m.in.unsaid = b
		return nil
	}
	_, err := m.in.nc.Write(b)
	return err
}

func (m *messenger) RecvPassword() ([]byte, error) {
	if m.r == nil {
		m.r = wire.NewReader(m.in.nc, maxPassword)
	}
	typ, body, err := m.r.Next()
	if err != nil {
		return nil, err
	}
	if typ != 'p' {
		return nil, fatalError{errProtocol("unknown pkt")}
	}
	return body, nil
}

// maxPassword bounds messages before a client has proved who it is, in bytes.
const maxPassword = 65530 + 64

// authenticate finds out who the client is, by auth_type or the HBA file.
func (in *entrance) authenticate(c *client, d *database, isAdmin bool) (auth.Result, error) {
	st, addr, l := in.st, &in.addr, in.live
	cfg := l.cfg
	if isAdmin && st.user == "pgbouncer" && addr.unix && addr.uid == os.Getuid() {
		return auth.Result{Method: auth.MethodPeer}, nil // PgBouncer's own door for local scripts
	}
	var method auth.Method
	req := auth.Request{
		User: st.user, ScramIterations: cfg.ScramIterations, PeerUser: addr.osUser, Ident: l.ident, MockLike: l.mock.kind, MockIterations: l.mock.iterations,
	}
	if st.tls != nil {
		req.ChannelBinding = l.binding
		req.CertCN, req.CertVerified = connect.ClientCert(st.tls)
	}
	if cfg.AuthType == "hba" {
		rule, ok := l.hba.Match(auth.HBAConn{
			Local: addr.unix, TLS: st.tls != nil, Addr: addr.ip, Database: st.database, User: st.user,
			Replication: st.repl == "physical",
		})
		if !ok {
			return auth.Result{}, auth.ErrNoMethod
		}
		method, req.MapName, req.RequireCert = rule.Method, rule.MapName, rule.ClientCert
	} else {
		method = l.method
	}
	req.Method = method
	u := cfg.Users[st.user]
	if req.Known = u != nil && !u.Unlisted; req.Known {
		req.Secret = auth.ParseSecret(string(u.Password))
	}
	if !req.Known && method != auth.MethodAny || req.Known && !u.HasPassword && method.AsksPassword() {
		secret, ok, err := in.askUser(c, d)
		if err != nil {
			return auth.Result{}, err
		}
		req.Known, req.Secret = req.Known || ok, secret
	}
	res, err := in.p.verifier.Authenticate(in.ctx, &messenger{in: in}, req)
	if err == nil && res.Plain == "" && req.Secret.Kind() == auth.KindPlain {
		res.Plain = req.Secret.Reveal() // from auth_query; what auth_file holds is found anyway
	}
	return res, err
}
