//go:build mutate

package shard

import "sync/atomic"

var mutatedRule atomic.Uint32

// Mutations is how many rules can be switched off.
const Mutations = int(mutations)

// Mutate switches off rule n, from 1, of every planner in the process, and all others on; 0 switches all on. Plans that were made before stay.
func Mutate(n int) { mutatedRule.Store(uint32(n)) }

// mutated says that a rule is switched off.
func mutated(m mutation) bool { return mutatedRule.Load() == uint32(m) && m != mutateNone }
