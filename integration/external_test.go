package integration

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// need returns the path of a program of the machine, or skips the test.
func need(t *testing.T, name, use string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("not run: there is no %s, which %s", name, use)
	}
	return path
}

// fetched returns a folder that fill has filled with something from the network. It stays for later runs, under a name that
// changes with recipe, which is whatever the contents depend on. Where it cannot be had, the test is skipped.
func fetched(t *testing.T, name string, recipe []byte, fill func(ctx context.Context, dir string) error) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "pgdrover", fmt.Sprintf("%s-%x", name, sha256.Sum256(recipe))[:len(name)+13])
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "fetch-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if err := fill(ctx, tmp); err != nil {
		t.Skipf("not run: %s cannot be fetched: %v", name, err)
	}
	// Complete or not there at all. If another process was faster, its folder serves as well.
	if err := os.Rename(tmp, dir); err != nil {
		if _, statErr := os.Stat(dir); statErr != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A ran is what a program has left.
type ran struct {
	stdout, stderr string
	code           int // -1 if a signal ended it
}

// everything is what it printed, for messages.
func (r ran) everything() string {
	return fmt.Sprintf("exit code %d\n%s", r.code, tail(r.stdout+r.stderr, 40))
}

// programEnv is the environment of programs under test: the caller's without what would change how they connect or speak.
func programEnv(extra ...string) []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "PG") && !strings.HasPrefix(kv, "LC_") && !strings.HasPrefix(kv, "LANG") {
			env = append(env, kv)
		}
	}
	return append(append(env, "LC_ALL=C", "TZ=UTC"), extra...)
}

// execute runs cmd to its end. An exit code other than 0 is no error; that it cannot be run is.
func execute(cmd *exec.Cmd) (ran, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		err = nil
	}
	return ran{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}, err
}
