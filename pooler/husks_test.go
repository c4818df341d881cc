package pooler

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

func TestAConnectionIsClosedBeforeItsDescriptor(t *testing.T) {
	t.Parallel()
	for _, h := range []*husks{newHusks(), {}} { // the second one without /dev/null
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		a, err := newAcceptor(l, h)
		if err != nil {
			t.Fatal(err)
		}
		for range husksKept + 1 {
			app, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			c, err := a.accept()
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			if err := app.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if n, err := app.Read(make([]byte, 1)); err != io.EOF {
				t.Fatalf("%d bytes, %v", n, err)
			}
			_ = app.Close()
			if h.null == nil {
				if err := c.Close(); !errors.Is(err, os.ErrClosed) {
					t.Fatalf("closed again: %v", err)
				}
			}
		}
		want := 1 // when there were husksKept, they were closed
		if h.null == nil {
			want = 0
		}
		if n := len(h.files); n != want {
			t.Errorf("%d descriptors are to be closed, want %d", n, want)
		}
		h.sweep()
		if len(h.files) != 0 {
			t.Error("some are left")
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
}
