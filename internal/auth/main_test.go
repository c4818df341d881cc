package auth

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// loopback joins a Login to a Verifier: what one sends the other gets. Everything that the server said is kept.
type loopback struct {
	t      testing.TB
	client *Login
	err    error // the client's
	reply  []byte
	codes  []uint32
	data   [][]byte
	// tamper changes what the client sends, if it is set; n counts from 0.
	tamper func(n int, body []byte) []byte
	sent   int
}

func (l *loopback) SendAuth(code uint32, data []byte) error {
	l.codes = append(l.codes, code)
	l.data = append(l.data, slices.Clone(data))
	l.reply, _, l.err = l.client.Answer(context.Background(), authBody(code, data))
	return nil
}

func (l *loopback) RecvPassword() ([]byte, error) {
	if l.err != nil {
		return nil, l.err
	}
	if l.reply == nil {
		return nil, errors.New("the client has nothing to say")
	}
	body := l.reply
	if l.tamper != nil {
		body = l.tamper(l.sent, body)
	}
	l.sent++
	return body, nil
}

func authBody(code uint32, data []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, code), data...)
}

// login runs a whole login and returns the server's view of it.
func runLogin(t testing.TB, v *Verifier, req Request, c Credentials, o LoginOptions) (Result, *loopback, error) {
	t.Helper()
	l := &loopback{t: t, client: NewLogin(c, o)}
	res, err := v.Authenticate(context.Background(), l, req)
	if err == nil {
		if _, done, err := l.client.Answer(context.Background(), authBody(AuthOK, nil)); err != nil || !done {
			t.Fatalf("the client does not accept AuthenticationOk: %v", err)
		}
	}
	return res, l, err
}

func scramSecret(t testing.TB, password string) Secret {
	t.Helper()
	s, err := NewSCRAMSecret(password, 4096, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
