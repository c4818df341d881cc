package main

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// session is the cheapest client there can be: it frames messages where it must and throws rows away. A
// driver would spend more processor time on a big result than the poolers under test do.
type session struct {
	conn net.Conn
	in   *bufio.Reader
}

func dial(ctx context.Context, port int) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", net.JoinHostPort(loopback, strconv.Itoa(port)))
}

// login connects as the trusted bench user.
func login(ctx context.Context, port int) (*session, error) {
	c, err := dial(ctx, port)
	if err != nil {
		return nil, err
	}
	s := &session{conn: c, in: bufio.NewReaderSize(c, 512)}
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(deadline); err != nil {
			c.Close()
			return nil, err
		}
	}
	startup := binary.BigEndian.AppendUint32(nil, 0)
	startup = binary.BigEndian.AppendUint32(startup, 3<<16)
	startup = append(startup, "user\x00"+benchUser+"\x00database\x00"+benchDB+"\x00\x00"...)
	binary.BigEndian.PutUint32(startup, uint32(len(startup)))
	if _, err = c.Write(startup); err == nil {
		err = s.untilReady()
	}
	if err == nil {
		err = c.SetDeadline(time.Time{})
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("log in: %w", err)
	}
	return s, nil
}

func (s *session) close() { s.conn.Close() }

// send writes a simple query.
func (s *session) send(sql string) error {
	_, err := s.conn.Write(queryMessage(sql))
	return err
}

// query runs a statement and drops its rows.
func (s *session) query(sql string) error {
	if err := s.send(sql); err != nil {
		return err
	}
	return s.untilReady()
}

// untilReady reads messages up to ReadyForQuery and returns the first error among them.
func (s *session) untilReady() error {
	var failed error
	for {
		kind, n, err := s.header()
		if err != nil {
			if failed != nil {
				return failed
			}
			return err
		}
		switch kind {
		case 'E':
			text := make([]byte, min(n, 1024))
			if _, err := io.ReadFull(s.in, text); err != nil {
				return err
			}
			n -= len(text)
			if failed == nil {
				failed = fmt.Errorf("server error: %q", text)
			}
		case 'R':
			var code [4]byte
			if n < 4 {
				return fmt.Errorf("authentication message of %d bytes", n)
			}
			if _, err := io.ReadFull(s.in, code[:]); err != nil {
				return err
			}
			n -= 4
			if c := binary.BigEndian.Uint32(code[:]); c != 0 {
				return fmt.Errorf("asked for authentication %d where trust is configured", c)
			}
		}
		if _, err := s.in.Discard(n); err != nil {
			return err
		}
		if kind == 'Z' {
			return failed
		}
	}
}

// header reads a message's type and returns the length of its body.
func (s *session) header() (byte, int, error) {
	var h [5]byte
	if _, err := io.ReadFull(s.in, h[:]); err != nil {
		return 0, 0, err
	}
	n := int(binary.BigEndian.Uint32(h[1:])) - 4
	if n < 0 {
		return 0, 0, fmt.Errorf("message %q with length %d", h[0], n)
	}
	return h[0], n, nil
}

func queryMessage(sql string) []byte {
	m := binary.BigEndian.AppendUint32([]byte{'Q'}, uint32(len(sql)+5))
	return append(append(m, sql...), 0)
}

// scramSecret returns what PostgreSQL would store for the password, so that no pooler has to derive a key
// from a clear one for each login.
func scramSecret(password string) (string, error) {
	const iterations = 4096
	salt := make([]byte, 16)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("derive a scram key: %w", err)
	}
	mac := func(text string) []byte {
		h := hmac.New(sha256.New, salted)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	stored := sha256.Sum256(mac("Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, b64(salt), b64(stored[:]), b64(mac("Server Key"))), nil
}
