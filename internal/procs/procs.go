// Package procs has the program run Go code on as many processors as its load needs.
//
// The Go scheduler wakes a further thread whenever there is work and a processor is idle. For a pooler, whose work comes in pieces of some
// microseconds, that is a loss while one processor could do it all: the thread finds the work already done, and both run with cold caches. So
// GOMAXPROCS follows the load, from 1 to what it was at the start. Whoever is about to keep a processor for longer than a moment says so with
// [Busy], and nobody has to wait for it.
//
// GOMAXPROCS belongs to the process, and so does what this package knows. All functions may be called from any goroutine, and do nothing
// before [Adapt].
package procs

import (
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

var atStart = runtime.GOMAXPROCS(0)

// Max returns how many processors the program may use, as the Go runtime found it at the start: GOMAXPROCS, or else the processors that the
// machine, the process's affinity and its control group leave to it.
func Max() int { return atStart }

var process atomic.Pointer[adapter]

// Adapt has GOMAXPROCS follow the load from now on, if somebody calls [Tick], the environment does not say what it is to be, and there is
// more than one processor.
func Adapt() {
	if os.Getenv("GOMAXPROCS") == "" && atStart > 1 {
		process.CompareAndSwap(nil, newAdapter(atStart, set, processTime, time.Now()))
	}
}

// InUse returns how many processors the program uses for Go code at present.
func InUse() int { return runtime.GOMAXPROCS(0) }

// Tick looks at the load. It is to be called some times a second.
func Tick() {
	if a := process.Load(); a != nil {
		a.tick(time.Now())
	}
}

// Pace returns how soon the caller of Tick should call it again, idly being soon enough for what else it does.
func Pace(idly time.Duration) time.Duration {
	if a := process.Load(); a != nil && a.one.Load() {
		return min(idly, pulse)
	}
	return idly
}

// Busy says that the caller will keep a processor for longer than a moment: a millisecond, say. Others get one of their own if there is one. Where
// there are enough it costs next to nothing.
func Busy() {
	if a := process.Load(); a != nil && a.few.Load() {
		a.busy(time.Now())
	}
}

const (
	// full and spare are shares of the processors in use: above full there are twice as many, and with half as many spare must not be reached
	// for calm.
	full  = 0.85
	spare = 0.60
	calm  = time.Second
	// period is what the load is an average over, at least.
	period = 90 * time.Millisecond
	// pulse is how often a timer fires while only one processor is in use, and for more than idle. What nobody has announced may keep it, too. The
	// monitor of the Go runtime takes it away after 10 ms, but the monitor sleeps when all processors are idle, and wakes up for the next timer at
	// the latest.
	pulse = 20 * time.Millisecond
	idle  = 0.10
)

// adapter changes the number of processors in use.
type adapter struct {
	set  func(n int) int      // 0 is as many as there are; returns how many those are
	used func() time.Duration // processor time of the process so far

	few atomic.Bool // fewer than max are in use
	one atomic.Bool // one is, and not idle

	mu     sync.Mutex
	max    int           // guarded by mu
	n      int           // in use; guarded by mu
	at     time.Time     // when the load was last looked at; guarded by mu
	before time.Duration // used at that time; guarded by mu
	since  time.Time     // since when half as many would do; guarded by mu
}

func newAdapter(most int, set func(int) int, used func() time.Duration, now time.Time) *adapter {
	return &adapter{set: set, used: used, max: most, n: most, at: now, before: used(), since: now}
}

func set(n int) int {
	if n == 0 {
		runtime.SetDefaultGOMAXPROCS() // the control group may leave more or less to it by now
	} else {
		runtime.GOMAXPROCS(n)
	}
	return runtime.GOMAXPROCS(0)
}

func (a *adapter) tick(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	took := now.Sub(a.at)
	if took < period {
		return
	}
	used := a.used()
	load := float64(used-a.before) / float64(took)
	a.at, a.before = now, used
	if load > full*float64(a.n) {
		a.change(2*a.n, now)
	}
	if less := a.n / 2; less == 0 || load > spare*float64(less) {
		a.since = now
	} else if now.Sub(a.since) >= calm {
		a.change(less, now)
	}
	a.one.Store(a.n == 1 && load > idle)
}

func (a *adapter) busy(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.n == 1 {
		a.change(2, now)
	} else {
		a.since = now
	}
}

// change has n processors used. The caller holds mu.
func (a *adapter) change(n int, now time.Time) {
	a.since = now
	switch {
	case n < a.max:
		a.n = a.set(n)
	case a.n < a.max:
		a.max = a.set(0)
		a.n = a.max
	}
	a.few.Store(a.n < a.max)
}

// processTime asks without telling the scheduler: the call does not block, and an ordinary one would set the runtime's monitor going.
func processTime() time.Duration {
	var t unix.Timespec
	_, _, errno := syscall.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_PROCESS_CPUTIME_ID, uintptr(unsafe.Pointer(&t)), 0)
	if errno != 0 {
		return 0 // which no kernel answers with
	}
	return time.Duration(t.Nano())
}
