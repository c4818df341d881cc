package oracle

import (
	"context"
	"flag"
	"sync"
	"testing"
	"time"

	"pgdrover/internal/pgtest"
)

var (
	runFor = flag.Duration("oracle.time", 0, "how long made-up statements run; 0 for 2 minutes, 20 seconds with -short and under the race detector")
	seed   = flag.Uint64("oracle.seed", 0, "what they are made from; 0 for the time of day")
)

// progressEvery is how often a long run says how far it is.
const progressEvery = 5 * time.Minute

// mostFound is how many differences a world may find before it stops.
const mostFound = 5

func duration() time.Duration {
	switch {
	case *runFor > 0:
		return *runFor
	case testing.Short() || pgtest.RaceDetector:
		return 20 * time.Second
	}
	return 2 * time.Minute
}

func startSeed() uint64 {
	if *seed != 0 {
		return *seed
	}
	return uint64(time.Now().UnixNano())
}

func TestShardsAreLikeOnePostgreSQL(t *testing.T) {
	t.Parallel()
	ctx := testContext(t, duration()+10*time.Minute)
	s := startStage(t)
	n := startSeed()
	t.Logf("seed %d: make oracle T=%v SEED=%d", n, duration(), n)

	// The comparison itself must not see differences where there are none.
	t.Run("one PostgreSQL is like another", func(t *testing.T) {
		w := s.world(ctx, t, "self", &topologies[0], newTally(), func(s *stage) string { return s.of(0).DSN(databaseName("self", 0), "app") + sessionSettings })
		play(ctx, t, w, n, func(units int) bool { return units >= 300 })
	})

	tally := newTally()
	var worlds []*World
	for i := range topologies {
		name := "w" + string(rune('0'+i))
		worlds = append(worlds, s.world(ctx, t, name, &topologies[i], tally, throughPgdrover(t, name, &topologies[i])))
	}
	t.Run("what was found once stays mended", func(t *testing.T) { runKept(ctx, t, worlds) })
	t.Run("what a seed makes up", func(t *testing.T) {
		deadline := time.Now().Add(duration())
		var running sync.WaitGroup
		for i, w := range worlds {
			running.Go(func() {
				play(ctx, t, w, n+uint64(i)<<32, func(int) bool { return time.Now().After(deadline) })
			})
		}
		every := time.NewTicker(progressEvery)
		defer every.Stop()
		ended := make(chan struct{})
		go func() { defer close(ended); running.Wait() }()
		for playing := true; playing; {
			select {
			case <-every.C:
				t.Log(tally.progress())
			case <-ended:
				playing = false
			}
		}
	})
	t.Logf("seed %d, %v\n%s", n, duration(), tally)
	for _, problem := range tally.belowFloor() {
		t.Error(problem)
	}
}

// play runs what a seed makes up, and makes errors of what it finds, at once: the run may be long.
func play(ctx context.Context, t *testing.T, w *World, seed uint64, stop func(units int) bool) {
	w.note = func(f *Found) { t.Error(f) }
	if _, err := w.Play(ctx, seed, mostFound, stop); err != nil {
		t.Errorf("%s: %v", w.Name, err)
	}
}
