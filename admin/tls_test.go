package admin

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// Watching for a client that leaves uses read deadlines; a session must go on after that, over TLS as well.
func TestSessionOverPipeAndTLS(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	for _, secure := range []bool{false, true} {
		client, server := net.Pipe()
		if secure {
			client = tls.Client(client, &tls.Config{InsecureSkipVerify: true})
			server = tls.Server(server, &tls.Config{Certificates: []tls.Certificate{cert}})
		}
		deadline := time.Now().Add(time.Minute)
		_ = client.SetDeadline(deadline)
		srv := New(&fakeControl{}, &fakeConfig{}, Options{Version: "0.1.0"})
		ended := make(chan error, 1)
		go func() {
			s := adminSession()
			s.Conn = server
			ended <- srv.ServeAdmin(context.Background(), s)
			_ = server.Close()
		}()
		fe := pgproto3.NewFrontend(client, client)
		for _, sql := range []string{"PAUSE", "SELECT count(*) FROM pools", "WAIT_CLOSE", "SHOW LISTS"} {
			fe.Send(&pgproto3.Query{String: sql})
			if err := fe.Flush(); err != nil {
				t.Fatal(err)
			}
			for {
				m, err := fe.Receive()
				if err != nil {
					t.Fatalf("%s: %v", sql, err)
				}
				if e, ok := m.(*pgproto3.ErrorResponse); ok {
					t.Errorf("%s: %s", sql, e.Message)
				}
				if _, ok := m.(*pgproto3.ReadyForQuery); ok {
					break
				}
			}
		}
		fe.Send(&pgproto3.Terminate{})
		if err := fe.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Errorf("tls %v: %v", secure, err)
		}
		_ = client.Close()
	}
}
