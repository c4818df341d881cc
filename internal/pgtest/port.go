package pgtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

// Ports are taken from here: below the range from which the kernel takes ports for outgoing connections
// (32768 and up), so that a stopped cluster cannot lose its port to one of those.
const (
	firstPort = 20000
	lastPort  = 31999
)

// reservePort locks a TCP port against other owners of clusters, until the returned file is closed. For 0
// it picks one that is free on 127.0.0.1.
func reservePort(ctx context.Context, port int) (int, *os.File, error) {
	cache, err := cacheDir()
	if err != nil {
		return 0, nil, err
	}
	dir := filepath.Join(cache, "ports")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, nil, fmt.Errorf("reserving a port: %w", err)
	}
	lock := func(p int) (*os.File, error) { return tryLock(filepath.Join(dir, strconv.Itoa(p))) }
	if port != 0 {
		f, err := lock(port)
		if err != nil {
			return 0, nil, fmt.Errorf("reserving port %d: %w", port, err)
		}
		if f == nil {
			return 0, nil, fmt.Errorf("port %d is in use by another cluster", port)
		}
		return port, f, nil
	}
	var lc net.ListenConfig
	for range 200 {
		p := firstPort + rand.IntN(lastPort-firstPort+1)
		f, err := lock(p)
		if err != nil {
			return 0, nil, fmt.Errorf("reserving port %d: %w", p, err)
		}
		if f == nil {
			continue
		}
		l, err := lc.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p)))
		if err != nil {
			_ = f.Close()
			continue
		}
		return p, f, l.Close()
	}
	return 0, nil, errors.New("found no free TCP port on 127.0.0.1")
}
