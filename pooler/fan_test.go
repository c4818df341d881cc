package pooler

import (
	"errors"
	"testing"

	"pgdrover/internal/connect"
)

// A cancel request that finds no server at work, because it comes between two rounds of a statement, ends that statement and no other.
func TestACancelBetweenRoundsEndsTheStatement(t *testing.T) {
	t.Parallel()
	r, d := shardedRig(t)
	u := routedUnits()[0]
	a := r.shardPool(d, "a")
	rc := r.routedClient(t, d, u, a)
	c := rc.client
	s, err := a.pl.take(c, now())
	if err != nil || s == nil {
		t.Fatal(s, err)
	}
	s.link.Store(c)
	round := func() error {
		f := &fan{c: c, legs: []*leg{{pool: a.pl, srv: s}}, limit: -1}
		if err := f.run(func(int) []byte { return u.unit }); err != nil {
			t.Fatal(err)
		}
		return f.error()
	}
	c.queryAt.Store(7)
	if err := round(); err != nil {
		t.Fatalf("the first round: %v", err)
	}
	sent := len(rc.servers[0].mem.got())
	r.p.cancelClient(c)
	var se *connect.ServerError
	if err := round(); !errors.As(err, &se) || se.Code() != "57014" {
		t.Errorf("the second round: %v, want 57014", err)
	}
	if n := len(rc.servers[0].mem.got()); n != sent {
		t.Errorf("the server was sent %d bytes more", n-sent)
	}
	c.queryAt.Store(8)
	if err := round(); err != nil {
		t.Errorf("the next statement: %v", err)
	}
	c.queryAt.Store(0)
	s.link.Store(nil)
	a.pl.free(s)
	rc.end()
}
