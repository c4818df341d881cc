package oracle

import (
	"flag"
	"sync"
	"testing"
	"time"
)

var (
	runFor = flag.Duration("oracle.time", 0, "how long made-up statements run; 0 for 2 minutes, 20 seconds with -short and under the race detector")
	seed   = flag.Uint64("oracle.seed", 0, "what they are made from; 0 for the time of day")
)

// mostFound is how many differences a world may find before it stops.
const mostFound = 5

func duration() time.Duration {
	switch {
	case *runFor > 0:
		return *runFor
	case testing.Short() || raceDetector:
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
		report(t, w)(w.Play(ctx, n, mostFound, func(units int) bool { return units >= 300 }))
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
				report(t, w)(w.Play(ctx, n+uint64(i)<<32, mostFound, func(int) bool { return time.Now().After(deadline) }))
			})
		}
		running.Wait()
	})
	t.Logf("seed %d, %v\n%s", n, duration(), tally)
	for _, problem := range tally.belowFloor() {
		t.Error(problem)
	}
}

// report makes errors of what was found.
func report(t *testing.T, w *World) func([]*Found, error) {
	return func(found []*Found, err error) {
		if err != nil {
			t.Errorf("%s: %v", w.Name, err)
		}
		for _, f := range found {
			t.Error(f)
		}
	}
}
