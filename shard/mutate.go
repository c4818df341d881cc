package shard

// A mutation is a rule of the planner that can be switched off in builds with the tag "mutate", to show that the comparison with one
// PostgreSQL finds what the rule is for.
type mutation uint8

// The mutations, by what goes unnoticed then.
const (
	mutateNone       mutation = iota
	mutateOr                  // OR is taken for AND
	mutateOperator            // every operator is taken for =
	mutateOuterJoin           // ON of a LEFT JOIN restricts its left side
	mutateList                // of a list only the first value counts
	mutateSet                 // a set operation is the sum of those of the shards
	mutateOrder               // ORDER BY over several shards
	mutateGroup               // GROUP BY and HAVING over several shards
	mutateDistinct            // DISTINCT over several shards
	mutateLimit               // LIMIT is each shard's own
	mutateBarrier             // conditions move below LIMIT
	mutateHiddenName          // a name of WITH does not hide a table
	mutations
)
