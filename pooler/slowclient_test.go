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
	slow.mem.mu.Lock()
	slow.mem.room = 10
	slow.mem.mu.Unlock()
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
