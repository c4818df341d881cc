//go:build mutate

package oracle

import (
	"flag"
	"testing"
	"time"

	"pgdrover/shard"
)

var onlyRule = flag.Int("oracle.rule", 0, "the one rule of the planner that is switched off; 0 for each in turn")

// unitsPerMutant is how many units a mutant may survive.
const unitsPerMutant = 6000

// The oracle is only as good as the errors that it finds: with each rule of the planner switched off in turn it must find a difference.
func TestEveryRuleOfThePlannerIsMissed(t *testing.T) {
	ctx := testContext(t, 30*time.Minute)
	s := startStage(t)
	n := startSeed()
	t.Logf("seed %d", n)
	top := &topologies[2]
	w := s.world(ctx, t, "m", top, newTally(), func(*stage) string { return "" })
	for rule := 1; rule < shard.Mutations; rule++ {
		if *onlyRule != 0 && rule != *onlyRule {
			continue
		}
		shard.Mutate(rule)
		w.duel.sharded.close()
		if err := w.reset(ctx, false); err != nil {
			t.Fatal(err)
		}
		w.duel.sharded.dsn = throughPgdrover(t, "m", top)(s) // without plans of the rule before
		units := 0
		found, err := w.Play(ctx, n, 1, func(n int) bool { units = n; return n >= unitsPerMutant })
		shard.Mutate(0)
		switch {
		case err != nil:
			t.Fatal(err)
		case len(found) == 0:
			t.Errorf("rule %d can be switched off: nothing was found in %d units", rule, units)
		default:
			t.Logf("rule %d: found after %d units: %s", rule, units+1, found[0])
		}
	}
}
