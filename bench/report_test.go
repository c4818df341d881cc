package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sampleResult is a scenario with every kind of row.
func sampleResult() result {
	ref := []sample{{ops: 100, seconds: 1, cpu: 0.1, p50: 1}, {ops: 100, seconds: 1, cpu: 0.2, p50: 1}}
	return result{
		scenario: scenario{
			name:    "example",
			clients: 16,
			metrics: []metric{perSecond("tps"), cpuPer("µs/txn", 1e-6)},
			goals:   []goal{{metric: "CPU", ratio: true, limit: 1.2}, {metric: "tps", ratio: true, limit: 1, more: true}},
		},
		reference: row{contender: contender{name: "PgBouncer 1"}, role: roleReference, samples: ref},
		rows: []row{
			{contender: contender{name: "PostgreSQL alone"}, role: roleDirect, samples: []sample{{ops: 200, seconds: 1, cpu: nan}}, reference: ref[:1]},
			{contender: contender{name: "PgBouncer 1"}, role: roleSame, err: errors.New("out\nof order")},
			{contender: contender{name: "pgdrover"}, role: roleCandidate, samples: []sample{{ops: 90, seconds: 1, cpu: 0.09}, {ops: 95, seconds: 1, cpu: 0.209}}, reference: ref},
		},
	}
}

func TestPrint(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := sampleResult().print(&out); err != nil {
		t.Fatal(err)
	}
	want := `
example (8 + 8)
                    tps/s  CPU µs/txn  tps ×             CPU ×
  PgBouncer 1       100    1500
  PostgreSQL alone  200    –           2.00              –
  pgdrover          92.5   1600        0.93 [0.90–0.95]  1.05 [1.00–1.10]
  PgBouncer 1 failed: out
of order
  goal CPU ≤ 1.2 ×: met (1.05)
  goal tps ≥ 1 ×: missed (0.925)
`
	var trimmed strings.Builder
	for line := range strings.Lines(out.String()) {
		trimmed.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	if diff := cmp.Diff(want, trimmed.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMarkdown(t *testing.T) {
	t.Parallel()
	skipped := result{scenario: scenario{name: "other", clients: 1}, skipped: "it rains"}
	want := `Heading.

### example (8 + 8)

| | tps/s | CPU µs/txn | tps × | CPU × |
|---|--:|--:|--:|--:|
| PgBouncer 1 | 100 | 1500 |  |  |
| PostgreSQL alone | 200 | – | 2.00 | – |
| **pgdrover** | 92.5 | 1600 | 0.93 [0.90–0.95] | 1.05 [1.00–1.10] |

- PgBouncer 1 failed: out of order
- goal CPU ≤ 1.2 ×: met (1.05)
- goal tps ≥ 1 ×: missed (0.925)

### other on each side

Skipped: it rains.
`
	if diff := cmp.Diff(want, markdown("Heading.", []result{sampleResult(), skipped})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestReplaceTable(t *testing.T) {
	t.Parallel()
	document := "before\n\n" + tableBegin + "\nold\n" + tableEnd + "\n\nafter\n"
	want := "before\n\n" + tableBegin + "\n\nnew\n\n" + tableEnd + "\n\nafter\n"
	for range 2 { // a second time changes nothing
		got, err := replaceTable([]byte(document), "\nnew\n\n")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		document = string(got)
	}
	for _, bad := range []string{"", tableBegin, tableEnd + tableBegin} {
		if _, err := replaceTable([]byte(bad), "x"); err == nil {
			t.Errorf("%q: got no error", bad)
		}
	}
}

// The document must have the place that -markdown fills.
func TestTheDocumentHasAPlaceForTheTable(t *testing.T) {
	t.Parallel()
	if err := checkDocument("../docs/benchmarks.md"); err != nil {
		t.Error(err)
	}
}
