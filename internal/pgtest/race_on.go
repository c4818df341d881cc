//go:build race

package pgtest

// RaceDetector says that this build has the race detector, under which everything takes several times as long.
const RaceDetector = true
