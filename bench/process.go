package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a child that runs until it is stopped.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when the child is gone
	err  error         // set before done is closed
}

// childAttributes puts a child into a process group of its own, so that ^C reaches only the harness, which
// then stops its children in order; and lets the kernel kill it if the harness dies.
func childAttributes(as *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: as}
}

// startProcess runs argv with its output in the file log, as a session of its own: see docs/benchmarks.md, "Poolers".
func startProcess(log string, as *syscall.Credential, env, argv []string) (*process, error) {
	out, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer out.Close() // the child has its own copy
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = env
	cmd.Dir = "/"
	cmd.SysProcAttr = childAttributes(as)
	cmd.SysProcAttr.Setpgid, cmd.SysProcAttr.Setsid = false, true // a session has a process group of its own
	p := &process{cmd: cmd, log: log, done: make(chan struct{})}
	err = startLocked(cmd, func(err error) {
		p.err = err
		close(p.done)
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// startLocked starts cmd and calls ended with its exit status once it is gone. The goroutine that does both
// keeps its thread for itself: the signal of a dying parent comes when the thread that forked ends.
func startLocked(cmd *exec.Cmd, ended func(error)) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread goes with the goroutine
		err := cmd.Start()
		started <- err
		if err == nil {
			ended(cmd.Wait())
		}
	}()
	return <-started
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// exit returns how the child ended; call it after done is closed.
func (p *process) exit() error {
	if p.err == nil {
		return errors.New("exit status 0")
	}
	return p.err
}

// stop asks the child to end, asks again (a second SIGTERM means "at once" to poolers that first wait for
// their clients), and in the end kills it. It returns when the child is gone.
func (p *process) stop() {
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGTERM, time.Second}, {syscall.SIGTERM, 3 * time.Second}, {syscall.SIGKILL, time.Minute}} {
		// An error means that it has ended already, which done tells us too.
		_ = p.cmd.Process.Signal(step.signal)
		select {
		case <-p.done:
			return
		case <-time.After(step.wait):
		}
	}
}

// logTail returns the last lines of the child's output.
func (p *process) logTail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return "  " + strings.Join(lines[max(0, len(lines)-8):], "\n  ")
}

// unprivilegedAccount returns the account for servers when the caller is root, which PostgreSQL and
// PgBouncer refuse to run as; nil when there is nothing to change.
func unprivilegedAccount() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return nil, fmt.Errorf("find an unprivileged account: %w", err)
		}
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("uid of %s: %w", u.Username, err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("gid of %s: %w", u.Username, err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// raiseFileLimit lets this process and its children open want files, or as many as the system allows.
// Setting the limit explicitly matters: Go raises its own silently and gives children the old one.
func raiseFileLimit(want uint64) error {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	if l.Max < want && os.Geteuid() == 0 {
		l.Max = want
	}
	l.Cur = min(max(l.Cur, want), l.Max)
	if err := syscall.Setrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return fmt.Errorf("raise the limit of open files to %d: %w", l.Cur, err)
	}
	return nil
}

// freePort returns a TCP port of the loopback address that nobody listens on at the moment.
func freePort() (int, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(loopback, "0"))
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
