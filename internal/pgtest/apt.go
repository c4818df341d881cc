package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// installPackages installs packages with apt-get, without questions, if this process may: it must be root.
// Debian's server package would create and start a cluster on port 5432 of its own; that is held back.
func installPackages(ctx context.Context, packages ...string) error {
	if os.Geteuid() != 0 {
		return errors.New("not root, so not installing packages with apt-get")
	}
	apt, err := exec.LookPath("apt-get")
	if err != nil {
		return errors.New("no apt-get to install packages with")
	}
	cache, err := cacheDir()
	if err != nil {
		return err
	}
	unlock, err := lockFile(ctx, filepath.Join(cache, "apt.lock"))
	if err != nil {
		return err
	}
	defer unlock()

	restore, err := holdBackMainCluster()
	if err != nil {
		return err
	}
	defer restore()
	install := append([]string{"install", "-y", "-o", "DPkg::Lock::Timeout=300", "-q", "--no-install-recommends"}, packages...)
	if _, err := runAPT(ctx, apt, install...); err == nil {
		return nil
	}
	// The package lists may be missing or too old: a fresh container has none.
	if out, err := runAPT(ctx, apt, "update", "-q"); err != nil {
		return fmt.Errorf("apt-get update: %w: %s", err, tail(out, 500))
	}
	if out, err := runAPT(ctx, apt, install...); err != nil {
		return fmt.Errorf("apt-get install %v: %w: %s", packages, err, tail(out, 500))
	}
	return nil
}

func runAPT(ctx context.Context, apt string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, apt, args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// holdBackMainCluster tells Debian's package scripts not to create a cluster during this installation, and
// returns the function that takes the instruction away again.
func holdBackMainCluster() (restore func(), err error) {
	const dir = "/etc/postgresql-common/createcluster.d"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("preparing the installation of PostgreSQL: %w", err)
	}
	file := filepath.Join(dir, "zz-pgdrover-install.conf")
	if err := os.WriteFile(file, []byte("create_main_cluster = false\n"), 0o644); err != nil {
		return nil, fmt.Errorf("preparing the installation of PostgreSQL: %w", err)
	}
	return func() { _ = os.Remove(file) }, nil
}

// tail returns the last n bytes of s.
func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return "…" + s[len(s)-n:]
}
