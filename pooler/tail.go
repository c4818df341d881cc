package pooler

import (
	"bytes"
	"errors"
	"time"
)

// tail is the end of an answer that its client has not taken yet. A goroutine writes it, so that the session can go on with what the client
// sends: one that sends everything before it reads would else wait for us, as we for it.
type tail struct {
	done  chan struct{} // closed when it is written, or cannot be
	err   error         // valid after done
	since int64         // when it was begun
}

// tailPatience is how long a shutdown waits for a client that does not take the end of an answer.
const tailPatience = 5 * time.Second

// tailed is the part of a conn that knows of a tail. Its methods are for whoever may write.
type tailed struct{ tail *tail }

var errTailLate = errors.New("the peer does not take what was written before")

// trail has p written by write. Nothing else is written until that is through.
func (t *tailed) trail(p []byte, write func([]byte) error) {
	l := &tail{done: make(chan struct{}), since: now()}
	p = bytes.Clone(p)
	t.tail = l
	go func() {
		l.err = write(p)
		close(l.done)
	}()
}

// trails reports whether a tail is still being written.
func (t *tailed) trails() bool {
	if t.tail == nil {
		return false
	}
	select {
	case <-t.tail.done:
		return false
	default:
		return true
	}
}

// stuck reports whether a tail has been written for longer than a shutdown waits.
func (t *tailed) stuck() bool { return t.trails() && now()-t.tail.since > int64(tailPatience) }

// behind waits until the tail is through, for no longer than limit if that is positive. A tail that has failed leaves half a message behind: nothing
// can follow it.
func (t *tailed) behind(limit time.Duration) error {
	if t.tail == nil {
		return nil
	}
	var late <-chan time.Time
	if limit > 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-t.tail.done:
	case <-late:
		return errTailLate
	}
	if t.tail.err == nil {
		t.tail = nil
		return nil
	}
	return t.tail.err
}

// awaitTail lets a client that has left have what it asked for before. It may take its time, unless we shut down.
func (c *client) awaitTail() {
	for c.conn.behind(time.Second) == errTailLate {
		if c.p.draining() && c.conn.stuck() {
			return
		}
	}
}
