package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// pgbouncerEnv names a PgBouncer to use in place of the distribution's.
const pgbouncerEnv = "PGBOUNCER"

// findPgBouncer returns the reference: the program that the environment names, or the installed one.
func findPgBouncer(ctx context.Context) (contender, error) {
	path := os.Getenv(pgbouncerEnv)
	if path == "" {
		var err error
		if path, err = exec.LookPath("pgbouncer"); err != nil {
			path = "/usr/sbin/pgbouncer" // not in everybody's PATH
			if _, err := os.Stat(path); err != nil {
				return contender{}, fmt.Errorf("no PgBouncer is installed (apt-get install pgbouncer, or set %s to the program)", pgbouncerEnv)
			}
		}
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return contender{}, err
	}
	return describePgBouncer(ctx, []string{path})
}

// describePgBouncer asks a PgBouncer for its version.
func describePgBouncer(ctx context.Context, command []string) (contender, error) {
	out, err := exec.CommandContext(ctx, command[0], append(command[1:len(command):len(command)], "--version")...).CombinedOutput()
	if err != nil {
		return contender{}, fmt.Errorf("%s --version: %w: %s", strings.Join(command, " "), err, strings.TrimSpace(string(out)))
	}
	major, minor, version, err := parsePgBouncerVersion(string(out))
	if err != nil {
		return contender{}, err
	}
	return contender{
		name:     "PgBouncer " + version,
		version:  version,
		command:  command,
		prepared: major > 1 || minor >= 21, // max_prepared_statements came with 1.21
	}, nil
}

var pgbouncerVersion = regexp.MustCompile(`(?i)pgbouncer(?: version)? (([0-9]+)\.([0-9]+)[0-9a-z.]*)`)

func parsePgBouncerVersion(text string) (major, minor int, version string, err error) {
	m := pgbouncerVersion.FindStringSubmatch(text)
	if m == nil {
		first, _, _ := strings.Cut(text, "\n")
		return 0, 0, "", fmt.Errorf("%q is not how a PgBouncer prints its version", first)
	}
	if major, err = strconv.Atoi(m[2]); err == nil {
		minor, err = strconv.Atoi(m[3])
	}
	if err != nil {
		return 0, 0, "", fmt.Errorf("version %q: %w", m[1], err)
	}
	return major, minor, m[1], nil
}
