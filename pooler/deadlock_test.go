package pooler

import "testing"

func TestACircleIsFoundOnlyWhereThereIsOne(t *testing.T) {
	t.Parallel()
	c := [5]party{}
	for i := range c {
		c[i] = party{began: 1, node: "n", client: uint64(i)}
	}
	edges := func(pairs ...[2]int) blocked {
		w := blocked{}
		for _, p := range pairs {
			if w[c[p[0]]] == nil {
				w[c[p[0]]] = map[party]string{}
			}
			w[c[p[0]]][c[p[1]]] = "a"
		}
		return w
	}
	for _, x := range []struct {
		name  string
		waits blocked
		want  int
	}{
		{"nobody waits", edges(), 0},
		{"a chain", edges([2]int{0, 1}, [2]int{1, 2}, [2]int{0, 2}), 0},
		{"two", edges([2]int{0, 1}, [2]int{1, 0}), 2},
		{"three behind a chain", edges([2]int{0, 1}, [2]int{1, 2}, [2]int{2, 3}, [2]int{3, 1}, [2]int{4, 0}), 3},
		{"two that meet", edges([2]int{0, 2}, [2]int{1, 2}, [2]int{2, 3}), 0},
	} {
		ring := circle(x.waits)
		if len(ring) != x.want {
			t.Errorf("%s: %d in a circle, want %d", x.name, len(ring), x.want)
		}
		for i, from := range ring {
			if _, ok := x.waits[from][ring[(i+1)%len(ring)]]; !ok {
				t.Errorf("%s: client %d does not wait for the next", x.name, from.client)
			}
		}
	}
}

func TestPartiesAreWrittenAndRead(t *testing.T) {
	t.Parallel()
	want := party{began: 1_764_406_805_123_456, node: "N7OQ2", client: 42}
	if got, ok := parseParty(want.text()); !ok || got != want {
		t.Errorf("%q is read as %+v, %v", want.text(), got, ok)
	}
	for _, text := range []string{"", "x", "1", "1 n", "0 n 1", "-5 n 1"} {
		if got, ok := parseParty(text); ok {
			t.Errorf("%q is read as %+v", text, got)
		}
	}
	older, other := party{began: 5, node: "b", client: 9}, party{began: 6, node: "a", client: 1}
	if younger(older, other) >= 0 || younger(other, older) <= 0 || younger(party{}, older) >= 0 {
		t.Error("the younger one is not the one that began later")
	}
}
