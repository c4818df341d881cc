package pooler

import (
	"fmt"
	"io"
	"net"
	"syscall"
	"unsafe"
)

// loginConn is a plain connection before its session begins. It reads ahead, so that a startup packet costs one system
// call, and tells the scheduler nothing of calls that do not block; what it has read too much the session takes over.
type loginConn struct {
	net.Conn
	rc   syscall.RawConn
	b    []byte
	r, w int
}

// loginBuf holds all that clients usually send before they are answered.
const loginBuf = 1024

func newLoginConn(nc net.Conn) (*loginConn, error) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("%T has no file descriptor", nc)
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &loginConn{Conn: nc, rc: rc, b: make([]byte, loginBuf)}, nil
}

// SyscallConn gives access to the descriptor.
func (c *loginConn) SyscallConn() (syscall.RawConn, error) { return c.rc, nil }

// excess returns what was read and not asked for yet.
func (c *loginConn) excess() []byte { return c.b[c.r:c.w] }

// Read returns what was read ahead, or reads.
func (c *loginConn) Read(p []byte) (int, error) {
	if c.r < c.w {
		n := copy(p, c.b[c.r:c.w])
		c.r += n
		return n, nil
	}
	into := p
	if len(p) < len(c.b) {
		into = c.b
	}
	n := 0
	var failed error
	err := c.rc.Read(func(fd uintptr) bool {
		for {
			k, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(into))), uintptr(len(into)), 0, 0, 0)
			switch {
			case errno == syscall.EINTR:
				continue
			case errno == syscall.EAGAIN:
				return false
			case errno != 0:
				failed = errno
			case k == 0:
				failed = io.EOF
			}
			n = int(k)
			return true
		}
	})
	switch {
	case err != nil:
		return 0, err
	case failed != nil:
		return 0, failed
	case len(p) >= len(c.b):
		return n, nil
	}
	c.r, c.w = 0, n
	n = copy(p, c.b[:n])
	c.r = n
	return n, nil
}

// Write writes everything.
func (c *loginConn) Write(p []byte) (int, error) {
	done := 0
	var failed error
	err := c.rc.Write(func(fd uintptr) bool {
		for done < len(p) {
			n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p[done:]))), uintptr(len(p)-done), syscall.MSG_NOSIGNAL, 0, 0)
			switch errno {
			case 0:
				done += int(n)
			case syscall.EINTR:
			case syscall.EAGAIN:
				return false
			default:
				failed = errno
				return true
			}
		}
		return true
	})
	if err == nil {
		err = failed
	}
	return done, err
}
