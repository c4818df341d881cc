package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReadTransactions(t *testing.T) {
	t.Parallel()
	at := func(sec, micro int64) time.Time { return time.Unix(sec, micro*1000) }
	for _, tt := range []struct {
		name, log string
		want      []transaction
		err       string
	}{
		{name: "empty"},
		{
			name: "plain",
			log:  "0 1 412 0 1700000000 123456\n1 7 99 0 1700000001 5\n",
			want: []transaction{{at(1700000000, 123456), 412}, {at(1700000001, 5), 99}},
		},
		{
			name: "with a rate, what came late is no latency",
			log:  "0 1 500 0 1700000000 1 450\n0 2 10 0 1700000000 2 11\n",
			want: []transaction{{at(1700000000, 1), 50}, {at(1700000000, 2), 0}},
		},
		{name: "failed", log: "0 1 failed 0 1700000000 1\n", err: "line 1 of pgbench's log: a transaction failed"},
		{name: "skipped", log: "0 1 5 0 1 1\n0 1 skipped 0 1700000000 1 3\n", err: "line 2 of pgbench's log: a transaction skipped"},
		{name: "short", log: "0 1 5\n", err: "3 fields"},
		{name: "no number", log: "0 1 x 0 1 1\n", err: "invalid syntax"},
	} {
		var got []transaction
		err := readTransactions(strings.NewReader(tt.log), func(tx transaction) { got = append(got, tx) })
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: got error %v, want %q", tt.name, err, tt.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(transaction{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// Only what ended inside the window counts; with wholeTail, latencies also from what ended later.
func TestDigestKeepsToTheWindow(t *testing.T) {
	t.Parallel()
	log := []transaction{
		{end: time.Unix(99, 999_999_000), micros: 1000},  // before
		{end: time.Unix(100, 0), micros: 2000},           // inside
		{end: time.Unix(101, 500_000_000), micros: 2000}, // inside
		{end: time.Unix(102, 0), micros: 9000},           // after
	}
	from := meters{at: time.Unix(100, 0), cpu: []float64{1}}
	to := meters{at: time.Unix(102, 0), cpu: []float64{1.5}}

	got := (&pgbenchLoad{}).digest(log, from, to, 0)
	if got.err != nil || got.ops != 2 || got.seconds != 2 || got.cpu != 0.5 || got.p99 != 2 {
		t.Errorf("got %+v", got)
	}
	got = (&pgbenchLoad{wholeTail: true}).digest(log, from, to, 0)
	if got.err != nil || got.ops != 2 || got.p99 != 9 {
		t.Errorf("whole tail: got %+v", got)
	}
	to.at = from.at
	if got = (&pgbenchLoad{}).digest(log, from, to, 0); got.err == nil {
		t.Errorf("empty window: got %+v, want an error", got)
	}
}

// pgbench writes a file for each of its threads, beside the script that it was given.
func TestReadLogs(t *testing.T) {
	t.Parallel()
	prefix := filepath.Join(t.TempDir(), "0")
	for suffix, text := range map[string]string{".123": "0 0 1 0 1 1\n", ".123.1": "1 0 2 0 2 1\n1 1 3 0 3 1\n", ".sql": "SELECT 1;\n"} {
		if err := os.WriteFile(prefix+suffix, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := readLogs(prefix); err != nil || len(got) != 3 {
		t.Errorf("got %d transactions, %v; want 3", len(got), err)
	}
	if _, err := readLogs(prefix + "0"); err == nil {
		t.Error("no log gave no error")
	}
}

// The slower side decides when the window opens.
func TestWindow(t *testing.T) {
	t.Parallel()
	at := func(ms int) time.Time { return time.Unix(100, 0).Add(time.Duration(ms) * time.Millisecond) }
	var readings []meters
	for ms := 0; ms < 1000; ms += 50 {
		readings = append(readings, meters{at: at(ms)})
	}
	log := func(start int) []transaction {
		return []transaction{{end: at(start + 30), micros: 10_000}, {end: at(start + 40), micros: 40_000}}
	}
	from, to, err := window(readings, [][]transaction{log(0), log(210)})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := from.at, at(500); !got.Equal(want) { // 210 + 250, and the next reading
		t.Errorf("opens: got %v, want %v", got, want)
	}
	if got, want := to.at, at(950); !got.Equal(want) {
		t.Errorf("closes: got %v, want %v", got, want)
	}
	for _, late := range []int{510, 2000} {
		if _, _, err := window(readings, [][]transaction{log(0), log(late)}); err == nil {
			t.Errorf("clients that begin after %d ms: got no error", late)
		}
	}
}

func FuzzReadTransactions(f *testing.F) {
	f.Add("0 1 412 0 1700000000 123456\n")
	f.Add("0 1 500 0 1700000000 1 450\n")
	f.Add("0 1 9223372036854775807 0 -1 -9223372036854775808 -9223372036854775808\n")
	f.Fuzz(func(t *testing.T, log string) {
		n := 0
		if err := readTransactions(strings.NewReader(log), func(transaction) { n++ }); err == nil && n > strings.Count(log, "\n")+1 {
			t.Errorf("%d transactions of %q", n, log)
		}
	})
}
