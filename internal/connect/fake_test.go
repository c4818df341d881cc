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
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgdrover/internal/pgtest"
)

func TestServersThatMisbehave(t *testing.T) {
	t.Parallel()
	params := strings.Repeat(msg('S', strings.Repeat("n", 30000)+"\x00v\x00"), 40)
	tests := []struct {
		name   string
		say    string
		reason string
		text   string // in the error
	}{
		{"closes", "", ReasonClosed, "EOF"},
		{"is no PostgreSQL", "HTTP/1.1 400 Bad Request\r\n\r\n", ReasonProtocol, "outside 4.."},
		{"unknown message first", msg('X', "abc"), ReasonProtocol, `message 'X' before authentication`},
		{"huge length", "R\x7f\xff\xff\xff", ReasonProtocol, "outside 4.."},
		{"length too small", "R\x00\x00\x00\x03", ReasonProtocol, "outside 4.."},
		{"closes in a message", "R\x00\x00\x00\x08\x00", ReasonClosed, "unexpected EOF"},
		{"unknown method", msg('R', "\x00\x00\x00\x63"), ReasonLogin, "is not supported"},
		{"short authentication", msg('R', "\x00"), ReasonLogin, "unexpected authentication message"},
		{"malformed error", msg('E', "SFATAL"), ReasonProtocol, "not terminated"},
		{"error without message", msg('E', "SFATAL\x00\x00"), ReasonProtocol, "no message"},
		{"error with a tail", msg('E', "Mx\x00\x00y"), ReasonProtocol, "behind its terminator"},
		{"error instead of ReadyForQuery", msg('R', authOK) + serverError("53300", "too many"), ReasonLogin, "too many"},
		{"data before ReadyForQuery", msg('R', authOK) + msg('D', "\x00\x00"), ReasonProtocol, "after authentication"},
		{"in a transaction", msg('R', authOK) + msg('Z', "T"), ReasonProtocol, "ReadyForQuery"},
		{"empty ReadyForQuery", msg('R', authOK) + msg('Z'), ReasonProtocol, "ReadyForQuery"},
		{"malformed parameter", msg('R', authOK) + msg('S', "abc\x00"), ReasonProtocol, "malformed ParameterStatus"},
		{"short key", msg('R', authOK) + msg('K', "\x00\x00\x00\x01abc"), ReasonProtocol, "BackendKeyData"},
		{"long key", msg('R', authOK) + msg('K', "\x00\x00\x00\x01", strings.Repeat("k", 257)), ReasonProtocol, "BackendKeyData"},
		{"long key under 3.0", msg('v', "\x00\x03\x00\x00\x00\x00\x00\x00") + msg('R', authOK) + msg('K', "\x00\x00\x00\x01", strings.Repeat("k", 32)), ReasonProtocol, "3.0"},
		{"endless parameters", msg('R', authOK) + params, ReasonProtocol, "bytes during login"},
		{"endless notices", strings.Repeat(msg('N', strings.Repeat("n", 60000)), 20), ReasonProtocol, "bytes during login"},
		{"negotiates up", msg('v', "\x00\x03\x00\x03\x00\x00\x00\x00"), ReasonProtocol, "negotiates protocol 3.3"},
		{"negotiates another major", msg('v', "\x00\x04\x00\x00\x00\x00\x00\x00"), ReasonProtocol, "wants protocol 4.0"},
		{"negotiates an unsent option", msg('v', "\x00\x03\x00\x00\x00\x00\x00\x01_pq_.x\x00"), ReasonProtocol, "was not sent"},
		{"negotiates too many options", msg('v', "\x00\x03\x00\x00\xff\xff\xff\xff"), ReasonProtocol, "cut short"},
		{"short negotiation", msg('v', "\x00"), ReasonProtocol, "too short"},
		{"text of a postmaster", "Ecould not fork new process for connection: Cannot allocate memory\n\x00", ReasonLogin, "could not fork new process for connection: Cannot allocate memory"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			ta := fakeServer(t, func(c net.Conn, _ int) {
				readStartup(c)
				write(c, tc.say)
			})
			_, err := Dial(testContext(t), ta)
			var e *Error
			if !errors.As(err, &e) || e.Reason != tc.reason || !strings.Contains(err.Error(), tc.text) {
				t.Fatalf("\n got %v\nwant %s … %s", err, tc.reason, tc.text)
			}
			for _, part := range []string{itoa(ta.Port), `user "u"`, `database "d"`} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q is not in: %v", part, err)
				}
			}
		})
	}
}

func TestServersThatMisbehaveAboutTLS(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, mode, say string
		reason          string
	}{
		{"bytes behind S", SSLRequire, "S" + greeting("abcd"), ReasonProtocol},
		{"bytes behind S, prefer", SSLPrefer, "S" + greeting("abcd"), ReasonProtocol},
		{"bytes behind N", SSLPrefer, "N" + greeting("abcd"), ReasonProtocol},
		{"no TLS", SSLRequire, "N", ReasonRefusedSSL},
		{"no TLS, verify-full", SSLVerifyFull, "N", ReasonRefusedSSL},
		{"another answer", SSLPrefer, "X", ReasonProtocol},
		{"an error", SSLRequire, "E", ReasonTLS},
		{"closes", SSLRequire, "", ReasonClosed},
	}
	for _, tc := range tests {
		ta := fakeServer(t, func(c net.Conn, _ int) {
			readStartup(c)
			write(c, tc.say)
		})
		ta.SSLMode = tc.mode
		if _, err := Dial(testContext(t), ta); !isReason(err, tc.reason) {
			t.Errorf("%s:\n got %v\nwant %v", tc.name, err, tc.reason)
		}
	}
}

func TestSilentServerEndsWithTheContext(t *testing.T) {
	t.Parallel()
	ta := fakeServer(t, func(c net.Conn, _ int) { _, _ = io.Copy(io.Discard, c) })
	for _, mode := range []string{SSLDisable, SSLRequire} {
		ta.SSLMode = mode
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		if _, err := Dial(ctx, ta); !isReason(err, ReasonTimeout) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: deadline: got %v", mode, err)
		}
		cancel()
		cause := errors.New("shutting down")
		ctx2, stop := context.WithCancelCause(context.Background())
		timer := time.AfterFunc(20*time.Millisecond, func() { stop(cause) })
		if _, err := Dial(ctx2, ta); !errors.Is(err, cause) {
			t.Errorf("%s: cancelled: got %v", mode, err)
		}
		timer.Stop()
		stop(nil)
	}
}

func TestProtocolFallback(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		first string // answer to 3.2
		minor int
		conns int
	}{
		{"3.2 with a long key", greeting(strings.Repeat("k", 256)), 2, 1},
		{"negotiated down", msg('v', "\x00\x03\x00\x00\x00\x00\x00\x00") + greeting("abcd"), 0, 1},
		{"negotiated down with the bare minor", msg('v', "\x00\x00\x00\x00\x00\x00\x00\x00") + greeting("abcd"), 0, 1},
		{"refused", serverError("0A000", "unsupported frontend protocol 3.2: server supports 2.0 to 3.0"), 0, 2},
		{"refused by another", serverError("08P01", "bad startup packet"), 0, 2},
		{"hung up", "", 0, 2},
	}
	for _, tc := range tests {
		var conns []uint32
		ta := fakeServer(t, func(c net.Conn, n int) {
			code, _ := readStartup(c)
			conns = append(conns, code&0xffff) // one connection after the other
			if n == 0 {
				write(c, tc.first)
			} else {
				write(c, greeting("abcd"))
			}
		})
		s, err := Dial(testContext(t), ta)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		_ = s.Conn.Close()
		if s.ProtocolMinor != tc.minor || len(conns) != tc.conns || conns[0] != 2 || conns[len(conns)-1] != uint32(2*(2-tc.conns)) {
			t.Errorf("%s: 3.%d after %v", tc.name, s.ProtocolMinor, conns)
		}
	}
}

// A wrong password must not be tried twice, and no other host may be bothered with it.
func TestRefusalIsFinal(t *testing.T) {
	t.Parallel()
	count := make(chan string, 10)
	ta := fakeServer(t, func(c net.Conn, _ int) {
		_, _ = readStartup(c)
		write(c, msg('R', "\x00\x00\x00\x03"))
		var h [5]byte
		_, _ = io.ReadFull(c, h[:])
		count <- "login"
		write(c, serverError("28P01", "password authentication failed"))
	})
	ta.Credentials.Plain = "x"
	ta.Hosts = []string{"127.0.0.1", "127.0.0.1"}
	_, err := Dial(testContext(t), ta)
	if !isRefusal(err, "28P01") || len(count) != 1 {
		t.Errorf("got %v after %d logins", err, len(count))
	}
	// One that is starting up is passed over.
	ta = fakeServer(t, func(c net.Conn, n int) {
		_, _ = readStartup(c)
		if n == 0 {
			write(c, serverError("57P03", "the database system is starting up"))
		} else {
			write(c, greeting("abcd"))
		}
	})
	ta.Hosts = []string{"127.0.0.1", "127.0.0.1"}
	s, err := Dial(testContext(t), ta)
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Conn.Close()
}

// A host that accepts connections and says nothing must not use up the time of the others, in whatever part of the login it falls silent.
func TestASilentHostIsPassedOver(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"hosts", "addresses of a host", "before TLS", "in the login"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ta := fakeServer(t, func(c net.Conn, _ int) {
				if code, _ := readStartup(c); code == sslRequestCode {
					write(c, "N")
					readStartup(c)
				}
				write(c, greeting("abcd"))
			})
			silentServer(t, fmt.Sprintf("127.0.0.2:%d", ta.Port), map[string]string{"in the login": msg('R', "\x00\x00\x00\x03")}[name])
			ta.Hosts = []string{"127.0.0.2", "127.0.0.1"}
			ta.Credentials.Plain = "x"
			switch name {
			case "addresses of a host":
				r, err := NewResolver(ResolverOptions{Lookup: func(context.Context, string) ([]netip.Addr, error) {
					return []netip.Addr{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.1")}, nil
				}})
				if err != nil {
					t.Fatal(err)
				}
				ta.Hosts, ta.Resolver = []string{"two.test"}, r
			case "before TLS":
				ta.SSLMode = SSLPrefer
			}
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
			defer cancel()
			s, err := Dial(ctx, ta)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Conn.Close() }()
			if got := s.RemoteAddr.(*net.TCPAddr).IP.String(); got != "127.0.0.1" {
				t.Errorf("connected to %s", got)
			}
		})
	}
}

func TestATimeoutIsToldOnce(t *testing.T) {
	t.Parallel()
	ta := fakeServer(t, func(c net.Conn, _ int) { _, _ = io.Copy(io.Discard, c) })
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err := Dial(ctx, ta)
	if err == nil || strings.Count(err.Error(), ReasonTimeout) != 1 || strings.Count(err.Error(), `as user "u"`) != 1 {
		t.Errorf("got %v", err)
	}
}

// What the server says behind ReadyForQuery belongs to whoever reads the connection next.
func TestNothingIsReadAhead(t *testing.T) {
	t.Parallel()
	ca := pgtest.StartCA(t, "ca")
	pair, err := ca.IssueServer("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{SSLDisable, SSLPrefer} {
		ta := fakeServer(t, func(c net.Conn, _ int) {
			if mode == SSLPrefer {
				readStartup(c)
				write(c, "S")
				c = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair.Certificate}})
			}
			readStartup(c)
			write(c, msg('N', "SNOTICE\x00Mhello\x00\x00")+greeting("abcd")+"what comes next")
		})
		ta.SSLMode = mode
		s, err := Dial(testContext(t), ta)
		if err != nil {
			t.Fatal(err)
		}
		_ = s.Conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		rest, err := io.ReadAll(s.Conn)
		if err != nil || string(rest) != "what comes next" {
			t.Errorf("%s: got %q, %v", mode, rest, err)
		}
		if len(s.Notices) != 1 || !bytes.Contains(s.Notices[0], []byte("hello")) || s.PID != 7 || string(s.SecretKey) != "abcd" {
			t.Errorf("%s: got %+v", mode, s)
		}
		_ = s.Conn.Close()
	}
}

func TestStartupMessage(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	ta := fakeServer(t, func(c net.Conn, _ int) {
		_, rest := readStartup(c)
		got <- string(rest)
		write(c, greeting("abcd"))
	})
	ta.Replication = "true"
	ta.Params = []Param{{"b", "2"}, {"a", ""}}
	s, err := Dial(testContext(t), ta)
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Conn.Close()
	want := "user\x00u\x00database\x00d\x00replication\x00true\x00b\x002\x00a\x00\x00\x00"
	if g := <-got; g != want {
		t.Errorf("\n got %q\nwant %q", g, want)
	}
}

func TestCancelRequest(t *testing.T) {
	t.Parallel()
	key := strings.Repeat("k", 100)
	got := make(chan string, 1)
	ta := fakeServer(t, func(c net.Conn, n int) {
		code, rest := readStartup(c)
		if n == 0 {
			write(c, greeting(key))
			return
		}
		got <- string(binary.BigEndian.AppendUint32(nil, code)) + string(rest)
	})
	s, err := Dial(testContext(t), ta)
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Conn.Close()
	if err := s.Cancel(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if g := <-got; g != "\x04\xd2\x16\x2e\x00\x00\x00\x07"+key {
		t.Errorf("got %q", g)
	}
	s.SecretKey = nil
	if err := s.Cancel(testContext(t)); err == nil {
		t.Error("a request without a key is sent")
	}
}

func TestTargetValidate(t *testing.T) {
	t.Parallel()
	for _, ta := range []Target{
		{},
		{User: "u", SSLMode: "on"},
		{User: "u", Port: 65536},
		{User: "u", Port: -1},
		{User: "a\x00b"},
		{User: "u", Params: []Param{{"", "x"}}},
		{User: "u", Params: []Param{{"x", "a\x00"}}},
		{User: "u", DBName: "\x00"},
	} {
		if _, err := Dial(testContext(t), ta); !isReason(err, ReasonConfig) {
			t.Errorf("%+v: got %v", ta, err)
		}
	}
}

func TestSocketOptions(t *testing.T) {
	t.Parallel()
	ta := fakeServer(t, func(c net.Conn, _ int) { readStartup(c); write(c, greeting("abcd")) })
	ta.TCPKeepalive, ta.TCPKeepcnt, ta.TCPKeepidle, ta.TCPKeepintvl, ta.TCPUserTimeout, ta.TCPSocketBuffer = true, 3, 11, 7, 9000, 65536
	s, err := Dial(testContext(t), ta)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Conn.Close() }()
	for name, want := range sockoptWant {
		if got := sockopt(t, s.Raw.(*net.TCPConn), name); got != want {
			t.Errorf("%s: got %d, want %d", name, got, want)
		}
	}
}

func FuzzParseServerError(f *testing.F) {
	f.Add([]byte("SFATAL\x00VFATAL\x00C28P01\x00Mno\x00\x00"))
	f.Add([]byte("\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := ParseServerError(b)
		if err == nil && (e.Message() == "" || e.Error() == "" || !bytes.Equal(e.Body, b)) {
			t.Fatalf("got %+v", e)
		}
	})
}

// memConn is a connection whose peer has said all it will say.
type memConn struct {
	net.Conn
	in *bytes.Reader
}

func (c *memConn) Read(b []byte) (int, error)  { return c.in.Read(b) }
func (c *memConn) Write(b []byte) (int, error) { return len(b), nil }

// Whatever a server says, the login ends, with a server that keeps what it promises or with an error.
func FuzzHandshake(f *testing.F) {
	f.Add([]byte(greeting("abcd")))
	f.Add([]byte(msg('v', "\x00\x03\x00\x00\x00\x00\x00\x00") + msg('R', "\x00\x00\x00\x05salt") + greeting("abcd")))
	f.Add([]byte("Etext\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		ta := Target{User: "u"}
		ta.Credentials.Plain = "p"
		c := &memConn{in: bytes.NewReader(b)}
		h := &handshake{dialer: &dialer{Target: &ta}, Server: &Server{Conn: c, Raw: c}, minor: 2}
		if err := h.run(context.Background(), attempt{minor: 2}); err != nil {
			return
		}
		if n := len(h.SecretKey); h.SecretKey != nil && (n < minKeyLen || n > maxKeyLen) {
			t.Fatalf("key of %d bytes", n)
		}
	})
}
