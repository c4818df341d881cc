package main

import (
	"math"
	"testing"
)

func TestSpread(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		values []float64
		want   string
	}{
		{"nothing is measured", nil, "–"},
		{"only NaN is nothing", []float64{nan, math.Inf(1)}, "–"},
		{"a lone value has no range", []float64{1.25}, "1.25"},
		{"odd count", []float64{3, 1, 2}, "2.00 [1.00–3.00]"},
		{"even count", []float64{4, 1, 2, 3}, "2.50 [1.00–4.00]"},
		{"NaN is left out", []float64{1, nan, 3}, "2.00 [1.00–3.00]"},
	} {
		if got := spreadOf(tt.values).String(); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

func TestPercentile(t *testing.T) {
	t.Parallel()
	hundred := make([]uint32, 100)
	for i := range hundred {
		hundred[i] = uint32(i + 1)
	}
	for _, tt := range []struct {
		values []uint32
		p      float64
		want   float64
	}{
		{hundred, 50, 50},
		{hundred, 99, 99},
		{hundred, 100, 100},
		{hundred[:1], 50, 1},
		{hundred[:3], 50, 2},
		{hundred[:10], 99, 10},
	} {
		if got := percentile(tt.values, tt.p); got != tt.want {
			t.Errorf("p%g of %d values: got %g, want %g", tt.p, len(tt.values), got, tt.want)
		}
	}
	if got := percentile(nil, 50); !math.IsNaN(got) {
		t.Errorf("percentile of nothing: got %g, want NaN", got)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	s := sample{ops: 2000, seconds: 2, cpu: 0.1, p50: 2, p99: 5, kib: 8}
	for _, tt := range []struct {
		metric metric
		want   float64
	}{
		{perSecond("tps"), 1000},
		{cpuPer("µs/txn", 1e-6), 50},
		{cpuPer("ms/MB", 1e-3), 0.05},
		{p50(), 2},
		{p99(), 5},
		{tail(), 2.5},
		{memory(), 8},
	} {
		if got := tt.metric.of(s); math.Abs(got-tt.want) > 1e-9 {
			t.Errorf("%s: got %g, want %g", tt.metric.header(), got, tt.want)
		}
	}
}

func TestRatiosAreByRound(t *testing.T) {
	t.Parallel()
	a := []sample{{p50: 1}, {p50: 6}}
	b := []sample{{p50: 2}, {p50: 3}}
	if got, want := spreadOf(ratios(p50(), a, b)).String(), "1.25 [0.50–2.00]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestNumber(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]string{12345.6: "12346", 99.96: "100.0", 12.34: "12.3", 1.234: "1.23", 0.1234: "0.123"} {
		if got := number(v); got != want {
			t.Errorf("number(%g): got %s, want %s", v, got, want)
		}
	}
	if got := number(nan); got != "–" {
		t.Errorf("number(NaN): got %s", got)
	}
}

func TestGoals(t *testing.T) {
	t.Parallel()
	least := goal{metric: "tps", ratio: true, limit: 1, more: true}
	most := goal{metric: "RSS", limit: 10}
	for _, tt := range []struct {
		goal  goal
		value float64
		want  bool
	}{
		{least, 1, true},
		{least, 0.99, false},
		{least, nan, false},
		{most, 10, true},
		{most, 10.1, false},
		{most, nan, false},
	} {
		if got := tt.goal.met(tt.value); got != tt.want {
			t.Errorf("%s with %g: got %v, want %v", tt.goal, tt.value, got, tt.want)
		}
	}
	if got, want := least.String()+", "+most.String(), "tps ≥ 1 ×, RSS ≤ 10"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Every goal must name a column of its scenario, or it would be missed for ever.
func TestScenarioTable(t *testing.T) {
	t.Parallel()
	for _, quick := range []bool{false, true} {
		names := map[string]bool{}
		for _, sc := range scenarios(quick) {
			if names[sc.name] {
				t.Errorf("two scenarios are called %q", sc.name)
			}
			names[sc.name] = true
			if len(sc.goals) == 0 {
				t.Errorf("%s has no goal", sc.name)
			}
			for _, g := range sc.goals {
				found := false
				for _, m := range sc.metrics {
					found = found || m.name == g.metric
				}
				if !found {
					t.Errorf("%s: goal %q names no column", sc.name, g)
				}
			}
		}
	}
}
