package pooler

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// killAtVariable names a step of a two-phase commit at which the process is to end as if it was killed, one of points. "decided:200" is the
// 200th time that a transaction comes to "decided"; without a number it is the first. It is for tests of recovery.
const killAtVariable = "PGDROVER_KILL_AT"

// points are the steps, in their order.
var points = [...]string{"before decide", "decided", "prepared", "all prepared", "committed", "finished one"}

// killAt is the value of the variable.
type killAt struct {
	name string
	left atomic.Int64 // until it is the time
}

// parseKillAt reads the variable; nil if it is not set.
func parseKillAt(value string) (*killAt, error) {
	if value == "" {
		return nil, nil
	}
	k := &killAt{}
	name, number, counted := strings.Cut(value, ":")
	k.name = name
	k.left.Store(1)
	if counted {
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%s: %q is not a number from 1 on", killAtVariable, number)
		}
		k.left.Store(n)
	}
	if !slices.Contains(points[:], name) {
		return nil, fmt.Errorf("%s: there is no step %q; the steps are %s", killAtVariable, name, strings.Join(points[:], ", "))
	}
	return k, nil
}

// point is a step at which tests may end the process.
func (p *Pooler) point(name string) {
	if k := p.killAt; k != nil && k.name == name && k.left.Add(-1) == 0 {
		_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
		select {}
	}
}
