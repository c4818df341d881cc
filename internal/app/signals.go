package app

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"pgdrover/pooler"
)

// catchSignals collects signals from now on, so that none that comes while the process starts, or right behind READY=1, ends it.
func catchSignals() (ch chan os.Signal) {
	ch = make(chan os.Signal, 8)
	signal.Notify(ch, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	return ch
}

// serveSignals does what PgBouncer does with signals, until the process is to end: HUP reloads, INT waits for servers
// to be released, TERM or INT again and QUIT end at once, USR1 pauses, USR2 resumes. TERM is different: PgBouncer waits
// until all clients have left by themselves, which those of an application's own pool never do, so that a service
// manager kills it in the end; here each client is closed when its transaction is over.
func (p *Process) serveSignals(ctx context.Context, ch <-chan os.Signal) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stopping := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.pooler.Done():
			return
		case sig := <-ch:
			switch sig {
			case syscall.SIGHUP:
				p.hangUp(ctx)
			case syscall.SIGTERM, syscall.SIGINT:
				if stopping {
					p.log.Info().Msg("got a second " + sig.String() + ": exiting at once")
					return
				}
				stopping = true
				p.log.Info().Msg("got " + sig.String() + ", shutting down")
				if sig == syscall.SIGTERM {
					p.shutdown(pooler.ShutdownDrain)
				} else {
					p.shutdown(pooler.ShutdownWaitForServers)
				}
			case syscall.SIGQUIT:
				p.log.Info().Msg("got SIGQUIT: exiting at once")
				return
			case syscall.SIGUSR1:
				p.log.Info().Msg("got SIGUSR1, pausing all activity")
				go func() {
					if err := p.pooler.Pause(ctx, ""); err != nil && ctx.Err() == nil {
						p.log.Error().Err(err).Msg("PAUSE failed")
					}
				}()
			case syscall.SIGUSR2:
				p.log.Info().Msg("got SIGUSR2, continuing from PAUSE")
				if err := p.pooler.Resume(""); err != nil {
					p.log.Error().Err(err).Msg("RESUME failed")
				}
			}
		}
	}
}

func monotonicMicros() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return ts.Nano() / 1000
}

// raiseFileLimit takes the descriptors that the system lets us have.
func raiseFileLimit() {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) == nil && l.Cur < l.Max {
		l.Cur = l.Max
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l) // what we have will do
	}
}
