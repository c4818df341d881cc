package pooler

import (
	"errors"
	"testing"

	"pgdrover/internal/config"
)

// A client that does not read has its session wait for room for the end of an answer, while the server serves others again.
// What is done to the client then must still reach it.
func TestAClientThatDoesNotReadTheEndOfItsAnswerCanBeKilled(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	f := r.pool(config.PoolTransaction)
	s := f.server(nil)
	slow, other := f.client(0, nil), f.client(0, nil)
	slow.mem.setRoom(10)
	ended := make(chan error, 1)
	go func() { ended <- slow.drive(msg('Q', "select 1\x00")) }()
	eventually(t, "the server is free", func() bool { return f.idle() == 1 && len(slow.mem.got()) == 10 })
	if err := other.drive(msg('Q', "select 2\x00")); err != errIdle {
		t.Fatal(err)
	}
	r.p.cancelClient(slow.client) // it runs nothing
	slow.interrupt(reasonDrain)   // it still has to get its answer
	select {
	case err := <-ended:
		t.Fatalf("the session has ended: %v", err)
	default:
	}
	slow.kill(errKilled())
	within(t, func() {
		var fe fatalError
		if err := <-ended; !errors.As(err, &fe) || fe.e.Code != "57P01" {
			t.Errorf("got %v", err)
		}
	})
	got := len(slow.mem.got())
	slow.leave()
	if n := len(slow.mem.got()); n != got {
		t.Errorf("%d bytes were written behind half a message", n-got)
	}
	other.leave()
	if f.idle() != 1 || s.closed.Load() {
		t.Error("the server was lost")
	}
}

// A server that has said all it had to say serves others, in whichever way its answer is brought to a client that does not read the end.
func TestAServerIsNotHeldByAClientThatDoesNotReadTheEnd(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		piece func(int) int
		rooms []int // for all but what is left at the end; a write that stops in the middle of an answer begins duplex mode
	}{
		{"one direction", nil, nil},
		{"both directions", func(int) int { return 5 }, []int{3}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := newRig(t, "").pool(config.PoolTransaction)
			f.server(test.piece)
			slow, other := f.client(0, nil), f.client(0, nil)
			ask := msg('Q', "select 2\x00")
			if err := other.drive(ask); err != errIdle {
				t.Fatal(err)
			}
			whole := len(other.mem.got())
			slow.mem.setRoom(append(test.rooms, whole-1)[0])
			ended := make(chan error, 1)
			go func() { ended <- slow.drive(ask) }()
			for _, n := range test.rooms {
				eventually(t, "the client has no room", func() bool { return len(slow.mem.got()) == n })
				slow.mem.setRoom(whole - 1 - n)
			}
			eventually(t, "the server is free", func() bool { return f.idle() == 1 && len(slow.mem.got()) == whole-1 })
			within(t, func() {
				if err := other.drive(ask); err != errIdle {
					t.Error(err)
				}
			})
			if n := len(other.mem.got()); n != 2*whole {
				t.Errorf("the other client got %d bytes, want %d", n, 2*whole)
			}
			slow.mem.setRoom(-1)
			within(t, func() { <-ended })
			eventually(t, "the slow client has everything", func() bool { return len(slow.mem.got()) == whole })
			slow.leave()
			other.leave()
		})
	}
}
