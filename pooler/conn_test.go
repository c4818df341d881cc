package pooler

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgdrover/internal/pgtest"
)

func rawPair(t *testing.T) (peer interface {
	io.ReadWriteCloser
	CloseWrite() error
}, c conn,
) {
	t.Helper()
	a, b := socketPair(t)
	cn, err := newConn(b)
	if err != nil {
		t.Fatal(err)
	}
	if !cn.direct() {
		t.Fatalf("%T does not write directly", cn)
	}
	return a, cn
}

// Every message must be seen, whenever it comes, although a short read is not followed by one that finds nothing.
func TestLoopLosesNoWakeUp(t *testing.T) {
	t.Parallel()
	peer, c := rawPair(t)
	const rounds = 5000
	buf := make([]byte, 64)
	n := 0
	go func() {
		one := []byte{7}
		var back [1]byte
		for range rounds {
			if _, err := peer.Write(one); err != nil {
				return
			}
			if _, err := peer.Read(back[:]); err != nil {
				return
			}
		}
	}()
	within(t, func() {
		err := c.loop(func(uintptr) bool {
			k, _, err := c.read(buf)
			if err == errWouldBlock {
				return false
			}
			if err != nil {
				t.Error(err)
				return true
			}
			n += k
			if _, err := c.write(buf[:k]); err != nil {
				t.Error(err)
				return true
			}
			return n == rounds
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestReadTellsDataMoreNothingAndTheEndApart(t *testing.T) {
	t.Parallel()
	peer, c := rawPair(t)
	buf := make([]byte, 4)
	if _, _, err := c.read(buf); err != errWouldBlock {
		t.Fatalf("with nothing there: %v", err)
	}
	if _, err := peer.Write([]byte("abcdef")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		text string
		more bool
	}{{"abcd", true}, {"ef", false}} {
		n, more, err := c.read(buf)
		if err != nil || string(buf[:n]) != want.text || more != want.more {
			t.Fatalf("got %q, %t, %v; want %q, %t", buf[:n], more, err, want.text, want.more)
		}
	}
	if err := peer.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.read(buf); err != io.EOF {
		t.Fatalf("at the end: %v", err)
	}
}

func TestInterruptEndsALoopThatWaitsAndTheNextOneUntilResume(t *testing.T) {
	t.Parallel()
	_, c := rawPair(t)
	never := func(uintptr) bool {
		_, _, err := c.read(make([]byte, 1))
		return err != errWouldBlock
	}
	within(t, func() {
		for range 200 {
			go c.interrupt(false)
			if err := c.loop(never); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("while waiting: %v", err)
			}
			c.interrupt(false)
			if err := c.loop(never); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("before waiting: %v", err)
			}
			c.resume()
		}
	})
}

func TestInterruptWithoutWritesLeavesAWriterAlone(t *testing.T) {
	t.Parallel()
	peer, c := rawPair(t)
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<17)
	var wg sync.WaitGroup
	wg.Go(func() {
		got, err := io.ReadAll(slowReader{peer, 8 << 10})
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("the reader got %d bytes of %d, %v", len(got), len(data), err)
		}
	})
	stop := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				c.interrupt(false)
			}
		}
	})
	within(t, func() {
		if err := c.writeAll(data); err != nil {
			t.Error(err)
		}
		close(stop)
		c.close()
		wg.Wait()
	})
}

// slowReader reads little at a time.
type slowReader struct {
	r io.Reader
	n int
}

func (s slowReader) Read(p []byte) (int, error) { return s.r.Read(p[:min(s.n, len(p))]) }

func TestInterruptWithWritesEndsAWriteThatWaits(t *testing.T) {
	t.Parallel()
	_, c := rawPair(t)
	var started atomic.Bool
	res := make(chan error, 1)
	go func() { started.Store(true); res <- c.writeAll(make([]byte, 16<<20)) }()
	pgtest.Eventually(t, 10*time.Second, func() error {
		if !started.Load() {
			return errors.New("not started")
		}
		return nil
	})
	c.interrupt(true)
	within(t, func() {
		if err := <-res; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
	if n, err := c.write(make([]byte, 16<<20)); err != errWouldBlock || n == 16<<20 {
		t.Errorf("a direct write: %d, %v", n, err)
	}
}

// recorder notes what a watcher says.
type recorder struct{ hung, read atomic.Int32 }

func (r *recorder) hungUp()   { r.hung.Add(1) }
func (r *recorder) readable() { r.read.Add(1) }

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	pgtest.Eventually(t, 10*time.Second, func() error {
		if !cond() {
			return errors.New(what)
		}
		return nil
	})
}

func newTestWatcher(t *testing.T) *watcher {
	t.Helper()
	w, err := newWatcher()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	return w
}

func TestWatcherSeesAnEndThatComesWithData(t *testing.T) {
	t.Parallel()
	w := newTestWatcher(t)
	peer, c := rawPair(t)
	var r recorder
	if err := w.add(c.fd(), &r); err != nil {
		t.Fatal(err)
	}
	if _, err := peer.Write([]byte("last words")); err != nil {
		t.Fatal(err)
	}
	if err := peer.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "hung up", func() bool { return r.hung.Load() > 0 })
	if peekEOF(c.fd(), false) {
		t.Error("the end is reported before the data was read")
	}
	buf := make([]byte, 64)
	if n, _, err := c.read(buf); err != nil || string(buf[:n]) != "last words" {
		t.Errorf("got %q, %v", buf[:n], err)
	}
	if !peekEOF(c.fd(), false) {
		t.Error("the end is not seen")
	}
	if r.read.Load() != 0 {
		t.Error("readable without arm")
	}
}

func TestWatcherTellsOfDataOnlyWhileArmed(t *testing.T) {
	t.Parallel()
	w := newTestWatcher(t)
	peer, c := rawPair(t)
	var r recorder
	if err := w.add(c.fd(), &r); err != nil {
		t.Fatal(err)
	}
	if _, err := peer.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	w.arm(c.fd()) // there is something already
	eventually(t, "readable", func() bool { return r.read.Load() == 1 })
	w.disarm(c.fd())
	if _, err := peer.Write([]byte("y")); err != nil {
		t.Fatal(err)
	}
	// A second descriptor shows that the watcher has gone past what the first one could have caused.
	peer2, c2 := rawPair(t)
	var r2 recorder
	if err := w.add(c2.fd(), &r2); err != nil {
		t.Fatal(err)
	}
	_ = peer2.Close()
	eventually(t, "hung up", func() bool { return r2.hung.Load() > 0 })
	if n := r.read.Load(); n != 1 {
		t.Errorf("readable %d times, want 1", n)
	}
}

// An event for a descriptor that was closed must not reach the connection that got its number.
func TestWatcherTellsAReusedDescriptorFromTheOldOne(t *testing.T) {
	t.Parallel()
	w := newTestWatcher(t)
	for range 50 {
		peer, c := rawPair(t)
		var old, fresh recorder
		if err := w.add(c.fd(), &old); err != nil {
			t.Fatal(err)
		}
		_ = peer.Close()
		fd := c.fd()
		w.remove(fd)
		c.close()
		peer2, c2 := rawPair(t)
		if err := w.add(c2.fd(), &fresh); err != nil {
			t.Fatal(err)
		}
		peer3, c3 := rawPair(t)
		var last recorder
		if err := w.add(c3.fd(), &last); err != nil {
			t.Fatal(err)
		}
		_ = peer3.Close()
		eventually(t, "hung up", func() bool { return last.hung.Load() > 0 })
		if fresh.hung.Load() != 0 {
			t.Fatal("the new connection was told of the end of the old one")
		}
		w.remove(c2.fd())
		w.remove(c3.fd())
		c2.close()
		c3.close()
		_ = peer2.Close()
	}
}
