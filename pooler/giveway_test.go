package pooler

import (
	"runtime"
	"sync/atomic"
	"testing"
)

// Who can go on by the time a stream gives way goes on before it, even if there is one processor only, which the stream would never leave.
func TestAStreamGivesWay(t *testing.T) { // not parallel: it changes GOMAXPROCS
	r := newRig(t, "")
	app, ours := socketPair(t)
	c, err := newConn(ours)
	if err != nil {
		t.Fatal(err)
	}
	var heard atomic.Int32
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 16)
		_ = c.loop(func(uintptr) bool {
			n, _, err := c.read(buf)
			if err != nil {
				return err != errWouldBlock
			}
			heard.Add(int32(n))
			return false
		})
	}()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	r.p.letOthers() // the session waits for its client now
	for i := range int32(100) {
		if _, err := app.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		r.p.letOthers()
		if got := heard.Load(); got != i+1 {
			t.Fatalf("the session has heard %d of %d bytes", got, i+1)
		}
	}
	_ = app.Close()
	<-done
	c.close()
}

func TestAPlaceInTheQueueIsUsedAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	for range 10 {
		r.p.letOthers()
	}
	if n := len(r.p.tickets.free); n != 1 {
		t.Errorf("%d descriptors are kept, want 1", n)
	}
	r.p.tickets.close()
	if len(r.p.tickets.free) != 0 {
		t.Error("some are left open")
	}
}
