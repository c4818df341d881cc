package oracle

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var cases = flag.String("oracle.cases", "testdata/*.sql", "the cases that were found before")

// readCases reads the files with cases. A file is a case, or several with a line "-- case" between them.
func readCases(t *testing.T) map[string]unit {
	t.Helper()
	files, err := filepath.Glob(*cases)
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	found := map[string]unit{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for i, part := range strings.Split(string(text), "-- case\n") {
			u, err := parseUnit(part)
			if err != nil {
				t.Fatalf("%s: %v", f, err)
			}
			if len(u) > 0 {
				found[strings.TrimSuffix(filepath.Base(f), ".sql")+"/"+string(rune('a'+i))] = u
			}
		}
	}
	return found
}

// runKept runs the cases of differences that were found once: testdata has the story of each.
func runKept(ctx context.Context, t *testing.T, worlds []*World) {
	for name, u := range readCases(t) {
		for _, w := range worlds {
			tally := w.duel.tally
			w.duel.tally = newTally()
			diff, err := w.Case(ctx, u)
			if err != nil {
				t.Fatal(err)
			}
			if diff != nil {
				t.Errorf("%s on %s: %v", name, w.Name, diff)
			}
			if c := w.duel.tally.pinned["all"]; c != nil && c.refused > 0 {
				t.Errorf("%s on %s is refused: %v", name, w.Name, c.reasons)
			}
			w.duel.tally = tally
			if err := w.reset(ctx, true); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestACaseIsReadAsItIsPrinted(t *testing.T) {
	t.Parallel()
	want := unit{
		{sql: "BEGIN"},
		{sql: "SELECT $1,\n $2", extended: true, prepared: "p1", binary: true, ordered: true, full: "SELECT 1", params: []param{{declared: 20, text: "it's\n", encode: 20}, {null: true}}},
		{sql: "SELECT '-- no comment'", extended: true, more: true, loose: true, pinned: true},
		{sql: "SELECT $1", extended: true, params: []param{{text: " a  b "}}},
		{sql: "COPY words FROM STDIN", data: "a\tb\n\\N\t\xff", loose: true},
	}
	got, err := parseUnit(want.String())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(step{}, param{})); diff != "" {
		t.Error(diff)
	}
}

func TestSumsOfDigestsAreExact(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		list []string
		want string
	}{{nil, "0"}, {[]string{"0"}, "0"}, {[]string{"999", "1"}, "1000"}, {[]string{"99999999999999999999", "1", "0"}, "100000000000000000000"}} {
		if got := addDecimal(c.list); got != c.want {
			t.Errorf("%v: got %s, want %s", c.list, got, c.want)
		}
	}
}
