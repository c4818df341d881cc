package procs

import (
	"os"
	"testing"
	"time"
)

// machine is one whose load can be set.
type machine struct {
	*adapter
	now  time.Time
	used time.Duration
	most int
	sets int
}

func newMachine(most int) *machine {
	m := &machine{now: time.Unix(1000, 0), most: most}
	set := func(n int) int {
		m.sets++
		if n == 0 {
			return m.most
		}
		return n
	}
	m.adapter = newAdapter(most, set, func() time.Duration { return m.used }, m.now)
	return m
}

// run has so many processors used for d.
func (m *machine) run(d time.Duration, load float64) {
	for ; d > 0; d -= 100 * time.Millisecond {
		m.now = m.now.Add(100 * time.Millisecond)
		m.used += time.Duration(load * float64(100*time.Millisecond))
		m.tick(m.now)
	}
}

func (m *machine) want(t *testing.T, n int) {
	t.Helper()
	if got := m.n; got != n {
		t.Errorf("%d processors are in use, want %d", got, n)
	}
}

func TestProcessorsFollowTheLoad(t *testing.T) {
	t.Parallel()
	m := newMachine(8)
	m.want(t, 8)
	m.run(900*time.Millisecond, 0)
	m.want(t, 8) // not at once
	m.run(3*time.Second, 0)
	m.want(t, 1)
	m.run(5*time.Second, 0.8)
	m.want(t, 1) // one can do it
	m.run(100*time.Millisecond, 0.9)
	m.want(t, 2)
	m.run(200*time.Millisecond, 4)
	m.want(t, 8)
	m.run(5*time.Second, 2.5)
	m.want(t, 8) // half as many would be nearly full
	m.run(5*time.Second, 2.3)
	m.want(t, 4)
	m.run(5*time.Second, 0.7)
	m.want(t, 2)
	m.run(5*time.Second, 0.5)
	m.want(t, 1)
}

func TestALoadThatChangesAllTheTimeChangesNothing(t *testing.T) {
	t.Parallel()
	m := newMachine(2)
	m.run(3*time.Second, 0)
	m.sets = 0
	for range 20 {
		m.run(200*time.Millisecond, 0.9)
		m.run(700*time.Millisecond, 0)
	}
	m.want(t, 2)
	if m.sets > 1 {
		t.Errorf("it was changed %d times", m.sets)
	}
}

func TestWhoKeepsAProcessorLeavesOthersOne(t *testing.T) {
	t.Parallel()
	m := newMachine(8)
	m.run(5*time.Second, 0)
	m.want(t, 1)
	m.busy(m.now)
	m.want(t, 2)
	m.busy(m.now)
	m.want(t, 2)
}

func TestTheLimitIsLookedAtAnew(t *testing.T) {
	t.Parallel()
	m := newMachine(4)
	m.run(5*time.Second, 0)
	m.most = 3 // as a control group is changed
	m.run(time.Second, 1)
	m.want(t, 2)
	m.run(time.Second, 2)
	m.want(t, 3)
	m.run(time.Second, 3)
	m.want(t, 3)
}

func TestTheProcessIsAdapted(t *testing.T) { // not parallel: it changes GOMAXPROCS
	if Max() == 1 || os.Getenv("GOMAXPROCS") != "" {
		t.Skip("there is nothing to adapt")
	}
	Busy()
	Tick() // nothing happens
	if InUse() != Max() || Pace(time.Hour) != time.Hour {
		t.Error("it is adapted without having been asked to")
	}
	Adapt()
	t.Cleanup(func() { process.Store(nil); set(0) })
	a := process.Load()
	used := processTime()
	a.used = func() time.Duration { return used }
	for at := a.at; a.at.Sub(at) < time.Minute; {
		a.tick(a.at.Add(100 * time.Millisecond))
	}
	if InUse() != 1 || Pace(time.Hour) != time.Hour {
		t.Error(InUse(), Pace(time.Hour), "when idle")
	}
	used += time.Second / 2
	a.tick(a.at.Add(time.Second))
	if InUse() != 1 || Pace(time.Hour) != pulse {
		t.Error(InUse(), Pace(time.Hour), "with half a processor's load")
	}
	Busy()
	if InUse() != 2 {
		t.Error(InUse(), "with somebody who needs one")
	}
	used += time.Minute
	for range 10 {
		a.tick(a.at.Add(time.Second))
		used += time.Minute
	}
	if InUse() != Max() {
		t.Error(InUse(), "of", Max(), "under full load")
	}
}

func TestProcessorTimeIsCounted(t *testing.T) {
	t.Parallel()
	for start := processTime(); processTime() < start+time.Millisecond; {
	}
}
