package pooler

import (
	"strings"
	"testing"
)

func FuzzTransactionNamesAreReadAsTheyWereMade(f *testing.F) {
	f.Add("pgdrover/0123456789abcdef-01234567/a/6b03.4001/b")
	f.Add("pgdrover/x/a/b")
	f.Add("mine")
	f.Add("pgdrover/////")
	f.Fuzz(func(t *testing.T, s string) {
		g, ok := parseGID(s)
		if !ok {
			return
		}
		if got := g.of(g.shard); got != s {
			t.Errorf("%q is read as %+v, which is %q", s, g, got)
		}
		if !strings.HasPrefix(s, g.decision()+"/") {
			t.Errorf("the decision of %q is %q", s, g.decision())
		}
	})
}

func TestTheNameOfATransactionFitsPostgreSQL(t *testing.T) {
	t.Parallel()
	longest := strings.Repeat("x", 63) // as names are in PostgreSQL
	g := newGID("shop", longest)
	g.at = "ffffffffffffffff.ffffffff"
	if name := g.of(longest); len(name) >= 200 {
		t.Errorf("%s has %d bytes, PostgreSQL takes 199", name, len(name))
	}
	if back, ok := parseGID(g.of("b")); !ok || back.decider != longest || back.shard != "b" || back.at != g.at || back.id != g.id {
		t.Errorf("read as %+v", back)
	}
}
