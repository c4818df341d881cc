package pgtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// echoServer answers every connection with what it receives and returns its address.
func echoServer(t *testing.T, network, addr string) string {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String()
}

func dial(t *testing.T, p *Proxy) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// firstRead connects and returns how its first read fails; a reset may come before Dial has returned.
func firstRead(p *Proxy) error {
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	_, err = c.Read(make([]byte, 1))
	return err
}

// roundTrip sends s and reads it back.
func roundTrip(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(s))
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	if string(got) != s {
		t.Fatalf("got  %q\nwant %q", got, s)
	}
}

// nothingComes checks that c has nothing to read for a moment. It can miss a fault, but not invent one.
func nothingComes(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
	if n, err := c.Read(make([]byte, 10)); n > 0 || !isTimeout(err) {
		t.Errorf("got %d bytes and %v, want silence", n, err)
	}
	_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func TestProxyForwardsFaithfully(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			addr := "127.0.0.1:0"
			if network == "unix" {
				addr = filepath.Join(t.TempDir(), "s")
			}
			p := StartProxy(t, echoServer(t, network, addr))
			c := dial(t, p)
			sent := bytes.Repeat([]byte("0123456789"), 100_000)
			go func() {
				_, _ = c.Write(sent)
				_ = c.CloseWrite()
			}()
			got, err := io.ReadAll(c) // ends only if the half-close went through
			if err != nil || !bytes.Equal(got, sent) {
				t.Errorf("got %d bytes back and %v, want the %d that were sent", len(got), err, len(sent))
			}
			Eventually(t, 10*time.Second, func() error {
				if n := p.Open(); n != 0 {
					return fmt.Errorf("%d connections are open", n)
				}
				return nil
			})
			if p.Served() != 1 {
				t.Errorf("served %d connections, want 1", p.Served())
			}
		})
	}
}

func TestProxyCutsAfterExactlySoManyBytes(t *testing.T) {
	t.Parallel()
	p := StartProxy(t, echoServer(t, "tcp", "127.0.0.1:0"))
	open := dial(t, p)
	roundTrip(t, open, "before the fault")
	p.CutAfter(ToClient, 5, FIN)
	for name, c := range map[string]net.Conn{"open": open, "new": dial(t, p)} {
		if _, err := io.WriteString(c, "hello world"); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(c); string(got) != "hello" {
			t.Errorf("%s connection: got %q and %v, want hello", name, got, err)
		}
	}
	p.NoCut()
	roundTrip(t, dial(t, p), "after the fault")
	p.CutAfter(ToServer, 0, RST)
	if err := firstRead(p); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("reset at byte 0: got %v, want %v", err, syscall.ECONNRESET)
	}
	Eventually(t, 10*time.Second, func() error {
		if n := p.Cuts(); n != 3 {
			return fmt.Errorf("%d connections were cut, want 3", n)
		}
		return nil
	})
}

func TestProxyResetCutAndReject(t *testing.T) {
	t.Parallel()
	p := StartProxy(t, echoServer(t, "tcp", "127.0.0.1:0"))
	c := dial(t, p)
	roundTrip(t, c, "hello")
	p.Reset()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("Reset: got %v, want %v", err, syscall.ECONNRESET)
	}
	c = dial(t, p)
	roundTrip(t, c, "hello")
	p.RejectNew(true)
	if err := firstRead(p); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("RejectNew: got %v, want %v", err, syscall.ECONNRESET)
	}
	roundTrip(t, c, "still open")
	p.Cut()
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("Cut: got %v, want %v", err, io.EOF)
	}
	p.RejectNew(false)
	roundTrip(t, dial(t, p), "and open again")
}

func TestProxyBlackholeHoldsBytesBack(t *testing.T) {
	t.Parallel()
	p := StartProxy(t, echoServer(t, "tcp", "127.0.0.1:0"))
	c := dial(t, p)
	roundTrip(t, c, "hello")
	p.Blackhole(true)
	late := dial(t, p)
	for _, c := range []*net.TCPConn{c, late} {
		if _, err := io.WriteString(c, "anybody there?"); err != nil {
			t.Fatal(err)
		}
		if err := c.CloseWrite(); err != nil { // an end is held back as well
			t.Fatal(err)
		}
		nothingComes(t, c)
	}
	p.Blackhole(false)
	for _, c := range []net.Conn{c, late} {
		if got, err := io.ReadAll(c); string(got) != "anybody there?" {
			t.Errorf("afterwards: got %q and %v", got, err)
		}
	}
	p.Hold(ToClient, true)
	c = dial(t, p)
	if _, err := io.WriteString(c, "x"); err != nil {
		t.Fatal(err)
	}
	nothingComes(t, c)
}

func TestProxyDelaysAndSlows(t *testing.T) {
	t.Parallel()
	p := StartProxy(t, echoServer(t, "tcp", "127.0.0.1:0"))
	c := dial(t, p)
	p.Latency(ToServer, 40*time.Millisecond)
	begin := time.Now()
	roundTrip(t, c, "x")
	if took := time.Since(begin); took < 40*time.Millisecond {
		t.Errorf("with 40 ms of latency a round trip took %v", took)
	}
	p.Latency(ToServer, 0)
	p.Slow(ToClient, 10_000)
	begin = time.Now()
	roundTrip(t, c, strings.Repeat("x", 2000))
	if took := time.Since(begin); took < 100*time.Millisecond {
		t.Errorf("2,000 bytes at 10,000 per second took %v", took)
	}
	p.Slow(ToClient, 0)
	roundTrip(t, c, strings.Repeat("x", 10_000))
}

func TestProxyCloseIsNotHeldUp(t *testing.T) {
	t.Parallel()
	p, err := NewProxy(echoServer(t, "tcp", "127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	p.Blackhole(true)
	p.Latency(ToClient, time.Hour)
	c := dial(t, p)
	if _, err := io.WriteString(c, "x"); err != nil {
		t.Fatal(err)
	}
	p.Close()
	p.Close()
	if _, err := net.Dial("tcp", p.Addr()); err == nil {
		t.Error("a closed proxy still accepts")
	}
}

func TestProxyWithoutTarget(t *testing.T) {
	t.Parallel()
	p := StartProxy(t, filepath.Join(t.TempDir(), "nobody"))
	if err := firstRead(p); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want %v", err, syscall.ECONNRESET)
	}
}

func TestProxyInFrontOfACluster(t *testing.T) {
	t.Parallel()
	c := Start(t)
	p := c.Proxy(t)
	conn, err := pgx.Connect(t.Context(), c.DSN("postgres", Superuser, "port="+fmt.Sprint(p.Port)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	p.CutAfter(ToClient, 100, RST)
	if _, err := conn.Exec(t.Context(), "SELECT repeat('x', 1000)"); err == nil {
		t.Error("a result that was cut off was taken for complete")
	}
}
