package pgtest

import "testing"

// AllocsAtMost fails the test if f allocates more than limit times on average of runs. Under the race detector f runs as often and nothing is
// counted: a sync.Pool drops a random part of what is put into it there, so that f allocates what an ordinary build takes from the pool.
func AllocsAtMost(tb testing.TB, limit float64, runs int, f func()) {
	tb.Helper()
	if n := testing.AllocsPerRun(runs, f); n > limit && !RaceDetector {
		tb.Errorf("%v allocations, want at most %v", n, limit)
	}
}
