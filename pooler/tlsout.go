package pooler

import (
	"fmt"
	"net"
	"sync"
	"syscall"
)

// tlsOut stands between a client's TLS stream and its socket, so that a write to the client can be tried without waiting:
// a TLS record cannot be sent by half and given up, but the part that the socket does not take can be kept here and
// sent later. At most one record is kept on top of what was kept before.
type tlsOut struct {
	net.Conn
	sys int // descriptor, for tries; set before the first one

	mu   sync.Mutex
	try  bool   // do not wait; guarded by mu
	kept []byte // guarded by mu
}

// maxRecord is how much a TLS record carries, in bytes.
const maxRecord = 16 << 10

// Write is called by the TLS stream, which does that under a lock of its own.
func (o *tlsOut) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.try {
		if err := o.flushLocked(); err != nil {
			return 0, err
		}
		return o.Conn.Write(p)
	}
	if len(o.kept) > 0 {
		n, err := sendNow(o.sys, o.kept)
		o.kept = o.kept[:copy(o.kept, o.kept[n:])]
		if err != nil && err != errWouldBlock {
			return 0, err
		}
	}
	n := 0
	if len(o.kept) == 0 {
		var err error
		if n, err = sendNow(o.sys, p); err != nil && err != errWouldBlock {
			return n, err
		}
	}
	o.kept = append(o.kept, p[n:]...)
	return len(p), nil
}

func (o *tlsOut) flushLocked() error {
	if len(o.kept) == 0 {
		return nil
	}
	n, err := o.Conn.Write(o.kept)
	o.kept = o.kept[:copy(o.kept, o.kept[n:])]
	if len(o.kept) == 0 {
		o.kept = nil
	}
	return err
}

// flush sends what was kept, however long it takes.
func (o *tlsOut) flush() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.flushLocked()
}

// trying says whether writes are to be tried only.
func (o *tlsOut) trying(on bool) {
	o.mu.Lock()
	o.try = on
	o.mu.Unlock()
}

// keeps reports whether something was kept.
func (o *tlsOut) keeps() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.kept) > 0
}

// SyscallConn gives access to the descriptor underneath.
func (o *tlsOut) SyscallConn() (syscall.RawConn, error) {
	sc, ok := o.Conn.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("%T has no file descriptor", o.Conn)
	}
	return sc.SyscallConn()
}
