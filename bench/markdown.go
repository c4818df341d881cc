package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// The table in the document stands between these lines.
const (
	tableBegin = "<!-- table: begin (written by go run ./bench -markdown) -->"
	tableEnd   = "<!-- table: end -->"
)

// markdown renders all results.
func markdown(heading string, results []result) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s\n", heading)
	for _, res := range results {
		fmt.Fprintf(&s, "\n### %s%s\n\n", res.scenario.name, res.setting())
		switch {
		case res.skipped != "":
			fmt.Fprintf(&s, "Skipped: %s.\n", res.skipped)
			continue
		case res.err != nil:
			fmt.Fprintf(&s, "Failed: %s.\n", oneLine(res.err))
			continue
		}
		s.WriteString("| |")
		for _, m := range res.scenario.metrics {
			fmt.Fprintf(&s, " %s |", m.header())
		}
		for _, m := range res.scenario.metrics {
			fmt.Fprintf(&s, " %s × |", m.name)
		}
		s.WriteString("\n|---|" + strings.Repeat("--:|", 2*len(res.scenario.metrics)) + "\n")
		for _, c := range res.table() {
			fmt.Fprintf(&s, "| %s | %s | %s |\n", c.name, strings.Join(c.figures, " | "), strings.Join(c.ratios, " | "))
		}
		s.WriteString("\n")
		for _, r := range res.rows {
			if r.err != nil {
				fmt.Fprintf(&s, "- %s failed: %s\n", r.contender.name, oneLine(r.err))
			}
		}
		for _, v := range res.verdicts() {
			fmt.Fprintf(&s, "- goal %s\n", v)
		}
	}
	return strings.ReplaceAll(s.String(), "\n\n\n", "\n\n")
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// replaceTable puts text between the two marks of a document.
func replaceTable(document []byte, text string) ([]byte, error) {
	before, rest, ok := bytes.Cut(document, []byte(tableBegin))
	if !ok {
		return nil, fmt.Errorf("the document has no line %q", tableBegin)
	}
	_, after, ok := bytes.Cut(rest, []byte(tableEnd))
	if !ok {
		return nil, fmt.Errorf("the document has no line %q", tableEnd)
	}
	return fmt.Appendf(nil, "%s%s\n\n%s\n%s%s", before, tableBegin, strings.TrimSpace(text)+"\n", tableEnd, after), nil
}

// checkDocument says whether the file at path has a place for the table.
func checkDocument(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if _, err := replaceTable(text, ""); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// writeMarkdown replaces the table in the file at path.
func writeMarkdown(path, text string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	changed, err := replaceTable(old, text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, changed, 0o644)
}

// commit names the tree's state: the commit, and whether anything but documents differs from it.
func commit(ctx context.Context, root string) (string, error) {
	git := func(args ...string) (string, error) {
		out, err := exec.CommandContext(ctx, "git", append([]string{"-C", root}, args...)...).Output()
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			err = fmt.Errorf("git %s: %w: %s", args[0], err, bytes.TrimSpace(exit.Stderr))
		}
		return strings.TrimSpace(string(out)), err
	}
	id, err := git("rev-parse", "--short=12", "HEAD")
	if err != nil {
		return "", err
	}
	changes, err := git("status", "--porcelain", "--", ".", ":!docs")
	if err != nil {
		return "", err
	}
	if changes != "" {
		id += " with changes"
	}
	return id, nil
}
