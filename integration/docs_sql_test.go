package integration

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pgdrover/internal/app"
	"pgdrover/internal/config"
	"pgdrover/internal/demo"
	"pgdrover/internal/pgtest"
)

// What docs/sql.md shows is what psql prints in the demo.
func TestTheExamplesOfTheSQLPageAreWhatTheDemoAnswers(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(moduleRoot(t), "docs", "sql.md"))
	if err != nil {
		t.Fatal(err)
	}
	psql, err := pgtest.FindPsql(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```\n(shop=> .*?)```").FindAllStringSubmatch(string(page), -1)
	if len(examples) < 5 {
		t.Fatalf("%d examples", len(examples))
	}
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	err = demo.Run(ctx, io.Discard, func(ctx context.Context, path string) (func(), error) {
		defer stop() // the demo ends when everything has been tried
		stopPooler, err := app.StartForDemo(ctx, path, app.Options{Version: "test"})
		if err != nil {
			return nil, err
		}
		cfg, _, err := config.Load(path)
		if err != nil {
			return nil, err
		}
		dsn := pgtest.ConnString([][2]string{
			{"host", "127.0.0.1"}, {"port", fmt.Sprint(cfg.ListenPort)}, {"dbname", "shop"}, {"user", "demo"}, {"password", "demo"},
		})
		for _, e := range examples {
			statements, want := transcript(e[1])
			cmd := exec.CommandContext(ctx, psql, "-X", "-w", "-d", dsn)
			cmd.Env = []string{"LC_ALL=C.UTF-8", "PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
			cmd.Stdin = strings.NewReader(strings.Join(statements, "\n"))
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Run(); err != nil {
				t.Errorf("%s: %v", statements[0], err)
			}
			if diff := cmp.Diff(canonical(want), canonical(out.String())); diff != "" {
				t.Errorf("%s\n(-page +psql):\n%s\nwhole:\n%s", strings.Join(statements, "\n"), diff, &out)
			}
		}
		return stopPooler, nil
	})
	if err != nil {
		t.Error(err)
	}
}

var prompt = regexp.MustCompile(`^shop=[*!]?> `)

// transcript takes what psql showed apart: the statements, and everything else.
func transcript(text string) (statements []string, output string) {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if loc := prompt.FindStringIndex(line); loc != nil {
			statements = append(statements, strings.TrimSuffix(line[loc[1]:], "\n"))
			continue
		}
		out.WriteString(line)
	}
	return statements, out.String()
}

var madeID = regexp.MustCompile(`\d{15,}`)

// canonical leaves out what may differ: the order of lines, as rows of several shards have none, the width of rules, and ids with the
// time in them.
func canonical(text string) []string {
	lines := strings.Split(madeID.ReplaceAllString(text, "ID"), "\n")
	for i := range lines {
		lines[i] = strings.Join(strings.Fields(strings.ReplaceAll(lines[i], "--", "")), " ")
	}
	lines = slices.DeleteFunc(lines, func(s string) bool { return s == "" })
	slices.Sort(lines)
	return lines
}
