package pooler

import "testing"

func TestACircleIsFoundOnlyWhereThereIsOne(t *testing.T) {
	t.Parallel()
	c := [5]*client{}
	for i := range c {
		c[i] = &client{id: uint64(i)}
	}
	edges := func(pairs ...[2]int) blocked {
		w := blocked{}
		for _, p := range pairs {
			if w[c[p[0]]] == nil {
				w[c[p[0]]] = map[*client]string{}
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
				t.Errorf("%s: client %d does not wait for the next", x.name, from.id)
			}
		}
	}
}
