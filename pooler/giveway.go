package pooler

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// turnBytes is how much a stream moves before it lets others have their turn.
const turnBytes = 64 << 10

// giveWay is called with a buffer that a stream has been read into. When that has had its turn, every other session goes on that can.
func (p *Pooler) giveWay(in *inbuf) {
	if in.turnOver() {
		p.letOthers()
	}
}

// letOthers lets every session go on that can by now, and comes back when it is this one's turn again. A stream whose peers are quick never has to
// wait: it would keep its processor until the runtime takes it away, which is after 10 ms. [runtime.Gosched] does not help: the poller is not asked
// who else could go on while anybody can, and this one can. So it waits for a descriptor of its own that is ready as soon as the poller looks.
func (p *Pooler) letOthers() {
	t := p.tickets.get()
	if t == nil {
		return // no descriptor was to be had: it goes on
	}
	t.drawn = false
	if err := t.rc.Read(t.step); err != nil {
		_ = t.file.Close()
		return
	}
	p.tickets.put(t)
	runtime.Gosched() // the poller hands out last what came first
}

// ticket is a place in the poller's queue: an eventfd.
type ticket struct {
	file  *os.File
	rc    syscall.RawConn
	step  func(fd uintptr) bool
	drawn bool
}

func newTicket() (*ticket, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	t := &ticket{file: os.NewFile(uintptr(fd), "eventfd")}
	if t.rc, err = t.file.SyscallConn(); err != nil {
		_ = t.file.Close()
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	t.step = t.wait
	return t, nil
}

func (t *ticket) wait(fd uintptr) bool {
	n := uint64(1)
	if !t.drawn {
		t.drawn = true
		_, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(&n)), unsafe.Sizeof(n))
		return errno != 0 // it cannot be: the counter is 0
	}
	_, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(&n)), unsafe.Sizeof(n))
	return errno != syscall.EAGAIN
}

// tickets are those that nobody waits with.
type tickets struct {
	mu   sync.Mutex
	free []*ticket // guarded by mu
}

// ticketsKept is how many are kept for those who will want one.
const ticketsKept = 32

func (ts *tickets) get() *ticket {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if n := len(ts.free); n > 0 {
		t := ts.free[n-1]
		ts.free = ts.free[:n-1]
		return t
	}
	t, err := newTicket()
	if err != nil {
		return nil
	}
	return t
}

func (ts *tickets) put(t *ticket) {
	ts.mu.Lock()
	keep := len(ts.free) < ticketsKept
	if keep {
		ts.free = append(ts.free, t)
	}
	ts.mu.Unlock()
	if !keep {
		_ = t.file.Close()
	}
}

func (ts *tickets) close() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, t := range ts.free {
		_ = t.file.Close()
	}
	ts.free = nil
}
