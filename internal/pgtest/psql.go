package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// A PsqlResult is what a run of psql left.
type PsqlResult struct {
	Stdout, Stderr string
	ExitCode       int // 0 done, 1 error in psql, 2 connection lost, 3 error in a script with ON_ERROR_STOP
}

// RunPsql runs the real psql against a connection string with the given input and further arguments
// (-c, -f, -At, -v …), without the caller's .psqlrc and PG… variables. An exit code other than 0 is no
// error; that psql cannot be run is.
func RunPsql(ctx context.Context, connString, input string, args ...string) (PsqlResult, error) {
	psql, err := FindPsql(ctx)
	if err != nil {
		return PsqlResult{}, err
	}
	cmd := exec.CommandContext(ctx, psql, append([]string{"-X", "-w", "-d", connString}, args...)...)
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "PG") && !strings.HasPrefix(kv, "LC_") && !strings.HasPrefix(kv, "LANG") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, "LC_ALL=C", "PAGER=", "PSQL_HISTORY=/dev/null")
	cmd.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	r := PsqlResult{Stdout: stdout.String(), Stderr: stderr.String(), ExitCode: cmd.ProcessState.ExitCode()}
	if exit := new(exec.ExitError); errors.As(err, &exit) && exit.Exited() {
		err = nil
	}
	if err != nil {
		return r, fmt.Errorf("psql: %w: %s", err, r.Stderr)
	}
	return r, nil
}

// FindPsql returns the path of psql. It looks where Find looks, and installs the distribution's package where
// it may.
func FindPsql(ctx context.Context) (string, error) {
	in, err := findInstalled(ctx)
	if err != nil {
		in = Installation{} // a client alone will do
	}
	psql, err := in.Program("psql")
	if err == nil {
		return psql, nil
	}
	if aptErr := installPackages(ctx, "postgresql-client"); aptErr != nil {
		return "", fmt.Errorf("%w; %w", err, aptErr)
	}
	return in.Program("psql")
}

// Psql runs psql for a test, with commands as its input, and returns what it left, errors included.
func Psql(tb testing.TB, connString, input string, args ...string) PsqlResult {
	tb.Helper()
	r, err := RunPsql(tb.Context(), connString, input, args...)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// MustPsql runs psql for a test and returns its standard output; any exit code but 0 ends the test.
func MustPsql(tb testing.TB, connString, input string, args ...string) string {
	tb.Helper()
	r := Psql(tb, connString, input, args...)
	if r.ExitCode != 0 {
		tb.Fatalf("psql %q: exit code %d\n%s%s", args, r.ExitCode, r.Stdout, r.Stderr)
	}
	return r.Stdout
}
