package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
)

// cells are a report's text for one row: a figure for each metric, and its ratio to the reference.
type cells struct {
	name    string
	figures []string
	ratios  []string
}

// table lays a result out; both the terminal and the document are made from it.
func (res result) table() []cells {
	rows := []cells{res.reference.cells(res.scenario.metrics)}
	for _, r := range res.rows {
		if r.err == nil {
			rows = append(rows, r.cells(res.scenario.metrics))
		}
	}
	return rows
}

func (r row) cells(metrics []metric) cells {
	c := cells{name: r.contender.name}
	switch r.role {
	case roleSame:
		c.name = "the same again (A/A)"
	case roleCandidate:
		c.name = "**" + c.name + "**"
	}
	for _, m := range metrics {
		c.figures = append(c.figures, number(spreadOf(values(m, r.samples)).median))
		ratio := ""
		if r.role != roleReference {
			ratio = spreadOf(ratios(m, r.samples, r.reference)).String()
		}
		c.ratios = append(c.ratios, ratio)
	}
	return c
}

// String prints median and range; a lone value has no range.
func (s spread) String() string {
	switch {
	case math.IsNaN(s.median):
		return "–"
	case s.low == s.high:
		return fmt.Sprintf("%.2f", s.median)
	default:
		return fmt.Sprintf("%.2f [%.2f–%.2f]", s.median, s.low, s.high)
	}
}

// number prints with three significant digits, but never in exponents.
func number(v float64) string {
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return "–"
	case math.Abs(v) >= 100:
		return fmt.Sprintf("%.0f", v)
	case math.Abs(v) >= 10:
		return fmt.Sprintf("%.1f", v)
	case math.Abs(v) >= 1:
		return fmt.Sprintf("%.2f", v)
	default:
		return fmt.Sprintf("%.3f", v)
	}
}

// header names a metric's column.
func (m metric) header() string {
	switch {
	case m.unit == "":
		return m.name
	case strings.HasPrefix(m.unit, "/"):
		return m.name + m.unit
	default:
		return m.name + " " + m.unit
	}
}

// print writes a result for the terminal.
func (res result) print(w io.Writer) error {
	fmt.Fprintf(w, "\n%s%s\n", res.scenario.name, res.setting())
	if res.skipped != "" {
		_, err := fmt.Fprintf(w, "  skipped: %s\n", res.skipped)
		return err
	}
	if res.err != nil {
		_, err := fmt.Fprintf(w, "  failed: %v\n", res.err)
		return err
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(tw, "  ")
	for _, m := range res.scenario.metrics {
		fmt.Fprint(tw, "\t", m.header())
	}
	for _, m := range res.scenario.metrics {
		fmt.Fprint(tw, "\t", m.name, " ×")
	}
	fmt.Fprintln(tw)
	for _, c := range res.table() {
		fmt.Fprintf(tw, "  %s\t%s\t%s\n", strings.Trim(c.name, "*"), strings.Join(c.figures, "\t"), strings.Join(c.ratios, "\t"))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, r := range res.rows {
		if r.err != nil {
			fmt.Fprintf(w, "  %s failed: %v\n", r.contender.name, r.err)
		}
	}
	for _, v := range res.verdicts() {
		fmt.Fprintf(w, "  goal %s\n", v)
	}
	return nil
}

// setting says how the load was shared out.
func (res result) setting() string {
	switch sc := res.scenario; {
	case sc.turns:
		return " (in turns)"
	case sc.clients == 1:
		return " on each side"
	default:
		return fmt.Sprintf(" (%d + %d)", sc.clients/2, sc.clients/2)
	}
}

// verdicts compares the candidate with its goals.
func (res result) verdicts() []string {
	var out []string
	for _, r := range res.rows {
		if r.role != roleCandidate || len(r.samples) == 0 {
			continue
		}
		for _, g := range res.scenario.goals {
			v := nan
			for _, m := range res.scenario.metrics {
				if m.name != g.metric {
					continue
				}
				if g.ratio {
					v = spreadOf(ratios(m, r.samples, r.reference)).median
				} else {
					v = spreadOf(values(m, r.samples)).median
				}
			}
			word := "missed"
			if g.met(v) {
				word = "met"
			}
			out = append(out, fmt.Sprintf("%s: %s (%s)", g, word, number(v)))
		}
	}
	return out
}
