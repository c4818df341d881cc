// Command pgdrover is a pooler for PostgreSQL. See README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/pflag"

	"pgdrover/internal/app"
	"pgdrover/internal/demo"
)

// Set by the linker (Makefile).
var version, commit, date = "", "", ""

func main() {
	err := run(os.Args[1:], os.Stdout)
	if err == nil || errors.Is(err, pflag.ErrHelp) {
		return
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

const usage = `pgdrover is a connection pooler for PostgreSQL that is steered with SQL.

Usage:
  pgdrover [OPTION]... CONFIG_FILE   run with a TOML file or a pgbouncer.ini
  pgdrover check CONFIG_FILE         validate a configuration and say what is wrong
  pgdrover demo                      start a throw-away PostgreSQL with pgdrover in front of it
  pgdrover health [CONFIG_FILE]      exit with 0 if the pgdrover of that file accepts connections
  pgdrover route -c CONFIG_FILE --sql 'SELECT …'
                                     explain to which shards of a sharded database a statement goes

Options:
`

func run(args []string, out io.Writer) error {
	if len(args) > 0 && args[0] == "route" {
		return app.Route(context.Background(), out, args[1:])
	}
	fs := pflag.NewFlagSet("pgdrover", pflag.ContinueOnError)
	o := app.Options{Version: buildInfo()}
	fs.BoolVarP(&o.Daemon, "daemon", "d", false, "run in the background")
	fs.BoolVarP(&o.Quiet, "quiet", "q", false, "run quietly: no log on the terminal")
	verbose := fs.CountP("verbose", "v", "increase verbosity; may be repeated")
	fs.StringVarP(&o.User, "user", "u", "", "assume the identity of this user")
	showVersion := fs.BoolP("version", "V", false, "show version, then exit")
	help := fs.BoolP("help", "h", false, "show this help, then exit")
	fs.Usage = func() { fmt.Fprint(out, usage+fs.FlagUsages()) }
	if err := fs.Parse(args); err != nil {
		return fmt.Errorf("pgdrover: %w; see pgdrover --help", err)
	}
	o.Verbose = *verbose
	rest := fs.Args()
	ctx := context.Background()
	switch {
	case *help:
		fs.Usage()
		return nil
	case *showVersion:
		fmt.Fprintln(out, "pgdrover "+o.Version)
		return nil
	case len(rest) == 1 && rest[0] == "demo":
		ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
		defer stop()
		return demo.Run(ctx, out, func(ctx context.Context, file string) (func(), error) { return app.StartForDemo(ctx, file, o) })
	case len(rest) == 2 && rest[0] == "check":
		return app.Check(out, rest[1])
	case len(rest) >= 1 && len(rest) <= 2 && rest[0] == "health":
		return app.Health(ctx, rest[1:])
	case len(rest) == 1 && rest[0] == "check":
		return errors.New("pgdrover: check needs a configuration file; see pgdrover --help")
	case len(rest) == 1:
		return app.Run(ctx, rest[0], o)
	}
	fs.Usage()
	return errors.New("pgdrover: need a configuration file")
}

// buildInfo is the version with commit and date, from the linker or from what Go notes itself.
func buildInfo() string {
	v, c, d := version, commit, date
	goVersion := ""
	if bi, ok := debug.ReadBuildInfo(); ok {
		goVersion = bi.GoVersion
		for _, s := range bi.Settings {
			switch {
			case s.Key == "vcs.revision" && c == "":
				c = s.Value[:min(12, len(s.Value))]
			case s.Key == "vcs.time" && d == "":
				d = s.Value
			}
		}
	}
	if v == "" {
		v = "0.1.0-dev"
	}
	s := v
	for _, x := range []string{c, d, goVersion} {
		if x != "" {
			s += " " + x
		}
	}
	return s
}
