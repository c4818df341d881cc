package pooler

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"pgdrover/internal/config"
)

// A client that does not read the end of an answer has its session wait for what it sends next, while the server serves others again.
// What is done to the client then must still reach it.
func TestAClientThatDoesNotReadTheEndOfItsAnswerCanBeKilled(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	f := r.pool(config.PoolTransaction)
	s := f.server(nil)
	slow, other := f.client(0, nil), f.client(0, nil)
	slow.mem.setRoom(10)
	within(t, func() {
		if err := slow.drive(msg('Q', "select 1\x00")); err != errIdle {
			t.Error(err)
		}
	})
	if err := other.drive(msg('Q', "select 2\x00")); err != errIdle {
		t.Fatal(err)
	}
	r.p.cancelClient(slow.client) // it runs nothing
	slow.interrupt(reasonDrain)   // it still has to get its answer
	if err := slow.interrupted(); err != nil {
		t.Fatalf("the session has ended: %v", err)
	}
	slow.kill(errKilled())
	within(t, func() {
		err := slow.interrupted()
		var fe fatalError
		if !errors.As(err, &fe) || fe.e.Code != "57P01" {
			t.Errorf("got %v", err)
		}
		slow.finish(err)
	})
	if n := len(slow.mem.got()); n != 10 {
		t.Errorf("%d bytes were written behind half a message", n-10)
	}
	other.leave()
	if f.idle() != 1 || s.closed.Load() {
		t.Error("the server was lost")
	}
}

// A client may send everything before it reads anything: that it does not take the end of an answer does not keep what it sends next from a server.
func TestAClientThatDoesNotReadTheEndOfItsAnswerIsHeard(t *testing.T) {
	t.Parallel()
	for _, last := range []string{"", "X"} {
		t.Run("last "+last, func(t *testing.T) {
			t.Parallel()
			f := newRig(t, "").pool(config.PoolTransaction)
			f.server(nil)
			ask := msg('Q', "select 2\x00")
			quick := f.client(0, nil)
			if err := quick.drive(ask); err != errIdle {
				t.Fatal(err)
			}
			one := quick.mem.got()
			quick.leave()
			slow := f.client(0, nil)
			slow.mem.setRoom(3)
			within(t, func() {
				for range 5 {
					if err := slow.drive(ask); err != errIdle {
						t.Error(err)
					}
				}
			})
			if got := slow.mem.got(); len(got) != 3 {
				t.Errorf("%d bytes were written, and there was room for 3", len(got))
			}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				if last != "" {
					slow.finish(slow.drive(msg('X', "")))
				}
			}()
			slow.mem.setRoom(-1)
			eventually(t, "the slow client has everything", func() bool { return bytes.Equal(slow.mem.got(), bytes.Repeat(one, 5)) })
			within(t, func() { <-ended })
			if last == "" {
				slow.leave()
			}
			eventually(t, "the server is free", func() bool { return f.idle() == 1 })
		})
	}
}

// What is behind a tail and has no answer of a server's is said all the same, and Terminate in one packet with a statement does not cut it off.
func TestWhatIsSentBehindTheEndOfAnAnswerIsAnswered(t *testing.T) {
	t.Parallel()
	const text = "select 7\x00\x00\x00"
	parse := func(name string) []byte { return msg('P', name+"\x00"+text) }
	for _, test := range []struct {
		name string
		send []byte
		last byte // of the messages that answer it
		end  bool
	}{
		{"Parse of a known text, Flush", append(parse("again"), msg('H', "")...), '1', false},
		{"Parse of a known text, Query", append(parse("again"), msg('Q', "select 2\x00")...), 'Z', false},
		{"Close, Flush", append(msg('C', "Sknown\x00"), msg('H', "")...), '3', false},
		{"Close, Query", append(msg('C', "Sknown\x00"), msg('Q', "select 2\x00")...), 'Z', false},
		{"Query, Terminate", append(msg('Q', "select 2\x00"), msg('X', "")...), 'Z', true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := newRig(t, "").pool(config.PoolTransaction)
			f.server(nil)
			slow := f.client(10, nil)
			if err := slow.drive(append(parse("known"), msg('S', "")...)); err != errIdle {
				t.Fatal(err)
			}
			if err := slow.drive(msg('Q', "begin\x00")); err != errIdle {
				t.Fatal(err)
			}
			slow.mem.setRoom(3)
			within(t, func() {
				if err := slow.drive(msg('Q', "select 1\x00")); err != errIdle {
					t.Error(err)
				}
			})
			before := len(slow.mem.got())
			ended := make(chan error, 1)
			go func() { ended <- slow.drive(test.send) }()
			eventually(t, "it was read", func() bool { return slow.mem.unread() == 0 })
			slow.mem.setRoom(-1)
			eventually(t, "everything is answered", func() bool {
				got := typesOf(slow.mem.got())
				return len(slow.mem.got()) > before && strings.HasSuffix(got, string(test.last)) && strings.Count(got, "Z") >= 3
			})
			within(t, func() {
				if err := <-ended; test.end != (err == errTerminate) {
					t.Error(err)
				}
			})
			slow.leave()
		})
	}
}

// typesOf lists the types of messages.
func typesOf(b []byte) string {
	var types []byte
	for len(b) >= headerLen {
		n := int(binary.BigEndian.Uint32(b[1:])) + 1
		if n > len(b) {
			break
		}
		types = append(types, b[0])
		b = b[n:]
	}
	return string(types)
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
