package pooler

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"pgdrover/internal/auth"
)

// acceptor takes connections from a listening socket. It does what net does, but with system calls of which the scheduler hears nothing:
// a single ordinary one sets the runtime's monitor going, which then looks after the processors every 20 µs for a while. At some thousands
// of logins a second that was a fifth of the pooler's CPU time.
type acceptor struct {
	net.Listener
	file  *os.File // the same socket
	rc    syscall.RawConn
	local netip.AddrPort // its address, unless it has several
	husks *husks         // of what it has accepted

	// Of the last accept.
	fd    int
	peer  unix.RawSockaddrAny
	errno syscall.Errno
	try   func(fd uintptr) bool
}

func newAcceptor(l net.Listener, h *husks) (*acceptor, error) {
	sock, ok := l.(interface{ File() (*os.File, error) })
	if !ok {
		return nil, fmt.Errorf("%T has no file descriptor", l)
	}
	f, err := sock.File()
	if err != nil {
		return nil, err
	}
	a := &acceptor{Listener: l, file: f, husks: h}
	if tcp, ok := l.Addr().(*net.TCPAddr); ok && !tcp.IP.IsUnspecified() && tcp.Zone == "" {
		a.local = netip.AddrPortFrom(tcp.AddrPort().Addr().Unmap(), uint16(tcp.Port))
	}
	if a.rc, err = f.SyscallConn(); err == nil {
		err = f.SetDeadline(time.Time{}) // it fails if the runtime's poller does not have it
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	a.try = a.accept4
	return a, nil
}

// Close ends accept.
func (a *acceptor) Close() error {
	_ = a.file.Close() // it was only accepted on
	return a.Listener.Close()
}

func (a *acceptor) accept4(fd uintptr) bool {
	for {
		size := uint32(unix.SizeofSockaddrAny)
		var n uintptr
		n, _, a.errno = syscall.RawSyscall6(syscall.SYS_ACCEPT4, fd, uintptr(unsafe.Pointer(&a.peer)), uintptr(unsafe.Pointer(&size)),
			syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0, 0)
		a.fd = int(n)
		switch a.errno {
		case syscall.EINTR, syscall.ECONNABORTED: // the client has given up before we came
			continue
		}
		return a.errno != syscall.EAGAIN
	}
}

// accept waits for the next connection. Only one goroutine may call it.
func (a *acceptor) accept() (*accepted, error) {
	if err := a.rc.Read(a.try); err != nil {
		return nil, errors.Join(os.ErrClosed, err) // nothing else ends the wait
	}
	if a.errno != 0 {
		return nil, os.NewSyscallError("accept4", a.errno)
	}
	c := &accepted{File: os.NewFile(uintptr(a.fd), "client"), fd: a.fd, addr: peerAddr{uid: -1}, husks: a.husks}
	var ok bool
	if c.addr.ip, c.addr.port, ok = ipOf(&a.peer); !ok {
		c.addr.unix = true
		c.addr.askPeer(c)
		return c, nil
	}
	if a.local.IsValid() {
		c.addr.local, c.addr.localPort = a.local.Addr(), int(a.local.Port())
		return c, nil
	}
	var local unix.RawSockaddrAny
	size := uint32(unix.SizeofSockaddrAny)
	if _, _, errno := syscall.RawSyscall(syscall.SYS_GETSOCKNAME, uintptr(a.fd), uintptr(unsafe.Pointer(&local)), uintptr(unsafe.Pointer(&size))); errno == 0 {
		c.addr.local, c.addr.localPort, _ = ipOf(&local)
	}
	return c, nil
}

// ipOf takes an address of IPv4 or IPv6 apart.
func ipOf(sa *unix.RawSockaddrAny) (ip netip.Addr, port int, ok bool) {
	switch sa.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrFrom4(in.Addr), networkPort(&in.Port), true
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(sa))
		ip = netip.AddrFrom16(in.Addr).Unmap()
		if in.Scope_id != 0 && ip.Is6() {
			ip = ip.WithZone(zoneName(int(in.Scope_id)))
		}
		return ip, networkPort(&in.Port), true
	}
	return netip.Addr{}, 0, false
}

func networkPort(p *uint16) int {
	return int(binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(p))[:]))
}

func zoneName(index int) string {
	if i, err := net.InterfaceByIndex(index); err == nil {
		return i.Name
	}
	return fmt.Sprint(index)
}

// accepted is a client's connection. os.File gives it deadlines and the runtime's poller.
type accepted struct {
	*os.File
	fd    int
	addr  peerAddr
	husks *husks
}

// Close implements net.Conn.
func (c *accepted) Close() error { return c.husks.close(c.File) }

// LocalAddr implements net.Conn.
func (c *accepted) LocalAddr() net.Addr { return c.addr.net(c.addr.local, c.addr.localPort) }

// RemoteAddr implements net.Conn.
func (c *accepted) RemoteAddr() net.Addr { return c.addr.net(c.addr.ip, c.addr.port) }

func (a *peerAddr) net(ip netip.Addr, port int) net.Addr {
	if a.unix {
		return &net.UnixAddr{Net: "unix"}
	}
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, uint16(port)))
}

// askPeer finds out who is at the other end of a Unix socket, as far as that can be found out.
func (a *peerAddr) askPeer(c syscall.Conn) {
	cred, err := auth.PeerCredentials(c)
	if err != nil {
		return
	}
	a.pid, a.uid = cred.PID, int(cred.UID)
	if name, err := cred.UserName(); err == nil {
		a.osUser = name
	}
}
