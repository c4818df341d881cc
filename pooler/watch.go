package pooler

import (
	"fmt"
	"os"
	"sync"

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
	wake int // eventfd that ends run

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
	ev, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = unix.Close(epfd)
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	w := &watcher{epfd: epfd, wake: ev, entries: map[int32]watchEntry{}, done: make(chan struct{})}
	if err := unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, ev, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(ev)}); err != nil {
		_ = unix.Close(epfd)
		_ = unix.Close(ev)
		return nil, fmt.Errorf("epoll_ctl: %w", err)
	}
	go w.run()
	return w, nil
}

func (w *watcher) run() {
	defer close(w.done)
	events := make([]unix.EpollEvent, 128)
	for {
		n, err := unix.EpollWait(w.epfd, events, -1)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return // only after close
		}
		for _, ev := range events[:n] {
			if int(ev.Fd) == w.wake {
				return
			}
			w.mu.Lock()
			e, ok := w.entries[ev.Fd]
			w.mu.Unlock()
			if !ok || e.gen != ev.Pad {
				continue
			}
			if ev.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
				e.w.hungUp()
			} else if ev.Events&unix.EPOLLIN != 0 {
				e.w.readable()
			}
		}
	}
}

// add begins to watch fd. It must be removed before it is closed.
func (w *watcher) add(fd int, obj watched) error {
	w.mu.Lock()
	w.gen++
	gen := w.gen
	w.entries[int32(fd)] = watchEntry{gen, obj}
	w.mu.Unlock()
	if err := unix.EpollCtl(w.epfd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: watchEvents, Fd: int32(fd), Pad: gen}); err != nil {
		return os.NewSyscallError("epoll_ctl", err)
	}
	return nil
}

// remove ends watching. The kernel forgets the descriptor when it is closed.
func (w *watcher) remove(fd int) {
	w.mu.Lock()
	delete(w.entries, int32(fd))
	w.mu.Unlock()
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
		_ = unix.EpollCtl(w.epfd, unix.EPOLL_CTL_MOD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd), Pad: e.gen})
	}
}

func (w *watcher) close() {
	one := [8]byte{1}
	_, _ = unix.Write(w.wake, one[:])
	<-w.done
	_ = unix.Close(w.epfd)
	_ = unix.Close(w.wake)
}
