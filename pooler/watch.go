package pooler

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// watched is told what happens on a descriptor while nobody reads it. The calls come from the
// watcher's goroutine and must not block.
type watched interface {
	hungUp()   // the peer has closed its side, or the connection is broken
	readable() // there is something to read; only after arm
}

// watcher is one epoll instance that holds every client and server descriptor, edge-triggered, for EPOLLRDHUP only.
// It finds what the reader of a descriptor cannot see: dead idle servers, clients that left a queue or the
// middle of a query, and an end of stream that came together with the last data.
type watcher struct {
	epfd int
	file *os.File // of epfd; closing it ends run

	mu      sync.Mutex
	entries map[int32]watchEntry // by descriptor; guarded by mu
	gen     int32                // guarded by mu
	done    chan struct{}
}

type watchEntry struct {
	gen int32 // tells a descriptor from an earlier one of the same number
	w   watched
}

const watchEvents = unix.EPOLLRDHUP | unix.EPOLLET

func newWatcher() (*watcher, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create: %w", err)
	}
	// The runtime's poller waits for this instance as it does for sockets. A thread that blocks in epoll_wait would
	// cost a hand-over of its processor with every event.
	if err := unix.SetNonblock(epfd, true); err != nil {
		_ = unix.Close(epfd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	f := os.NewFile(uintptr(epfd), "epoll")
	rc, err := f.SyscallConn()
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("epoll: %w", err)
	}
	w := &watcher{epfd: epfd, file: f, entries: map[int32]watchEntry{}, done: make(chan struct{})}
	go w.run(rc)
	return w, nil
}

func (w *watcher) run(rc syscall.RawConn) {
	defer close(w.done)
	events := make([]unix.EpollEvent, 128)
	_ = rc.Read(func(fd uintptr) bool { // it ends with an error when the file is closed
		for {
			n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, fd, uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
			if errno == syscall.EINTR {
				continue
			}
			if errno != 0 || n == 0 {
				return false
			}
			for _, ev := range events[:n] {
				w.tell(ev)
			}
		}
	})
}

// tell passes an event on to whom it concerns, unless the descriptor is another one by now.
func (w *watcher) tell(ev unix.EpollEvent) {
	w.mu.Lock()
	e, ok := w.entries[ev.Fd]
	w.mu.Unlock()
	if !ok || e.gen != ev.Pad {
		return
	}
	if ev.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		e.w.hungUp()
	} else if ev.Events&unix.EPOLLIN != 0 {
		e.w.readable()
	}
}

// add begins to watch fd. It must be removed before it is closed.
func (w *watcher) add(fd int, obj watched) error {
	w.mu.Lock()
	w.gen++
	gen := w.gen
	w.entries[int32(fd)] = watchEntry{gen, obj}
	w.mu.Unlock()
	return w.ctl(unix.EPOLL_CTL_ADD, fd, unix.EpollEvent{Events: watchEvents, Fd: int32(fd), Pad: gen})
}

// ctl is epoll_ctl, of which the scheduler hears nothing because it never blocks.
func (w *watcher) ctl(op, fd int, ev unix.EpollEvent) error {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_CTL, uintptr(w.epfd), uintptr(op), uintptr(fd), uintptr(unsafe.Pointer(&ev)), 0, 0)
	if errno != 0 {
		return os.NewSyscallError("epoll_ctl", errno)
	}
	return nil
}

// remove ends watching. The kernel forgets the descriptor when it is closed.
func (w *watcher) remove(fd int) {
	w.mu.Lock()
	delete(w.entries, int32(fd))
	w.mu.Unlock()
}

// release ends watching of a descriptor that stays open, and may be added again.
func (w *watcher) release(fd int) {
	w.remove(fd)
	_ = w.ctl(unix.EPOLL_CTL_DEL, fd, unix.EpollEvent{}) // it fails only if it was not there
}

// arm asks for readable as well, at once if there is something already; disarm ends that.
func (w *watcher) arm(fd int)    { w.modify(fd, watchEvents|unix.EPOLLIN) }
func (w *watcher) disarm(fd int) { w.modify(fd, watchEvents) }

func (w *watcher) modify(fd int, events uint32) {
	w.mu.Lock()
	e, ok := w.entries[int32(fd)]
	w.mu.Unlock()
	if ok {
		// An error means that the descriptor is gone, which its owner will find out.
		_ = w.ctl(unix.EPOLL_CTL_MOD, fd, unix.EpollEvent{Events: events, Fd: int32(fd), Pad: e.gen})
	}
}

func (w *watcher) close() {
	_ = w.file.Close() // it was only read from
	<-w.done
}
