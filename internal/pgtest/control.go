package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// A StopMode says how a server ends, in pg_ctl's words.
type StopMode int

// The ways to stop.
const (
	Fast      StopMode = iota // roll back and disconnect everybody, write a checkpoint
	Immediate                 // quit; the next start recovers as from a crash
	Smart                     // wait until all clients have left
)

// signals are the postmaster's signals for the stop modes.
var signals = map[StopMode]syscall.Signal{Fast: syscall.SIGINT, Immediate: syscall.SIGQUIT, Smart: syscall.SIGTERM}

var errClosed = errors.New("the cluster is closed")

// Start starts a stopped server on the same port and waits until it accepts connections. ctx limits the
// wait. A server that runs already is left alone.
func (c *Cluster) Start(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.startLocked(ctx)
}

func (c *Cluster) startLocked(ctx context.Context) error {
	if c.closed {
		return errClosed
	}
	if c.pm != nil && !c.pm.exited() {
		return nil
	}
	log, err := os.OpenFile(c.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := c.own.command(c.dir, filepath.Join(c.Installation.BinDir, "postgres"), "-D", c.DataDir)
	cmd.Stdout, cmd.Stderr = log, log
	pm, err := startPostmaster(cmd)
	if err != nil {
		return fmt.Errorf("starting postgres: %w", err)
	}
	c.pm = pm
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	err = poll(ctx, func() (bool, error) {
		if pm.exited() {
			return false, describeExit(pm, c.Log())
		}
		status := pidFileStatus(c.DataDir, pm.process.Pid)
		return status == "ready" || status == "standby", nil
	})
	if err != nil {
		if !pm.exited() {
			err = fmt.Errorf("waiting for the server to accept connections: %w; its log ends with:\n%s", err, tail(c.Log(), 2000))
		}
		return errors.Join(err, c.stopLocked(Immediate))
	}
	return nil
}

// Stop stops the server and waits until all its processes are gone. In mode Smart that can take as long as
// a client stays; then ctx limits the wait, and the server goes on stopping. A stopped server is no error.
func (c *Cluster) Stop(ctx context.Context, mode StopMode) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errClosed
	}
	if mode != Smart || c.pm == nil {
		return c.stopLocked(mode)
	}
	_ = c.pm.process.Signal(signals[mode])
	select {
	case <-c.pm.done:
		return c.stopLocked(mode)
	case <-ctx.Done():
		return fmt.Errorf("waiting for the server's clients to leave: %w", context.Cause(ctx))
	}
}

func (c *Cluster) stopLocked(mode StopMode) error {
	pm := c.pm
	if pm == nil {
		return nil
	}
	c.pm = nil
	if !pm.exited() {
		_ = pm.process.Signal(signals[mode])
	}
	giveUp := time.NewTimer(startTimeout)
	defer giveUp.Stop()
	var err error
	select {
	case <-pm.done:
	case <-giveUp.C:
		err = fmt.Errorf("the server did not stop within %v and was killed", startTimeout)
		_ = pm.process.Kill()
		<-pm.done
	}
	endProcesses(c.DataDir)
	return err
}

// Restart stops the server and starts it on the same port; changed settings of any kind come into force.
func (c *Cluster) Restart(ctx context.Context, mode StopMode) error {
	if err := c.Stop(ctx, mode); err != nil {
		return err
	}
	return c.Start(ctx)
}

// Kill kills the postmaster with SIGKILL, and after it the backends, as a crash of the machine's processes
// would. Start brings the server back, with crash recovery.
func (c *Cluster) Kill() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pm == nil {
		return nil
	}
	if err := c.pm.process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("killing the postmaster: %w", err)
	}
	<-c.pm.done
	c.pm = nil
	endProcesses(c.DataDir) // a postmaster does not start while old backends hold its shared memory
	return nil
}

// Signal sends a signal to the postmaster: SIGHUP to reload, SIGSTOP and SIGCONT to make it stop accepting
// connections without refusing them.
func (c *Cluster) Signal(sig os.Signal) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pm == nil {
		return errors.New("the server does not run")
	}
	return c.pm.process.Signal(sig)
}

// Freeze stops every process of the server where it is (SIGSTOP), as a hanging machine would: connections
// stay open and nothing answers. The returned function lets them go on.
func (c *Cluster) Freeze() (thaw func()) {
	pids := serverProcesses(c.DataDir)
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGSTOP)
	}
	return func() {
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
	}
}

// Running reports whether the postmaster runs.
func (c *Cluster) Running() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pm != nil && !c.pm.exited()
}

// PID returns the postmaster's process id, 0 when it does not run.
func (c *Cluster) PID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pm == nil || c.pm.exited() {
		return 0
	}
	return c.pm.process.Pid
}
