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
	if len(p) == 0 {
		return 0, nil
	}
	var failed error
	err = c.rc.Read(func(fd uintptr) bool {
		n, failed = recv(int(fd), p)
		return failed != errWouldBlock
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
		var n int
		n, failed = send(int(fd), p[done:])
		done += n
		return failed != errWouldBlock
	})
	if err == nil {
		err = failed
	}
	return done, err
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
