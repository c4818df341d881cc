package main

import (
	"math"
	"slices"
)

// sample is what one side of one round showed. Values that were not measured are NaN.
type sample struct {
	ops     float64 // transactions, connections or megabytes inside the window
	seconds float64 // length of the window
	cpu     float64 // processor seconds of the pooler inside the window; NaN for PostgreSQL itself
	p50     float64 // milliseconds
	p99     float64 // milliseconds
	kib     float64 // resident KiB per idle client
	beside  float64 // transactions of others inside the window
	err     error   // why there is no measurement
}

// metric is one column of a report.
type metric struct {
	name string
	unit string
	of   func(sample) float64
}

var nan = math.NaN()

// perSecond, cpuPer and the others are the columns that scenarios choose from.
func perSecond(name string) metric {
	return metric{name, "/s", func(s sample) float64 { return s.ops / s.seconds }}
}

// besidePerSecond is what others have done meanwhile.
func besidePerSecond(name string) metric {
	return metric{name, "/s", func(s sample) float64 { return s.beside / s.seconds }}
}

// cpuPer is processor time for each operation, in units of scale seconds.
func cpuPer(unit string, scale float64) metric {
	return metric{"CPU", unit, func(s sample) float64 { return s.cpu / s.ops / scale }}
}

func p50() metric { return metric{"p50", "ms", func(s sample) float64 { return s.p50 }} }
func p99() metric { return metric{"p99", "ms", func(s sample) float64 { return s.p99 }} }

func tail() metric {
	return metric{"p99/p50", "", func(s sample) float64 { return s.p99 / s.p50 }}
}

func memory() metric {
	return metric{"RSS", "KiB/client", func(s sample) float64 { return s.kib }}
}

// spread is the median of several values with their range. The zero of "nothing measured" is NaN in all three.
type spread struct{ median, low, high float64 }

// spreadOf ignores NaN and infinite values.
func spreadOf(values []float64) spread {
	kept := make([]float64, 0, len(values))
	for _, v := range values {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			kept = append(kept, v)
		}
	}
	if len(kept) == 0 {
		return spread{nan, nan, nan}
	}
	slices.Sort(kept)
	n := len(kept)
	return spread{(kept[(n-1)/2] + kept[n/2]) / 2, kept[0], kept[n-1]}
}

// ratios divides round by round: a[i]/b[i].
func ratios(m metric, a, b []sample) []float64 {
	out := make([]float64, 0, len(a))
	for i := range min(len(a), len(b)) {
		out = append(out, m.of(a[i])/m.of(b[i]))
	}
	return out
}

// values extracts one column.
func values(m metric, samples []sample) []float64 {
	out := make([]float64, 0, len(samples))
	for _, s := range samples {
		out = append(out, m.of(s))
	}
	return out
}

// percentile returns the nearest-rank percentile (0 < p <= 100) of sorted values, NaN for none.
func percentile(sorted []uint32, p float64) float64 {
	if len(sorted) == 0 {
		return nan
	}
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return float64(sorted[min(max(rank, 1), len(sorted))-1])
}
