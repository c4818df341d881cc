package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// cacheDir returns the folder that keeps fetched programs and initdb results from run to run. Under root it
// lies outside root's home, because the server's user must be able to enter it.
func cacheDir() (string, error) {
	base := "/var/cache"
	if os.Geteuid() != 0 {
		var err error
		if base, err = os.UserCacheDir(); err != nil {
			return "", fmt.Errorf("finding a folder for PostgreSQL templates: %w", err)
		}
	}
	dir := filepath.Join(base, "pgdrover", "pgtest")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("creating a folder for PostgreSQL templates: %w", err)
	}
	return dir, nil
}

// pollInterval is how often a condition of another process is looked at again.
const pollInterval = 5 * time.Millisecond

// lockFile takes an exclusive lock on path, waiting for other processes and goroutines until ctx is done.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	var f *os.File
	err = poll(ctx, func() (bool, error) {
		f, err = tryLock(path)
		return f != nil, err
	})
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return func() { _ = f.Close() }, nil
}

// tryLock takes the lock on path if it is free; otherwise it returns nil. The lock lives as long as the
// file is open, hence no longer than this process.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return f, nil
	}
	_ = f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, nil
	}
	return nil, err
}

// poll calls cond until it returns true or an error, or ctx is done.
func poll(ctx context.Context, cond func() (bool, error)) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		ok, err := cond()
		if ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
