package pooler

import (
	"fmt"
	"io"
	"net"
	"syscall"
	"unsafe"
)

// quietConn is a plain connection whose reads and writes the scheduler hears nothing of: they do not block. See acceptor for why.
// One goroutine may read while another one writes.
type quietConn struct {
	net.Conn
	rc      syscall.RawConn
	in, out transfer
}

// transfer is a Read or Write under way. What a callback changes lies here, so that it is not made anew for each.
type transfer struct {
	p    []byte
	n    int // bytes of it that are done
	err  error
	call func(fd uintptr) bool
}

func newQuietConn(nc net.Conn, rc syscall.RawConn) *quietConn {
	c := &quietConn{Conn: nc, rc: rc}
	c.in.call, c.out.call = c.in.recv, c.out.send
	return c
}

// rawConnOf gives access to the descriptor of nc.
func rawConnOf(nc net.Conn) (syscall.RawConn, error) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("%T has no file descriptor", nc)
	}
	return sc.SyscallConn()
}

// SyscallConn gives access to the descriptor.
func (c *quietConn) SyscallConn() (syscall.RawConn, error) { return c.rc, nil }

// Read returns what is there, waiting if there is nothing.
func (c *quietConn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return c.in.do(p, c.rc.Read)
}

// Write writes everything.
func (c *quietConn) Write(p []byte) (int, error) { return c.out.do(p, c.rc.Write) }

// do calls t.call as often as wait says that it is time.
func (t *transfer) do(p []byte, wait func(func(uintptr) bool) error) (int, error) {
	t.p, t.n = p, 0
	err := wait(t.call)
	if err == nil {
		err = t.err
	}
	t.p = nil
	return t.n, err
}

func (t *transfer) recv(fd uintptr) bool {
	t.n, t.err = recv(int(fd), t.p)
	return t.err != errWouldBlock
}

func (t *transfer) send(fd uintptr) bool {
	var n int
	n, t.err = send(int(fd), t.p[t.n:])
	t.n += n
	return t.err != errWouldBlock
}

// recv reads what a socket that does not block has, without telling the scheduler; errWouldBlock says that it has nothing, io.EOF that nothing
// will come. recv and send skip what read and write do for files.
func recv(fd int, p []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), 0, 0, 0)
		switch {
		case errno == 0 && n == 0:
			return 0, io.EOF
		case errno == 0:
			return int(n), nil
		case errno == syscall.EAGAIN:
			return 0, errWouldBlock
		case errno != syscall.EINTR:
			return 0, errno
		}
	}
}

// send writes what the socket takes without waiting: less than p comes with errWouldBlock.
func send(fd int, p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p[done:]))), uintptr(len(p)-done), syscall.MSG_NOSIGNAL, 0, 0)
		switch {
		case errno == 0:
			done += int(n)
		case errno == syscall.EAGAIN:
			return done, errWouldBlock
		case errno != syscall.EINTR:
			return done, errno
		}
	}
	return done, nil
}
