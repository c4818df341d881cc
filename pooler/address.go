package pooler

import (
	"fmt"
	"net"
	"net/netip"
)

// peerAddr is where a client comes from.
type peerAddr struct {
	unix      bool
	ip        netip.Addr
	port      int
	local     netip.Addr
	localPort int
	pid       int // of the peer process, over a Unix socket
	uid       int // -1 over TCP
	osUser    string
}

func (a peerAddr) String() string {
	if a.unix {
		return fmt.Sprintf("unix(%d)", a.pid)
	}
	return netip.AddrPortFrom(a.ip, uint16(a.port)).String()
}

// addrOf is the address of a server's connection.
func addrOf(nc net.Conn) peerAddr {
	a := peerAddr{uid: -1}
	switch t := nc.(type) {
	case *net.TCPConn:
		if r, ok := t.RemoteAddr().(*net.TCPAddr); ok {
			a.ip, a.port = r.AddrPort().Addr().Unmap(), r.Port
		}
		if l, ok := t.LocalAddr().(*net.TCPAddr); ok {
			a.local, a.localPort = l.AddrPort().Addr().Unmap(), l.Port
		}
	case *net.UnixConn:
		a.unix = true
		a.askPeer(t)
	}
	return a
}
