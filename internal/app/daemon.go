package app

import (
	"errors"
	"fmt"
	"io"
	"os"
	osuser "os/user"
	"strconv"
	"strings"
	"syscall"

	"pgdrover/internal/config"
)

// childMark is set in the environment of the process that runs in the background.
const childMark = "PGDROVER_BACKGROUND"

// startInBackground starts this program again, apart from the terminal, and waits until it accepts connections.
func startInBackground(path string) error {
	cfg, _, err := config.Load(path)
	if err != nil {
		return err
	}
	if cfg.PidFile == "" {
		return errors.New("daemon needs pidfile configured")
	}
	if cfg.LogFile == "" && !cfg.Syslog {
		return errors.New("daemon needs logfile or syslog configured: otherwise its log would be lost")
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { _ = null.Close() }()
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	proc, err := os.StartProcess(exe, os.Args, &os.ProcAttr{
		Env: append(os.Environ(), childMark+"=1"), Files: []*os.File{null, null, w, w},
		Sys: &syscall.SysProcAttr{Setsid: true},
	})
	_ = w.Close()
	if err != nil {
		return err
	}
	said, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if text, ok := strings.CutSuffix(string(said), readyMark); ok {
		fmt.Fprint(os.Stderr, text)
		return proc.Release()
	}
	_, _ = proc.Wait()
	return errors.New(strings.TrimSpace(string(said)))
}

const (
	readyMark = "\x00ready"
	readyFD   = 3
)

// reportReady tells the process that started us in the background that we are up.
func reportReady() {
	if os.Getenv(childMark) == "" {
		return
	}
	f := os.NewFile(readyFD, "ready")
	if f == nil {
		return
	}
	_, _ = f.WriteString(readyMark)
	_ = f.Close()
	if null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0); err == nil { // standard error was the same pipe
		_ = syscall.Dup3(int(null.Fd()), 2, 0)
		_ = null.Close()
	}
}

// pidFile is the file that holds our process ID; nil is none.
type pidFile struct{ path string }

// writePIDFile refuses to start beside a process that lives, and replaces a file that one has left behind.
func writePIDFile(path, owner string) (*pidFile, error) {
	if path == "" {
		return nil, nil
	}
	if b, err := os.ReadFile(path); err == nil {
		if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && pid > 0 && pid != os.Getpid() {
			if err := syscall.Kill(pid, 0); err == nil || errors.Is(err, syscall.EPERM) {
				return nil, fmt.Errorf("pidfile %s exists and process %d runs: is another instance up?", path, pid)
			}
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("pidfile: %w", err)
		}
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
		return nil, fmt.Errorf("pidfile: %w", err)
	}
	if uid, gid, err := lookupUser(owner); err == nil && owner != "" {
		_ = os.Chown(path, uid, gid) // so that it can be removed later
	}
	return &pidFile{path}, nil
}

func (f *pidFile) remove() {
	if f != nil {
		_ = os.Remove(f.path) // nothing can be done about it at this point
	}
}

func lookupUser(name string) (uid, gid int, err error) {
	u, err := osuser.Lookup(name)
	if err != nil {
		return 0, 0, err
	}
	if uid, err = strconv.Atoi(u.Uid); err != nil {
		return 0, 0, err
	}
	gid, err = strconv.Atoi(u.Gid)
	return uid, gid, err
}

// becomeUser gives up root's rights for those of the user setting. Who is not root can only name himself.
func becomeUser(name string) error {
	if name == "" {
		return nil
	}
	uid, gid, err := lookupUser(name)
	if err != nil {
		return fmt.Errorf("could not find user '%s' to switch to: %w", name, err)
	}
	if os.Getuid() == 0 {
		if err := syscall.Setgroups([]int{gid}); err != nil {
			return fmt.Errorf("failed to reset the groups of user '%s': %w", name, err)
		}
	}
	if err := errors.Join(syscall.Setgid(gid), syscall.Setuid(uid)); err != nil {
		return fmt.Errorf("failed to assume identity of user '%s': %w", name, err)
	}
	return nil
}
