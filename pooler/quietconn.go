package pooler

import (
	"fmt"
	"io"
	"net"
	"syscall"
	"unsafe"
)

// quietConn is a plain connection whose reads and writes the scheduler hears nothing of: they do not block. See acceptor for why.
type quietConn struct {
	net.Conn
	rc syscall.RawConn
}

func newQuietConn(nc net.Conn) (quietConn, error) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return quietConn{}, fmt.Errorf("%T has no file descriptor", nc)
	}
	rc, err := sc.SyscallConn()
	return quietConn{nc, rc}, err
}

// SyscallConn gives access to the descriptor.
func (c quietConn) SyscallConn() (syscall.RawConn, error) { return c.rc, nil }

// Read returns what is there, waiting if there is nothing.
func (c quietConn) Read(p []byte) (n int, err error) {
	var failed error
	err = c.rc.Read(func(fd uintptr) bool {
		for {
			k, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), 0, 0, 0)
			switch {
			case errno == syscall.EINTR:
				continue
			case errno == syscall.EAGAIN:
				return false
			case errno != 0:
				failed = errno
			case k == 0 && len(p) > 0:
				failed = io.EOF
			default:
				n = int(k)
			}
			return true
		}
	})
	if err == nil {
		err = failed
	}
	return n, err
}

// Write writes everything.
func (c quietConn) Write(p []byte) (int, error) {
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
