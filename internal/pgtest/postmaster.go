package pgtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A postmaster is one run of a cluster's server process.
type postmaster struct {
	process *os.Process
	done    chan struct{} // closed when the process is gone
	err     error         // how it ended; read after done
}

// startPostmaster starts cmd and watches over it. The kernel sends the process SIGQUIT when this process
// dies. That signal belongs to the thread that forked, hence a goroutine that keeps its thread until the
// process has ended.
func startPostmaster(cmd *exec.Cmd) (*postmaster, error) {
	// A group of its own: ^C in a terminal must reach the caller first, who stops the server when it is done with it.
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = syscall.SIGQUIT
	pm := &postmaster{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		pm.process = cmd.Process
		started <- nil
		pm.err = cmd.Wait()
		close(pm.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return pm, nil
}

// exited reports whether the process is gone.
func (pm *postmaster) exited() bool {
	select {
	case <-pm.done:
		return true
	default:
		return false
	}
}

// serverProcesses returns the ids of all processes of the server whose data directory is dataDir. Every
// process of PostgreSQL's has its data directory as working directory, so none is missed or mistaken,
// whoever its parent is by now.
func serverProcesses(dataDir string) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if cwd, err := os.Readlink(filepath.Join("/proc", e.Name(), "cwd")); err == nil && cwd == dataDir {
			pids = append(pids, pid)
		}
	}
	return pids
}

// removeSharedMemory removes the System V segment that a killed postmaster left behind; its number is in
// postmaster.pid, which an orderly shutdown removes together with the segment.
func removeSharedMemory(dataDir string) {
	content, err := os.ReadFile(filepath.Join(dataDir, "postmaster.pid"))
	if err != nil {
		return
	}
	lines := strings.Split(string(content), "\n")
	if len(lines) < 7 {
		return
	}
	fields := strings.Fields(lines[6]) // key and id
	if len(fields) != 2 {
		return
	}
	id, err := strconv.Atoi(fields[1])
	if err != nil {
		return
	}
	// Ids are used again: remove only what nobody is attached to.
	var desc unix.SysvShmDesc
	if _, err := unix.SysvShmCtl(id, unix.IPC_STAT, &desc); err == nil && desc.Nattch == 0 {
		_, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil)
	}
}

// pidFileStatus returns the state that the postmaster writes into its pid file: "starting", "ready",
// "standby" (a hot standby that accepts connections) or "stopping"; "" if there is none yet.
func pidFileStatus(dataDir string, pid int) string {
	content, err := os.ReadFile(filepath.Join(dataDir, "postmaster.pid"))
	if err != nil {
		return ""
	}
	lines := strings.Split(string(content), "\n")
	if len(lines) < 8 || lines[0] != strconv.Itoa(pid) {
		return ""
	}
	return strings.TrimSpace(lines[7])
}

// describeExit tells how a postmaster ended, with the end of its log.
func describeExit(pm *postmaster, log string) error {
	return fmt.Errorf("the server ended: %v; its log ends with:\n%s", pm.err, tail(strings.TrimSpace(log), 2000))
}
