package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// options are the command line.
type options struct {
	quick    bool
	only     *regexp.Regexp
	rounds   int
	seconds  int
	pgdrover string
	profiles string
	markdown bool
	fetch    bool
	list     bool
}

// none as -pgdrover leaves the candidate out.
const none = "none"

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	cancel()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	default:
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func parseFlags(args []string, help io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(help)
	f.BoolVar(&o.quick, "quick", false, "a small selection with fewer rounds and smaller results, in less than three minutes")
	only := f.String("only", "", "run only the scenarios whose name matches this `regexp` (any case)")
	f.IntVar(&o.rounds, "rounds", 0, "`number` of rounds; 0 means 5, or 2 with -quick")
	f.IntVar(&o.seconds, "duration", 2, "length of a pgbench run in `seconds`, warming up included")
	f.StringVar(&o.pgdrover, "pgdrover", "", "the pgdrover `program` to measure; empty builds this tree, \""+none+"\" leaves it out")
	f.StringVar(&o.profiles, "cpuprofile", "", "`folder` for CPU profiles of pgdrover, one for each scenario ("+profileEnv+" is set for it)")
	f.BoolVar(&o.markdown, "markdown", false, "put the table into docs/benchmarks.md")
	f.BoolVar(&o.fetch, "fetch", true, "fetch Debian 13's PgBouncer where the one at hand lacks prepared statements")
	f.BoolVar(&o.list, "list", false, "print the scenarios and their goals, and do nothing")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	var err error
	if o.only, err = regexp.Compile("(?i)" + *only); err != nil {
		return o, fmt.Errorf("-only: %w", err)
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.rounds < 0 || o.rounds > 1000:
		return o, fmt.Errorf("-rounds %d: must be between 0 and 1000", o.rounds)
	case o.seconds < 1 || o.seconds > 3600:
		return o, fmt.Errorf("-duration %d: must be between 1 and 3600", o.seconds)
	case o.markdown && (o.quick || *only != ""):
		return o, errors.New("-markdown is for a whole run, without -quick and -only")
	}
	if o.rounds == 0 {
		if o.rounds = 5; o.quick {
			o.rounds = 2
		}
	}
	return o, nil
}

// selected returns the scenarios that the flags ask for.
func (o options) selected() ([]scenario, error) {
	var out []scenario
	for _, sc := range scenarios(o.quick) {
		if (!o.quick || sc.quick) && o.only.MatchString(sc.name) {
			out = append(out, sc)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("no scenario matches -only; -list prints them")
	}
	return out, nil
}

// run does everything but exiting. What it starts it has stopped when it returns.
func run(ctx context.Context, args []string, out, progress io.Writer) error {
	o, err := parseFlags(args, progress)
	if err != nil {
		return err
	}
	selected, err := o.selected()
	if err != nil {
		return err
	}
	if o.list {
		for _, sc := range selected {
			fmt.Fprintf(out, "%s%s\n", sc.name, result{scenario: sc}.setting())
			for _, g := range sc.goals {
				fmt.Fprintf(out, "    goal %s\n", g)
			}
		}
		return nil
	}
	document := ""
	if o.markdown { // better to know before a quarter of an hour than after it
		root, err := moduleRoot(ctx)
		if err != nil {
			return err
		}
		document = filepath.Join(root, "docs", "benchmarks.md")
		if err := checkDocument(document); err != nil {
			return err
		}
	}
	b, closeAll, err := prepare(ctx, o, selected, progress)
	if err != nil {
		return err
	}
	defer closeAll()

	heading := b.heading(ctx, o)
	fmt.Fprintln(out, heading)
	var results []result
	for _, sc := range selected {
		res, err := b.measure(ctx, sc)
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		res.err = err
		fmt.Fprintln(progress)
		if err := res.print(out); err != nil {
			return err
		}
		b.checkProfile(out, sc)
		results = append(results, res)
	}
	if document != "" { // misses and failures included
		if err := writeMarkdown(document, markdown(heading, results)); err != nil {
			return err
		}
	}
	var failed []error
	for _, res := range results {
		failed = append(failed, res.failures())
	}
	return errors.Join(failed...)
}

// heading says what was measured, where and when.
func (b *bench) heading(ctx context.Context, o options) string {
	var s strings.Builder
	fmt.Fprintf(&s, "Measured on %s", time.Now().UTC().Format("2 January 2006"))
	if root, err := moduleRoot(ctx); err == nil {
		if id, err := commit(ctx, root); err == nil {
			fmt.Fprintf(&s, " at commit %s", id)
		}
	}
	var names []string
	if b.reference.name != "" {
		names = append(names, b.reference.name)
	}
	if b.newer.name != "" {
		names = append(names, b.newer.name)
	}
	if b.candidate != nil {
		names = append(names, b.candidate.version)
	}
	fmt.Fprintf(&s, ": %s.\n%d processors, %s. Rounds: %d of %d s; big results of %d MB.",
		strings.Join(names, ", "), runtime.NumCPU(), runtime.Version(), o.rounds, o.seconds, b.bulkBytes/1e6)
	return s.String()
}

// passedOn are the runtime's own knobs, for those who want to try them on the candidate.
func passedOn() []string {
	var out []string
	for _, name := range []string{"GOMAXPROCS", "GOGC", "GOMEMLIMIT", "GODEBUG"} {
		if v, ok := os.LookupEnv(name); ok {
			out = append(out, name+"="+v)
		}
	}
	return out
}

// checkProfile says so when a profile was asked for and pgdrover has written none.
func (b *bench) checkProfile(w io.Writer, sc scenario) {
	if b.profiles == "" || b.candidate == nil {
		return
	}
	path := b.profilePath(sc.name)
	if info, err := os.Stat(path); err != nil || info.Size() == 0 {
		fmt.Fprintf(w, "  no CPU profile: this pgdrover does not heed %s\n", profileEnv)
		return
	}
	fmt.Fprintf(w, "  CPU profile: %s\n", path)
}
