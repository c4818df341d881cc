package pooler

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestAnAcceptorTellsWhoHasConnected(t *testing.T) {
	t.Parallel()
	for _, x := range []struct{ network, address string }{
		{"tcp", "127.0.0.1:0"}, {"tcp", "[::1]:0"}, {"tcp", ":0"}, {"unix", filepath.Join(shortDir(t), "s")},
	} {
		t.Run(x.network+" "+x.address, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen(x.network, x.address)
			if err != nil {
				t.Fatal(err)
			}
			a, err := newAcceptor(l, newHusks())
			if err != nil {
				t.Fatal(err)
			}
			to := l.Addr().String()
			if x.address == ":0" {
				_, port, _ := net.SplitHostPort(to)
				to = "127.0.0.1:" + port // the socket is one of IPv6, and the address was mapped
			}
			app, err := net.Dial(x.network, to)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = app.Close() }()
			c, err := a.accept()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			if x.network == "unix" {
				if !c.addr.unix || c.addr.uid != os.Getuid() || c.addr.pid != os.Getpid() {
					t.Errorf("%+v", c.addr)
				}
			} else {
				mine := app.LocalAddr().(*net.TCPAddr).AddrPort()
				theirs := app.RemoteAddr().(*net.TCPAddr).AddrPort()
				if got := netip.AddrPortFrom(c.addr.ip, uint16(c.addr.port)); got != mine || c.RemoteAddr().String() != mine.String() {
					t.Errorf("the peer is %s, want %s", got, mine)
				}
				if got := netip.AddrPortFrom(c.addr.local, uint16(c.addr.localPort)); got != theirs || c.LocalAddr().String() != theirs.String() {
					t.Errorf("our side is %s, want %s", got, theirs)
				}
			}
			if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := app.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, 5)
			if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
				t.Errorf("%q, %v", got, err)
			}
			ended := make(chan error)
			go func() { _, err := a.accept(); ended <- err }()
			if err := a.Close(); err != nil {
				t.Error(err)
			}
			if err := <-ended; !errors.Is(err, os.ErrClosed) {
				t.Errorf("accept ends with %v", err)
			}
		})
	}
}
