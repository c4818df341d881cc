package connect

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"pgdrover/internal/auth"
	"pgdrover/internal/config"
	"pgdrover/internal/pgtest"
	"pgdrover/internal/wire"
)

// listener accepts clients the way the pooler does: TLS if it is asked for, then auth's Verifier.
func listener(t *testing.T, cfg *tls.Config, req auth.Request) (port int, results <-chan error) {
	t.Helper()
	v := auth.NewVerifier(auth.VerifierOptions{})
	out := make(chan error, 10)
	ta := fakeServer(t, func(c net.Conn, _ int) {
		code, rest := readStartup(c)
		req := req
		if code == sslRequestCode {
			if cfg == nil {
				write(c, "N")
			} else {
				write(c, "S")
				tc := tls.Server(c, cfg)
				if err := tc.Handshake(); err != nil {
					out <- err
					return
				}
				cs := tc.ConnectionState()
				req.CertCN, req.CertVerified = ClientCert(&cs)
				req.ChannelBinding = ChannelBinding(cfg)
				c = tc
			}
			_, rest = readStartup(c)
		}
		parts := strings.Split(string(rest), "\x00")
		for i := 0; i+1 < len(parts); i += 2 {
			if parts[i] == "user" {
				req.User = parts[i+1]
			}
		}
		_, err := v.Authenticate(context.Background(), &netMessenger{c: c, r: wire.NewReader(c, 1<<16)}, req)
		if err != nil {
			var e *auth.Error
			if errors.As(err, &e) {
				write(c, serverError(e.Code, e.Message))
			}
		} else {
			write(c, msg('R', authOK)+msg('S', "client_encoding\x00UTF8\x00")+msg('S', "standard_conforming_strings\x00on\x00")+
				msg('S', "server_version\x0015.1\x00")+msg('K', "\x00\x00\x00\x01abcd")+msg('Z', "I"))
		}
		out <- err
		_, _ = io.Copy(io.Discard, c)
	})
	return ta.Port, out
}

type netMessenger struct {
	c net.Conn
	r *wire.Reader
}

func (m *netMessenger) SendAuth(code uint32, data []byte) error {
	_, err := io.WriteString(m.c, msg('R', string([]byte{0, 0, 0, byte(code)}), string(data)))
	return err
}

func (m *netMessenger) RecvPassword() ([]byte, error) {
	typ, body, err := m.r.Next()
	if err == nil && typ != 'p' {
		err = fmt.Errorf("message %q", typ)
	}
	return body, err
}

// pgx and psql log in to our side of each method.
func TestClientsLogIn(t *testing.T) {
	t.Parallel()
	ca := pgtest.StartCA(t, "ca")
	pair, err := ca.IssueServer("localhost", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	client, err := ca.IssueClient("ann")
	if err != nil {
		t.Fatal(err)
	}
	cfg, _, err := ClientSideTLS(&config.Settings{
		ClientTLSSSLMode: "require", ClientTLSCertFile: pair.CertFile, ClientTLSKeyFile: pair.KeyFile, ClientTLSCAFile: ca.CertFile,
	})
	if err != nil {
		t.Fatal(err)
	}
	secret, err := auth.NewSCRAMSecret("pässword\u00a0x", 4096, nil)
	if err != nil {
		t.Fatal(err)
	}
	known := func(m auth.Method, s auth.Secret) auth.Request {
		return auth.Request{Method: m, Known: true, Secret: s}
	}
	bound := "sslmode=verify-full channel_binding=require sslrootcert=" + ca.CertFile
	tests := []struct {
		name string
		req  auth.Request
		cfg  *tls.Config
		dsn  string
		want *auth.Error
	}{
		{"scram", known(auth.MethodSCRAM, secret), nil, "sslmode=disable", nil},
		{"scram, channel binding", known(auth.MethodSCRAM, secret), cfg, bound, nil},
		{"scram over TLS without channel binding", known(auth.MethodSCRAM, secret), cfg, "sslmode=require channel_binding=disable", nil},
		{"scram from a plain password", known(auth.MethodSCRAM, auth.ParseSecret("pässword\u00a0x")), nil, "sslmode=disable", nil},
		{"md5", known(auth.MethodMD5, auth.ParseSecret("pässword\u00a0x")), nil, "sslmode=disable", nil},
		{"md5 becomes scram", known(auth.MethodMD5, secret), nil, "sslmode=disable", nil},
		{"plain", known(auth.MethodPlain, secret), nil, "sslmode=disable", nil},
		{"cert", known(auth.MethodCert, auth.Secret{}), cfg, "sslmode=require sslcert=" + client.CertFile + " sslkey=" + client.KeyFile, nil},
		{"scram, wrong password", known(auth.MethodSCRAM, auth.ParseSecret("x")), cfg, "sslmode=require", auth.ErrSASL},
		{"unknown user", auth.Request{Method: auth.MethodSCRAM}, nil, "sslmode=disable", auth.ErrSASL},
	}
	psql, err := exec.LookPath("psql")
	if err != nil {
		t.Log("psql is not installed: only pgx is tried")
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			port, results := listener(t, tc.cfg, tc.req)
			dsn := fmt.Sprintf("host=127.0.0.1 port=%d user=ann dbname=d password='pässword\u00a0x' connect_timeout=10 %s", port, tc.dsn)
			check := func(who string, failed error) {
				t.Helper()
				err := <-results
				if tc.want == nil && (err != nil || failed != nil) || tc.want != nil && (!errors.Is(err, tc.want) || failed == nil) {
					t.Errorf("%s: got %v and %v, want %v", who, err, failed, tc.want)
				}
			}
			ctx := testContext(t)
			conn, err := pgconn.Connect(ctx, dsn)
			if err == nil {
				_ = conn.Close(ctx)
			}
			check("pgx", err)
			if psql != "" {
				cmd := exec.CommandContext(ctx, psql, "-XAt", "-c", `\echo in`, dsn)
				cmd.Env = append(os.Environ(), "PGCLIENTENCODING=UTF8")
				out, err := cmd.CombinedOutput()
				if err != nil {
					err = fmt.Errorf("%w: %s", err, out)
				}
				check("psql", err)
			}
		})
	}
}
