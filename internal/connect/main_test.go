package connect

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// fakeServer is a peer that says what a test wants. serve gets each connection with its number, from 0, and the
// connection is closed when it returns.
func fakeServer(t testing.TB, serve func(c net.Conn, n int)) Target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				serve(c, n)
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return Target{Hosts: []string{"127.0.0.1"}, Port: l.Addr().(*net.TCPAddr).Port, User: "u", DBName: "d"}
}

// silentServer accepts connections, says a few words and then nothing more.
func silentServer(t testing.TB, addr, words string) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				write(c, words)
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
}

// readStartup reads a packet without a type and returns its code and the rest.
func readStartup(c io.Reader) (code uint32, rest []byte) {
	var h [8]byte
	if _, err := io.ReadFull(c, h[:]); err != nil {
		return 0, nil
	}
	n := binary.BigEndian.Uint32(h[:])
	if n < 8 || n > 1<<16 {
		return 0, nil
	}
	rest = make([]byte, n-8)
	if _, err := io.ReadFull(c, rest); err != nil {
		return 0, nil
	}
	return binary.BigEndian.Uint32(h[4:]), rest
}

func msg(typ byte, body ...string) string {
	n := 4
	for _, b := range body {
		n += len(b)
	}
	s := string(binary.BigEndian.AppendUint32([]byte{typ}, uint32(n)))
	for _, b := range body {
		s += b
	}
	return s
}

const authOK = "\x00\x00\x00\x00"

// greeting is a complete login without a password.
func greeting(key string) string {
	return msg('R', authOK) + msg('S', "server_version\x0018.1\x00") + msg('K', "\x00\x00\x00\x07", key) + msg('Z', "I")
}

func serverError(code, text string) string {
	return msg('E', "SFATAL\x00VFATAL\x00C"+code+"\x00M"+text+"\x00\x00")
}

func write(c io.Writer, s string) { _, _ = io.WriteString(c, s) }

// query runs a statement on a raw connection and returns the first column of its only row, or the error.
func query(c net.Conn, sql string) (string, error) {
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	write(c, msg('Q', sql, "\x00"))
	value := ""
	var failed error
	for {
		var h [5]byte
		if _, err := io.ReadFull(c, h[:]); err != nil {
			return "", err
		}
		body := make([]byte, binary.BigEndian.Uint32(h[1:])-4)
		if _, err := io.ReadFull(c, body); err != nil {
			return "", err
		}
		switch h[0] {
		case 'D':
			value = string(body[6:])
		case 'E':
			e, err := ParseServerError(body)
			if err != nil {
				return "", err
			}
			failed = e
		case 'Z':
			return value, failed
		case 'T', 'C', 'N', 'S', 'I':
		default:
			return "", fmt.Errorf("message %q", h[0])
		}
	}
}

func encrypted(s *Server) bool { _, ok := s.Conn.(*tls.Conn); return ok && s.TLSState != nil }
