package pooler

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgdrover/internal/config"
)

// Texts stayed for as long as some server had them prepared, whatever they took.
func TestTextsThatOnlyServersKnowAreGivenUpAboveTheLimit(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	r.p.stmts.limit = 10_000
	f := r.pool(config.PoolTransaction)
	s := f.server(nil)
	prepare := func(name string) []byte {
		return append(msg('P', name, "\x00select '", name, strings.Repeat("x", 1000), "'\x00\x00\x00"), msg('S')...)
	}
	keeper := f.client(100, nil)
	if err := keeper.drive(prepare("kept")); err != errIdle {
		t.Fatal(err)
	}
	for i := range 50 {
		c := f.client(100, nil)
		if err := c.drive(prepare(fmt.Sprintf("s%d", i))); err != errIdle {
			t.Fatal(err)
		}
		c.leave()
		if _, size := r.p.stmts.size(); size > 13_000 {
			t.Fatalf("after %d clients there are %d bytes of texts", i+1, size)
		}
	}
	if got := s.prepared.len(); got == 0 || got > 12 {
		t.Errorf("the server has %d statements", got)
	}
	if err := keeper.drive(bytes.Join([][]byte{msg('B', "\x00kept\x00\x00\x00\x00\x00\x00\x00"), msg('E', "\x00\x00\x00\x00\x00"), msg('S')}, nil)); err != errIdle {
		t.Fatal(err)
	}
	if got := string(keeper.mem.got()); !strings.Contains(got, "select 'keptxxx") {
		t.Errorf("the client that has kept its statement got %q", got)
	}
	if own := len(s.backend.stmts); own > s.prepared.len()+len(s.toClose) {
		t.Errorf("PostgreSQL has %d statements, we know of %d", own, s.prepared.len()+len(s.toClose))
	}
	keeper.leave()
}

func TestAClientWithTooManyTextsIsToldWhatToDo(t *testing.T) {
	t.Parallel()
	r := newRig(t, "max_packet_size = 20000000")
	f := r.pool(config.PoolTransaction)
	f.server(nil)
	c := f.client(100, nil)
	defer c.leave()
	text := strings.Repeat("x", 7<<20)
	var err error
	n := 0
	for ; n < 10; n++ {
		if err = c.drive(append(msg('P', fmt.Sprint(n), "\x00select '", text, "'\x00\x00\x00"), msg('S')...)); err != errIdle {
			break
		}
	}
	var fe fatalError
	if n != 4 || !errors.As(err, &fe) || fe.e.Code != "53200" || fe.e.Hint == "" {
		t.Errorf("after %d statements of 7 MiB: %v", n, err)
	}
}
