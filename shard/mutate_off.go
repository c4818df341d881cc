//go:build !mutate

package shard

// mutated says that a rule is switched off; nothing is in this build.
func mutated(mutation) bool { return false }
