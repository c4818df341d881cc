package pooler

import (
	"slices"
	"sync"
	"testing"
)

func TestAnIDIsTakenOnceAndInOrder(t *testing.T) {
	t.Parallel()
	st := &idStock{}
	st.put([]int64{1, 2, 3}, 1)
	st.put([]int64{4, 5}, 0)
	got := st.take([]int64{0}, 2)
	if got = st.take(got, 2); !slices.Equal(got, []int64{0, 1, 2, 3, 4}) {
		t.Errorf("got %v", got)
	}
	if got := st.take(nil, 2); !slices.Equal(got, []int64{5}) {
		t.Errorf("of the rest: %v", got)
	}
	if got := st.take(nil, 2); len(got) != 0 || st.giver() != 0 {
		t.Errorf("of nothing: %v, shard %d", got, st.giver())
	}
}

func TestOldIDsAreForgotten(t *testing.T) {
	t.Parallel()
	st := &idStock{}
	st.put([]int64{1, 2, 3}, 0)
	st.blocks[0].at -= idAge
	st.put([]int64{4}, 0)
	if got := st.take(nil, 3); !slices.Equal(got, []int64{4}) {
		t.Errorf("got %v, want only what is new", got)
	}
}

func TestSessionsShareIDsWithoutGettingTheSame(t *testing.T) {
	t.Parallel()
	const sessions, each = 8, 500
	st := &idStock{}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var all []int64
	next := int64(0)
	for range sessions {
		wg.Go(func() {
			var own []int64
			for len(own) < each {
				own = st.take(own, min(7, each-len(own)))
				if len(own) == each {
					break
				}
				mu.Lock()
				st.put([]int64{next, next + 1, next + 2}, 0)
				next += 3
				mu.Unlock()
			}
			mu.Lock()
			all = append(all, own...)
			mu.Unlock()
		})
	}
	wg.Wait()
	slices.Sort(all)
	if n := len(slices.Compact(all)); n != sessions*each {
		t.Errorf("%d different ids, want %d", n, sessions*each)
	}
}
