package pooler

import "syscall"

// killAtVariable names a step of a two-phase commit at which the process is to end as if it was killed: "before decide", "decided",
// "prepared", "all prepared", "committed", "finished one". It is for tests of recovery.
const killAtVariable = "PGDROVER_KILL_AT"

// point is a step at which tests may end the process.
func (p *Pooler) point(name string) {
	if p.killAt == name {
		_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
		select {}
	}
}
