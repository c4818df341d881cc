package pooler

import (
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// husks are descriptors of clients' connections that have been closed, and are themselves yet to be. close is a system call of which the scheduler
// hears, and each one sets the runtime's monitor going (see acceptor). So the descriptor is made one of /dev/null, without a word to the scheduler,
// which closes the connection at once; the descriptors are then closed together.
type husks struct {
	null *os.File // nil if it could not be opened
	fd   uintptr  // of null

	mu    sync.Mutex
	files []*os.File // guarded by mu
}

// husksKept is how many there are at most. The janitor closes them at each tick.
const husksKept = 64

func newHusks() *husks {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return &husks{} // everything is closed as usual
	}
	return &husks{null: null, fd: null.Fd()}
}

// close closes the connection of f now, and f within a tick of the janitor.
func (h *husks) close(f *os.File) error {
	rc, err := f.SyscallConn()
	if err != nil || h.null == nil {
		return f.Close()
	}
	var errno syscall.Errno
	err = rc.Control(func(fd uintptr) {
		_, _, errno = syscall.RawSyscall(unix.SYS_DUP3, h.fd, fd, unix.O_CLOEXEC)
	})
	if err != nil || errno != 0 {
		return f.Close()
	}
	h.mu.Lock()
	h.files = append(h.files, f)
	full := len(h.files) >= husksKept
	h.mu.Unlock()
	if full {
		h.sweep()
	}
	return nil
}

// sweep closes the descriptors.
func (h *husks) sweep() {
	h.mu.Lock()
	files := h.files
	h.files = nil
	h.mu.Unlock()
	for _, f := range files {
		_ = f.Close() // nothing was written to it
	}
}
